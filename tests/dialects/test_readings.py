"""Notes: faults by severity."""

from utcp_bridge.dialects.readings import Notes


def test_errors_and_warnings_are_told_apart():
    notes = Notes()
    notes.error("here", "broken", "Mend it.")
    notes.warn("there", "odd")

    assert [(fault.severity, str(fault)) for fault in notes.faults] == [
        ("error", "here: broken Mend it."),
        ("warning", "there: odd"),
    ]
