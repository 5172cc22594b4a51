from __future__ import annotations

import asyncio
import socket
import time
import urllib.request
from typing import TYPE_CHECKING

import pytest

from orch.config import TelemetryConfig
from orch.errors import ConfigError
from orch.telemetry import SpanKind, TraceContext, current_trace, setup, span

if TYPE_CHECKING:
    from conftest import Collector

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
REMOTE = TraceContext(traceparent=f"00-{TRACE}-{PARENT}-01", tracestate="vendor=x")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_without_a_collector_the_context_is_carried_on() -> None:
    assert current_trace() is None
    with span("outer", parent=REMOTE, attributes={"a": 1}) as outer:
        outer.set_attribute("b", True)
        outer.add_event("seen")
        outer.record_exception(ValueError())
        assert current_trace() == REMOTE
        with span("inner"):
            assert current_trace() == REMOTE
    assert current_trace() is None
    with span("root"):
        assert current_trace() is None


@pytest.mark.parametrize(
    "traceparent",
    ["", "00-1-2-01", f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE}-{PARENT}-01-x"],
)
@pytest.mark.parametrize("exporting", [False, True])
def test_a_malformed_context_is_not_carried_on(traceparent: str, exporting: bool, collector: Collector) -> None:
    with (
        setup("api", TelemetryConfig(otlp_endpoint=collector.endpoint if exporting else "")),
        span("x", parent=TraceContext(traceparent=traceparent)),
    ):
        current = current_trace()
        assert (current is not None) is exporting
        assert current is None or TRACE not in current.traceparent


async def test_tasks_keep_their_own_contexts() -> None:
    other = TraceContext(traceparent=f"00-{'1' * 32}-{PARENT}-01")

    async def within(parent: TraceContext) -> TraceContext | None:
        with span("x", parent=parent):
            await asyncio.sleep(0)
            return current_trace()

    assert await asyncio.gather(within(REMOTE), within(other)) == [REMOTE, other]


def test_carrying_a_context_costs_little() -> None:
    def best_of(rounds: int) -> float:
        best = float("inf")
        for _ in range(rounds):
            start = time.perf_counter()
            for _ in range(1000):
                with span("x", parent=REMOTE):
                    pass
            best = min(best, (time.perf_counter() - start) / 1000)
        return best

    assert best_of(10) < 20e-6  # about 1.5 µs on an idle machine


def test_spans_reach_the_collector_in_one_trace(collector: Collector) -> None:
    with setup("api", TelemetryConfig(otlp_endpoint=collector.endpoint), instance="api-0"):
        with span("outer", parent=REMOTE, kind=SpanKind.SERVER, attributes={"pod": "a"}):
            carried = current_trace()
            assert carried is not None
            assert carried.tracestate == "vendor=x"
            with span("inner"):
                pass
        with pytest.raises(ValueError, match="broken"), span("fails", parent=carried):
            raise ValueError("broken")
    received = collector.spans()
    resource = received[0][0]
    assert (resource["service.name"], resource["service.instance.id"]) == ("api", "api-0")
    spans = {each.name: each for _, each in received}
    assert {each.trace_id.hex() for each in spans.values()} == {TRACE}
    assert spans["outer"].parent_span_id.hex() == PARENT
    assert spans["outer"].kind == 2  # server
    assert spans["inner"].parent_span_id == spans["outer"].span_id == spans["fails"].parent_span_id
    assert spans["outer"].span_id.hex() in carried.traceparent
    assert spans["fails"].status.code == 2  # error
    assert spans["fails"].events[0].name == "exception"
    assert current_trace() is None


def test_sampling_follows_the_parent(collector: Collector) -> None:
    unsampled = TraceContext(traceparent=f"00-{TRACE}-{PARENT}-00")
    with setup("api", TelemetryConfig(otlp_endpoint=f"{collector.endpoint}/v1/traces", sample_ratio=0)):
        with span("root"):
            carried = current_trace()
            assert carried is not None
            assert int(carried.traceparent[-2:], 16) & 1 == 0
        with span("skipped", parent=unsampled):
            pass
        with span("kept", parent=REMOTE):
            pass
    assert [each.name for _, each in collector.spans()] == ["kept"]


def test_a_dead_collector_does_not_hold_up_the_end(caplog: pytest.LogCaptureFixture) -> None:
    start = time.monotonic()
    with setup("api", TelemetryConfig(otlp_endpoint=f"http://127.0.0.1:{free_port()}")):
        for _ in range(1500):
            with span("lost"):
                pass
    assert time.monotonic() - start < 10
    assert [record.name for record in caplog.records] == ["orch.telemetry"]
    assert "spans cannot be sent" in caplog.text


def test_metrics_are_served_only_where_configured() -> None:
    address = f"127.0.0.1:{free_port()}"
    with setup("api", TelemetryConfig(metrics_address=address)):
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as response:
            assert b"orch_telemetry_spans_lost_total" in response.read()
        with (
            pytest.raises(ConfigError, match=r"telemetry\.metrics_address: cannot listen on"),
            setup("other", TelemetryConfig(metrics_address=address)),
        ):
            pass
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://{address}/metrics", timeout=5)


@pytest.mark.parametrize(
    "config", [TelemetryConfig(metrics_address="nowhere"), TelemetryConfig(otlp_endpoint="collector:4318")]
)
def test_bad_addresses_are_refused(config: TelemetryConfig) -> None:
    with pytest.raises(ConfigError, match=r"telemetry\."), setup("api", config):
        pass
