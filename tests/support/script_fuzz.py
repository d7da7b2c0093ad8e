"""A fuzzer of scripts: generated templates with hostile values, run by a real bash in a folder of their own.

Property 1: no part of a value is ever evaluated. Each hostile value would make a file, the canary.
Property 2: where a template is accepted, the probe receives the value in exactly one word, byte for byte.

    python -m tests.support.script_fuzz BATCHES [SEED]
"""

from __future__ import annotations

import random
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from utcp_bridge.errors import InvalidArguments
from utcp_bridge.transports.cli.scripts import CommandStep, Script, UnsafePlaceholder, bash_script

A: Final = "UTCP_ARG_a_UTCP_END"
B: Final = "UTCP_ARG_b_UTCP_END"
Builder: TypeAlias = Callable[[Sequence[CommandStep], Iterable[int]], Script]
BATCH: Final = 40
_SECONDS_PER_BATCH: Final = 120

VALUES: Final = (
    "x[$(touch CANARY)]",
    "$(touch CANARY)",
    "`touch CANARY`",
    "; touch CANARY;",
    "'; touch CANARY; '",
    '"; touch CANARY; "',
    "\ntouch CANARY\n",
    "1+a[$(touch CANARY)]",
    "x) touch CANARY;;",
    "}; touch CANARY; {",
    "&& touch CANARY",
    "|touch CANARY",
    "EOF\ntouch CANARY\nEOF",
    "$((x[$(touch CANARY)]))",
    "${x[$(touch CANARY)]}",
    "x=$(touch CANARY)",
    "<(touch CANARY)",
    "\\",
    "\\$(touch CANARY)",
    "'",
    '"',
    "a b  c\td",
    "*",
    "?",
    "[a-z]*",
    "{a,b}",
    "~",
    "!",
    "!!",
    "%n",
    "%s%d",
    "-v",
    "--output=CANARY",
    "-",
    "é\U0001f600\u202e",
    "",
    "#x",
    "$HOME",
    "$x",
    "x",
    "\n",
    "a\\\nb",
    "$'\\x24(touch CANARY)'",
    "touch CANARY",
    "e\ntouch CANARY",
    "__UTCP_ARG_0[$(touch CANARY)]",
    "BASH_VERSINFO[$(touch CANARY)]",
    "@(x|y)",
    "a=b",
    "2>CANARY",
    ">CANARY",
    "$(\ntouch CANARY\n)",
    "true\ntouch CANARY",
)

FRAMES: Final = (
    "%s",
    "( %s )",
    "{ %s; }",
    "if true; then %s; fi",
    "if false; then :; else %s; fi",
    "for i in 1; do %s; done",
    "case x in (y) false;; x) %s;; esac",
    "true && %s",
    "false || %s",
    "while :; do %s; break; done",
    "f() { %s; }; f",
    "! { %s\n}",
    ": 'it''s' \"q\\\"\"; %s",
    "# it's $(( \" `\n%s",
    "cat <<EOF >/dev/null\n' $(( \" )) '\nEOF\n%s",
    "cat <<'E F' >/dev/null\n` $( \"\nE F\n%s",
    'n=$(echo "$(echo 1)"); %s',
    "n=$(( 1 + (2) )); %s",
    "[[ a < b ]]; %s",
    "l=(a 'b c'); : \"${l[@]}\" ${#l[@]}; %s",
    ": `echo 1`; %s",
    "%s; x=5",
    ": a\\\n b; %s",
    "(( 1 < 2 )); %s",
    "time %s",
    "cat <<-EOF >/dev/null\n\ta\n\tEOF\n%s",
    "echo $'it\\'s' >/dev/null; %s",
    "function g { %s; }; g",
    "%s 2>/dev/null",
    "echo ${x:-y} ${x#*/} >/dev/null; %s",
    "select y in; do :; done; %s",
    "%s | cat",
    "true | { %s\n}",
    "%s &\nwait",
)
PLAIN: Final = (
    "probe %s",
    "probe -- %s",
    "probe a %s b",
    "probe pre%s",
    "probe %spost",
    'probe "%s"',
    "probe 'x %s y'",
    "X=1 probe %s",
    "command probe2 %s",
    'probe "a \\" %s"',
    'y=%s; probe "$y"',
    'for w in %s; do probe "$w"; done',
    'probe "$x"%s',
    "probe %s >/dev/null",
    'probe "it\'s %s"',
    "probe ''%s''",
    "case %s in *) probe z;; esac",
)
HAZARDS: Final = (
    "echo $((%s))",
    "echo $[%s]",
    "(( %s ))",
    "let n=%s",
    "let %s",
    "[[ %s -gt 1 ]]",
    "[[ -v %s ]]",
    "[ -v %s ]",
    "test -v %s",
    "a[%s]=1",
    "echo ${a[%s]}",
    "echo ${a:%s}",
    "declare -i n=%s",
    "typeset -i n; n=%s",
    "eval %s",
    'eval "echo %s"',
    "bash -c %s",
    "sh -c 'echo %s'",
    "echo %s | sh",
    "sh <<< %s",
    "xargs -I{} sh -c %s </dev/null",
    "env -S %s",
    "trap %s EXIT",
    "source %s",
    ". %s",
    "printf -v %s x",
    "printf '%%n' %s",
    "printf %s a",
    "read %s </dev/null",
    "unset %s",
    "%s",
    '"%s" x',
    "exec %s",
    "command %s",
    "n=%s; echo $((n))",
    "n=%s; m=n; (( m ))",
    "n=%s; [[ n -eq 1 ]]",
    'n=%s; echo "${!n}"',
    'n=%s; echo "${n@P}"',
    'n=%s; eval "$n"',
    'n=%s; unset "$n"',
    'n=%s; printf -v "$n" x',
    "n=%s; a[$n]=1",
    "n=%s; a[n]=1",
    "n=%s; echo ${l:n}",
    "f() { (( $1 )); }; f %s",
    'f() { eval "$1"; }; f %s',
    "for n in %s; do (( n )); done",
    "cat <<EOF\n%s\nEOF",
    'echo "$(echo %s)"',
    "echo `echo %s`",
    "# %s",
    "cat <(echo %s)",
    "RANDOM=%s",
    "SECONDS=%s",
    "OPTIND=%s",
    "PS4=%s; set -x; :",
    "PROMPT_COMMAND=%s",
    "BASH_ENV=%s bash /dev/null",
    "awk %s </dev/null",
    'awk "BEGIN{%s}"',
    "sed -e %s </dev/null",
    "find . -maxdepth 0 -exec %s \\;",
    "python3 -c %s",
    "echo > %s",
    "echo {%s,b}",
    "echo \\%s",
    'echo "\\%s"',
    "echo $%s",
    "echo ${x:-%s}",
    "echo $'%s'",
    "a=(%s); echo ${a[0]}",
    "echo %s | while read n; do (( n )); done",
    "mapfile -t l <<< %s; (( l ))",
    "n=%s; declare -i m=n",
    "[[ x =~ $((%s)) ]]",
    "n=%s; : $(( $n ))",
    'n=%s; : "${l[n]}"',
    'n=%s; let "m = n"',
    "set -- %s; (( $1 ))",
    'n=%s; test -v "$n"',
)
JSON_WORDS: Final = (
    """probe '{"q": "%s"}'""",
    r"""probe "{\"q\": \"%s\"}" """,
    """probe '{"q": "'%s'"}'""",
    """probe '{"q": "'"%s"'"}'""",
    """probe -- '{"a": {"q": ["b %s c", 1]}}'""",
    """probe '[{"q": "%s"}]'""",
    """probe '["%s", 2]' x""",
    """probe -d'{"q": "%s"}'""",
    """probe --data='{"q": "%s"}'""",
    """probe body:='{"q": "%s"}'""",
    """probe '{"q": %s}'""",
    """probe '[1, "x", %s]'""",
    """probe '{"q": '%s', "r": "%s"}'""",
    """y='{"q": "%s"}'; probe "$y" """,
    """for y in '{"q": "%s"}'; do probe "$y"; done""",
)
"""Commands of which one word is a JSON text."""
HELD_IN_JSON: Final = (
    r"""n=%s; probe "{\"q\": \"$n\"}" """,
    r"""n=%s; probe "{\"q\": $n}" """,
    r"""echo %s | while read -r n; do probe "{\"q\": \"$n\"}"; done""",
    r"""for n in %s; do probe --data="{\"q\": \"$n\"}"; done""",
    r"""f() { probe "{\"q\": \"$1\"}"; }; f %s""",
    r"""probe '{"q": "\%s"}'""",
    r"""probe '{"q": "\u00%s"}'""",
)
"""Commands in which a value could end the JSON text of a word."""
_SOUP: Final = (
    A,
    A,
    f'"{A}"',
    f"'{A}'",
    "probe",
    "echo",
    ":",
    "x=",
    "n=",
    "$n",
    '"$n"',
    '"',
    "'",
    "\\",
    "$((",
    "))",
    "((",
    "[[",
    "]]",
    "-eq",
    "$(",
    ")",
    "(",
    "`",
    "{",
    "}",
    "${",
    "a[",
    "]",
    "=",
    ";",
    "\n",
    "|",
    "&&",
    "||",
    "&",
    "<<EOF\n",
    "\nEOF\n",
    "<<<",
    ">",
    "<",
    "#",
    " ",
    " ",
    " ",
    "let",
    "eval",
    "if",
    "then",
    "fi",
    "for i in",
    "do",
    "done",
    "case",
    "in",
    "esac",
    "$'",
    '$"',
    "!",
    "*",
    "~",
    "+",
    "1",
    "a",
    "-",
    "--",
    "declare -i",
    "printf -v",
    "unset",
    "export",
    "<(",
    "f()",
    ";;",
    "case x in",
)


@dataclass(frozen=True)
class Case:
    """A template, its values, and words that the probe must receive."""

    steps: tuple[str, ...]
    values: dict[str, str]
    expected: tuple[str, ...] = ()


def generated(draw: random.Random) -> Case:
    """Return a case: a plain word within compound commands, a hazard within them, or a soup of tokens."""
    values = {"a": draw.choice(VALUES), "b": draw.choice(VALUES)}
    kind = draw.random()
    if kind < 0.3:
        return Case(("".join(draw.choice(_SOUP) + draw.choice(("", " ")) for _ in range(draw.randint(2, 14))),), values)
    pattern = draw.choice(PLAIN if kind < 0.6 else HAZARDS)
    core = pattern.replace("%s", A).replace("%%", "%")
    for _ in range(draw.randint(0, 2)):
        core = draw.choice(FRAMES).replace("%s", core, 1)
    steps = (core,) if draw.random() < 0.8 else (f"echo {B}", core, 'echo "$CMD_0_OUTPUT"')
    return Case(steps, values, (_word(pattern, values["a"]),) if pattern in PLAIN[:8] else ())


def _word(pattern: str, value: str) -> str:
    after = pattern.split("probe", 1)[1].removeprefix(" ").removeprefix("-- ").removeprefix("a ").removesuffix(" b")
    return after.strip("'\"").replace("%s", value)


def failures(cases: Sequence[Case], build: Builder = bash_script) -> list[str]:
    """Run the accepted cases, many in one bash, and return a line for each one that breaks a property."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        accepted = [number for number, one in enumerate(cases) if _written(one, folder / str(number), build)]
        _run(folder, accepted)
        return [text for number in accepted if (text := _judged(cases[number], folder / str(number)))]


def _written(case: Case, own: Path, build: Builder) -> bool:
    try:
        script = build([CommandStep(command=step) for step in case.steps], [0])
        canary = str(own / "canary")
        values = {key: value.replace("CANARY", canary) for key, value in case.values.items()}
        environment = script.environment(values)
    except (UnsafePlaceholder, InvalidArguments):
        return False
    own.mkdir()
    (own / "work").mkdir()
    (own / "output").touch()
    lines = [f"export {key}={shlex.quote(value)}" for key, value in environment.items()]
    (own / "variables").write_text("\n".join(lines), encoding="utf-8")
    (own / "script").write_text(script.text, encoding="utf-8")
    return True


def _run(folder: Path, numbers: Sequence[int]) -> None:
    probe = folder / "probe"
    probe.write_text('#!/bin/bash\nprintf "%s\\0" "$@" >>"$PROBED"\n', encoding="utf-8")
    probe.chmod(0o755)
    (folder / "probe2").symlink_to(probe)
    lines = [f"export PATH={folder}:$PATH"]
    for number in numbers:
        own = folder / str(number)
        lines.append(
            f"( cd {own}/work; export PROBED={own}/probed; source {own}/variables; "
            f"exec {{__utcp_write}}>>{own}/output {{__utcp_read}}<{own}/output; source {own}/script ) >/dev/null 2>&1"
        )
    subprocess.run(
        ["/bin/bash", "--norc", "-c", "\n".join(lines)],
        stdin=subprocess.DEVNULL,
        check=False,
        timeout=_SECONDS_PER_BATCH,
    )


def _judged(case: Case, own: Path) -> str:
    if (own / "canary").exists():
        return f"evaluated: {case}"
    probed = own / "probed"
    words = probed.read_bytes().decode(errors="surrogateescape").split("\0")[:-1] if probed.exists() else []
    expected = [one.replace("CANARY", str(own / "canary")) for one in case.expected]
    missing = [one for one in expected if one not in words]
    return f"not one word: {case}: {words}" if missing else ""


def main(batches: int, seed: int) -> int:
    """Run some batches and write each failure; return how many there were. 700 batches take about ten minutes."""
    draw = random.Random(seed)
    found = 0
    for _ in range(batches):
        for line in failures([generated(draw) for _ in range(BATCH)]):
            found += 1
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{batches * BATCH} cases, {found} failures, seed {seed}\n")
    return found


if __name__ == "__main__":
    sys.exit(min(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0), 1))
