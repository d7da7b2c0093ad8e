"""Variables: pairs and their flat keys, sources and their order, substitution, dotenv files, loaders."""

import os
import sys
import threading
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.descendants import needs_proc, until_gone

from utcp_bridge import variables as module
from utcp_bridge.errors import ConfigError, VariableNotFound
from utcp_bridge.model import Trust
from utcp_bridge.variables import (
    DotenvLoader,
    EnvFile,
    Variables,
    flat_key,
    load_variable_loaders,
    read_dotenv,
    renamed,
    required,
    variable_names,
)

CANARY = "canary-91bd"
OPERATOR, REMOTE = Trust.OPERATOR, Trust.REMOTE


class Shelf:
    """A loader with the values of a dict."""

    def __init__(self, **values):
        self.values = values

    def get(self, key):
        return self.values.get(key)


def resolve(value, *, manual="m", trust=REMOTE, environ=None, config=None, **options):
    return Variables(config or {}, environ=environ or {}).resolve(value, manual=manual, trust=trust, **options)


# --- keys ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("manual", "name", "key"),
    [
        ("my_api", "KEY", "my__api_KEY"),
        ("my_cli_tool", "API_KEY", "my__cli__tool_API_KEY"),
        ("a", "9LIVES", "a_9LIVES"),
        ("a_", "X", "a___X"),
        ("_a", "X", "__a_X"),
        ("a", "_b_SECRET", None),
        ("a", "_X", None),
    ],
)
def test_a_pair_has_utcps_flat_key_or_none(manual, name, key):
    assert flat_key(manual, name) == key


WORDS = st.text("aB0_", min_size=1, max_size=6)


@given(first=st.tuples(WORDS, WORDS), second=st.tuples(WORDS, WORDS))
@settings(max_examples=300)
def test_no_two_pairs_share_a_flat_key(first, second):
    key = flat_key(*first)
    assert key is None or first == second or key != flat_key(*second)


def test_a_manual_cannot_reach_anothers_secret_with_underscores():
    variables = Variables(environ={"a__b_SECRET": "of a_b"})

    assert variables.lookup("a_b", "SECRET", REMOTE) == "of a_b"
    assert variables.lookup("a", "_b_SECRET", REMOTE) is None


def test_a_name_without_a_flat_key_is_set_as_a_pair():
    variables = Variables({"a": {"_b_SECRET": "mine"}}, environ={"a__b_SECRET": "of a_b"})

    assert variables.lookup("a", "_b_SECRET", REMOTE) == "mine"


# --- sources ------------------------------------------------------------------------------------


def test_the_configuration_precedes_the_loaders_which_precede_the_environment():
    environ = {"m_A": "environment", "m_B": "environment", "m_C": "environment"}
    variables = Variables({"m_A": "config"}, [Shelf(m_A="first", m_B="first"), Shelf(m_B="second")], environ)

    assert [variables.lookup("m", name, REMOTE) for name in "ABCD"] == ["config", "first", "environment", None]


def test_an_empty_value_outside_the_configuration_counts_as_none():
    variables = Variables({"m_E": ""}, [Shelf(m_A="")], {"m_A": "x", "m_B": ""})

    assert [variables.lookup("m", name, REMOTE) for name in "EAB"] == ["", "x", None]


def test_the_manuals_own_key_precedes_the_bare_name_in_every_source():
    variables = Variables({"KEY": "bare"}, environ={"m_KEY": "own"})

    assert variables.lookup("m", "KEY", OPERATOR) == "own"


def test_only_the_operators_templates_see_bare_names():
    variables = Variables({"CONFIG": "1"}, [Shelf(LOADED="2")], {"HOST": "3"})
    names = ("CONFIG", "LOADED", "HOST")

    assert [variables.lookup("m", name, OPERATOR) for name in names] == ["1", "2", "3"]
    assert [variables.lookup("m", name, REMOTE) for name in names] == [None, None, None]


def test_configured_values_may_refer_to_the_environment_but_not_to_each_other():
    variables = Variables({"m_A": "Bearer ${TOKEN}", "m_B": "${m_A}", "m_C": "5$$"}, environ={"TOKEN": "t"})

    assert variables.lookup("m", "A", REMOTE) == "Bearer t"
    assert variables.lookup("m", "C", REMOTE) == "5$"
    with pytest.raises(VariableNotFound, match=r"'m_A' is not set \(variables.m_B\)"):
        variables.lookup("m", "B", REMOTE)


def test_numbers_and_booleans_of_a_yaml_configuration_become_text():
    variables = Variables({"m_A": 5, "m_B": True, "m": {"C": 1.5, "D": None}, "m_E": None}, environ={})

    assert [variables.lookup("m", name, REMOTE) for name in "ABCDE"] == ["5", "true", "1.5", None, None]


@pytest.mark.parametrize("config", [{"A": ["x"]}, {"m": {"A": {}}}])
def test_a_value_of_another_type_is_refused(config):
    with pytest.raises(ConfigError, match="must be text or a number"):
        Variables(config)


def test_the_environment_of_the_process_is_the_default(monkeypatch):
    monkeypatch.setenv("m_FROM_PROCESS", "yes")

    assert Variables().lookup("m", "FROM_PROCESS", REMOTE) == "yes"


def test_every_value_in_use_is_reported_to_the_redactor():
    told = []
    variables = Variables(environ={"m_A": "s3cret"}, on_resolved=lambda name, value: told.append((name, value)))

    variables.resolve({"x": "${A}"}, manual="m", trust=REMOTE)

    assert told == [("m_A", "s3cret")]


def test_no_value_is_shown_by_the_repr():
    assert "s3cret" not in repr(Variables({"A": "s3cret", "m": {"B": "s3cret"}}, environ={"m_A": "s3cret"}))


# --- substitution -------------------------------------------------------------------------------


def test_braced_and_bare_forms_are_filled_in_at_every_depth_but_not_in_keys():
    template = {"url": "https://h/$A", "headers": {"X-${A}": "Bearer ${A}"}, "list": ["$A$A", 1, None, True]}

    assert resolve(template, environ={"m_A": "v"}) == {
        "url": "https://h/v",
        "headers": {"X-${A}": "Bearer v"},
        "list": ["vv", 1, None, True],
    }


def test_a_single_text_is_resolved():
    assert resolve("${A}!", environ={"m_A": "v"}) == "v!"


def test_a_value_is_not_substituted_again():
    assert resolve("${A}", environ={"m_A": "${B}", "m_B": "no"}) == "${B}"


def test_two_dollar_signs_become_one():
    assert resolve(["costs $$5", "$${A}", "$$$A"], environ={"m_A": "v"}) == ["costs $5", "${A}", "$v"]


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("${SET:-no}", "yes"),
        ("${UNSET:-no}/x", "no/x"),
        ("${UNSET:-}", ""),
        ("${EMPTY:-no}", "no"),
        ("${UNSET:-http://127.0.0.1:9/a-b?c=$d}", "http://127.0.0.1:9/a-b?c=$d"),
        ("$${UNSET:-no}", "${UNSET:-no}"),
        ("${UNSET:no}", "${UNSET:no}"),
    ],
)
def test_a_variable_may_have_a_default(text, made):
    assert resolve({"a": text}, environ={"m_SET": "yes", "m_EMPTY": ""}) == {"a": made}


def test_a_default_of_a_configured_value_is_its_own():
    config = {"V": "${OTHER:-x} ${OTHER2:-y}"}
    assert resolve("$V", config=config, trust=OPERATOR, environ={"OTHER": "z"}) == "z y"


def test_a_default_precedes_an_input_and_is_text_where_only_braces_count():
    assert resolve("${city:-Bonn}", arguments=frozenset({"city"})) == "Bonn"
    assert resolve({"q": "${a:-b}"}, braced_only=frozenset({"q"})) == {"q": "${a:-b}"}


def test_a_variable_with_a_default_need_not_be_set():
    assert required({"a": "${X:-1} ${Y}"}, "m") == ["m_Y"]
    assert renamed("${X:-1} ${Y}", {"X": "A", "Y": "B"}) == "${A:-1} ${B}"


def test_a_json_reference_does_not_change():
    assert resolve(["$ref #/a $A", "$reference"], environ={"m_reference": "v"}) == ["$ref #/a $A", "v"]


def test_a_missing_variable_names_the_exact_key():
    with pytest.raises(VariableNotFound) as caught:
        resolve({"a": "$KEY"}, manual="my_api")

    assert caught.value.key == "my__api_KEY"
    assert " or KEY" not in str(caught.value)


def test_a_missing_variable_of_the_operators_template_names_the_bare_name_too():
    with pytest.raises(VariableNotFound, match="Set my__api_KEY or KEY in `variables`"):
        resolve({"a": "$KEY"}, manual="my_api", trust=OPERATOR)


def test_a_missing_variable_without_flat_key_names_the_pair_to_set():
    with pytest.raises(VariableNotFound, match=r'as "variables": \{"a": \{"_K": …\}\}'):
        resolve("$_K", manual="a")


def test_an_unset_name_that_is_an_input_stays_for_the_call():
    assert resolve("$query and ${query}", arguments=frozenset({"query"})) == "${query} and ${query}"


def test_a_set_variable_precedes_an_input_of_the_same_name():
    assert resolve("${q}", arguments=frozenset({"q"}), environ={"m_q": "v"}) == "v"


def test_raw_fields_do_not_change():
    template = {"commands": [{"command": "awk '{print $2}'"}], "env_vars": {"A": "$A"}}

    assert resolve(template, raw_fields=frozenset({"commands"}), environ={"m_A": "v"}) == {
        "commands": [{"command": "awk '{print $2}'"}],
        "env_vars": {"A": "v"},
    }


def test_braced_only_fields_keep_the_bare_form():
    template = {"query": 'query($id: ID) { f(id: $id, key: "${A}") } $$id $${A}'}

    assert resolve(template, braced_only=frozenset({"query"}), environ={"m_A": "v"}) == {
        "query": 'query($id: ID) { f(id: $id, key: "v") } $$id ${A}'
    }


def test_a_template_that_is_nested_too_deeply_is_refused():
    nested = "$A"
    for _ in range(250):
        nested = [nested]

    with pytest.raises(ConfigError, match="manual 'm' is nested more than 200 levels"):
        resolve(nested)
    assert required(nested, "m") == []


def test_required_keys_are_listed_once_in_order_of_appearance():
    template = {"a": "$B ${A} $B $$C", "b": ["$ref $D", {"c": "${_E} $q"}], "d": 1}

    assert required(template, "my_api", frozenset({"q"})) == ["my__api_B", "my__api_A", "_E"]


# --- loaders ------------------------------------------------------------------------------------


@pytest.mark.parametrize("type_key", ["type", "variable_loader_type"])
def test_a_dotenv_file_is_found_from_the_root_in_both_dialects(tmp_path, type_key):
    (tmp_path / ".env").write_text("m_A=1\nexport m_B='two words'\n# note\nm_EMPTY\n")

    loaders, faults = load_variable_loaders([{type_key: "dotenv", "env_file_path": ".env"}], root=tmp_path)
    variables = Variables(loaders=loaders, environ={})

    assert faults == []
    assert [variables.lookup("m", name, REMOTE) for name in ("A", "B", "EMPTY")] == ["1", "two words", None]


def test_a_changed_dotenv_file_is_read_again(tmp_path):
    loader = DotenvLoader(tmp_path / ".env")
    (tmp_path / ".env").write_text("A=1")
    assert loader.get("A") == "1"

    (tmp_path / ".env").write_text("A=second")
    assert loader.get("A") == "second"
    (tmp_path / ".env").unlink()
    assert loader.get("A") is None


def test_an_unchanged_dotenv_file_is_not_read_again(tmp_path, monkeypatch):
    (tmp_path / ".env").write_text("A=1")
    loader = DotenvLoader(tmp_path / ".env")
    loader.get("A")
    reads = []
    monkeypatch.setattr(Path, "read_bytes", lambda *_, **__: reads.append(1) or b"")

    assert loader.get("A") == "1"
    assert reads == []


def test_a_missing_dotenv_file_is_a_fault_until_it_exists(tmp_path):
    loaders, faults = load_variable_loaders([{"type": "dotenv", "env_file_path": "later.env"}], root=tmp_path)

    assert [fault.severity for fault in faults] == ["warning"]
    assert "later.env does not exist" in str(faults[0])
    (tmp_path / "later.env").write_text("A=1")
    assert loaders[0].get("A") == "1"


def test_an_unreadable_dotenv_file_is_a_fault_and_an_error(tmp_path):
    (tmp_path / ".env").write_bytes(b"A=\xff\xfe")
    loaders, faults = load_variable_loaders(
        [{"type": "dotenv"}, {"type": "dotenv", "env_file_path": "."}], root=tmp_path
    )

    assert [fault.severity for fault in faults] == ["error", "error"]
    with pytest.raises(ConfigError, match="cannot be read"):
        loaders[0].get("A")


@pytest.mark.parametrize("path", [5, "", "a\0b"])
def test_an_invalid_dotenv_path_is_a_fault(tmp_path, path):
    loaders, faults = load_variable_loaders([{"type": "dotenv", "env_file_path": path}], root=tmp_path)

    assert loaders == []
    assert "must be a path" in str(faults[0])


def test_a_loader_of_an_unknown_type_is_a_fault_that_lists_the_known(tmp_path):
    loaders, faults = load_variable_loaders([{"variable_loader_type": "vault"}], root=tmp_path)

    assert loaders == []
    assert "Use one of dotenv, exec, file." in str(faults[0])


def made_for_the_test(specification, root):
    if "fail" in specification:
        raise RuntimeError
    return Shelf(A=f"{specification['prefix']}{root.name}")


def test_an_installed_loader_is_started_with_its_specification_and_the_root(tmp_path, monkeypatch):
    entry = EntryPoint("shelf", f"{__name__}:made_for_the_test", "utcp_bridge.variable_loaders")
    monkeypatch.setattr(EntryPoint, "load", lambda _: made_for_the_test)
    monkeypatch.setattr(module, "entry_points", lambda group: [entry] if group == entry.group else [])

    specifications = [{"type": "shelf", "prefix": "in "}, {"type": "shelf", "fail": 1}]
    loaders, faults = load_variable_loaders(specifications, root=tmp_path)

    assert [loader.get("A") for loader in loaders] == [f"in {tmp_path.name}"]
    assert "'shelf' cannot be created (RuntimeError)" in str(faults[0])


def test_names_omit_raw_fields_and_bare_names_in_braced_only_fields() -> None:
    template = {"raw": "$A", "query": "$b ${C}", "url": "$D $$E", "nested": ["${D}", {"x": "$F"}]}
    limits = {"raw_fields": frozenset({"raw"}), "braced_only": frozenset({"query"})}
    assert variable_names(template, **limits) == ["C", "D", "F"]
    assert required(template, "m_n", frozenset({"F"}), **limits) == ["m__n_C", "m__n_D"]
    assert variable_names("$A ${A} $B") == ["A", "B"]


def test_renaming_touches_variables_only() -> None:
    template = {"raw": "$A", "url": "$A/${A}/$$A/$AB", "list": ["$A", 1], "schema": {"$ref": "$A"}}
    assert renamed(template, {"A": "NEW"}, frozenset({"raw"})) == {
        "raw": "$A",
        "url": "${NEW}/${NEW}/$$A/$AB",
        "list": ["${NEW}", 1],
        "schema": {"$ref": "${NEW}"},
    }
    assert renamed("$ref $A", {"A": "NEW"}) == "$ref $A"


# --- secrets from commands and files


def exec_loader(commands, root: Path, **options):
    specification = {"variable_loader_type": "exec", "commands": commands, **options}
    loaders, faults = load_variable_loaders([specification], root=root)
    assert faults == []
    return loaders[0]


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_a_command_runs_once_for_its_variable(tmp_path: Path) -> None:
    count = f"open({str(tmp_path / 'runs')!r}, 'a').write('x'); print('the secret')"
    loader = exec_loader({"KEY": python(count)}, tmp_path)
    assert [loader.get("KEY") for _ in range(3)] == ["the secret"] * 3
    assert loader.get("OTHER") is None
    assert (tmp_path / "runs").read_text() == "x"


def test_all_commands_run_at_once_before_they_are_needed(tmp_path: Path) -> None:
    """Each of two commands waits for the other, so one after the other would not end."""
    meet = (
        "import os, sys, time\n"
        "open(sys.argv[1], 'w').close()\n"
        "while not os.path.exists(sys.argv[2]): time.sleep(0.01)\n"
        "print(sys.argv[1][-1])"
    )
    one, two = str(tmp_path / "1"), str(tmp_path / "2")
    loader = exec_loader({"A": [*python(meet), one, two], "B": [*python(meet), two, one]}, tmp_path, seconds=60)
    Variables(loaders=[loader]).run_commands()
    assert (loader.get("A"), loader.get("B")) == ("1", "2")


def test_no_shell_reads_a_command(tmp_path: Path) -> None:
    word = "$(touch canary); `touch canary` && touch canary"
    loader = exec_loader({"KEY": [*python("import sys; print(sys.argv[1])"), word]}, tmp_path)
    assert loader.get("KEY") == word
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    ("argv", "options", "words"),
    [
        (["no-such-program-here"], {}, "does not start: No such file"),
        (python("import sys; print('canary'); sys.exit(3)"), {}, "ended with exit code 3"),
        (python("import os; print('canary', flush=True); os.kill(os.getpid(), 9)"), {}, "was ended by signal 9"),
        (
            python("print('canary', flush=True); import time; time.sleep(300)"),
            {"seconds": 0.5},
            "did not end within 0.5",
        ),
        (python("print('canary' * 100000)"), {}, "printed more than 65536 bytes"),
        (python("import sys; sys.stdout.buffer.write(b'canary\\xff')"), {}, "printed no UTF-8"),
        (python("print()"), {}, "printed nothing"),
        (python("import sys; print(sys.stdin.read() + 'x' * 0)"), {}, "printed nothing"),
    ],
)
def test_a_command_without_a_value_is_reported_without_its_output(tmp_path, argv, options, words, capfd) -> None:
    loader = exec_loader({"KEY": argv}, tmp_path, **options)
    with pytest.raises(ConfigError, match=words) as caught:
        loader.get("KEY")
    assert "KEY" in caught.value.message
    assert "canary" not in f"{caught.value} {loader!r} {capfd.readouterr()}"


@needs_proc
async def test_a_command_that_takes_too_long_ends_with_its_children(tmp_path: Path) -> None:
    child = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(300)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    loader = exec_loader({"KEY": python(parent)}, tmp_path, seconds=3)
    with pytest.raises(ConfigError, match="did not end"):
        loader.get("KEY")
    if (tmp_path / "pid").exists():
        await until_gone(int((tmp_path / "pid").read_text()))


def test_a_value_that_is_too_old_is_replaced_and_a_failure_keeps_it(tmp_path: Path) -> None:
    place = tmp_path / "value"
    place.write_text("first")
    loader = exec_loader({"KEY": python(f"print(open({str(place)!r}).read())")}, tmp_path, max_age=1e-6)
    assert loader.get("KEY") == "first"
    place.write_text("second")
    loader.get("KEY")  # it begins to replace the value
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and thread.name == "secret KEY":
            thread.join()
    assert loader.get("KEY") == "second"
    place.unlink()
    loader._run("KEY", than=loader._kept["KEY"][0])
    assert loader.get("KEY") == "second"


@pytest.mark.parametrize(
    "commands", [None, [], {"KEY": "op read"}, {"KEY": []}, {"KEY": ["a", 1]}, {"KEY": ["a\0"]}, {"KEY": {}}]
)
def test_commands_that_are_not_lists_of_words_are_a_fault(tmp_path: Path, commands) -> None:
    loaders, faults = load_variable_loaders([{"variable_loader_type": "exec", "commands": commands}], root=tmp_path)
    assert loaders == []
    assert "must be an object of lists" in str(faults[0])


@pytest.mark.parametrize("options", [{"seconds": 0}, {"seconds": "1"}, {"max_age": -1}, {"max_age": True}])
def test_times_of_a_command_that_are_not_seconds_are_a_fault(tmp_path: Path, options) -> None:
    specification = {"variable_loader_type": "exec", "commands": {"KEY": ["a"]}, **options}
    loaders, faults = load_variable_loaders([specification], root=tmp_path)
    assert loaders == []
    assert "must be seconds above 0" in str(faults[0])


def test_each_variable_may_have_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "token.txt").write_text("first\n")
    (tmp_path / "run" / "OTHER").write_text("\ufeffsecond\r\n", encoding="utf-8")
    specification = {"variable_loader_type": "file", "files": {"KEY": "token.txt"}, "folder": "run"}
    [loader], faults = load_variable_loaders([specification], root=tmp_path)
    assert faults == []
    assert (loader.get("KEY"), loader.get("OTHER"), loader.get("MISSING")) == ("first", "second", None)
    assert loader.get("../token.txt") is None
    (tmp_path / "token.txt").write_text("changed")
    assert loader.get("KEY") == "changed"


def test_a_file_that_holds_no_secret_is_reported(tmp_path: Path) -> None:
    (tmp_path / "large").write_text("x" * 70_000)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\xff")
    files = {"LARGE": "large", "FOLDER": ".", "BYTES": "bytes"}
    [loader], _ = load_variable_loaders([{"type": "file", "files": files}], root=tmp_path)
    for key in files:
        with pytest.raises(ConfigError, match=r"is not a file of at most|cannot be read"):
            loader.get(key)


@pytest.mark.parametrize("more", [{"files": []}, {"files": {"A": 1}}, {"folder": ""}, {"files": {"A": "\0"}}])
def test_files_that_are_not_paths_are_a_fault(tmp_path: Path, more) -> None:
    loaders, faults = load_variable_loaders([{"type": "file", **more}], root=tmp_path)
    assert loaders == []
    assert "needs `files`" in str(faults[0])


# --- the `.env` next to a configuration ---------------------------------------------------------


def env_file(folder, text, mode=0o600):
    path = folder / ".env"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return EnvFile(path)


def test_an_env_file_is_asked_after_the_loaders_and_the_environment(tmp_path):
    file = env_file(tmp_path, "A=file\nB=file\nC=file\nD=file\n")
    variables = Variables({"A": "config"}, [Shelf(B="loader")], {"C": "process", "D": ""}, env_files=[file])
    found = [variables.lookup("m", name, OPERATOR) for name in "ABCD"]
    assert found == ["config", "loader", "process", "file"]


def test_a_fetched_manual_sees_only_its_own_pairs_of_an_env_file(tmp_path):
    variables = Variables(environ={}, env_files=[env_file(tmp_path, "m_A=own\nB=bare\n")])
    assert [variables.lookup("m", name, REMOTE) for name in "AB"] == ["own", None]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_an_env_file_that_others_can_read_is_named_with_the_command_to_run(tmp_path, mode):
    folder = tmp_path / "my proj"
    folder.mkdir()
    file = env_file(folder, f"A={CANARY}\n", mode)
    [fault] = file.check()
    assert fault.severity == "warning"
    assert str(file.path) in fault.what
    assert fault.remedy == f"Run `chmod 600 '{file.path}'`."
    assert file.get("A") == CANARY


@pytest.mark.parametrize(
    ("text", "line", "others"),
    [
        (f"A=1\n{CANARY}: v\nB=2\n", 2, 0),
        (f"A=1\n\n# a remark\nB='{CANARY}\nC=2\n", 4, 0),
        (f'{{\n"A": "{CANARY}"\n}}\n', 1, 2),
        (f"A=1\n= {CANARY}\n- {CANARY}\n", 2, 1),
    ],
)
def test_lines_that_are_not_pairs_are_named_by_number_and_never_shown(tmp_path, caplog, capfd, text, line, others):
    file = env_file(tmp_path, text)
    [fault] = file.check()
    assert fault.severity == "warning"
    assert f"Line {line} of {file.path} is not" in fault.what
    assert (f"{others} line" in fault.what) == bool(others)
    assert CANARY not in str(fault) + caplog.text + "".join(capfd.readouterr()) + repr(file)


def test_the_lines_around_a_bad_one_are_used(tmp_path):
    file = env_file(tmp_path, "A=1\nB: v\nC=${A}3\nexport D = 'x y' # why\n")
    assert [file.get(name) for name in "ABCD"] == ["1", None, "13", "x y"]
    assert file.names() == 3


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_an_env_file_of_powershell_or_a_windows_editor_is_read(tmp_path, encoding):
    file = env_file(tmp_path, "A=grüße\r\nB=2\r\n".encode(encoding))
    assert [file.get(name) for name in "AB"] == ["grüße", "2"]
    assert list(file.check()) == []


@pytest.mark.parametrize("content", [b"A=\xff\xfe", b"A=" + b"x" * 1024 * 1024], ids=["bytes", "huge"])
def test_an_env_file_that_cannot_be_read_is_named_and_fails_nothing(tmp_path, content):
    file = env_file(tmp_path, content)
    [fault] = file.check()
    assert (fault.severity, str(file.path) in fault.what) == ("warning", True)
    assert "`dotenv` to false" in fault.remedy
    assert Variables(environ={"A": "process"}, env_files=[file]).lookup("m", "A", OPERATOR) == "process"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_in_place_of_an_env_file_is_named_and_not_read(tmp_path):
    os.mkfifo(tmp_path / ".env", 0o600)
    [fault] = EnvFile(tmp_path / ".env").check()
    assert "is not a file" in fault.what


@pytest.mark.parametrize("make", [lambda _path: None, lambda path: path.mkdir()], ids=["missing", "folder"])
def test_no_env_file_and_a_virtual_environment_of_its_name_are_not_faults(tmp_path, make):
    make(tmp_path / ".env")
    assert list(EnvFile(tmp_path / ".env").check()) == []
    assert EnvFile(tmp_path / ".env").get("A") is None


@given(data=st.binary(max_size=300))
def test_no_bytes_of_an_env_file_raise_or_are_shown(tmp_path_factory, data):
    file = env_file(tmp_path_factory.mktemp("env"), data)
    faults = list(file.check())
    assert all(fault.severity == "warning" for fault in faults)
    assert file.names() >= 0


def test_a_missing_variable_names_the_line_to_add_and_its_file(tmp_path):
    file = EnvFile(tmp_path / ".env")
    with pytest.raises(VariableNotFound) as caught:
        Variables(environ={}, env_files=[file]).resolve("${KEY}", manual="m", trust=OPERATOR)
    assert caught.value.remedy == (
        f"Add the line `KEY=…` to {file.path}, or set m_KEY or KEY in `variables` or in the environment."
    )
    with pytest.raises(VariableNotFound) as caught:
        Variables(environ={}, env_files=[file]).resolve("${KEY}", manual="m", trust=REMOTE)
    assert f"`m_KEY=…` to {file.path}" in caught.value.remedy
    loader = DotenvLoader(tmp_path / "keys.env")
    with pytest.raises(VariableNotFound) as caught:
        Variables({"A": "${KEY}"}, [loader], {}, env_files=[file]).lookup("m", "A", OPERATOR)
    assert f"Add the line `KEY=…` to {loader.path}, or set KEY in the environment" in caught.value.remedy


def test_a_dotenv_file_is_read_as_variables(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    with pytest.raises(ConfigError, match="does not exist"):
        read_dotenv(path)
    path.write_text("\ufeffA='b c'\nexport D=e${A}\nF\n", encoding="utf-8")
    assert read_dotenv(path) == {"A": "b c", "D": "e${A}"}
    path.write_bytes(b"A=\xff")
    with pytest.raises(ConfigError, match="UnicodeDecodeError"):
        read_dotenv(path)
