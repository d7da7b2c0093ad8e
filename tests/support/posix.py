"""Which tests need what Windows lacks: calls of POSIX, programs and folders of Unix, permissions, symbolic links.

`tests/conftest.py` leaves such tests out on Windows, with what they need as the reason.
"""

from __future__ import annotations

import ast
import copy
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.support.source import TESTS, Function, parsed

POSIX_MODULES = {"fcntl", "grp", "pty", "pwd", "resource", "termios", "tty"}
POSIX_NAMES = {
    "os": {
        "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "fchmod", "fchown", "fork", "forkpty", "geteuid", "getegid",
        "getgid", "getpgid", "getuid", "killpg", "mkfifo", "nice", "openpty", "pidfd_open", "register_at_fork",
        "setpgid", "setsid", "statvfs", "sysconf", "uname", "waitstatus_to_exitcode", "WNOHANG",
    },
    "signal": {
        "SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGQUIT", "SIGUSR1", "SIGUSR2", "alarm", "pause", "pthread_kill",
        "pthread_sigmask", "setitimer", "sigwait",
    },
    "select": {"epoll", "kqueue", "poll"},
    "socket": {"AF_UNIX", "SO_REUSEPORT", "recv_fds", "send_fds"},
}  # fmt: skip
"""What Python for Windows lacks. A name that is asked for with `getattr` has its own answer there."""
LOOP_METHODS = {"add_reader", "add_signal_handler", "add_writer", "connect_read_pipe", "connect_write_pipe"}
"""Methods that the event loop of Windows lacks, or that fail there with pipes."""
METHODS = {"chmod", "hardlink_to", "st_mode", "symlink", "symlink_to", "umask"}
"""Files of Windows have no permissions of POSIX, and links need a right that most users lack."""
FOLDERS = ("/bin/", "/dev/", "/proc/", "/usr/bin/")
PROGRAMS = {"sh", "sleep"}


def posix_names(module: ast.Module) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            found |= {one.name for one in node.names} & POSIX_MODULES
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or ""} & POSIX_MODULES
            names = POSIX_NAMES.get(node.module or "", set())
            found |= {f"{node.module}.{one.name}" for one in node.names if one.name in names}
        elif isinstance(node, ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else ""
            if node.attr in POSIX_NAMES.get(owner, set()):
                found.add(f"{owner}.{node.attr}")
            elif node.attr in LOOP_METHODS:
                found.add(node.attr)
    return found


def needs_of(source: str) -> set[str]:
    """Return what a test needs of POSIX, by its source text: names, methods, folders and programs."""
    module = ast.parse(textwrap.dedent(source))
    found = posix_names(module)
    for node in ast.walk(module):
        if isinstance(node, ast.Attribute) and node.attr in METHODS:
            found.add(f".{node.attr}")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= {folder for folder in FOLDERS if node.value.startswith((folder, f"#!{folder}"))}
            found |= {node.value} & PROGRAMS
    return found


@cache
def names_at_import(path: Path) -> frozenset[str]:
    """Return what a file of tests needs of POSIX when it is imported, itself or by a file of tests/support."""
    module = copy.deepcopy(parsed(path))
    for node in ast.walk(module):
        if isinstance(node, Function):
            node.body = [ast.Pass()]
    found = posix_names(module)
    for support in _supports(module):
        found |= names_at_import(support)
    return frozenset(found)


def _supports(module: ast.Module) -> Iterator[Path]:
    for node in module.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tests."):
            path = TESTS.joinpath(*str(node.module).split(".")[1:]).with_suffix(".py")
            if path.is_file():
                yield path
