from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

import msgspec
import pytest
from prometheus_client import REGISTRY

from orch.clock import ManualClock
from orch.errors import AlreadyExistsError, ForbiddenError, NotFoundError, UnavailableError
from orch.objects.meta import ObjectMeta
from orch.objects.pods import Pod
from orch.objects.scheme import PODS
from orch.runtime.client import Client
from orch.runtime.events import EventRecorder, ObjectReference, reference
from orch.runtime.informer import Item
from orch.telemetry import TraceContext, current_trace, span

TRACE = TraceContext(traceparent=f"00-{'1' * 32}-{'2' * 16}-01")
POD = ObjectReference(api_version="v1", kind="Pod", namespace="ns", name="a", uid="u", resource_version="5")


class Api:
    """Keeps the events that it is sent; fails as the test says."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, Any]]] = []
        self.traces: list[TraceContext | None] = []
        self.failures: list[Exception] = []
        self.takes: Callable[[], Awaitable[None]] | None = None

    async def create(self, kind: Any, namespace: str, body: Any) -> None:
        self._take("create", namespace, body)
        if self.takes is not None:
            await self.takes()

    async def patch(self, kind: Any, namespace: str, name: str, body: Any) -> None:
        self._take(name, namespace, body)

    def _take(self, verb: str, namespace: str, body: Any) -> None:
        self.traces.append(current_trace())
        self.requests.append((verb, namespace, msgspec.json.decode(msgspec.json.encode(body))))
        if self.failures:
            raise self.failures.pop(0)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [body for _, _, body in self.requests]


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def recorder(api: Api, clock: ManualClock) -> EventRecorder:
    return EventRecorder(cast("Client", api), "scheduler", clock, "host-1")


@pytest.fixture
def written(recorder: EventRecorder, clock: ManualClock, running, eventually) -> Callable[[], Any]:
    """Return what writes all that is pending."""

    async def write() -> None:
        async with running(recorder.run()):
            await clock.advance(0)
            await eventually(lambda: not recorder._pending)
            await clock.advance(0)

    return write


def dropped(reason: str) -> float:
    labels = {"component": "scheduler", "reason": reason}
    return REGISTRY.get_sample_value("orch_events_dropped_total", labels) or 0


async def test_an_event_as_kubernetes_writes_it(api: Api, recorder: EventRecorder, written) -> None:
    with span("schedule", parent=TRACE):
        recorder.event(POD, "Warning", "FailedScheduling", "0/2 nodes are available")
    await written()
    ((verb, namespace, body),) = api.requests
    assert (verb, namespace) == ("create", "ns")
    name, _, moment = body["metadata"].pop("name").rpartition(".")
    assert (name, int(moment, 16) // 1000) == ("a", 1767225600 * 10**6)  # the last three digits are the recorder's
    assert body == {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"namespace": "ns"},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": "ns",
            "name": "a",
            "uid": "u",
            "resourceVersion": "5",
        },
        "type": "Warning",
        "reason": "FailedScheduling",
        "message": "0/2 nodes are available",
        "source": {"component": "scheduler", "host": "host-1"},
        "firstTimestamp": "2026-01-01T00:00:00Z",
        "lastTimestamp": "2026-01-01T00:00:00Z",
        "count": 1,
        "reportingComponent": "scheduler",
        "reportingInstance": "host-1",
    }
    assert api.traces == [TRACE]


async def test_a_repetition_raises_the_count(api: Api, recorder: EventRecorder, clock: ManualClock, written) -> None:
    recorder.event(POD, "Normal", "Pulled", "pulled x")
    await written()
    name = api.bodies[0]["metadata"]["name"]
    for count in (2, 3):
        await clock.advance(60)
        recorder.event(POD, "Normal", "Pulled", "pulled x")
        await written()
        moment = f"2026-01-01T00:0{count - 1}:00Z"
        assert api.requests[-1] == (name, "ns", {"count": count, "lastTimestamp": moment, "message": "pulled x"})


async def test_repetitions_before_the_first_is_written_are_one_event(
    api: Api, recorder: EventRecorder, written
) -> None:
    for _ in range(3):
        recorder.event(POD, "Normal", "Pulled", "pulled x")
    await written()
    assert [(verb, body["count"]) for verb, _, body in api.requests] == [("create", 3)]


async def test_events_that_differ_in_more_than_the_message_stay_apart(
    api: Api, recorder: EventRecorder, written
) -> None:
    recorder.event(POD, "Normal", "Pulled", "x")
    recorder.event(POD, "Warning", "Pulled", "x")
    recorder.event(POD, "Normal", "Pulling", "x")
    recorder.event(msgspec.structs.replace(POD, uid="other"), "Normal", "Pulled", "x")
    recorder.event(msgspec.structs.replace(POD, field_path="spec.containers{c}"), "Normal", "Pulled", "x")
    await written()
    assert [verb for verb, _, _ in api.requests] == ["create"] * 5
    assert len({body["metadata"]["name"] for body in api.bodies}) == 5


async def test_the_tenth_similar_message_is_combined(
    api: Api, recorder: EventRecorder, clock: ManualClock, written
) -> None:
    for number in range(12):
        recorder.event(POD, "Warning", "Failed", f"try {number}")
        await written()
    assert [body["message"] for body in api.bodies[:9]] == [f"try {number}" for number in range(9)]
    assert api.bodies[9]["message"] == "(combined from similar events): try 9"
    assert [verb for verb, _, _ in api.requests[9:]] == ["create"] + [api.bodies[9]["metadata"]["name"]] * 2
    assert [(body["count"], body["message"]) for body in api.bodies[10:]] == [
        (2, "(combined from similar events): try 10"),
        (3, "(combined from similar events): try 11"),
    ]
    await clock.advance(601)
    recorder.event(POD, "Warning", "Failed", "much later")
    await written()
    assert api.bodies[-1]["message"] == "much later"


async def test_an_objects_budget_is_25_and_one_more_every_five_minutes(
    api: Api, recorder: EventRecorder, clock: ManualClock, written
) -> None:
    spam = dropped("spam")

    async def accepted(times: int) -> int:
        before = len(api.requests)
        for _ in range(times):
            recorder.event(POD, "Normal", "Again", "x")
            await written()
        return len(api.requests) - before

    assert await accepted(30) == 25
    assert dropped("spam") - spam == 5
    recorder.event(msgspec.structs.replace(POD, name="other"), "Normal", "Again", "x")
    await written()
    assert len(api.requests) == 26
    await clock.advance(299)
    assert await accepted(1) == 0
    await clock.advance(1)
    assert await accepted(2) == 1


async def test_an_expired_event_is_made_anew(api: Api, recorder: EventRecorder, written) -> None:
    recorder.event(POD, "Normal", "Pulled", "x")
    await written()
    api.failures = [NotFoundError.of("events", "", "a")]
    recorder.event(POD, "Normal", "Pulled", "x")
    await written()
    assert [verb for verb, _, _ in api.requests][2:] == ["create"]
    assert api.bodies[2]["count"] == 2


async def test_an_unavailable_api_is_asked_again_with_back_off(
    api: Api, recorder: EventRecorder, clock: ManualClock, running
) -> None:
    api.failures = [UnavailableError("down"), UnavailableError("down"), AlreadyExistsError.of("events", "", "a")]
    async with running(recorder.run()):
        recorder.event(POD, "Normal", "Pulled", "x")
        await clock.advance(0.4)
        assert len(api.requests) == 1
        await clock.advance(0.1)
        assert len(api.requests) == 2
        await clock.advance(0.9)
        assert len(api.requests) == 2
        await clock.advance(0.1)
        assert len(api.requests) == 3
        await clock.advance(100)
        assert len(api.requests) == 3


async def test_an_event_is_given_up_after_many_tries(
    api: Api, recorder: EventRecorder, clock: ManualClock, running
) -> None:
    before = dropped("unavailable")
    api.failures = [UnavailableError("down")] * 12
    async with running(recorder.run()):
        recorder.event(POD, "Normal", "Pulled", "x")
        await clock.advance(200)
        assert len(api.requests) == 12
        assert dropped("unavailable") - before == 1


async def test_a_refused_event_is_dropped_and_the_next_one_written(
    api: Api, recorder: EventRecorder, written, caplog: pytest.LogCaptureFixture
) -> None:
    before = dropped("refused")
    api.failures = [ForbiddenError.of("events", "", "a", "the namespace is being terminated")]
    recorder.event(POD, "Normal", "Pulled", "x")
    recorder.event(POD, "Normal", "Created", "x")
    await written()
    assert [body["reason"] for body in api.bodies] == ["Pulled", "Created"]
    assert dropped("refused") - before == 1
    assert "namespace is being terminated" in caplog.text


async def test_the_queue_is_bounded(recorder: EventRecorder) -> None:
    before = dropped("full")
    for number in range(2053):
        recorder.event(msgspec.structs.replace(POD, name=f"pod-{number}"), "Normal", "Pulled", "x")
    assert dropped("full") - before == 5


async def test_a_rush_of_events_leaves_most_of_the_time_to_others(
    api: Api, recorder: EventRecorder, clock: ManualClock, running
) -> None:
    api.takes = lambda: clock.sleep(0.1)
    for number in range(20):
        recorder.event(msgspec.structs.replace(POD, name=f"pod-{number}"), "Normal", "Pulled", "x")
    begun: list[int] = []
    async with running(recorder.run()):
        for _ in range(12):
            await clock.advance(0.1)
            begun.append(len(api.requests))
    assert begun[0] == begun[8] == 8  # eight at a time, a tenth of a second each, then a rest of nine tenths
    assert begun[-1] == 16


async def test_names_fit_and_cluster_scoped_objects_have_their_events_in_default(
    api: Api, recorder: EventRecorder, written
) -> None:
    recorder.event(ObjectReference(kind="Node", name="n" * 253), "Normal", "Ready", "x")
    await written()
    ((_, namespace, body),) = api.requests
    assert namespace == body["metadata"]["namespace"] == "default"
    assert len(body["metadata"]["name"]) == 253


def test_references() -> None:
    pod = Pod(metadata=ObjectMeta(namespace="ns", name="a", uid="u", resource_version="5"))
    assert reference(PODS, pod) == POD
    assert reference(PODS, Item("ns", "a", "u", 5, {}, None, b"", pod)) == POD


def test_recorders_never_give_events_of_one_moment_the_same_name() -> None:
    clock = ManualClock()
    about = ObjectReference(api_version="v1", kind="Pod", namespace="ns", name="web")
    recorders = [EventRecorder(cast("Any", None), f"component-{number}", clock) for number in range(3)]
    names = [each._build(about, "Normal", "Reason", "message").metadata.name for each in recorders for _ in range(3)]
    assert len(set(names)) == len(names)
