"""The MCP face: a server over a UTCP client, on stdio and streamable HTTP.

`app.py`, `stdio.py`, `http.py` and `changes.py` know the MCP SDK; names, schemas, the catalogue and
rendering do not, so that another front can share them.
"""
