"""The output of a short command, such as that of a secret manager. No shell reads the command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from utcp_bridge.processes.systems import SPAWN_FLAGS, WindowsJob, started_words

__all__ = ["CommandFailed", "output_of"]


class CommandFailed(Exception):
    """A command without usable output. `reason` ends a sentence, and holds nothing that the command printed."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def output_of(argv: Sequence[str], *, folder: Path, seconds: float, max_bytes: int) -> bytes:
    """Return what a command prints on stdout. It blocks its thread. The command reads nothing, and stderr is dropped.

    After `seconds` the command ends, with all processes of its group.

    :raises CommandFailed: it does not start, fails, takes too long, or prints more than `max_bytes`.
    """
    late = threading.Event()
    try:
        process = _start(argv, folder)
    except (OSError, ValueError) as error:
        raise CommandFailed(
            f"does not start: {getattr(error, 'strerror', None) or 'its words are not valid'}"
        ) from None

    job = WindowsJob(process.pid) if sys.platform == "win32" else None

    def end() -> None:
        late.set()
        _kill(process, job)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    with process:
        try:
            data = process.stdout.read(max_bytes + 1) if process.stdout is not None else b""
            if len(data) > max_bytes:
                _kill(process, job)
            code = process.wait()
        finally:
            timer.cancel()
            if job is not None:
                job.close()
    if late.is_set():
        unit = "second" if seconds == 1 else "seconds"
        raise CommandFailed(f"did not end within {seconds:g} {unit}")
    if len(data) > max_bytes:
        raise CommandFailed(f"printed more than {max_bytes} bytes")
    if code != 0:
        raise CommandFailed(f"ended with exit code {code}" if code > 0 else f"was ended by signal {-code}")
    return data


def _start(argv: Sequence[str], folder: Path) -> subprocess.Popen[bytes]:
    words: list[str] | str = list(argv)
    if sys.platform == "win32":
        words = started_words(argv, os.environ, folder)  # noqa: TID251 - the command has all variables of the bridge
    return subprocess.Popen(  # noqa: S603 - the operator's command
        words,
        shell=isinstance(words, str),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        creationflags=SPAWN_FLAGS,
        start_new_session=True,
    )


def _kill(process: subprocess.Popen[bytes], job: WindowsJob | None) -> None:
    with suppress(OSError):
        if job is not None:
            job.terminate()
        else:
            os.killpg(process.pid, signal.SIGKILL)
