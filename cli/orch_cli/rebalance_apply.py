"""Carries moves out: cordon, evict, wait for the successor; at the first one that does not come up, stop.

A pod is evicted only if there is room for its successor at that moment, asked of the scheduler itself. Evictions go
through the API, so disruption budgets hold; one that says no is asked again until the move's deadline.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import quote

import msgspec

from orch.clock import Clock
from orch.errors import NotFoundError, OrchError, TooManyRequestsError
from orch.objects.cluster import Node
from orch.objects.meta import OwnerReference
from orch.objects.pods import Pod
from orch_cli.answers import duration
from orch_cli.judged import ask, check
from orch_cli.session import Session
from orch_pb.v1.question_pb2 import WhatIfReply, WhatIfRequest

Say = Callable[[str], None]

_FIRST_PAUSE: Final = 0.2
_LAST_PAUSE: Final = 5.0


class PodMove(msgspec.Struct, frozen=True, rename="camel"):
    """A pod to evict, and where its successor is expected."""

    namespace: str
    name: str
    uid: str
    owner: str
    source: str
    target: str

    @property
    def full_name(self) -> str:
        """The namespace and the name."""
        return f"{self.namespace}/{self.name}"


class MoveLimits(msgspec.Struct, frozen=True):
    """`seconds`: for one pod, from the first request to evict it to its ready successor. `grace`: None is its own."""

    seconds: float
    grace: int | None = None


class MoveError(OrchError):
    """A move that could not be finished: no further one is begun."""


class Mover:
    """Makes moves, one after another, and says what becomes of each."""

    def __init__(self, session: Session, say: Say, limits: MoveLimits, clock: Clock) -> None:
        self._clock = clock
        self._session = session
        self._say = say
        self._limits = limits
        self._cordoned: list[str] = []

    async def pack(self, moves: Sequence[PodMove], shut: Sequence[str], *, uncordon: bool) -> bool:
        """Empty nodes; they stay cordoned unless `uncordon` or it had to stop. Return whether all moves were made."""
        for node in shut:
            await self._cordon(node)
        done = await self._make(moves)
        if uncordon or not done:
            for node in list(self._cordoned):
                await self._uncordon(node)
        elif self._cordoned:
            self._say(f"Empty nodes stay cordoned: {', '.join(self._cordoned)}")
        return done

    async def spread(self, moves: Sequence[PodMove]) -> bool:
        """Move pods off full nodes, each cordoned only while one of its pods moves."""
        for number, move in enumerate(moves):
            await self._cordon(move.source)
            try:
                if not await self._make(moves, number, number + 1):
                    return False
            finally:
                await self._uncordon(move.source)
        return True

    async def _make(self, moves: Sequence[PodMove], start: int = 0, end: int | None = None) -> bool:
        for number, move in enumerate(moves[start:end], start + 1):
            began = self._clock.monotonic()
            try:
                landed = await self._move(move, began + self._limits.seconds)
            except OrchError as error:
                self._say(f"[{number}/{len(moves)}] {move.full_name}: {error}")
                self._say(f"Stopped after {number - 1} of {len(moves)} moves")
                return False
            where = f"{move.source} → {landed}" if landed else f"already left {move.source}"
            self._say(
                f"[{number}/{len(moves)}] {move.full_name}: {where} in {duration(self._clock.monotonic() - began)}"
            )
        return True

    async def _move(self, move: PodMove, deadline: float) -> str:
        """Evict one pod and return the node of its successor, "" when the pod was gone already."""
        path = f"/api/v1/namespaces/{quote(move.namespace)}/pods/{quote(move.name)}"
        try:
            body = await self._session.api.get(path, msgspec.Raw)
        except NotFoundError:
            return ""
        pod = msgspec.json.decode(body, type=Pod)
        owner = pod.metadata.controller
        if pod.metadata.uid != move.uid or pod.spec.node_name != move.source or owner is None:
            return ""
        await self._check_room(pod, body)
        before = {each.metadata.uid: each for each in await self._siblings(pod, owner)}
        ready = sum(_is_ready(each) for each in before.values())
        await self._evict(path, move, deadline)
        pause = _FIRST_PAUSE
        while True:
            siblings = await self._siblings(pod, owner)
            new = [each for each in siblings if each.metadata.uid not in before]
            gone = all(each.metadata.uid != move.uid for each in siblings)
            if gone and new and sum(_is_ready(each) for each in siblings) >= ready:
                return new[-1].spec.node_name
            if self._clock.monotonic() >= deadline:
                raise MoveError(f"its successor is not ready after {self._limits.seconds:g} s{_state(new)}")
            await self._clock.sleep(pause)
            pause = min(pause * 1.5, _LAST_PAUSE)

    async def _check_room(self, pod: Pod, body: bytes) -> None:
        document: dict[str, Any] = msgspec.json.decode(body)
        document["spec"].pop("nodeName", None)
        document["metadata"].pop("uid", None)
        request = WhatIfRequest(pod=msgspec.json.encode(document), replicas=1)
        reply = WhatIfReply.FromString(await ask(self._session, pod.spec.scheduler_name, "what-if", request))
        check(reply.status)
        if not reply.placed:
            raise MoveError(f"there is no room for its successor now: {reply.next.message}")

    async def _evict(self, path: str, move: PodMove, deadline: float) -> None:
        """Ask for the eviction until a disruption budget allows it, or the deadline."""
        options: dict[str, Any] = {"preconditions": {"uid": move.uid}}
        if self._limits.grace is not None:
            options["gracePeriodSeconds"] = self._limits.grace
        metadata = {"namespace": move.namespace, "name": move.name}
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata, "deleteOptions": options}
        pause = _FIRST_PAUSE
        while True:
            try:
                await self._session.api.create(f"{path}/eviction", msgspec.json.encode(eviction), msgspec.Raw)
            except TooManyRequestsError as error:
                if self._clock.monotonic() + pause >= deadline:
                    raise MoveError(f"it may not be evicted: {error}") from error
                await self._clock.sleep(pause)
                pause = min(pause * 2, _LAST_PAUSE)
            else:
                return

    async def _siblings(self, pod: Pod, owner: OwnerReference) -> list[Pod]:
        """Return the pods of the same controller, the oldest first."""
        path = f"/api/v1/namespaces/{quote(pod.metadata.namespace)}/pods"
        listed = await self._session.api.get(path, _Pods)
        found = [
            each
            for each in listed.items
            if each.metadata.controller is not None and each.metadata.controller.uid == owner.uid
        ]
        return sorted(found, key=lambda each: each.metadata.creation_timestamp)

    async def _cordon(self, node: str) -> None:
        path = f"/api/v1/nodes/{quote(node)}"
        if (await self._session.api.get(path, Node)).spec.unschedulable:
            return
        await self._session.api.patch(path, b'{"spec":{"unschedulable":true}}')
        self._cordoned.append(node)
        self._say(f"{node} cordoned")

    async def _uncordon(self, node: str) -> None:
        if node in self._cordoned:
            self._cordoned.remove(node)
            await self._session.api.patch(f"/api/v1/nodes/{quote(node)}", b'{"spec":{"unschedulable":null}}')
            self._say(f"{node} uncordoned")


class _Pods(msgspec.Struct, frozen=True):
    items: tuple[Pod, ...] = ()


def _is_ready(pod: Pod) -> bool:
    condition = pod.status.condition("Ready")
    return condition is not None and condition.status == "True" and not pod.metadata.deletion_timestamp


def _state(pods: Sequence[Pod]) -> str:
    if not pods:
        return ": its controller has made none"
    pod = pods[-1]
    scheduled = pod.status.condition("PodScheduled")
    if not pod.spec.node_name and scheduled is not None and scheduled.message:
        return f": {pod.metadata.name} is pending: {scheduled.message}"
    return f": {pod.metadata.name} on {pod.spec.node_name or 'no node'} is {pod.status.phase or 'unknown'}"
