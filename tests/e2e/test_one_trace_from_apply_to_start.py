"""One trace, through five processes and two message streams, from a user's request to the containers that it caused."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from oteltap import OtelTapHttpProtobufReceiver, OtelTapHttpProtobufReceiverSettings

from orch_cli.state import free_ports

DEPLOYMENT = (Path(__file__).parents[2] / "examples/deployment.yaml").read_text()
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
REPLICAS = 3
SECRET = "correct-horse-battery"

CHAIN = [
    "POST deployments",
    "relay.publish deployments",
    "reconcile deployment",
    "relay.publish replicasets",
    "reconcile replicaset",
    "relay.publish pods",
    "scheduler.schedule",
    "api.bind pod",
    "relay.publish pods",
    "agent.start pod",
    "agent.start container",
]
"""Each is the parent of the next."""

ASIDE = {
    "POST deployments": "api.create deployments",
    "api.create deployments": "store.commit",
    "reconcile deployment": "api.create replicasets",
    "api.create replicasets": "store.commit",
    "reconcile replicaset": "api.create pods",
    "api.create pods": "store.commit",
    "agent.start pod": "agent.pull image",
}
"""Spans that are seen beneath those of the chain: what the api did for them, and the steps of a start."""


class Spans:
    """All spans that the cluster has sent so far."""

    def __init__(self) -> None:
        self.all: list[Span] = []
        self._more = asyncio.Event()

    def add(self, span: Span) -> None:
        self.all.append(span)
        self._more.set()

    def of(self, trace: str) -> list[Span]:
        return [span for span in self.all if span.trace_id.hex() == trace]

    async def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Return what `condition` returns as soon as it is true; spans come in for up to half a minute."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(30):
                while not (found := condition()):
                    self._more.clear()
                    await self._more.wait()
                return found
        raise AssertionError(f"{what}: not among {sorted({name_of(span) for span in self.all})}")


@pytest.fixture
async def spans(clusters: Callable[..., Any]) -> AsyncIterator[tuple[Any, Spans]]:
    """A cluster that sends its spans to us."""
    (port,) = free_ports(1)
    received = Spans()
    async with OtelTapHttpProtobufReceiver(OtelTapHttpProtobufReceiverSettings(http_port=port)) as receiver:

        async def keep() -> None:
            async for span in receiver.stream_traces():
                received.add(span)

        keeping = asyncio.create_task(keep())
        cluster = clusters(nodes=2, runtime="simulated")
        try:
            await asyncio.to_thread(cluster.up, "--otlp", f"http://127.0.0.1:{port}")
            yield cluster, received
        finally:
            await asyncio.to_thread(cluster.down)
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)


async def test_a_request_and_the_containers_it_caused_are_one_trace(spans: tuple[Any, Spans]) -> None:
    cluster, received = spans
    answer = await asyncio.to_thread(
        cluster.rest(),
        "POST",
        "/apis/apps/v1/namespaces/default/deployments",
        yaml.safe_load(DEPLOYMENT),
        headers={"traceparent": f"00-{TRACE}-{CALLER}-01"},
    )
    assert answer.status == 201

    def starts() -> list[Span]:
        return [span for span in received.of(TRACE) if span.name == "agent.start container"]

    await received.until(lambda: len(starts()) == REPLICAS, "three started containers")
    chains = await received.until(
        lambda: complete([ancestry(span, received.of(TRACE)) for span in starts()]), "the rest"
    )
    assert [[name_of(span) for span in chain] for chain in chains] == [CHAIN] * REPLICAS
    assert {chain[0].parent_span_id.hex() for chain in chains} == {CALLER}
    # They part where the three pods are made, and no earlier.
    assert [len({chain[place].span_id for chain in chains}) for place in range(len(CHAIN))] == [1] * 5 + [REPLICAS] * 6
    for chain in chains:
        begun = [span.start_time_unix_nano for span in chain]
        assert begun == sorted(begun)

    def aside() -> set[tuple[str, str]]:
        by_id = {span.span_id: span for span in received.of(TRACE)}
        return {(by_id[span.parent_span_id].name, span.name) for span in by_id.values() if span.parent_span_id in by_id}

    await received.until(lambda: set(ASIDE.items()) <= aside(), "what was done beneath")


async def test_kubectl_apply_begins_a_trace_and_so_does_each_later_change(spans: tuple[Any, Spans]) -> None:
    cluster, received = spans
    await asyncio.to_thread(cluster.apply, DEPLOYMENT)
    request = await received.until(
        lambda: next((span for span in received.all if span.name == "POST deployments"), None), "the request"
    )
    assert request.parent_span_id == b""
    trace = request.trace_id.hex()
    await received.until(
        lambda: sum(span.name == "agent.start container" for span in received.of(trace)) == REPLICAS, "the containers"
    )
    await secrets_are_used(cluster, received)

    # What is changed later is a trace of its own: that of the request that changed it.
    await asyncio.to_thread(cluster.kubectl, "scale", "deployment/web-app", "--replicas=4")
    scaled = await received.until(
        lambda: next((span for span in received.all if span.name == "PATCH deployments"), None), "the scaling"
    )
    assert scaled.trace_id != request.trace_id
    later = await received.until(
        lambda: [span for span in received.of(scaled.trace_id.hex()) if span.name == "agent.start container"],
        "the fourth",
    )
    assert len(later) == 1


def name_of(span: Span) -> str:
    """The span's name; with the resource where that is an attribute."""
    resource = next((each.value.string_value for each in span.attributes if each.key == "resource"), "")
    return f"{span.name} {resource}".strip()


def ancestry(span: Span, spans: Iterable[Span]) -> list[Span]:
    """A span and those above it, the topmost first."""
    by_id = {each.span_id: each for each in spans}
    chain = [span]
    while chain[0].parent_span_id in by_id:
        chain.insert(0, by_id[chain[0].parent_span_id])
    return chain


async def secrets_are_used(cluster: Any, received: Spans) -> None:
    """Write Secrets, rightly and wrongly, and use one in a pod: no byte of what is exported holds what is in them."""
    hidden = [SECRET, base64.b64encode(SECRET.encode()).decode()]
    meta = {"name": "planted"}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": {"p": SECRET}}
    volume = {"name": "v", "secret": {"secretName": "planted"}}
    variable = {"name": "P", "valueFrom": {"secretKeyRef": {"name": "planted", "key": "p"}}}
    container = {"name": "c", "image": "example.com/app", "env": [variable]}
    spec = {"containers": [container], "volumes": [volume]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
    documents = [secret, {**secret, "metadata": {"name": "wrong"}, "data": {"p": SECRET}}, pod]
    for document in documents:
        await asyncio.to_thread(cluster.apply, document, check=False)
    told = await asyncio.to_thread(cluster.orch, "explain", "pod", "planted")
    request = await received.until(
        lambda: next((span for span in received.all if span.name == "POST pods"), None), "the pod's request"
    )
    await received.until(
        lambda: any(span.name == "agent.start container" for span in received.of(request.trace_id.hex())), "its start"
    )
    exported = b"".join(span.SerializeToString() for span in received.all) + told.encode()
    assert b"planted" in exported
    assert [text for text in hidden if text.encode() in exported] == []


def complete(chains: list[list[Span]]) -> list[list[Span]] | None:
    """The chains, once all reach up to the span of the caller, which we do not receive."""
    return chains if all(chain[0].parent_span_id.hex() == CALLER for chain in chains) else None
