"""What is secret in a server's entry is found wherever it is, and what is written in its place makes the same text."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from utcp_bridge.configuration.hosts.hiding import hidden, names_secret
from utcp_bridge.configuration.hosts.moving import plan_move
from utcp_bridge.configuration.hosts.preview import masked
from utcp_bridge.configuration.hosts.reading import read_servers

SECRET = "S3cr3t-x9"
TOKEN = f"ghp_{'aB3' * 12}"


class Kept:
    """Gives each value a variable, and fills it in again."""

    def __init__(self):
        self.values = {}
        self.defaults = []

    def give(self, name, value):
        variable = f"V{len(self.values)}"
        self.values[variable] = value
        return f"${{{variable}}}"

    def default(self, name, text):
        self.defaults.append((name, text))
        return text

    def hidden(self, template):
        return hidden(template, self.give, self.default)

    def filled(self, value):
        if isinstance(value, list):
            return [self.filled(one) for one in value]
        return re.sub(r"\$\{(V\d+)\}", lambda found: self.values[found[1]], value)


FORMS = [
    ["--token={}"],
    ["--token", "{}"],
    ["--db-pass", "{}"],
    ["--pwd={}"],
    ["--githubPat", "{}"],
    ["-p{}"],
    ["-p", "{}"],
    ["-u", "me:{}"],
    ["-ume:{}"],
    ["--user=me:{}"],
    ["-e", "API_TOKEN={}"],
    ["-eAPI_TOKEN={}"],
    ["-Dapi.key={}"],
    ["--env=MYSQL_PWD={}"],
    ["-H", "Authorization: Bearer {}"],
    ["-HX-Api-Key: {}"],
    ["--header=Cookie: {}"],
    ["postgres://me:{}@127.0.0.1/db"],
    ["--dsn", "postgres://me:{}@127.0.0.1/db"],
    ["http://127.0.0.1:9/x?api_key={}&page=1"],
    ["Server=db;User Id=me;Password={};"],
    ["host=db password={}"],
    ["jdbc:sqlserver://db;user=me;password={}"],
    ['{{"token": "{}"}}'],
    ["-c", "export TOKEN={} && run --verbose"],
    ["-c", "run --api-key {} http://127.0.0.1:9/"],
    ["-c", 'curl -H "Authorization: Bearer {}" http://me@127.0.0.1:9/'],
    ["-c", "curl -u me:{} 'http://127.0.0.1:9/?token={}'"],
    ["-c", "run '--password={}' ${{MODE:-a b}}"],
]
WORDS = ["run", "-v", "--verbose", "--port", "8080", "-p8080:80", "-y", "a b", "${HOME}/x", "--mode=fast", "", "'", "-"]


@given(
    st.lists(st.sampled_from(FORMS), max_size=4),
    st.lists(st.sampled_from(WORDS), max_size=6),
    st.randoms(use_true_random=False),
)
def test_a_secret_of_any_form_leaves_the_arguments_and_comes_back(forms, words, random):
    parts = [*([one.format(SECRET, SECRET) for one in form] for form in forms), *([word] for word in words)]
    random.shuffle(parts)
    args = [word for part in parts for word in part]
    kept = Kept()
    made = kept.hidden({"command": "x", "args": args})
    assert kept.filled(made["args"]) == args
    assert SECRET not in str(made)
    assert SECRET not in str(masked({"command": "x", "args": args}))


@given(st.lists(st.text("ab1 -:=;,&?@/'\"{}[].$pP", max_size=14) | st.sampled_from(WORDS), max_size=5))
@example(["${A:-x y}", "--token", "$$x", "-p${X}"])
@example(["'--token \"a' b\""])
def test_arguments_of_any_text_come_back_as_they_were(args):
    kept = Kept()
    assert kept.filled(kept.hidden({"command": "x", "args": args})["args"]) == args


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "-t{}",
        "--any={}",
        "https://{}@example.com/x.git",
        "http://127.0.0.1:9/mcp/{}/sse",
        "say {} twice",
        "a,{},b",
    ],
)
def test_a_token_of_a_known_form_is_found_under_any_name(text):
    kept = Kept()
    written = text.format(TOKEN)
    made = kept.hidden({"command": "x", "args": [written], **({"url": written} if "://" in text else {})})
    assert TOKEN not in str(made)
    assert kept.filled(made["args"]) == [written]
    assert kept.filled(made.get("url", "")) in {"", written}


@pytest.mark.parametrize(
    "args",
    [
        ["-p8080", "-p", "8080:80", "-p127.0.0.1:80:80/tcp", "-path", "-p", "my-project", "-p/data"],
        ["-u", "1000:1000", "--user", "me", "--compass", "north", "-y", "-v2", "-std=c99"],
        ["FOO=bar baz", "Accept: text/html", "http://127.0.0.1:9/x?page=1", "a;b=c", "plain words with a token"],
        ["--token", "--verbose", "--token=${TOKEN}", "-p${PASSWORD}", "http://me:${PASSWORD}@127.0.0.1/"],
    ],
)
def test_ordinary_arguments_stay_as_they_are(args):
    kept = Kept()
    assert kept.hidden({"command": "x", "args": args})["args"] == args
    assert kept.values == {}


@pytest.mark.parametrize(
    ("entry", "names"),
    [
        ({"args": ["--token", f"${{V:-{SECRET}}}"]}, ["V"]),
        ({"args": [f"--token=${{V:-{SECRET}}}"]}, ["V"]),
        ({"args": [f"${{API_KEY:-{SECRET}}}"]}, ["API_KEY"]),
        ({"args": ["-c", f"run ${{DB_PASS:-{SECRET}}} now"]}, ["DB_PASS"]),
        ({"env": {"API_KEY": f"${{V:-{SECRET}}}"}}, ["V"]),
        ({"env": {"URL": f"${{V:-http://me:{SECRET}@127.0.0.1/}}"}}, ["V"]),
        ({"env": {"MODE": f"${{V:-{TOKEN}}}"}}, ["V"]),
        ({"args": [f"${{V:-http://127.0.0.1/?key={SECRET}}}"]}, ["V"]),
        ({"args": ["--url", f"${{V:-http://me:{SECRET}@127.0.0.1/}}"]}, ["V"]),
        ({"env": {"MODE": "${MODE:-fast}", "API_KEY": "${API_KEY:-none}"}}, []),
    ],
)
def test_a_default_that_may_be_secret_is_named_and_masked(entry, names):
    found = read_servers({"mcpServers": {"a": {"command": "x", **entry}}}, host=None, where="mcp.json")
    move = plan_move(found, {}, {})
    notes = [note for note in move.notes if "may be a secret" in note]
    assert [note.split("${")[1].split("}")[0] for note in notes] == names
    assert all("remove the default" in note for note in notes)
    assert SECRET not in str(notes)
    shown = str(masked({"command": "x", **entry}))
    assert SECRET not in shown
    assert TOKEN not in shown


@pytest.mark.parametrize("name", ["token", "--db-pass", "MYSQL_PWD", "githubPat", "apiKey", "jwt", "X-Api-Key"])
def test_a_name_with_a_word_for_a_secret_is_one(name):
    assert names_secret(name)


@pytest.mark.parametrize("name", ["compass", "path", "PATH", "format", "bypass", "mode", ""])
def test_a_word_that_only_ends_alike_is_not(name):
    assert not names_secret(name)
