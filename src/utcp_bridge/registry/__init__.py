"""Registries: lists of manuals that can be searched, over a small HTTP API or as a file.

    GET /manuals?tag=weather&q=forecast&limit=20&cursor=…
    {"manuals": [{"name", "url", "description", "tags", "manual_version", "sha256"}], "next": "…" or null}

`client` asks them, `folder`, `app` and `serving` are one. UTCP has no official protocol for this.
"""
