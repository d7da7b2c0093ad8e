"""Checking documents without a network: what `utcp-bridge validate` tells.

Unlike loading, which leaves out what it cannot use, this looks at everything and says where each fault stands.
"""

from utcp_bridge.validate.documents import check_document, check_place
from utcp_bridge.validate.findings import Finding, Report

__all__ = ["Finding", "Report", "check_document", "check_place"]
