"""The protocol between server and client."""

import inspect

from utcp_bridge.catalogue.ports import ClientPort
from utcp_bridge.client.client import UtcpClient


def test_the_client_has_all_that_the_server_asks_for():
    for name, member in inspect.getmembers(ClientPort):
        if name.startswith("_") or not inspect.isfunction(member):
            continue
        wanted = [name for name in inspect.signature(member).parameters if name != "self"]
        given = inspect.signature(getattr(UtcpClient, name)).parameters
        assert set(wanted) <= set(given), name
