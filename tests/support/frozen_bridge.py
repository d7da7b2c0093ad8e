"""A patient bridge for whose limit of traces no time passes: `python -m tests.support.frozen_bridge serve ...`."""

from tests.support.patient_bridge import LIMITS

from utcp_bridge.cli import main
from utcp_bridge.telemetry import limiting

if __name__ == "__main__":
    for module, name, value in LIMITS:
        setattr(module, name, value)
    assert len(limiting.TraceLimit.__init__.__defaults__ or ()) == 1
    limiting.TraceLimit.__init__.__defaults__ = (lambda: 0,)
    main()
