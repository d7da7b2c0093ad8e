"""A bridge whose end takes as long as it needs: `python -m tests.support.patient_bridge serve ...`.

A bridge cuts its end short, and so loses the last spans on a machine that is busy enough.
"""

from utcp_bridge.cli import main
from utcp_bridge.processes import ending
from utcp_bridge.telemetry import exporting

PATIENCE = 100.0
"""Seconds. More than the tests that wait for the end need, on any machine."""
LIMITS = (
    (ending, "_MAX_SECONDS", PATIENCE),
    (exporting, "_FLUSH_SECONDS", PATIENCE),
    (exporting, "_FLUSH_MILLISECONDS", int(PATIENCE * 1000)),
    (exporting, "_AUDIT_SECONDS", PATIENCE),
)

if __name__ == "__main__":
    for module, name, value in LIMITS:
        assert hasattr(module, name), name
        setattr(module, name, value)
    main()
