"""Programs that were written for the UTCP reference library run with this one: `utcp.*` imports resolve to it.

    import utcp_bridge.compat

    utcp_bridge.compat.install()

    from utcp.utcp_client import UtcpClient

`python -m utcp_bridge.compat program.py` runs an unchanged program. Modules of python-utcp 0.1, 0.2 and 1.x and of its
plugins exist under their names; nothing is installed under the name `utcp`. docs/moving.md says what differs.
"""

from utcp_bridge.compat.hook import install, uninstall

__all__ = ["install", "uninstall"]
