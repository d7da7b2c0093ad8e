from utcp_bridge.model import Fault
from utcp_bridge.validate.findings import Findings, Report


def test_findings_keep_place_severity_and_tool():
    findings = Findings()
    findings.error(("a",), "bad", "mend")
    findings.tool = "t"
    findings.warn(("b", 0), "odd")
    findings.take(("c",), [Fault("x", "left out", "r"), Fault("x", "used", severity="warning")])
    reported = [(one.severity, one.pointer, one.what, one.remedy, one.tool) for one in findings.faults]
    assert reported == [
        ("error", "/a", "bad", "mend", ""),
        ("warning", "/b/0", "odd", "", "t"),
        ("error", "/c", "left out", "r", "t"),
        ("warning", "/c", "used", "", "t"),
    ]


def test_warnings_make_a_report_invalid_only_when_strict():
    findings = Findings()
    findings.warn((), "odd")
    report = Report("f.json", "f", shape="manual", findings=findings.faults, variables={"f_K": ["t"]}, found={"f_K"})
    assert report.as_json()["valid"] is True
    assert report.as_json(strict=True)["valid"] is False
    assert report.as_json() == {
        "file": "f.json",
        "name": "f",
        "shape": "manual",
        "dialect": "",
        "valid": True,
        "structure_valid": True,
        "registered": None,
        "tool_count": 0,
        "errors": [],
        "warnings": [{"pointer": "", "line": None, "tool": None, "message": "odd", "remedy": None}],
        "variables": [{"key": "f_K", "set": True, "needed_by": ["t"]}],
    }
