"""What is secret in a server's entry is found wherever it is, and what is written in its place makes the same text."""

import base64
import hashlib
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from utcp_bridge.configuration.hosts.hiding import hidden, is_random, names_secret
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
    ["-a", "{}"],
    ["-k", "{}"],
    ["-t", "{}"],
    ["--auth", "{}"],
    ["--auth-header", "{}"],
    ["--access-keys={}"],
    ["me:{}@db.example.com:5432/shop"],
    ["-d", "me:{}@127.0.0.1"],
    ["--dsn=me:{}@db"],
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


DRAWN = st.from_regex("(?:[a-z]{1,2}[A-Z]{1,2}[0-9]{1,2}){7,14}", fullmatch=True) | st.binary(max_size=9).map(
    lambda seed: hashlib.sha256(seed).hexdigest()
)


@given(
    DRAWN,
    st.sampled_from(
        ["{}", "--x={}", "-x{}", "sk_prod_{}", "https://x.example/mcp/{}/sse", "ws://x/?s={}", "a {} b", "'{}'"]
    ),
)
def test_a_text_that_a_program_drew_is_found_under_any_name(text, form):
    kept = Kept()
    written = form.format(text)
    made = kept.hidden({"command": "x", "args": ["-v", written], **({"url": written} if "://" in form else {})})
    assert text not in str(made)
    assert kept.filled(made["args"]) == ["-v", written]


@pytest.mark.parametrize("seed", range(50))
def test_a_key_in_base64_is_found(seed):
    text = "K" + base64.b64encode(hashlib.sha384(b"%d" % seed).digest()).decode()
    assert text not in str(Kept().hidden({"command": "x", "args": [text]}))


@pytest.mark.parametrize(
    "text",
    [
        "@modelcontextprotocol/server-filesystem@2025.8.21",
        "claude-3-5-haiku-20241022",
        "gpt-4o-realtime-preview-2024-12-17",
        "MyCompanyServer2025Production",
        "123e4567-e89b-12d3-a456-426614174000",
        "i-0123456789abcdef0",
        "build20251130T102233Zrelease",
        "mcp-production-7f3a9c2e1b",
        "win32-x64-msvc-node22-abi127",
        "registry/x@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "git+https://git.example.com/x.git@9fceb02d0ae598e95dc970b74767f19372d61af8",
        "https://a1b2c3d4e5f6a7b8c9d0e1f2.tunnel.example.com/mcp",
        "npm:left-pad@1.3.0",
        "/srv/a1B2c3D4e5F6a7B8c9D0e1F2/x",
        "--key-file=key1.pem",
        "--token-env=SHOP_TOKEN_2",
    ],
)
def test_names_versions_and_identifiers_stay_readable(text):
    args = text.partition("=") if text.startswith("--") else [text]
    for words in ([text], [args[0], args[-1]]):
        kept = Kept()
        assert kept.hidden({"command": "x", "args": words})["args"] == words


def test_the_samples_of_hosts_have_no_false_alarm():
    from tests.configuration.hosts.test_reading import SAMPLES, read

    for path, text, _ in SAMPLES.values():
        for server in read(path, text)[1]:
            for word in (server.template or {}).get("args", ()):
                assert not is_random(word), word


@pytest.mark.parametrize(
    "args",
    [
        ["-p8080", "-p", "8080:80", "-p127.0.0.1:80:80/tcp", "-path", "-p", "my-project", "-p/data"],
        ["-u", "1000:1000", "--user", "me", "--compass", "north", "-y", "-v2", "-std=c99"],
        ["FOO=bar baz", "Accept: text/html", "http://127.0.0.1:9/x?page=1", "a;b=c", "plain words with a token"],
        [
            "-a",
            "all",
            "-t",
            "latest",
            "-k",
            "-s",
            "127.0.0.1:8080",
            "-a",
            "my-app",
            "--keyboard",
            "us",
            "--auth-mode",
            "pkce",
        ],
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
