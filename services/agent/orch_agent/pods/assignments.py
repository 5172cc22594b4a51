"""Which pods are this process's: from the stream of assignments to workers, and back from what is still running.

A worker is a pod's, by uid. When the stream no longer holds a pod that was not being deleted, the api is asked before
anything is stopped: a stream can be lost and rebuilt, a stopped container cannot.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client import Counter, Gauge

from orch.errors import ApiError, BusError, ForbiddenError, NotFoundError, OrchError, UnavailableError
from orch.objects.fencing import is_fenced_by_lease
from orch.objects.pods import Pod
from orch.objects.scheme import PODS
from orch.runtime.informer import Change, Informer, Item
from orch_agent.pods.host import PodHost
from orch_agent.pods.naming import describe
from orch_agent.pods.static import CONFIG_MIRROR, is_mirror
from orch_agent.pods.static_pods import StaticPods
from orch_agent.pods.worker import PodWorker
from orch_agent.runtimes.protocol import ContainerInfo

_LOG: Final = logging.getLogger(__name__)
_PODS: Final = Gauge("orch_agent_pods", "Pods that have a worker.")
_ORPHANS: Final = Counter("orch_agent_orphans_total", "Containers and sandboxes removed because no pod wanted them.")
_DOUBTS: Final = Counter(
    "orch_agent_doubted_deletions_total", "Pods that left the stream and were found to exist when the api was asked."
)

_FIRST_RETRY: Final = 1.0
_LONGEST_RETRY: Final = 30.0
_QUESTIONS: Final = 16


class Assignments:
    """The pod workers of one process, for its one node or its simulated many."""

    def __init__(self, informer: Informer[Pod], hosts: Mapping[str, PodHost], static: StaticPods | None = None) -> None:
        self._informer = informer
        self._hosts = hosts
        self._static = static
        self._mirrors: dict[str, Item[Pod]] = {}
        self._workers: dict[str, PodWorker] = {}
        self._found: dict[str, list[ContainerInfo]] = {}
        self._leftover: set[tuple[str, str]] = set()
        self._questions = asyncio.Semaphore(_QUESTIONS)
        self._tasks: asyncio.TaskGroup | None = None

    def worker(self, uid: str) -> PodWorker | None:
        """Return the pod's worker; of a mirror that of the pod which it shows."""
        mirror = self._mirrors.get(uid)
        return self._shown_by(mirror) if mirror is not None else self._workers.get(uid)

    def worker_named(self, namespace: str, name: str) -> PodWorker | None:
        """Return the worker of the pod that has this name now."""
        item = self._informer.get(namespace, name)
        if item is None:
            return None
        return self._shown_by(item) if is_mirror(item.object) else self._workers.get(item.uid)

    def _shown_by(self, mirror: Item[Pod]) -> PodWorker | None:
        worker = self._workers.get(mirror.object.metadata.annotations[CONFIG_MIRROR])
        if worker is None:
            return None
        # Anyone may write that annotation: it must not lead to a pod of another name.
        meta = worker.pod.metadata
        return worker if (meta.namespace, meta.name) == (mirror.namespace, mirror.name) else None

    def workers_of(self, node: str) -> list[PodWorker]:
        """Return the workers of the pods of a node that have not ended."""
        return [each for each in self._workers.values() if each.host.node == node and not each.settled]

    def containers_of(self, node: str) -> list[ContainerInfo]:
        """Return the latest attempts of the containers of a node's pods and those before them, as far as they are."""
        return [info for each in self._workers.values() if each.host.node == node for info in each.containers]

    def pods_of(self, node: str) -> list[Item[Pod]]:
        """Return the pods that are assigned to a node."""
        return [item for item in self._informer.items() if item.object.spec.node_name == node]

    def wake(self, uid: str) -> None:
        """Pass on that a container of a pod changed; "" means any pod."""
        if uid:
            worker = self._workers.get(uid)
            if worker is not None:
                worker.wake()
        else:
            for worker in self._workers.values():
                worker.wake()

    def recheck_leased(self) -> None:
        """Have the workers of pods that live by the node's lease look at once whether they may still run."""
        for worker in self._workers.values():
            if is_fenced_by_lease(worker.pod):
                worker.recheck()

    async def run(self) -> None:
        """Keep the workers for ever. What an earlier process left is adopted when wanted, else removed."""
        for host in self._hosts.values():
            await self._take_stock(host)
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            stop = self._informer.on_change(self._changed)
            try:
                tasks.create_task(self._informer.run(), name="assignments")
                if self._static is not None:
                    tasks.create_task(self._static.run(self), name="static pods")
                tasks.create_task(self._remove_orphans(), name="orphans")
                await asyncio.get_running_loop().create_future()
            finally:
                stop()
                self._tasks = None

    # -- what is wanted ------------------------------------------------------------------------------------------

    def _changed(self, change: Change[Pod]) -> None:
        if change.new is not None:
            self._wanted(change.new)
        elif change.old is not None:
            self._left(change.old)

    def start_static(self, host: PodHost, pod: Pod) -> None:
        """Start a worker for a pod of the node's own, going on from what an earlier process left of it."""
        uid = pod.metadata.uid
        self._leftover.discard((host.node, uid))
        self._start(uid, PodWorker(host, pod, found=self._found.pop(uid, [])))

    def _wanted(self, item: Item[Pod]) -> None:
        pod = item.object
        host = self._hosts.get(pod.spec.node_name)
        if host is None:
            return
        if is_mirror(pod):
            self._mirrors[item.uid] = item
            if self._static is not None:
                self._static.mirror_changed((item.namespace, item.name), item)
            return
        worker = self._workers.get(item.uid)
        if worker is not None:
            worker.update(pod, item.trace)
            return
        found = self._found.pop(item.uid, [])
        self._leftover.discard((host.node, item.uid))
        worker = PodWorker(host, pod, trace=item.trace, found=found)
        self._start(item.uid, worker)

    def _start(self, uid: str, worker: PodWorker) -> None:
        self._workers[uid] = worker
        _PODS.set(len(self._workers))
        if self._tasks is not None:
            self._tasks.create_task(self._live(uid, worker), name=f"pod {describe(worker.pod)}")

    async def _live(self, uid: str, worker: PodWorker) -> None:
        """Run a worker. One that fails must not take the others with it: it is started anew from what is there."""
        delay = _FIRST_RETRY
        while True:
            try:
                await worker.run()
            except Exception:  # noqa: BLE001 - a mistake about one pod must not end the others; logged and retried
                _LOG.exception("the worker of pod %s failed; it starts anew in %.0f s", describe(worker.pod), delay)
                host = self._hosts[worker.pod.spec.node_name]
                await host.clock.sleep(delay)
                delay = min(delay * 2, _LONGEST_RETRY)
                try:
                    found = await host.runtime.containers(uid)
                except OrchError as error:
                    _LOG.warning("containers of pod %s: %s", describe(worker.pod), error)
                    continue
                worker = worker.successor(found)
                self._workers[uid] = worker
            else:
                break
        del self._workers[uid]
        _PODS.set(len(self._workers))

    def _left(self, item: Item[Pod]) -> None:
        if is_mirror(item.object):
            self._mirrors.pop(item.uid, None)
            if self._static is not None:
                self._static.mirror_changed((item.namespace, item.name), None)
            return
        worker = self._workers.get(item.uid)
        if worker is None:
            return
        if item.object.metadata.deletion_timestamp or self._tasks is None:
            worker.vanish()
        else:
            self._tasks.create_task(self._confirm(item, worker), name=f"confirm {describe(item.object)}")

    async def _confirm(self, item: Item[Pod], worker: PodWorker) -> None:
        """End the pod if the api, too, no longer has it; else leave it alone, it will come back on the stream."""
        if not await self._is_gone(self._hosts[item.object.spec.node_name], item.namespace, item.name, item.uid):
            _DOUBTS.inc()
            _LOG.warning("pod %s left the stream but exists; it stays", describe(item.object))
        elif self._workers.get(item.uid) is worker:
            worker.vanish()

    async def _is_gone(self, host: PodHost, namespace: str, name: str, uid: str) -> bool:
        """Ask the api until it answers."""
        delay = _FIRST_RETRY
        while True:
            try:
                async with self._questions:
                    pod = await host.reader.get(PODS, namespace, name)
            except NotFoundError:
                return True
            except ForbiddenError:  # a node is refused the pods of others alone: another pod has this name now
                return True
            except (ApiError, BusError, UnavailableError) as error:
                _LOG.warning("whether pod %s/%s exists is not known yet: %s", namespace, name, error)
                await host.clock.sleep(delay)
                delay = min(delay * 2, _LONGEST_RETRY)
            else:
                return pod.metadata.uid != uid or pod.spec.node_name != host.node

    # -- what is there -------------------------------------------------------------------------------------------

    async def _take_stock(self, host: PodHost) -> None:
        """Note what an earlier process left on a node, trying until the runtime answers."""
        delay = _FIRST_RETRY
        while True:
            try:
                containers = await host.runtime.containers()
                owners = {*await host.sandboxes.owners(), *await host.files.owners(), *await host.volumes.owners()}
                owners |= {*await host.groups.owners(), *await host.namespaces.owners()}
            except OrchError as error:
                _LOG.warning("what runs on node %s is not known yet: %s", host.node, error)
                await host.clock.sleep(delay)
                delay = min(delay * 2, _LONGEST_RETRY)
            else:
                break
        for info in containers:
            self._found.setdefault(info.identity.uid, []).append(info)
        self._leftover |= {(host.node, uid) for uid in owners.union(info.identity.uid for info in containers)}

    async def _remove_orphans(self) -> None:
        """Once the assignments are known, remove what belongs to no pod."""
        while True:
            try:
                await self._informer.wait_synced()
            except UnavailableError as error:
                _LOG.warning("the assignments are not known yet: %s", error)
            else:
                break
        if self._static is not None:
            await self._static.ready.wait()
        for node, uid in sorted(self._leftover):
            await self._remove_orphan(self._hosts[node], uid, self._found.get(uid, ()))

    async def _remove_orphan(self, host: PodHost, uid: str, containers: Iterable[ContainerInfo]) -> None:
        delay = _FIRST_RETRY
        identity = next((info.identity for info in containers), None)
        if identity is not None and not await self._is_gone(host, identity.namespace, identity.pod, uid):
            return
        while uid not in self._workers:
            try:
                for info in await host.runtime.containers(uid):
                    await host.runtime.remove(info.id)
                if uid not in self._workers:
                    await host.namespaces.remove(uid)
                    await host.sandboxes.remove(uid)
                    await host.volumes.remove(uid)
                    await host.files.remove(uid)
                    await host.groups.remove(uid)
            except OrchError as error:
                _LOG.warning("what is left of pod %s could not be removed: %s", uid, error)
                await host.clock.sleep(delay)
                delay = min(delay * 2, _LONGEST_RETRY)
            else:
                self._found.pop(uid, None)
                _ORPHANS.inc()
                _LOG.info("removed what was left of pod %s", uid)
                return
