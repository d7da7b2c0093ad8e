"""Data as the proactor loop of Windows hands it over in Python 3.11."""


def bytes_in_a_bytearray(monkeypatch, protocol):
    """Let a class of protocols receive a bytearray, as asyncio's loop for Windows did before Python 3.12."""
    receive = protocol.data_received
    monkeypatch.setattr(protocol, "data_received", lambda self, data: receive(self, bytearray(data)))
