"""`utcp-bridge doctor`: examine each manual of a configuration step by step, and name the step that fails.

Manuals are loaded by the client's own registration, connections go through its own address gate, and tokens come from
its own cache. So the report shows what the bridge itself experiences.
"""

from utcp_bridge.doctor.report import Diagnosis, diagnose
from utcp_bridge.doctor.steps import DoctorStep, ManualSteps
from utcp_bridge.doctor.tools import TrialCall

__all__ = ["Diagnosis", "DoctorStep", "ManualSteps", "TrialCall", "diagnose"]
