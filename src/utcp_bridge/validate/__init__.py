"""Checks of documents without network access, for `utcp-bridge validate`.

Loading leaves out what it cannot use. Checking looks at everything and reports the place of each fault.
"""

from utcp_bridge.validate.documents import check_document, check_place
from utcp_bridge.validate.findings import Finding, Report

__all__ = ["Finding", "Report", "check_document", "check_place"]
