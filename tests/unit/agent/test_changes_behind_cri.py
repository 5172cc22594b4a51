"""Which pods changed, as runtimes with and without events of CRI tell it; and settings that cannot be meant."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, Self

import pytest

from orch.clock import ManualClock
from orch.errors import ConfigError, UnavailableError
from orch_agent.runtimes.cri.connection import UnsupportedError
from orch_agent.runtimes.cri.events import ContainerEvents
from orch_agent.runtimes.cri.settings import CriSettings
from orch_agent.runtimes.protocol import LABEL_UID
from orch_pb.cri import api_pb2


class Service:
    """A runtime of which the test says what it has and what happens."""

    def __init__(self, *, has_events: bool) -> None:
        self.has_events = has_events
        self.happened: asyncio.Queue[Any] = asyncio.Queue()
        self.states: dict[str, tuple[str, int]] = {}
        self.gone = False
        self.asked = 0
        self.followed = 0

    async def call(self, method: Any, request: Any) -> Any:
        assert method.path.endswith("/ListContainers")
        assert request.filter.label_selector == {"orch.dev/node": "node-1"}
        self.asked += 1
        if self.gone:
            raise UnavailableError("nobody answers")
        found = [
            api_pb2.Container(id=name, state=state, labels={LABEL_UID: uid})
            for name, (uid, state) in self.states.items()
        ]
        return api_pb2.ListContainersResponse(containers=found)

    async def follow(self, method: Any, request: Any) -> AsyncGenerator[Any]:
        self.followed += 1
        if not self.has_events:
            raise UnsupportedError("unknown method GetContainerEvents")
        while True:
            event = await self.happened.get()
            if event is None:
                raise UnavailableError("the connection broke")
            yield event

    def tell(self, uid: str, kind: int) -> None:
        status = api_pb2.PodSandboxStatus(metadata=api_pb2.PodSandboxMetadata(uid=uid))
        self.happened.put_nowait(
            api_pb2.ContainerEventResponse(container_event_type=kind, pod_sandbox_status=status)  # type: ignore[arg-type]
        )


class Followed:
    def __init__(self, service: Service) -> None:
        self.clock = ManualClock()
        self.changed: list[str] = []
        self.events = ContainerEvents(service, "node-1", self.clock)  # type: ignore[arg-type]
        self.task = asyncio.create_task(self.events.run(self.changed.append))

    async def __aenter__(self) -> Self:
        await self.clock.advance(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def test_events_tell_what_ended_and_went() -> None:
    service = Service(has_events=True)
    async with Followed(service) as followed:
        assert followed.changed == [""]
        await followed.clock.advance(1)
        assert followed.changed == ["", ""]  # once more, for what happened before the stream stood
        service.tell("u1", api_pb2.CONTAINER_STARTED_EVENT)
        service.tell("u2", api_pb2.CONTAINER_STOPPED_EVENT)
        service.tell("u3", api_pb2.CONTAINER_DELETED_EVENT)
        await followed.clock.advance(0)
        assert followed.changed[2:] == ["u2", "u3"]
        assert service.asked == 0


async def test_a_broken_stream_begins_anew_and_anything_may_have_changed() -> None:
    service = Service(has_events=True)
    async with Followed(service) as followed:
        await followed.clock.advance(1)
        service.happened.put_nowait(None)
        await followed.clock.advance(0)
        assert service.followed == 1
        await followed.clock.advance(0.2)
        assert service.followed == 2
        assert followed.changed == ["", "", ""]


async def test_a_runtime_without_events_is_asked_closely_while_something_is_under_way() -> None:
    service = Service(has_events=False)
    service.states = {"a": ("u1", api_pb2.CONTAINER_RUNNING), "b": ("u2", api_pb2.CONTAINER_RUNNING)}
    async with Followed(service) as followed:
        followed.changed.clear()
        quiet = service.asked
        for _ in range(5):
            await followed.clock.advance(1)
        assert service.asked - quiet == 5
        service.states["a"] = ("u1", api_pb2.CONTAINER_EXITED)
        await followed.clock.advance(1)
        assert followed.changed == ["u1"]
        busy = service.asked
        for _ in range(10):
            await followed.clock.advance(0.1)
        assert service.asked - busy == 10
        del service.states["b"]
        await followed.clock.advance(0.1)
        assert followed.changed == ["u1", "u2"]
        assert service.followed == 1


async def test_a_runtime_that_is_away_is_asked_less_and_less() -> None:
    service = Service(has_events=False)
    async with Followed(service) as followed:
        service.gone = True
        for _ in range(100):
            await followed.clock.advance(0.2)
        assert service.asked < 15
        service.gone = False
        service.states["a"] = ("u1", api_pb2.CONTAINER_RUNNING)
        for _ in range(30):
            await followed.clock.advance(0.2)
        assert followed.changed[-1] == ""


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        (CriSettings(endpoint="tcp://127.0.0.1:1"), "cri.endpoint"),
        (CriSettings(endpoint=""), "cri.endpoint"),
        (CriSettings(image_endpoint="/run/x.sock"), "cri.image_endpoint"),
        (CriSettings(request_timeout=0), "cri.request_timeout"),
        (CriSettings(log_dir="logs"), "cri.log_dir"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings: CriSettings, path: str) -> None:
    with pytest.raises(ConfigError, match=path):
        settings.check()
    CriSettings().check()
