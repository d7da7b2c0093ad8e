"""The command of the package, as `test_any_system` starts it: `system_program.py native|shorn SIGNAL PORT ARGUMENT…`.

`shorn` removes what Windows lacks and other systems have, as far as the libraries below do not need it. A byte on the
connection to PORT raises SIGNAL in this process, as the console of Windows does, from another thread.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
from types import SimpleNamespace
from typing import Any

LACKING = {
    os: ("O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "fchmod", "fork", "geteuid", "getpgid", "getuid", "nice", "setsid"),
    signal: ("SIGALRM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "pthread_sigmask"),
    socket: ("SO_REUSEPORT",),
}


def shear() -> None:
    """Make this process one of a system without the calls of POSIX, before the package is imported."""
    import aiohttp  # noqa: F401 - the libraries choose by the system when they are imported
    import uvicorn  # noqa: F401

    loop: Any = asyncio.SelectorEventLoop
    for name in ("connect_read_pipe", "connect_write_pipe"):
        setattr(loop, name, _for_subprocesses(getattr(loop, name)))
    loop.add_signal_handler = loop.remove_signal_handler = _lacking
    sys.modules["uvloop"] = None  # type: ignore[assignment] # Windows has none
    sys.modules["resource"] = None  # type: ignore[assignment]
    vars(sys)["frozen"] = True  # no guardian
    os.supports_dir_fd.clear()
    for module, names in LACKING.items():
        for name in names:
            vars(module).pop(name, None)

    from utcp_bridge.server.wire import lines

    vars(lines)["sys"] = SimpleNamespace(stdout=sys.stdout, platform="win32")


def _lacking(*_: object) -> None:
    raise NotImplementedError


def _for_subprocesses(function: Any) -> Any:
    """Return a function that works for asyncio's own subprocesses alone."""

    def guarded(*arguments: Any) -> Any:
        if sys._getframe(1).f_globals["__name__"] != "asyncio.base_subprocess":
            raise NotImplementedError
        return function(*arguments)

    return guarded


def _raise_when_asked(number: int, port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as asked:
        if asked.recv(1):
            signal.raise_signal(number)


if __name__ == "__main__":
    mode, name, port = sys.argv[1:4]
    number = getattr(signal, name)
    threading.Thread(target=_raise_when_asked, args=(number, int(port)), daemon=True).start()
    if mode == "shorn":
        shear()
    sys.argv[:] = ["utcp-bridge", *sys.argv[4:]]
    from utcp_bridge.cli import main

    main()
