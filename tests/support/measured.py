"""Coverage of programs that tests start."""

from coverage import Coverage
from tests.support.source import ROOT

__all__ = ["measured"]


def measured() -> dict[str, str]:
    """Return the variables with which a child measures its coverage too; none if nothing is measured."""
    if Coverage.current() is None:
        return {}
    return {"COVERAGE_PROCESS_START": str(ROOT / "pyproject.toml"), "COVERAGE_FILE": str(ROOT / ".coverage")}
