"""The formats of others that are not read: what each is called, its signs, and what to do instead (pure).

`FORMATS` is the one table. A row has one kind of sign: members of a parsed document, the beginning of a text, or the
root of an XML document. The table is looked at only after a document was not recognised as one of ours, so a document
of a known kind is never taken for a foreign one. Only the beginning of a text is looked at, in one pass.
"""

from __future__ import annotations

from utcp_bridge.dialects.formats.recognition import format_of_document, format_of_text, said_of_format
from utcp_bridge.dialects.formats.table import FORMATS, ForeignFormat

__all__ = ["FORMATS", "ForeignFormat", "format_of_document", "format_of_text", "said_of_format"]
