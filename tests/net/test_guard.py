"""The guard, with a stub resolver and a connect function that only records: no test opens a connection."""

import socket
from collections.abc import Iterable

import anyio
import pytest

from utcp_bridge.errors import ConfigError, PolicyError, Unreachable
from utcp_bridge.model import Source, Trust
from utcp_bridge.net.gate.addresses import address_class
from utcp_bridge.net.gate.names import Names as ResolvedNames
from utcp_bridge.net.guard import Address, Guard, looks_like_address

pytestmark = pytest.mark.anyio

PUBLIC = "93.184.216.34"
PUBLIC6 = "2606:2800:220:1:248:1893:25c8:1946"
REMOTE = Source("shop", Trust.REMOTE, origin="https://api.example.com")
OPERATOR = Source("local")


class Names:
    """Returns the next list of addresses for each look-up, and counts the look-ups."""

    def __init__(self, *answers: Iterable[str]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Iterable[str]:
        self.asked.append((host, port))
        return self.answers.pop(0)


class Dialler:
    """Records the address of each connection."""

    def __init__(self, *, refuse: int = 0) -> None:
        self.dialled: list[Address] = []
        self._refuse = refuse

    async def __call__(self, address: Address):
        self.dialled.append(address)
        if len(self.dialled) <= self._refuse:
            raise ConnectionRefusedError(111, "Connection refused")
        return object()


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("127.0.0.1", "loopback"),
        ("127.255.0.3", "loopback"),
        ("0.0.0.0", "unspecified"),
        ("10.1.2.3", "private"),
        ("172.31.0.1", "private"),
        ("192.168.1.1", "private"),
        ("169.254.169.254", "link-local"),
        ("100.64.0.1", "carrier-grade NAT"),
        ("192.0.0.192", "IETF protocol"),
        ("192.88.99.1", "6to4 relay"),
        ("198.18.0.1", "reserved"),
        ("203.0.113.9", "reserved"),
        ("224.0.0.251", "multicast"),
        ("255.255.255.255", "reserved"),
        ("::1", "loopback"),
        ("::", "unspecified"),
        ("::7f00:1", "IPv4-compatible"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:169.254.169.254", "link-local"),
        ("::ffff:0:127.0.0.1", "IPv4-translated"),
        ("64:ff9b::7f00:1", "NAT64"),
        ("64:ff9b:1::a9fe:a9fe", "NAT64"),
        ("2002:7f00:1::", "6to4"),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "Teredo"),
        ("2606:2800::5efe:127.0.0.1", "ISATAP"),
        ("fd00:ec2::254", "unique local"),
        ("fe80::1", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("fec0::1", "site-local"),
        ("ff02::1", "multicast"),
        ("3fff::1", "documentation"),
        ("5f00::1", "reserved"),
        ("4000::1", "reserved"),
    ],
)
async def test_no_non_public_address_counts_as_public(address, kind):
    with pytest.raises(PolicyError) as caught:
        await Guard(Names([PUBLIC, address])).resolve("api.example.com", 443, REMOTE)
    assert f"it is a {kind} address" in caught.value.message
    assert "api.example.com:443" in caught.value.message
    assert '"allow_networks": ["' in str(caught.value.remedy)


@pytest.mark.parametrize("address", [PUBLIC, PUBLIC6, "::ffff:93.184.216.34", "192.0.1.1", "100.128.0.1"])
async def test_public_addresses_pass(address):
    [checked] = await Guard(Names([address])).resolve("api.example.com", 443, REMOTE)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    assert checked == Address(address, 443, family)


@pytest.mark.parametrize(
    ("spelling", "resolves_to"),
    [
        ("localhost", ["127.0.0.1", "::1"]),
        ("LOCALHOST.", ["127.0.0.1"]),
        ("0x7f000001", ["127.0.0.1"]),
        ("0x7f.1", ["127.0.0.1"]),
        ("0xa9fea9fe", ["169.254.169.254"]),
        ("127.0.0.1.nip.example", ["127.0.0.1"]),
        ("metadata.google.internal", ["169.254.169.254"]),
        ("127.1", None),
        ("2130706433", None),
        ("017700000001", None),
        ("0177.0.0.1", None),
        ("2852039166", None),
        ("127.0.0.1", None),
        ("169.254.169.254", None),
        ("[::1]", None),
        ("[::ffff:7f00:1]", None),
        ("[::ffff:169.254.169.254]", None),
        ("①②⑦.⓪.⓪.①", None),
    ],
)
async def test_all_forms_of_loopback_and_metadata_addresses_are_refused_before_connecting(spelling, resolves_to):
    names, dialler = Names(*([resolves_to] if resolves_to else [])), Dialler()
    with pytest.raises(PolicyError):
        await Guard(names, dialler).connect_tcp(spelling, 80, REMOTE)
    assert dialler.dialled == []
    assert len(names.asked) == (1 if resolves_to else 0)


async def test_the_name_is_resolved_once_and_the_checked_address_is_used():
    names, dialler = Names([PUBLIC], ["127.0.0.1"]), Dialler()
    await Guard(names, dialler).connect_tcp("rebind.example", 443, REMOTE)
    assert names.asked == [("rebind.example", 443)]
    assert dialler.dialled == [Address(PUBLIC, 443, socket.AF_INET)]


async def test_the_next_address_is_tried_when_one_refuses():
    dialler = Dialler(refuse=1)
    await Guard(Names([PUBLIC6, PUBLIC]), dialler).connect_tcp("api.example.com", 443, REMOTE)
    assert [address.host for address in dialler.dialled] == [PUBLIC6, PUBLIC]


async def test_if_all_addresses_refuse_the_error_names_endpoint_and_reason():
    with pytest.raises(Unreachable, match=r"api\.example\.com:443: Connection refused"):
        await Guard(Names([PUBLIC, PUBLIC6]), Dialler(refuse=2)).connect_tcp("api.example.com", 443, REMOTE)


async def test_an_exempt_pair_is_exempt_for_its_port_only():
    source = Source("local", Trust.REMOTE, exempt=frozenset({"LocalHost:8080"}))
    guard = Guard(Names(["127.0.0.1"], ["127.0.0.1"]))
    assert await guard.resolve("localhost.", 8080, source) == [Address("127.0.0.1", 8080, socket.AF_INET)]
    with pytest.raises(PolicyError):
        await guard.resolve("localhost", 8081, source)


@pytest.mark.parametrize(
    "source",
    [
        Source("a", Trust.OPERATOR, origin="http://[::1]:9000"),
        Source("a", Trust.REMOTE, allowed_origins=frozenset({"http://[::1]:9000"})),
        Source("a", Trust.REMOTE, exempt=frozenset({"[::1]:9000"})),
    ],
)
async def test_endpoints_that_the_operator_named_are_exempt(source):
    assert await Guard().resolve("::1", 9000, source) == [Address("::1", 9000, socket.AF_INET6)]


async def test_the_origin_of_a_fetched_manual_is_not_exempt_by_itself():
    with pytest.raises(PolicyError):
        await Guard().resolve("127.0.0.1", 9000, Source("a", Trust.REMOTE, origin="http://127.0.0.1:9000"))


async def test_an_allowed_network_allows_its_addresses_also_mapped_ones():
    source = Source("a", Trust.REMOTE, allow_networks=("10.0.0.0/8", "fd00::/8"))
    guard = Guard(Names(["10.9.8.7", "::ffff:10.9.8.7", "fd12::1"], ["192.168.0.1"]))
    assert len(await guard.resolve("service", 80, source)) == 3
    with pytest.raises(PolicyError):
        await guard.resolve("service", 80, source)


async def test_an_invalid_network_is_a_configuration_error():
    with pytest.raises(ConfigError, match="allow_networks"):
        await Guard().resolve("127.0.0.1", 80, Source("a", allow_networks=("10.0.0/33",)))


async def test_a_name_without_addresses_is_unreachable():
    with pytest.raises(Unreachable, match="no address"):
        await Guard(Names([])).resolve("empty.example", 80, REMOTE)


async def test_a_name_that_cannot_be_encoded_is_unreachable():
    with anyio.fail_after(60), pytest.raises(Unreachable, match="could not be resolved"):
        await Guard().resolve("a" * 64 + ".invalid", 80, REMOTE)


async def test_the_system_resolver_and_connector_reach_a_real_server():
    accepted = anyio.Event()

    async def handle(stream):
        accepted.set()
        await stream.aclose()

    with anyio.fail_after(60):
        async with (
            await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
            anyio.create_task_group() as group,
        ):
            group.start_soon(listener.serve, handle)
            port = listener.extra(anyio.abc.SocketAttribute.local_port)
            source = Source("a", exempt=frozenset({f"localhost:{port}"}))
            stream = await Guard().connect_tcp("localhost", port, source)
            await accepted.wait()
            await stream.aclose()
            group.cancel_scope.cancel()


@pytest.mark.parametrize("url", ["ftp://api.example.com/x", "file://localhost/etc/passwd", "gopher://api.example.com/"])
async def test_other_schemes_are_refused(url):
    with pytest.raises(PolicyError, match="scheme"):
        Guard().check_url(url, OPERATOR)


@pytest.mark.parametrize("url", ["", "//api.example.com/x", "https:///x", "http://a:99999/", "http://[::1/"])
async def test_an_invalid_url_is_reported_without_repeating_it(url):
    with pytest.raises(ConfigError, match="A URL"):
        Guard().check_url(url, OPERATOR)


@pytest.mark.parametrize("url", ["https://user@api.example.com/", "https://user:pass@api.example.com/"])
async def test_a_url_with_a_user_is_refused_without_repeating_the_password(url):
    with pytest.raises(PolicyError) as caught:
        Guard().check_url(url, OPERATOR)
    assert "pass@" not in str(caught.value)


async def test_an_operators_manual_may_use_any_origin_with_credentials():
    assert Guard().check_url("HTTP://Anywhere.Example:80/x?y", OPERATOR, credentials=True) == "http://anywhere.example"


@pytest.mark.parametrize(
    ("url", "credentials", "allowed"),
    [
        ("https://api.example.com/x", True, True),
        ("wss://api.example.com/x", True, True),
        ("https://api.example.com:443/x", True, True),
        ("https://other.example/x", False, True),
        ("https://other.example/x", True, False),
        ("https://api.example.com.evil.example/x", True, False),
        ("http://api.example.com/x", False, False),
        ("ws://other.example/x", False, False),
        ("https://api.example.com:8443/x", True, False),
        ("https://127.0.0.1/x", False, False),
        ("https://2130706433/x", False, False),
        ("https://named.example/x", True, True),
    ],
)
async def test_a_fetched_manual_reaches_its_own_origin_and_public_https_without_credentials(url, credentials, allowed):
    source = Source(
        "shop", Trust.REMOTE, "https://api.example.com", allowed_origins=frozenset({"https://Named.example"})
    )
    if allowed:
        Guard().check_url(url, source, credentials=credentials)
    else:
        with pytest.raises(PolicyError):
            Guard().check_url(url, source, credentials=credentials)


async def test_the_error_of_a_refused_origin_has_the_line_that_allows_it():
    with pytest.raises(PolicyError) as caught:
        Guard().check_url("https://other.example/x?key=1", REMOTE, credentials=True)
    assert caught.value.remedy == 'If that is intended, add "allowed_origins": ["https://other.example"] to the manual.'


async def test_a_token_url_is_https_or_named_by_the_operator():
    guard = Guard()
    guard.check_token_url("https://login.example/token", OPERATOR)
    guard.check_token_url("http://127.0.0.1:9000/token", Source("a", exempt=frozenset({"127.0.0.1:9000"})))
    with pytest.raises(PolicyError, match=r"login\.example:80 is not https"):
        guard.check_token_url("http://login.example/token", OPERATOR)


async def test_hosts_that_clients_do_not_resolve_count_as_addresses():
    assert looks_like_address("127.1")
    assert looks_like_address("::1")
    assert not looks_like_address("0x7f.1")


async def test_a_mapped_public_address_has_no_class():
    from ipaddress import ip_address

    assert address_class(ip_address("::ffff:93.184.216.34")) is None


async def test_a_refused_connection_has_the_systems_message():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        source = Source("local", exempt=frozenset({f"127.0.0.1:{port}"}))
        with pytest.raises(Unreachable, match=rf"127.0.0.1:{port}: Connection refused\."):
            await Guard().connect_tcp("127.0.0.1", port, source)


# --- names that the operator wrote ---------------------------------------------------------------

WRITTEN = Source("shop", Trust.REMOTE, exempt=frozenset({"written.example:80"}))
PRIVATE_FORMS = ["127.0.0.1", "10.0.0.8", "192.168.3.4", "100.64.9.9", "::1", "fd12::5", "0.0.0.0", "::ffff:10.0.0.8"]
NEVER_NAMED = [
    "169.254.169.254",
    "169.254.0.1",
    "fe80::1",
    "fe80::a9fe:a9fe%eth0",
    "fd00:ec2::254",
    "fd20:ce::254",
    "100.100.100.200",
    "192.0.0.192",
    "168.63.129.16",
    "::ffff:169.254.169.254",
    "::ffff:168.63.129.16",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "2001:0:4136:e378:8000:63bf:5601:5601",
    "::ffff:0:169.254.169.254",
    "2606:2800::5efe:169.254.169.254",
    "::a9fe:a9fe",
]


async def resolved(guard: Guard, *, host: str = "written.example", source: Source = WRITTEN) -> list[str]:
    return [address.host for address in await guard.resolve(host, 80, source)]


@pytest.mark.parametrize("later", [*PRIVATE_FORMS, "64:ff9b::7f00:1", "2002:7f00:1::", "2606:2800::5efe:10.0.0.1"])
@pytest.mark.parametrize("first", [PUBLIC, PUBLIC6, "198.51.100.7", "64:ff9b::5db8:d822"])
async def test_a_written_name_does_not_come_nearer_than_its_first_answer(first, later):
    names = Names([first], [later], [PUBLIC, later], [PUBLIC])
    guard = Guard(names)
    assert await resolved(guard) == [first]
    for _ in range(2):
        with pytest.raises(PolicyError, match=r"written\.example:80: it is a .* address\. The first addresses") as got:
            await resolved(guard)
        assert '"allow_networks": ["' in str(got.value.remedy)
    assert await resolved(guard) == [PUBLIC]


async def test_the_first_answer_counts_for_every_manual_and_port():
    guard = Guard(Names([PUBLIC], ["127.0.0.1"], ["127.0.0.1"]))
    await resolved(guard)
    for source in (
        Source("other", exempt=frozenset({"Written.Example:80"})),
        Source("a", origin="http://written.example"),
    ):
        with pytest.raises(PolicyError):
            await resolved(guard, source=source, host="WRITTEN.example.")


async def test_the_first_answer_counts_for_every_client_of_the_process(monkeypatch):
    names = Names([PUBLIC], ["127.0.0.1"])
    monkeypatch.setattr("utcp_bridge.net.guard._first_answers", {})
    monkeypatch.setattr(ResolvedNames, "addresses", lambda _self, host, port, _owner: names(host, port))
    assert await resolved(Guard()) == [PUBLIC]
    with pytest.raises(PolicyError, match="not come nearer"):
        await resolved(Guard())


@pytest.mark.parametrize("first", PRIVATE_FORMS)
async def test_a_written_name_of_the_own_networks_may_move_among_them(first):
    guard = Guard(Names([first], *([address] for address in PRIVATE_FORMS), [PUBLIC], [first]))
    for address in (first, *PRIVATE_FORMS, PUBLIC, first):
        assert await resolved(guard) == [address]


async def test_a_written_name_may_have_a_public_and_a_private_address_from_the_start():
    guard = Guard(Names([PUBLIC6, "192.168.1.5"], ["192.168.1.6"]))
    assert await resolved(guard) == [PUBLIC6, "192.168.1.5"]
    assert await resolved(guard) == ["192.168.1.6"]


@pytest.mark.parametrize("address", NEVER_NAMED)
async def test_no_name_leads_to_the_link_or_to_a_metadata_service(address):
    for answer in ([address], [PUBLIC, address]):
        with pytest.raises(PolicyError, match="never reached by name"):
            await resolved(Guard(Names(answer)))


@pytest.mark.parametrize("address", ["169.254.169.254", "fd00:ec2::254", "100.100.100.200", "168.63.129.16"])
async def test_such_an_address_is_reached_if_the_operator_wrote_it_or_its_network(address):
    pair = f"[{address}]:80" if ":" in address else f"{address}:80"
    assert await resolved(Guard(), host=address, source=Source("a", exempt=frozenset({pair}))) == [address]
    opened = Source("a", allow_networks=(address,), exempt=frozenset({"written.example:80"}))
    assert await resolved(Guard(Names([address])), source=opened) == [address]


async def test_networks_that_the_operator_opened_do_not_count_as_nearer():
    opened = Source("a", allow_networks=("10.0.0.0/8",), exempt=frozenset({"written.example:80"}))
    guard = Guard(Names([PUBLIC], ["10.1.1.1"], ["127.0.0.1"]))
    assert await resolved(guard, source=opened) == [PUBLIC]
    assert await resolved(guard, source=opened) == ["10.1.1.1"]
    with pytest.raises(PolicyError):
        await resolved(guard, source=opened)


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0177.0.0.1"])
async def test_a_written_address_in_an_unusual_form_is_refused_with_a_sentence(host):
    with pytest.raises(PolicyError, match="unusual form"):
        await Guard().resolve(host, 80, Source("a", exempt=frozenset({f"{host}:80"})))


class Streams:
    """Connections that are all made at once, after the head start of the first one; `closed` has those given back."""

    def __init__(self) -> None:
        self.go_on = anyio.Event()
        self.waiting: list[str] = []
        self.closed: list[str] = []

    async def __call__(self, address: Address):
        self.waiting.append(address.host)
        if len(self.waiting) == 2:
            self.go_on.set()
        with anyio.CancelScope(shield=True):
            await self.go_on.wait()
        return Stream(self, address.host)


class Stream:
    def __init__(self, streams: Streams, host: str) -> None:
        self.host = host
        self._streams = streams

    async def aclose(self) -> None:
        self._streams.closed.append(self.host)


async def test_of_two_connections_made_at_once_one_is_used_and_the_other_closed():
    streams = Streams()
    with anyio.fail_after(60):
        stream = await Guard(Names([PUBLIC, PUBLIC6]), streams).connect_tcp("api.example.com", 443, REMOTE)
    assert sorted([stream.host, *streams.closed]) == sorted(streams.waiting) == sorted([PUBLIC, PUBLIC6])


async def test_a_caller_that_leaves_while_it_connects_leaves_nothing_open():
    streams = Streams()
    streams.waiting.append("another")  # so that the first connection is made at once
    with anyio.CancelScope() as scope:

        async def connect(address: Address):
            stream = await streams(address)
            scope.cancel()
            return stream

        await Guard(Names([PUBLIC]), connect).connect_tcp("api.example.com", 443, REMOTE)
    assert scope.cancelled_caught
    assert streams.closed == [PUBLIC]
