"""`python -m utcp_bridge.quickstart [PORT]` runs the sample service alone, for configs/quickstart.json."""

from __future__ import annotations

import sys

import anyio

from utcp_bridge.quickstart.service import PORT, serving


async def _main(port: int) -> None:
    async with serving(port) as places:
        sys.stderr.write(f"The sample services listen on {places.base}, ")
        sys.stderr.write(f"TCP port {places.tcp_port} and UDP port {places.udp_port}; press Ctrl-C to stop them.\n")
        await anyio.sleep_forever()


if __name__ == "__main__":
    try:
        anyio.run(_main, int(sys.argv[1]) if len(sys.argv) > 1 else PORT)
    except KeyboardInterrupt:
        sys.exit(130)
