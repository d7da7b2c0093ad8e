"""What hosts see of the tools: names, entries, exposure and rendered results. Free of the MCP SDK.

`catalogue.Catalogue` gives tools by name, with their listed schemas, to the server, the command line, the doctor and
adapters. `render` makes MCP results from values and errors. `text` cleans text from other programs.
"""
