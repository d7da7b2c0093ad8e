"""Diagnosis: each manual of a configuration, step by step, to the step that fails and what to do about it.

It loads manuals by the client's own registration, connects through its own gate and fetches tokens by its own cache,
so that what it says is what the bridge does.
"""

from utcp_bridge.doctor.calls import Trial
from utcp_bridge.doctor.report import Diagnosis, diagnose
from utcp_bridge.doctor.steps import Course, Step

__all__ = ["Course", "Diagnosis", "Step", "Trial", "diagnose"]
