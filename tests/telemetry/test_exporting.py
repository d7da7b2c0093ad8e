"""A bridge in its own process, a collector, a service and a command: one trace from the host to all of them."""

import json
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp.client import Client
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from prometheus_client.parser import text_string_to_metric_families
from tests.support.source import ROOT
from tests.support.traced_bridge import (
    GIVEN,
    HEADERS,
    META,
    PARENT,
    TRACE,
    attributes,
    bridge,
    call,
    peer,
    spans,
)

from utcp_bridge.access.audit_chain import check_audit
from utcp_bridge.telemetry.exporting import leave_out_missing


def test_one_trace_goes_from_the_host_through_the_bridge_to_a_service_and_a_command(tmp_path: Path) -> None:
    with peer() as service, peer() as collector:
        otel = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        with bridge(tmp_path, service.url, {"retries": 0}, otel) as (base, process):
            assert call(base, "m_post", **GIVEN)["isError"] is False
            assert call(base, "m_failing", **GIVEN)["isError"] is True
            said = call(base, "m_command", **GIVEN)["content"][0]["text"]
            process.terminate()
            assert process.wait() == 0
        made = {span.name: span for span in spans(collector)}
        assert set(made) == {
            "tools/call m_post", "tools/call m_failing", "tools/call m_command",
            "http m.post", "http m.failing", "cli m.command",
        }  # fmt: skip
        assert {span.trace_id.hex() for span in made.values()} == {TRACE}
        server, client = made["tools/call m_post"], made["http m.post"]
        assert server.parent_span_id.hex() == PARENT
        assert client.parent_span_id == server.span_id
        sent, _ = service.received["/fine"][0]
        assert sent["traceparent"] == f"00-{TRACE}-{client.span_id.hex()}-01"
        assert sent["baggage"] == "tenant=blue"
        noted = attributes(client)
        assert noted["http.request.method"] == "POST"
        assert f"http://{noted['server.address']}:{noted['server.port']}" == service.url
        assert attributes(made["http m.failing"])["error.type"] == "rejected"
        variables = dict(line.partition("=")[::2] for line in said.splitlines())
        assert variables["TRACEPARENT"] == f"00-{TRACE}-{made['cli m.command'].span_id.hex()}-01"
        assert variables["BAGGAGE"] == "tenant=blue"
        metrics = [ExportMetricsServiceRequest.FromString(body) for _, body in collector.received["/v1/metrics"]]
        points = metrics[-1].resource_metrics[0].scope_metrics[0].metrics[0].histogram.data_points
        counted = {attributes(point)["gen_ai.tool.name"]: point.count for point in points}
        assert counted == {"m.post": 1, "m.failing": 1, "m.command": 1}
        examples = {attributes(point)["gen_ai.tool.name"]: point.exemplars for point in points}
        for tool, (example,) in examples.items():
            of = made[f"tools/call {tool.replace('.', '_')}"]
            assert (example.trace_id, example.span_id) == (of.trace_id, of.span_id)


@pytest.mark.parametrize("asked", [{}, {"OTEL_METRICS_EXEMPLAR_FILTER": "always_off"}], ids=["own", "of the SDK"])
def test_each_call_is_in_the_metric_though_many_are_recorded_together(tmp_path: Path, asked: dict[str, str]) -> None:
    with peer() as service, peer() as collector:
        otel = {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{collector.url}/v1/metrics", **asked}
        otel["OTEL_METRIC_EXPORT_INTERVAL"] = "3600000"  # only the end of the bridge sends them
        with bridge(tmp_path, service.url, {"retries": 0}, otel) as (base, process):
            for name in ["m_post"] * 130 + ["m_failing"] * 3:
                call(base, name)
            process.terminate()
            assert process.wait() == 0
        assert spans(collector) == []
    [message] = [ExportMetricsServiceRequest.FromString(body) for _, body in collector.received["/v1/metrics"]]
    [metric] = message.resource_metrics[0].scope_metrics[0].metrics
    found = {
        (attributes(one)["gen_ai.tool.name"], attributes(one).get("error.type")): one
        for one in metric.histogram.data_points
    }
    assert {key: one.count for key, one in found.items()} == {("m.post", None): 130, ("m.failing", "rejected"): 3}
    assert all(sum(one.bucket_counts) == one.count and one.sum > 0 for one in found.values())


def test_a_call_that_the_sampler_leaves_out_passes_its_trace_on_and_has_no_span(tmp_path: Path) -> None:
    with peer() as service, peer() as collector:
        otel = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_TRACES_SAMPLER": "parentbased_always_off"}
        settings = {"retries": 0, "audit_log": "calls.jsonl"}
        unnoted = f"00-{TRACE}-{PARENT}-00"
        with bridge(tmp_path, service.url, settings, otel) as (base, process):
            call(base, "m_post")
            call(base, "m_post", traceparent=unnoted)
            call(base, "m_post", traceparent=unnoted, baggage="tenant=blue")
            variables = call(base, "m_command", traceparent=unnoted)["content"][0]["text"].splitlines()
            call(base, "m_post", **GIVEN)
            for _ in range(2):  # the second one has a head that is known
                call(base, "m_post", baggage="tenant=green")
            process.terminate()
            assert process.wait() == 0
        assert sorted(span.name for span in spans(collector)) == ["http m.post", "tools/call m_post"]
    own, *others, _, first, second = [headers["traceparent"] for headers, _ in service.received["/fine"]]
    version, trace, _, flags = own.split("-")
    assert (version, int(flags, 16) & 1) == ("00", 0)
    assert others[0] == unnoted
    assert others[1].startswith(f"00-{TRACE}-")
    assert others[1].endswith("-00")
    assert [headers.get("baggage") for headers, _ in service.received["/fine"]] == [
        None, None, "tenant=blue", "tenant=blue", "tenant=green", "tenant=green",
    ]  # fmt: skip
    assert f"TRACEPARENT={unnoted}" in variables
    lines = [json.loads(line) for line in (tmp_path / "calls.jsonl").read_text().splitlines()]
    assert [line["trace"] for line in lines if "tool" in line] == [
        trace, *[TRACE] * 4, first.split("-")[1], second.split("-")[1],
    ]  # fmt: skip


def test_a_span_has_no_text_of_an_error(tmp_path: Path) -> None:
    """The MCP SDK writes the message of an error into its span, and a message may have a secret."""
    words = "canary no tool"
    with peer() as service, peer() as collector:
        otel = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        with bridge(tmp_path, service.url, {}, otel) as (base, process):
            message = {
                "jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": f"x:{words}", "_meta": META}
            }  # fmt: skip
            headers = {**HEADERS, "Mcp-Method": "resources/read", "Mcp-Name": f"x:{words}"}
            reply = httpx2.post(f"{base}/mcp", json=message, headers=headers, timeout=60)
            assert "error" in reply.json()
            process.terminate()
            assert process.wait() == 0
        [span] = [span for span in spans(collector) if span.name.startswith("resources/read")]
        assert (span.status.code, span.status.message) == (2, "")
        assert "canary" not in str(span)


def test_audit_lines_go_to_the_collector_as_a_chain(tmp_path: Path) -> None:
    with peer() as service, peer() as collector:
        otel = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        with bridge(tmp_path, service.url, {"audit_log": "otlp", "retries": 0}, otel) as (base, process):
            assert call(base, "m_post")["isError"] is False
            assert call(base, "m_failing")["isError"] is True
            process.terminate()
            assert process.wait() == 0
    records: list[Any] = []
    for _, body in collector.received["/v1/logs"]:
        for resource in ExportLogsServiceRequest.FromString(body).resource_logs:
            for scope in resource.scope_logs:
                records.extend(scope.log_records)
    lines = [json.loads(record.body.string_value) for record in records]
    assert [line.get("tool", line.get("log")) for line in lines] == ["start", "m.post", "m.failing", "end"]
    noted = attributes(records[2])
    assert (noted["utcp.tool"], noted["utcp.outcome"]) == ("m.failing", "rejected")
    assert records[2].trace_id.hex() == lines[2]["trace"]
    path = tmp_path / "calls.jsonl"
    path.write_text("".join(f"{record.body.string_value}\n" for record in records), encoding="utf-8")
    report = check_audit([path], None)
    assert (report.fault, report.lines) == ("", 4)


def test_a_call_over_utcp_is_a_trace_as_well_and_the_audit_log_has_its_id(tmp_path: Path) -> None:
    with peer() as service, peer() as collector:
        otel = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        with bridge(tmp_path, service.url, {"audit_log": "calls.jsonl", "retries": 0}, otel) as (base, process):
            assert httpx2.post(f"{base}/utcp/tools/m_post", json={}).status_code == 200
            failed = httpx2.post(f"{base}/utcp/tools/m_failing", json={}, headers=GIVEN)
            assert failed.status_code >= 400
            process.terminate()
            assert process.wait() == 0
    lines = [json.loads(line) for line in (tmp_path / "calls.jsonl").read_text().splitlines()]
    traces = {line["tool"]: line["trace"] for line in lines if "tool" in line}
    assert traces["m.failing"] == TRACE
    made = {(span.name, attributes(span).get("gen_ai.tool.name")): span for span in spans(collector)}
    for tool in ("post", "failing"):
        server, client = made["POST /utcp/tools/{name}", f"m_{tool}"], made[f"http m.{tool}", None]
        assert client.parent_span_id == server.span_id
        assert server.trace_id.hex() == client.trace_id.hex() == traces[f"m.{tool}"]
    assert attributes(made["POST /utcp/tools/{name}", "m_failing"])["error.type"] == failed.json()["code"]


def test_without_a_variable_of_opentelemetry_nothing_is_exported_or_passed_on(tmp_path: Path) -> None:
    with peer() as service, bridge(tmp_path, service.url, {}, {}) as (base, _):
        assert call(base, "m_post", **GIVEN)["isError"] is False
        sent, _ = service.received["/fine"][0]
        assert not {"traceparent", "baggage"} & set(sent)
        assert httpx2.get(f"{base}/metrics").status_code == 404


def test_a_collector_that_is_away_delays_neither_calls_nor_the_end(tmp_path: Path) -> None:
    with peer() as service, peer() as gone:
        pass
    with (
        peer() as service,
        bridge(tmp_path, service.url, {}, {"OTEL_EXPORTER_OTLP_ENDPOINT": gone.url}, program="utcp_bridge") as (
            base,
            process,
        ),
    ):
        assert call(base, "m_post")["isError"] is False
        process.terminate()
        assert process.wait() == 0


def test_a_collector_that_never_answers_leaves_the_rest_of_the_end_its_time(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, peer() as service:
        otel = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        with bridge(tmp_path, service.url, {"audit_log": "calls.jsonl"}, otel, program="utcp_bridge") as (
            base,
            process,
        ):
            assert call(base, "m_post")["isError"] is False
            process.terminate()
            assert process.wait() == 0
    lines = [json.loads(line) for line in (tmp_path / "calls.jsonl").read_text().splitlines()]
    assert [line.get("log") for line in lines] == ["start", None, "end"]


def test_the_console_exporter_is_refused_because_stdout_is_the_protocol(tmp_path: Path) -> None:
    said = tmp_path / "log"
    settings = {"log_file": str(said)}
    with (
        peer() as service,
        bridge(tmp_path, service.url, settings, {"OTEL_TRACES_EXPORTER": "console"}) as (base, process),
    ):
        assert call(base, "m_post")["isError"] is False
        process.terminate()
        assert process.wait() == 0
    assert "OTEL_TRACES_EXPORTER=console is not possible" in said.read_text()


@pytest.mark.parametrize("token", [None, "metrics-token-0123456789"])
def test_metrics_count_calls_by_manual_tool_and_outcome(tmp_path: Path, token: str | None) -> None:
    settings = {"metrics": True, "retries": 0, **({} if token is None else {"metrics_token": token})}
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    with peer() as service, bridge(tmp_path, service.url, settings, {}) as (base, _):
        for name in ("m_post", "m_post", "m_failing"):
            call(base, name)
        text = httpx2.get(f"{base}/metrics", headers=headers).raise_for_status().text
        found = {
            (sample.name, *sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

        def value(name: str, **labels: str) -> float:
            return found[name, *sorted(labels.items())]

        assert value("utcp_bridge_calls_total", manual="m", tool="m.post", outcome="ok") == 2
        assert value("utcp_bridge_calls_total", manual="m", tool="m.failing", outcome="rejected") == 1
        assert value("utcp_bridge_call_seconds_count", manual="m", kind="http") == 3
        assert value("utcp_bridge_tools", manual="m") == 4
        assert value("utcp_bridge_manuals", state="ready") == 1
        assert value("utcp_bridge_ready") == 1
        if token is None:
            for name in ("X-Forwarded-For", "Forwarded", "Via"):
                assert httpx2.get(f"{base}/metrics", headers={name: "for=127.0.0.1"}).status_code == 403
        else:
            for wrong in ({}, {"Authorization": f"Bearer {token}x"}, {"Authorization": f"Basic {token}"}):
                assert httpx2.get(f"{base}/metrics", headers=wrong).status_code == 401
        assert httpx2.get(f"{base}/metrics", headers={**headers, "Host": "evil.example"}).status_code == 421
        assert httpx2.post(f"{base}/metrics", headers=headers).status_code == 405


@pytest.mark.parametrize(
    ("variable", "value", "part"),
    [
        ("OTEL_PROPAGATORS", "tracecontext,b3", "b3"),
        ("OTEL_PYTHON_TRACER_PROVIDER", "of_another_package", "of_another_package"),
    ],
)
def test_a_part_of_opentelemetry_that_is_not_installed_ends_no_call(tmp_path, variable, value, part):
    with peer() as service, bridge(tmp_path, service.url, {}, {variable: value}) as (base, process):
        assert not call(base, "m_post")["isError"]
        process.terminate()
        _, said = process.communicate(timeout=60)
    assert "Traceback" not in said

    environment = {variable: value, "OTEL_SERVICE_NAME": "x"}
    (sentence,) = leave_out_missing(environment)
    assert environment == {"OTEL_SERVICE_NAME": "x"}
    assert sentence == (
        f"{variable} has no effect: OpenTelemetry's part {part!r} is not installed. Install its package, or remove the"
        " variable."
    )


def test_parts_of_opentelemetry_that_are_installed_stay():
    environment = {
        "OTEL_PROPAGATORS": "baggage, tracecontext",
        "OTEL_PYTHON_TRACER_PROVIDER": "default_tracer_provider",
    }
    written = dict(environment)
    assert leave_out_missing(environment) == []
    assert environment == written
    without = {"OTEL_PROPAGATORS": "none,b3", "OTEL_PYTHON_TRACER_PROVIDER": ""}
    assert leave_out_missing(without) == []
    assert without == {"OTEL_PROPAGATORS": "none,b3"}


@contextmanager
def bridge_before(folder: Path, base: str, environment: dict[str, str]) -> Generator[str]:
    """Yield the address of a bridge whose one manual is the MCP server of another bridge."""
    folder.mkdir()
    config = folder / "config.json"
    servers = {"near": {"url": f"{base}/mcp", "transport": "http"}}
    far = {"name": "far", "call_template_type": "mcp", "config": {"mcpServers": servers}}
    config.write_text(json.dumps({"manual_call_templates": [far], "bridge": {"retries": 0}}))
    command = [sys.executable, "-m", "tests.support.patient_bridge", "serve", str(config), "--http", "--port", "0"]
    plain = {"PATH": "/usr/bin:/bin", **environment}
    pipes = {"stdin": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, env=plain, cwd=ROOT, **pipes) as process:
        try:
            assert process.stderr is not None
            line = next(line for line in process.stderr if line.startswith("Serving MCP on"))
            yield line.split()[3]
            process.terminate()
            assert process.wait() == 0
        finally:
            process.kill()


async def called_with_meta(url: str, era: Any, suffix: str, meta: Any) -> None:
    """Call the tool whose name ends so, as an MCP host does that traces its calls."""
    async with Client(url, mode=era) as client:
        listed = await client.list_tools()
        name = next(tool.name for tool in listed.tools if tool.name.endswith(suffix))
        result = await client.call_tool(name, {}, meta=meta)
        assert not result.is_error, result


@pytest.mark.parametrize("era", ["auto", "legacy"])
def test_one_trace_goes_from_an_mcp_host_through_an_mcp_upstream_to_an_http_service(tmp_path: Path, era: str) -> None:
    """Two bridges in a row: the second one is the MCP upstream of the first."""
    given = {"traceparent": GIVEN["traceparent"], "baggage": GIVEN["baggage"]}
    with peer() as service, peer() as collector:
        otel = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        near = {**otel, "OTEL_SERVICE_NAME": "near"}
        with bridge(tmp_path, service.url, {"retries": 0}, near) as (base, process):
            with bridge_before(tmp_path / "far", base, {**otel, "OTEL_SERVICE_NAME": "far"}) as url:
                anyio.run(called_with_meta, url, era, "m_post", given)
            process.terminate()
            assert process.wait() == 0
        made = [span for span in spans(collector) if span.trace_id.hex() == TRACE]
        chain = [PARENT]
        while following := [span for span in made if span.parent_span_id.hex() == chain[-1]]:
            [span] = following
            chain.append(span.span_id.hex())
        names = {span.span_id.hex(): span.name for span in made}
        found = [names[one] for one in chain[1:]]
        sdk = "MCP send tools/call m_post"  # a span of the MCP SDK, between the two bridges
        assert found == ["tools/call far_near_m_post", "mcp far.near.m_post", sdk, "tools/call m_post", "http m.post"]
        assert len(made) == len(found)
        sent, _ = service.received["/fine"][0]
        assert sent["traceparent"] == f"00-{TRACE}-{chain[-1]}-01"
        assert sent["baggage"] == "tenant=blue"
