"""Objects, and a controller's process that sees them late: for tests of one reconciler against whatever can go wrong.

The world keeps documents as the api would, as far as controllers can tell; its pods run at once. A process has real
informers, fed by hand, and a client that dies, or loses answers, when it is told to.
"""

from __future__ import annotations

import asyncio
import copy
import zlib
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgspec

from orch.bus.protocol import Message
from orch.clock import ManualClock, rfc3339
from orch.errors import AlreadyExistsError, ConflictError, NotFoundError, UnavailableError
from orch.objects.scheme import PODS, Kind
from orch.runtime.informer import Informers
from orch.runtime.reconcile import Key
from orch_pb.v1 import object_pb2

Document = dict[str, Any]
ResultT = TypeVar("ResultT")

_DELETE = "$deleteFromPrimitiveList/"


class Crash(BaseException):
    """The process is gone."""


class World:
    """What there is. `check` is called with every document before and after a write."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.objects: dict[tuple[str, str, str], Document] = {}
        self.log: list[tuple[str, Message]] = []
        """What happened, by the qualified name of the kind, however the writer reads it."""
        self.version = 1000
        self.check: Callable[[Kind[Any], Document | None, Document | None], None] = lambda kind, old, new: None
        self._uids = 0

    def find(self, kind: Kind[Any], name: str, namespace: str = "default") -> Document | None:
        return self.objects.get((kind.qualified, namespace, name))

    def all(self, kind: Kind[Any]) -> list[Document]:
        return [each for (qualified, _, _), each in self.objects.items() if qualified == kind.qualified]

    def create(self, kind: Kind[Any], namespace: str, body: Document) -> Document:
        meta = body["metadata"]
        if self.find(kind, meta["name"], namespace) is not None:
            raise AlreadyExistsError.of(kind.resource, kind.group, meta["name"])
        self._uids += 1
        known = {"uid": f"uid-{self._uids}", "namespace": namespace, "creationTimestamp": self.now(), "generation": 1}
        started = {"status": {"phase": "Running"}, "spec": {**body["spec"], "nodeName": "node"}} if kind == PODS else {}
        return self._put(kind, None, {**body, **started, "metadata": {**meta, **known}})

    def change(
        self, kind: Kind[Any], name: str, change: Callable[[Document], object], *, namespace: str = "default"
    ) -> Document:
        old = self._get(kind, namespace, name)
        new = copy.deepcopy(old)
        change(new)
        if new.get("spec") != old.get("spec"):
            new["metadata"]["generation"] += 1
        if new == old:
            return old
        if new["metadata"].get("deletionTimestamp") and not new["metadata"].get("finalizers") and not self.holds(new):
            return self._remove(kind, old)
        return self._put(kind, old, new)

    def delete(self, kind: Kind[Any], name: str, *, grace: int = 30, namespace: str = "default") -> None:
        old = self._get(kind, namespace, name)
        waits = grace and _runs(old)
        if old["metadata"].get("finalizers") or waits:
            moment = rfc3339(self.clock.now() + timedelta(seconds=grace))
            marks = {"deletionTimestamp": moment, "deletionGracePeriodSeconds": grace}
            if "deletionTimestamp" not in old["metadata"]:
                self._put(kind, old, {**old, "metadata": {**old["metadata"], **marks}})
        else:
            self._remove(kind, old)

    def holds(self, document: Document) -> bool:
        """Return whether something that is being deleted, and has no finalizers, is there still."""
        return _runs(document)

    def now(self) -> str:
        return rfc3339(self.clock.now())

    def _get(self, kind: Kind[Any], namespace: str, name: str) -> Document:
        found = self.find(kind, name, namespace)
        if found is None:
            raise NotFoundError.of(kind.resource, kind.group, name)
        return found

    def _put(self, kind: Kind[Any], old: Document | None, new: Document) -> Document:
        self.check(kind, old, new)
        self.version += 1
        new = {**new, "metadata": {**new["metadata"], "resourceVersion": str(self.version)}}
        meta = new["metadata"]
        self.objects[kind.qualified, meta["namespace"], meta["name"]] = new
        self.log.append((kind.qualified, _event(kind, object_pb2.ChangeType.MODIFIED, new, self.version)))
        return new

    def _remove(self, kind: Kind[Any], old: Document) -> Document:
        self.check(kind, old, None)
        self.version += 1
        meta = old["metadata"]
        del self.objects[kind.qualified, meta["namespace"], meta["name"]]
        self.log.append((kind.qualified, _event(kind, object_pb2.ChangeType.DELETED, old, self.version)))
        return old


class FaultyClient:
    """The client of one process. Before or after its `fails_at`th write it fails as `failure` says."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.writes = 0
        self.fails_at = 0
        self.failure: BaseException | None = None
        self.lost_answer = False

    def fail(self, writes: int, failure: BaseException, *, after: bool) -> None:
        """Fail at the `writes`th write from now on; `after`: it is done, but the answer is lost."""
        self.fails_at, self.failure, self.lost_answer = self.writes + writes, failure, after

    async def get(self, kind: Kind[Any], namespace: str, name: str) -> Any:
        return _view(kind, self.world._get(kind, namespace, name))

    async def list(self, kind: Kind[Any], namespace: str) -> list[Any]:
        return [_view(kind, each) for each in self.world.all(kind) if each["metadata"]["namespace"] == namespace]

    async def create(self, kind: Kind[Any], namespace: str, body: Any) -> Any:
        return self._write(kind, lambda: self.world.create(kind, namespace, _plain(body)))

    async def patch(
        self, kind: Kind[Any], namespace: str, name: str, patch: Any, *, subresource: str = "", strategic: bool = False
    ) -> Any:
        def apply() -> Document:
            found = self.world._get(kind, namespace, name)
            given = _plain(patch)
            for field in ("uid", "resourceVersion"):
                expected = given.get("metadata", {}).pop(field, None)
                if expected is not None and expected != found["metadata"].get(field):
                    raise ConflictError.of(kind.resource, kind.group, name)
            return self.world.change(
                kind, name, lambda document: _merge(document, given, strategic=strategic), namespace=namespace
            )

        return self._write(kind, apply)

    async def delete(
        self,
        kind: Kind[Any],
        namespace: str,
        name: str,
        *,
        uid: str = "",
        resource_version: str = "",
        grace_period: int | None = None,
        propagation: str = "",
    ) -> None:
        def apply() -> None:
            found = self.world._get(kind, namespace, name)
            if uid and found["metadata"]["uid"] != uid:
                raise ConflictError.of(kind.resource, kind.group, name)
            self.world.delete(kind, name, grace=30 if grace_period is None else grace_period, namespace=namespace)

        self._write(None, apply)

    def _write(self, kind: Kind[Any] | None, apply: Callable[[], Any]) -> Any:
        self.writes += 1
        failing = self.failure is not None and self.writes == self.fails_at
        if failing and self.failure is not None and not self.lost_answer:
            raise self.failure
        made = apply()
        if failing and self.failure is not None:
            raise self.failure
        return made if kind is None else _view(kind, made)


class Recorder:
    """Takes events down."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def event(self, about: Any, type: str, reason: str, message: str) -> None:  # noqa: A002
        self.events.append((reason, message))

    def of(self, component: str) -> Recorder:
        return self


class Surroundings(msgspec.Struct):
    """What a reconciler takes from its Context."""

    client: Any
    informers: Informers
    recorders: Any
    clock: ManualClock
    kinds: Any = None


class Process:
    """A controller's process: it begins with everything seen, and sees what follows when it is delivered."""

    def __init__(
        self, world: World, kinds: list[Kind[Any]], client: Callable[[World], FaultyClient] = FaultyClient
    ) -> None:
        self.world = world
        self.kinds = kinds
        self.client = client(world)
        self.recorder = Recorder()
        unused: Any = None
        self.informers = Informers(unused)
        self.context: Any = Surroundings(self.client, self.informers, self.recorder, world.clock)
        self._at = {kind.qualified: 0 for kind in kinds}
        for kind in kinds:
            self.relist(kind)

    def deliver(self, kind: Kind[Any], count: int) -> None:
        """Show the next changes of a kind."""
        for _ in range(count):
            message = self._next(kind)
            if message is None:
                return
            self.informers.of(kind)._take(message)

    def again(self, kind: Kind[Any]) -> None:
        """Deliver once more what was delivered before."""
        for of, message in self.world.log[max(0, self._at[kind.qualified] - 5) : self._at[kind.qualified]]:
            if of == kind.qualified:
                self.informers.of(kind)._take(message)

    def relist(self, kind: Kind[Any]) -> None:
        """Lose what has not been delivered, and start anew with everything as it is."""
        informer = self.informers.of(kind)
        informer._begin_snapshot()
        for document in self.world.all(kind):
            version = int(document["metadata"]["resourceVersion"])
            informer._take(_event(kind, object_pb2.ChangeType.MODIFIED, document, version))
        self.mark(kind)
        informer._finish_snapshot()
        self._at[kind.qualified] = len(self.world.log)

    def mark(self, kind: Kind[Any]) -> None:
        """Say that every change of the kind so far has been delivered, as the relay does."""
        mark = object_pb2.ObjectEvent(type=object_pb2.ChangeType.PROGRESS, revision=self.world.version)
        self.informers.of(kind)._take(Message("mark", mark.SerializeToString()))

    def catch_up(self) -> None:
        for kind in self.kinds:
            self.deliver(kind, len(self.world.log))

    def _next(self, kind: Kind[Any]) -> Message | None:
        place = self._at[kind.qualified]
        while place < len(self.world.log):
            of, message = self.world.log[place]
            place += 1
            self._at[kind.qualified] = place
            if of == kind.qualified:
                return message
        return None


class Ticking:
    """One reconciler that sees everything at once, and looks at one key every few seconds: time costs nothing."""

    def __init__(self, kinds: list[Kind[Any]], reconciler: Callable[[Any], Any], key: Key) -> None:
        self.world = World()
        self.process = Process(self.world, kinds)
        self.client = self.process.client
        self.clock = self.world.clock
        self.reconciler = reconciler(self.process.context)
        self.key = key
        self.result: Any = None

    async def settled(self) -> None:
        """Reconcile until nothing is written any more."""
        before = -1
        while before != self.client.writes:
            before = self.client.writes
            self.process.catch_up()
            self.result = await self.reconciler.reconcile(self.key)
            self.process.catch_up()

    async def pass_time(self, seconds: float) -> None:
        """Let time pass, looking at the key every second and whenever the reconciler asks for it."""
        until = self.clock.monotonic() + seconds
        while self.clock.monotonic() < until:
            await self.settled()
            wait = self.result.requeue_after or 1
            await self.clock.advance(max(min(wait, 1, until - self.clock.monotonic()), 0.001))
        await self.settled()

    def told(self) -> dict[str, str]:
        """Return the last message of each reason."""
        return dict(self.process.recorder.events)


def run(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Run to the end what waits for nothing. Of a process that crashes nothing goes on."""
    try:
        return loop.run_until_complete(work)
    except Crash:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left))
        raise


def unanswered() -> UnavailableError:
    return UnavailableError("no answer within 5 s")


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _runs(document: Document) -> bool:
    """Return whether this is a pod that has yet to end on its node."""
    on_node = bool(document.get("spec", {}).get("nodeName"))
    return on_node and document["status"]["phase"] not in {"Succeeded", "Failed"}


def _event(kind: Kind[Any], change: Any, document: Document, version: int) -> Message:
    meta, json = document["metadata"], msgspec.json.encode(document)
    event = object_pb2.ObjectEvent(
        type=change,
        group=kind.group,
        resource=kind.resource,
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        revision=version,
        checksum=zlib.crc32(json),
        json=json,
    )
    return Message("objects", event.SerializeToString())


def _view(kind: Kind[Any], document: Document) -> Any:
    return msgspec.json.decode(msgspec.json.encode(document), type=kind.view)


def _plain(body: Any) -> Document:
    return msgspec.json.decode(msgspec.json.encode(body))


def _merge(document: Document, patch: Document, *, strategic: bool) -> None:
    for name, value in patch.items():
        if name.startswith(_DELETE):
            place = name.removeprefix(_DELETE)
            document[place] = [each for each in document.get(place, ()) if each not in value]
        elif value is None:
            document.pop(name, None)
        elif isinstance(value, dict):
            _merge(document.setdefault(name, {}), value, strategic=strategic)
        elif strategic and name == "finalizers":
            document[name] = list(dict.fromkeys((*document.get(name, ()), *value)))
        elif strategic and name in {"ownerReferences", "conditions"}:
            key = "uid" if name == "ownerReferences" else "type"
            document[name] = _merged_by(key, document.get(name, []), value)
        else:
            document[name] = value


def _merged_by(key: str, old: list[Document], new: list[Document]) -> list[Document]:
    gone = {each[key] for each in new if each.get("$patch") == "delete"}
    added = {each[key]: each for each in new if "$patch" not in each}
    kept = [{**each, **added.pop(each[key], {})} for each in old if each[key] not in gone]
    return [*kept, *added.values()]
