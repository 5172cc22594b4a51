"""Several controllers of the registry as one process runs them, in a world of late events, crashes and lost answers.

What they look at follows from their own watches, so an event that a watch leaves out, though it matters, is found: the
world does not come to rest. Namespaces, owners and finalizers are what the api makes of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import rule
from lagging_world import Document, FaultyClient, Process, World, _plain, _view
from workload_world import Driver, LaggingMachine, PodWorld

from orch.clock import rfc3339
from orch.errors import Cause, ConflictError, ForbiddenError, OrchError, StatusDetails, TerminalError
from orch.objects.scheme import NAMESPACES, PODS, Kind
from orch.runtime.controller import Controller
from orch.runtime.informer import Change
from orch.runtime.reconcile import Key
from orch_controllers.autoscaling.decisions import Decisions
from orch_controllers.autoscaling.usage import UsageTable
from orch_controllers.config import ControllersConfig
from orch_controllers.context import Context
from orch_controllers.registry import CONTROLLERS

TERMINATING = Cause(reason="NamespaceTerminating")
_KUBERNETES = "kubernetes"
_FINALIZERS = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}
_RETRY = 0.5
_MANY_TURNS = 3000

Topic = Callable[[Context], Sequence[Controller]]


class ClusterWorld(PodWorld):
    """A world of namespaces, too: one that is being deleted takes nothing new, and goes when it is finalized."""

    def __init__(self) -> None:
        super().__init__()
        self._names = 0

    def create(self, kind: Kind[Any], namespace: str, body: Document) -> Document:
        meta = dict(body["metadata"])
        if "name" not in meta:
            self._names += 1
            meta["name"] = f"{meta['generateName']}{self._names:05d}"
        if namespace and (found := self.find(NAMESPACES, namespace, "")) is not None and is_leaving(found):
            raise ForbiddenError("it is being terminated", StatusDetails(causes=(TERMINATING,)))
        if kind == NAMESPACES:
            body = {**body, "spec": {"finalizers": [_KUBERNETES]}, "status": {"phase": "Active"}}
        return super().create(kind, namespace, {**body, "metadata": meta})

    def delete(
        self, kind: Kind[Any], name: str, *, grace: int = 30, namespace: str = "default", propagation: str = ""
    ) -> None:
        if (finalizer := _FINALIZERS.get(propagation)) and not is_leaving(self._get(kind, namespace, name)):
            self.change(
                kind,
                name,
                lambda found: found["metadata"].update(
                    finalizers=[*found["metadata"].get("finalizers", ()), finalizer]
                ),
                namespace=namespace,
            )
        old = self._get(kind, namespace, name)
        if kind.qualified == NAMESPACES.qualified:
            if not is_leaving(old):
                meta = {**old["metadata"], "deletionTimestamp": self.now()}
                self._put(kind, old, {**old, "metadata": meta, "status": {**old["status"], "phase": "Terminating"}})
            return
        super().delete(kind, name, grace=grace, namespace=namespace)

    def holds(self, document: Document) -> bool:
        return super().holds(document) or bool(document.get("spec", {}).get("finalizers"))

    def replace(self, kind: Kind[Any], name: str, body: Document, *, namespace: str, subresource: str) -> Document:
        """Put a document in the place of the one that has its version."""
        old = self._get(kind, namespace, name)
        expected = body["metadata"].get("resourceVersion")
        if expected and expected != old["metadata"]["resourceVersion"]:
            raise ConflictError.of(kind.resource, kind.group, name)
        if subresource == "finalize":
            if not body["spec"]["finalizers"] and not old["metadata"].get("finalizers"):
                return self._remove(kind, old)
            return self._put(kind, old, {**old, "spec": body["spec"]})

        def change(document: Document) -> None:
            kept = {name: old["metadata"][name] for name in ("creationTimestamp", "generation")}
            document.clear()
            document.update(body, metadata={**body["metadata"], **kept})

        return self.change(kind, name, change, namespace=namespace)

    def report(self, pod: Document, phase: str, *, ready: bool) -> None:
        """Write a pod's status as its node would, with its address."""
        super().report(pod, phase, ready=ready)
        if self.find(PODS, pod["metadata"]["name"]) is None:
            return  # it was on its way out, and has ended
        address = f"10.244.0.{int(pod['metadata']['uid'].removeprefix('uid-')) % 250}"
        self.change(
            PODS,
            pod["metadata"]["name"],
            lambda found: found["status"].update(podIP=address, podIPs=[{"ip": address}], startTime=self.now()),
        )

    def scale(self, kind: Kind[Any], name: str, body: Document, *, namespace: str) -> Document:
        """Set how many pods there shall be, in the version that was looked at."""
        if body["metadata"]["resourceVersion"] != self._get(kind, namespace, name)["metadata"]["resourceVersion"]:
            raise ConflictError.of(kind.resource, kind.group, name)
        return self.change(kind, name, lambda found: found["spec"].update(body["spec"]), namespace=namespace)

    def within(self, namespace: str) -> list[Document]:
        """Return everything in a namespace."""
        return [each for (_, where, _), each in self.objects.items() if where == namespace]

    def in_seconds(self, seconds: float) -> str:
        return rfc3339(self.clock.now() + timedelta(seconds=seconds))


class ClusterClient(FaultyClient):
    """A client that can replace objects, and delete them with what they own in one of three ways."""

    world: ClusterWorld

    async def list(self, kind: Kind[Any], namespace: str = "", **selectors: str) -> list[Any]:
        assert not selectors, "not played"
        found = self.world.all(kind)
        return [_view(kind, each) for each in found if namespace in {"", each["metadata"]["namespace"]}]

    async def get(self, kind: Kind[Any], namespace: str, name: str, *, subresource: str = "") -> Any:
        found = self.world._get(kind, namespace, name)
        return _view(kind, _scale(found) if subresource == "scale" else found)

    async def update(self, kind: Kind[Any], namespace: str, name: str, body: Any, *, subresource: str = "") -> Any:
        given = _plain(body)
        if subresource == "scale":
            return self._write(kind, lambda: _scale(self.world.scale(kind, name, given, namespace=namespace)))
        return self._write(
            kind, lambda: self.world.replace(kind, name, given, namespace=namespace, subresource=subresource)
        )

    async def delete(self, kind: Kind[Any], namespace: str, name: str, **options: Any) -> None:
        def apply() -> None:
            meta = self.world._get(kind, namespace, name)["metadata"]
            for option, field in (("uid", "uid"), ("resource_version", "resourceVersion")):
                if options.get(option) and options[option] != meta[field]:
                    raise ConflictError.of(kind.resource, kind.group, name)
            grace, propagation = options.get("grace_period"), options.get("propagation", "")
            self.world.delete(
                kind, name, grace=30 if grace is None else grace, namespace=namespace, propagation=propagation
            )

        self._write(None, apply)


class Silence:
    """A bus on which nobody listens."""

    async def publish(self, subject: str, data: bytes) -> None:
        """Nothing is kept."""


class Served:
    """The kinds of the world, all from the beginning."""

    def __init__(self, kinds: Iterable[Kind[Any]]) -> None:
        self.known = tuple(kinds)

    def listen(self, added: Callable[[Kind[Any]], None], removed: Callable[[Kind[Any]], None]) -> None:
        for kind in self.known:
            added(kind)

    async def refresh(self) -> tuple[Kind[Any], ...]:
        return self.known


class Heard:
    """Who of the nodes is heard. A machine says so; what listening to them is like has tests of its own."""

    def __init__(self) -> None:
        self.silent_since: dict[str, float] = {}
        self.hung_up: frozenset[str] = frozenset()
        self.lease = 20.0
        self.now: Callable[[], float] = lambda: 0.0

    def silence(self, node: str) -> float:
        since = self.silent_since.get(node)
        return 0.0 if since is None else self.now() - since

    def silent_for(self, seconds: float) -> list[str]:
        return [node for node in self.silent_since if self.silence(node) > seconds]

    def expect(self, node: str) -> None:
        """Nothing: who is heard is up to the machine."""

    def forget(self, node: str) -> None:
        """Nothing, as before."""

    def heard(self, node: str) -> bool:
        return node not in self.silent_since

    def lease_is_over(self, node: str) -> bool:
        return self.silence(node) > self.lease + 5


class Relayed(Process):
    """A process whose informers hear how far the relay has come, too, once they have seen everything."""

    def catch_up(self) -> None:
        super().catch_up()
        for kind in self.kinds:
            self.mark(kind)


class Team(Driver):
    """The controllers of one process. Its `reconcile` takes one of the keys that are due."""

    loop: asyncio.AbstractEventLoop

    def __init__(
        self, world: World, kinds: list[Kind[Any]], topics: Sequence[Topic], settings: ControllersConfig
    ) -> None:
        self.topics = topics
        self.settings = settings
        self.heard = Heard()
        self.heard.now = world.clock.monotonic
        self.choice = 0
        super().__init__(world, kinds, None, Key("", ""))

    def start(self) -> None:
        self.process = Relayed(self.world, self.kinds, ClusterClient)
        bus: Any = Silence()
        given: Any = self.process
        clock = self.world.clock
        self.usage = UsageTable(bus, clock)
        context = Context(
            given.client,
            given.informers,
            Served(self.kinds),  # type: ignore[arg-type]
            given.recorder,
            self.heard,  # type: ignore[arg-type]
            clock,
            self.settings,
            bus,
            self.usage,
            Decisions(bus, clock),
        )
        self.controllers = [each for topic in self.topics for each in topic(context)]
        self.due: dict[tuple[int, Key], None] = {}
        self.later: dict[tuple[int, Key], float] = {}
        self.broken: list[Exception] = []
        for number, controller in enumerate(self.controllers):
            for watch in controller.watches:
                self.process.informers.of(watch.kind).on_change(self._taker(number, watch.keys))

    def _taker(self, number: int, keys: Callable[[Change[Any]], Iterable[Key]]) -> Callable[[Change[Any]], None]:
        def take(change: Change[Any]) -> None:
            try:
                for key in keys(change):
                    self.due[number, key] = None
            except Exception as error:  # an informer would only log it
                self.broken.append(error)
                raise

        return take

    def reconcile(self) -> None:
        """Reconcile one key that is due, if there is one."""
        now = self.world.clock.monotonic()
        for which in [which for which, moment in self.later.items() if moment <= now]:
            del self.later[which]
            self.due[which] = None
        if not self.due:
            return
        number, key = which = list(self.due)[self.choice % len(self.due)]
        del self.due[which]
        self.later.pop(which, None)
        self.acting = True
        try:
            result = self.loop.run_until_complete(self.controllers[number].reconciler.reconcile(key))
            if result.requeue_after is not None:
                self.later[which] = now + max(result.requeue_after, 0.001)
        except TerminalError as error:
            self.failures.append(error)
        except OrchError as error:
            self.failures.append(error)
            self.later[which] = now + _RETRY
        finally:
            self.acting = False

    def settle(self) -> None:
        """Deliver everything and reconcile until nothing is due at this moment."""
        for _ in range(_MANY_TURNS):
            self.process.catch_up()
            self.reconcile()
            if self.broken:
                raise self.broken[0]
            if not self.due:
                self.process.catch_up()
                if not self.due:
                    return
        names = [(self.controllers[number].name, str(key)) for number, key in self.due]
        raise AssertionError(f"it does not come to rest: {names[:5]}")

    def resync(self) -> None:
        """Look at everything again, as controllers do now and then."""
        for number, controller in enumerate(self.controllers):
            for watch in controller.watches:
                for item in self.process.informers.of(watch.kind).items():
                    for key in watch.keys(Change(item, item)):
                        self.due[number, key] = None

    def writes(self) -> int:
        """Return how many writes one more look at everything makes."""
        before = self.process.client.writes
        self.resync()
        self.settle()
        return self.process.client.writes - before


class RegistryMachine(LaggingMachine):
    """What may happen to the controllers of some topics; its machines say what users and nodes do, and what holds."""

    topics: ClassVar[Sequence[Topic]]
    settings: ClassVar[ControllersConfig] = ControllersConfig()
    world: ClusterWorld

    def __init__(self) -> None:
        super().__init__()
        self.world = ClusterWorld()
        self.world.check = self.check
        self.prepare()
        self.driver: Team = Team(self.world, list(self.kinds), self.topics, self.settings)

    def prepare(self) -> None:
        """Make what there is before the controllers come."""

    def aim(self, which: int) -> None:
        self.driver.choice = which

    @rule(which=st.integers(0, 3))
    def reconcile(self, which: int) -> None:
        for place in range(which + 1):
            self.aim(which + place)
            self.driver.reconcile()

    @rule(times=st.integers(1, 3))
    def all_is_well_for_a_while(self, times: int) -> None:
        for _ in range(times):
            self.driver.settle()
            self.live()
            self.driver.pass_time(1)

    @rule(blind=st.runner().flatmap(lambda machine: st.sampled_from(machine.kinds)))
    def work_blindly(self, blind: Kind[Any]) -> None:
        """Let all come to rest but what has happened to one kind, of which nothing is heard."""
        for _ in range(30):
            for kind in self.kinds:
                if kind != blind:
                    self.driver.process.deliver(kind, 1000)
                    self.driver.process.mark(kind)
            if not self.driver.due:
                break
            self.driver.reconcile()

    def live(self) -> None:
        """Do what nodes and users do while time passes at the end, when all goes well."""

    def has_converged(self) -> bool:
        """Return whether everything is as it shall be."""
        return True

    def finish(self) -> None:
        """From wherever it is, when nothing more goes wrong, it comes to what it shall be, and is quiet."""
        self.driver.process.client.failure = None
        for _ in range(40):
            self.driver.settle()
            if self.has_converged():
                break
            self.live()
            self.driver.pass_time(11)
        else:
            raise AssertionError(["it does not converge", *self.driver.failures[-3:]])
        self.driver.pass_time(60)
        self.live()
        self.driver.settle()
        assert self.has_converged(), "it does not stay"
        assert self.driver.writes() == 0, "it is not quiet"


def _scale(found: Document) -> Document:
    """Return an object's scale, as its subresource says it."""
    selector = found["spec"].get("selector", {}).get("matchLabels", {})
    text = ",".join(f"{name}={value}" for name, value in sorted(selector.items()))
    replicas = found["spec"]["replicas"]
    return {"metadata": found["metadata"], "spec": {"replicas": replicas}, "status": {"selector": text}}


def is_leaving(document: Document) -> bool:
    return "deletionTimestamp" in document["metadata"]


def named(documents: Iterable[Document]) -> list[str]:
    return sorted(each["metadata"]["name"] for each in documents)


def topic(name: str) -> Topic:
    """Return the part of the registry that makes the controllers of a topic."""
    return next(each for each in CONTROLLERS if each.__name__ == f"_{name}")
