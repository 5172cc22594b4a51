"""A world in which pods live: what their users, their nodes and the scheduler do to them, one thing at a time."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from lagging_world import Crash, Document, Process, World, unanswered

from orch.errors import AlreadyExistsError, OrchError
from orch.objects.scheme import PODS, Kind
from orch.runtime.reconcile import Key

ENDED = {"Succeeded", "Failed"}


class PodWorld(World):
    """A world in which new pods are pending and on no node, as the api makes them."""

    def create(self, kind: Kind[Any], namespace: str, body: Document) -> Document:
        meta = body["metadata"]
        if self.find(kind, meta["name"], namespace) is not None:
            raise AlreadyExistsError.of(kind.resource, kind.group, meta["name"])
        self._uids += 1
        known = {"uid": f"uid-{self._uids}", "namespace": namespace, "creationTimestamp": self.now(), "generation": 1}
        begun = {"status": {"phase": "Pending"}} if kind == PODS else {}
        return self._put(kind, None, {**body, **begun, "metadata": {**meta, **known}})

    def pods(self, owner: str = "") -> list[Document]:
        """Return the pods that an object of that uid controls, or all, by name."""
        found = [pod for pod in self.all(PODS) if not owner or owner in controllers(pod)]
        return sorted(found, key=lambda pod: pod["metadata"]["name"])

    def bind(self, pod: Document, node: str) -> None:
        self.change(PODS, pod["metadata"]["name"], lambda document: document["spec"].update(nodeName=node))

    def report(self, pod: Document, phase: str, *, ready: bool) -> None:
        """Write a pod's status as its node would; when it became ready is kept while it is."""
        moment = self.now()

        def change(document: Document) -> None:
            if is_ready(document) and ready:
                return
            condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": moment}
            document["status"] = {"phase": phase, "conditions": [condition]}

        self.change(PODS, pod["metadata"]["name"], change)

    def stop(self, pod: Document) -> None:
        """Say that a pod has gone, as its node does when it was told to delete it."""
        self.delete(PODS, pod["metadata"]["name"], grace=0)

    def live(self, pod: Document, node: str) -> None:
        """Do what comes next in a pod's life when nothing goes wrong."""
        if leaving(pod):
            self.stop(pod)
        elif pod["status"]["phase"] in ENDED:
            return
        elif not pod["spec"].get("nodeName"):
            self.bind(pod, node)
        elif not is_ready(pod):
            self.report(pod, "Running", ready=True)


def controllers(document: Document) -> list[str]:
    """Return the uids of an object's controllers: there must never be two."""
    return [each["uid"] for each in document["metadata"].get("ownerReferences", ()) if each.get("controller")]


def leaving(document: Document) -> bool:
    return "deletionTimestamp" in document["metadata"]


def is_ready(pod: Document) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


class Driver:
    """One process of a controller that is replaced when it crashes; `acting` while it reconciles."""

    def __init__(self, world: World, kinds: list[Kind[Any]], reconciler: Any, key: Key) -> None:
        self.world = world
        self.kinds = kinds
        self.make = reconciler
        self.key = key
        self.loop = asyncio.new_event_loop()
        self.acting = False
        self.failures: list[OrchError] = []
        self.start()

    def start(self) -> None:
        """Begin anew, as another leader does: with everything seen that there is."""
        self.process = Process(self.world, self.kinds)
        self.reconciler = self.make(self.process.context)

    def close(self) -> None:
        self.loop.close()

    def reconcile(self) -> Any:
        """Reconcile once; an error of the api's is kept, as the runtime would try again."""
        self.acting = True
        try:
            return self.loop.run_until_complete(self.reconciler.reconcile(self.key))
        except OrchError as error:
            self.failures.append(error)
            return None
        finally:
            self.acting = False

    def crash(self, writes: int, *, after: bool) -> None:
        """Reconcile, and die at a write."""
        self.process.client.fail(writes, Crash(), after=after)
        try:
            self.reconcile()
        except Crash:
            pass
        finally:
            self.start()

    def lose_an_answer(self, writes: int, *, after: bool) -> None:
        """Reconcile, and get no answer to a write."""
        self.process.client.fail(writes, unanswered(), after=after)
        self.reconcile()
        self.process.client.failure = None

    def pass_time(self, seconds: float) -> None:
        self.loop.run_until_complete(self.world.clock.advance(seconds))

    def writes(self) -> int:
        """Return how many writes one more reconciliation makes when everything has been seen."""
        self.process.catch_up()
        before = self.process.client.writes
        self.reconcile()
        return self.process.client.writes - before

    def seen(self, kind: Kind[Any], name: str) -> Any:
        """Return an object as the process has it in mind."""
        item = self.process.informers.of(kind).get("default", name)
        return item.object if item is not None else None


_A_KIND: Any = st.runner().flatmap(lambda machine: st.sampled_from(machine.kinds))


class LaggingMachine(RuleBasedStateMachine):
    """What may happen to any controller and to what it sees; its machines add what users, nodes and pods do."""

    kinds: ClassVar[list[Kind[Any]]]

    def __init__(self) -> None:
        super().__init__()
        self.world = PodWorld()
        self.world.check = self.check
        self.driver: Any = None

    def teardown(self) -> None:
        if self.driver is None:
            return
        try:
            self.finish()
        finally:
            self.driver.close()

    def check(self, kind: Kind[Any], old: Document | None, new: Document | None) -> None:
        """Look at every write."""

    def finish(self) -> None:
        """Let all be well, and look at what it came to."""

    def aim(self, which: int) -> None:
        """Choose what is reconciled next, where there is a choice."""

    @rule(kind=_A_KIND, count=st.integers(1, 4))
    def deliver(self, kind: Kind[Any], count: int) -> None:
        self.driver.process.deliver(kind, count)

    @rule(kind=_A_KIND)
    def deliver_again(self, kind: Kind[Any]) -> None:
        self.driver.process.again(kind)

    @rule(kind=_A_KIND)
    def lose_events(self, kind: Kind[Any]) -> None:
        self.driver.process.relist(kind)

    @rule()
    def catch_up(self) -> None:
        self.driver.process.catch_up()

    @rule(which=st.integers(0, 3))
    def reconcile(self, which: int) -> None:
        self.aim(which)
        self.driver.reconcile()

    @rule(which=st.integers(0, 3), blind=_A_KIND)
    def reconcile_blindly(self, which: int, blind: Kind[Any]) -> None:
        """Reconcile with everything seen but what has happened to one kind."""
        for kind in self.kinds:
            if kind != blind:
                self.driver.process.deliver(kind, 1000)
        self.reconcile(which)

    @rule(which=st.integers(0, 3), writes=st.integers(1, 6), after=st.booleans())
    def crash(self, which: int, writes: int, *, after: bool) -> None:
        self.aim(which)
        self.driver.crash(writes, after=after)

    @rule(which=st.integers(0, 3), writes=st.integers(1, 6), after=st.booleans())
    def lose_an_answer(self, which: int, writes: int, *, after: bool) -> None:
        self.aim(which)
        self.driver.lose_an_answer(writes, after=after)

    @rule(seconds=st.sampled_from([1, 10, 400]))
    def wait(self, seconds: int) -> None:
        """Let time pass; informers are never minutes late, as expectations are given up then."""
        if seconds > 100:
            self.driver.process.catch_up()
        self.driver.pass_time(seconds)
