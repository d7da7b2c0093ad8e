"""Registries: searchable lists of manuals, offered by a small HTTP API or as a file.

    GET /manuals?tag=weather&q=forecast&limit=20&cursor=…
    {"manuals": [{"name", "url", "description", "tags", "manual_version", "sha256"}], "next": "…" or null}

`client` reads registries, `serving` is one. UTCP has no official protocol for registries.
"""
