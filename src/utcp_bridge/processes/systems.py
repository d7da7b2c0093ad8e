"""What differs between systems: folders of settings; words, file, variables and end of a program that is started.

The functions without side effects take `windows`, so that both ways can be tried on any machine. On Windows a command
line is one text, a program is found without its ending, the names of variables have no case, and a batch file
is read by cmd.exe, which evaluates some of its words. A job object ends a program with all that it started.
"""

from __future__ import annotations

import errno
import ntpath
import os
import shlex
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any, Final

from utcp_bridge.late.patterns import late_pattern

__all__ = [
    "SPAWN_FLAGS",
    "WindowsJob",
    "batch_line",
    "find_program",
    "has_folder",
    "is_batch_file",
    "join_command",
    "merge_environment",
    "own_folder",
    "settings_folder",
    "split_command",
    "started_words",
    "variables_of_commands",
]

_WINDOWS: Final[bool] = sys.platform == "win32"
_CREATE_NO_WINDOW: Final = 0x08000000
SPAWN_FLAGS: Final = _CREATE_NO_WINDOW if _WINDOWS else 0
"""Flags of a new process. On Windows it opens no window, and a Ctrl-C in the terminal of the bridge is not for it."""
WINDOWS_VARIABLES: Final = (
    "APPDATA", "COMSPEC", "HOMEDRIVE", "HOMEPATH", "LOCALAPPDATA", "NUMBER_OF_PROCESSORS", "OS", "PATHEXT",
    "PROCESSOR_ARCHITECTURE", "PROGRAMDATA", "PROGRAMFILES", "PROGRAMFILES(X86)", "PROGRAMW6432", "PSMODULEPATH",
    "SYSTEMDRIVE", "SYSTEMROOT", "TEMP", "TMP", "USERNAME", "USERPROFILE", "WINDIR",
)  # fmt: skip
"""Variables without which programs of Windows do not start, or do not find their files. None holds a secret."""
_ENDINGS: Final = (".com", ".exe", ".bat", ".cmd")
"""Those that Windows can start. `PATHEXT` has more, which belong to other programs."""
_BATCH: Final = late_pattern(r"(?is).*\.(?:bat|cmd)[ .]*")
_LINE_BREAK: Final = late_pattern("[\r\n]")
_REPLACED: Final = late_pattern("(?=([%!])(.+?)\\1)")
"""A name between two signs, with what may follow it: `%NAME%`, `%NAME:a=b%`, and `!NAME!` where that is switched on."""
_OF_CMD: Final = frozenset({
    "CD", "CMDCMDLINE", "CMDEXTVERSION", "COMSPEC", "DATE", "ERRORLEVEL", "HIGHESTNUMANODENUMBER", "PATH", "PATHEXT",
    "PROMPT", "RANDOM", "TIME", "__APPDIR__", "__CD__", "=EXITCODE", "=EXITCODEASCII",
    *(f"={drive}:" for drive in ascii_uppercase),
})  # fmt: skip
"""Variables that cmd.exe has whatever the environment is."""


def variables_of_commands(posix: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the variables that a command receives: those of Windows there, `posix` elsewhere."""
    return ("PATH", *WINDOWS_VARIABLES) if _WINDOWS else tuple(posix)


# --- folders -------------------------------------------------------------------------------------


def settings_folder(home: Path, system: str | None = None, environment: Mapping[str, str] | None = None) -> Path:
    """Return the folder in which programs of a system (`sys.platform`) keep the settings of a user.

    `environment` is that of the user. If it is None, the variables of this process count for `home` if it is the home
    folder of this user, as they name folders of no other one. A variable without a whole path does not count.
    """
    system = system or sys.platform
    if environment is None:
        own = system == sys.platform and home == _home()
        environment = os.environ if own else {}  # noqa: TID251 - variables of the system, which hold no secrets
    if system == "darwin":
        return home / "Library" / "Application Support"
    if system == "win32":
        named = environment.get("APPDATA", "")
        drive, rest = ntpath.splitdrive(named)
        return Path(named) if drive and rest.startswith(("\\", "/")) else home / "AppData" / "Roaming"
    named = environment.get("XDG_CONFIG_HOME", "")
    return Path(named) if named.startswith("/") else home / ".config"


def _home() -> Path:
    return Path(os.path.expanduser("~"))  # noqa: PTH111 - Path.home raises for a user without one


def own_folder() -> Path:
    """Return the folder of this user's own files of the bridge: logins, and what `migrate` moved."""
    return settings_folder(_home()) / "utcp-bridge"


# --- words ---------------------------------------------------------------------------------------


def split_command(line: str, *, windows: bool = _WINDOWS) -> list[str]:
    r"""Return the words of a command line. On Windows a backslash is a part of a path: `C:\tools\x.exe`.

    :raises ValueError: a quotation mark is not closed.
    """
    lexer = shlex.shlex(line, posix=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    if windows:
        lexer.escape = ""
    return list(lexer)


def join_command(words: Sequence[str], *, windows: bool = _WINDOWS) -> str:
    """Return words as a command line that a person can copy."""
    return subprocess.list2cmdline(words) if windows else shlex.join(words)


def batch_line(program: str, words: Sequence[str], environment: Mapping[str, str]) -> str:
    r"""Return a command line of cmd.exe that starts a batch file with these words, none of which it evaluates.

    Each word is in quotation marks, where `& | < > ( ) ^` are plain characters, and a quotation mark becomes two.
    Quotation does not keep `%NAME%` from being replaced, and a command line of cmd.exe has no escape for `%`, so a
    line with a variable of the environment is refused. cmd.exe leaves any other `%`, such as that of `%20`, as it is.

    :raises OSError: a word has a line break, where cmd.exe would end the command, or names a variable. Its
        `strerror` continues a sentence.
    """
    line = " ".join(_batch_word(word) for word in (program, *words))
    if _LINE_BREAK.search(line):
        raise OSError(errno.EINVAL, "a batch file cannot receive a line break")
    known = _OF_CMD.union(map(str.upper, environment))
    for sign, text in _REPLACED.findall(line):
        name, _, change = text.partition(":")
        names = {name.upper(), text.upper()} if change else {text.upper()}  # `PATH:` is another name than `PATH`
        if known & names:
            found = f"{sign}{name}{sign}"
            raise OSError(errno.EINVAL, f"it is a batch file, and cmd.exe would replace {found} in its arguments")
    return line


def _batch_word(word: str) -> str:
    parts = word.split('"')  # a run of backslashes before a quotation mark is doubled
    return '"' + '""'.join(part + "\\" * (len(part) - len(part.rstrip("\\"))) for part in parts) + '"'


# --- programs ------------------------------------------------------------------------------------


def is_batch_file(program: str) -> bool:
    """Return whether Windows passes this program to cmd.exe. It ignores dots and spaces at the end of a name."""
    return _BATCH.fullmatch(program) is not None


def find_program(
    name: str,
    path: str | None,
    folder: Path,
    *,
    windows: bool = _WINDOWS,
    is_file: Callable[[str], bool] = os.path.isfile,
) -> str | None:
    """Return the file of a program, which is searched in `path` (a PATH); None if it is not found.

    A name with a folder starts at `folder`. On Windows the name may lack its ending. Unlike Windows itself, this does
    not look for a bare name in the current folder, where a project could have put a program of that name.
    """
    path = os.defpath if path is None else path
    if not windows:
        import shutil  # with modules of archives, which nothing else of a start needs

        return shutil.which(str(folder / name) if os.sep in name else name, path=path)
    names = [name] if name.lower().endswith(_ENDINGS) else [name + ending for ending in _ENDINGS]
    if has_folder(name, windows=True):
        folders = [str(folder)]
    else:
        folders = [one for one in (part.strip('"') for part in path.split(";")) if ntpath.splitdrive(one)[0]]
    places = (ntpath.join(one, file) for one in folders for file in names)
    return next((one for one in places if is_file(one)), None)


def has_folder(name: str, *, windows: bool = _WINDOWS) -> bool:
    """Return whether the name of a program has a folder, so that it is not searched in the PATH."""
    return bool(ntpath.dirname(name) or ntpath.splitdrive(name)[0]) if windows else os.sep in name


def merge_environment(*parts: Mapping[str, str], windows: bool = _WINDOWS) -> dict[str, str]:
    """Return variables with later ones before earlier ones. On Windows `Path` and `PATH` are one variable."""
    merged: dict[str, str] = {}
    spelled: dict[str, str] = {}
    for part in parts:
        for name, value in part.items():
            merged[spelled.setdefault(name.upper(), name) if windows else name] = value
    return merged


def started_words(argv: Sequence[str], environment: Mapping[str, str], folder: Path) -> list[str] | str:
    """Return what starts a program on Windows: its words with its path, or the line of cmd.exe for a batch file.

    :raises OSError: the program is not found, or is a batch file and cannot receive its words.
    """
    path = merge_environment({"PATH": os.defpath}, environment)["PATH"]
    program = find_program(argv[0], path, folder) if argv else None
    if program is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    return batch_line(program, argv[1:], environment) if is_batch_file(program) else [program, *argv[1:]]


# --- trees ---------------------------------------------------------------------------------------

_KILL_ON_JOB_CLOSE: Final = 0x2000
_ACCOUNTING: Final = 1
_EXTENDED_LIMITS: Final = 9
_LIMITS_FORM: Final = "@qqI0qNNI0NNIIQQQQQQNNNN"
"""The form of JOBOBJECT_EXTENDED_LIMIT_INFORMATION, whose third value are the flags."""
_ACCOUNTING_FORM: Final = "@qqqqIIII"
"""The form of JOBOBJECT_BASIC_ACCOUNTING_INFORMATION, whose last value but one is the number of processes."""
_SET_QUOTA_AND_TERMINATE: Final = 0x0101


class WindowsJob:
    """A job object of Windows: a process with all that it starts. When this process ends, the job ends too."""

    def __init__(self, pid: int) -> None:
        """Put a process into a new job. One that has ended already is not an error."""
        import ctypes

        library: Any = ctypes
        self._windows = library.WinDLL("kernel32")
        self._windows.CreateJobObjectW.restype = self._windows.OpenProcess.restype = ctypes.c_void_p
        self._handle = ctypes.c_void_p(self._windows.CreateJobObjectW(None, None))
        limits = struct.pack(_LIMITS_FORM, 0, 0, _KILL_ON_JOB_CLOSE, *[0] * 16)
        self._windows.SetInformationJobObject(self._handle, _EXTENDED_LIMITS, limits, len(limits))
        process = ctypes.c_void_p(self._windows.OpenProcess(_SET_QUOTA_AND_TERMINATE, False, pid))
        if process.value:
            self._windows.AssignProcessToJobObject(self._handle, process)
            self._windows.CloseHandle(process)

    def terminate(self) -> None:
        """End every process of the job at once."""
        if self._handle.value:
            self._windows.TerminateJobObject(self._handle, 1)

    def is_empty(self) -> bool:
        """Return whether no process of the job runs."""
        if not self._handle.value:
            return True
        from ctypes import create_string_buffer

        found = create_string_buffer(struct.calcsize(_ACCOUNTING_FORM))
        self._windows.QueryInformationJobObject(self._handle, _ACCOUNTING, found, len(found), None)
        return not struct.unpack(_ACCOUNTING_FORM, found.raw)[-2]

    def close(self) -> None:
        """Close the job, which ends what still runs in it."""
        if self._handle.value:
            self._windows.CloseHandle(self._handle)
            self._handle.value = None
