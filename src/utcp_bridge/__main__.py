"""`python -m utcp_bridge` is the `utcp-bridge` command."""

from utcp_bridge.cli import main

if __name__ == "__main__":
    main()
