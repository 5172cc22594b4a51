"""What informers tell: columns follow the cluster, and pods come to the queue or are woken in it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Final

from orch.clock import Clock
from orch.objects.cluster import Namespace, Node
from orch.objects.pods import Pod
from orch.objects.scheme import NAMESPACES, NODES, PODS
from orch.runtime.informer import Change, Informers, Item
from orch_scheduler.columns import Columns
from orch_scheduler.demand import Demands
from orch_scheduler.filters.protocol import Wake
from orch_scheduler.gangs.groups import group_of
from orch_scheduler.hints import Happening
from orch_scheduler.queue import PodQueue, Waiting
from orch_scheduler.related import Related

log = logging.getLogger(__name__)

_FINISHED: Final = frozenset({"Succeeded", "Failed"})
_NEVER: Final = "Never"


class Observed:
    """The cluster as the informers show it: columns are kept and the queue is told, whoever leads.

    `names`: the schedulerNames of the pods that are ours.
    """

    def __init__(
        self,
        informers: Informers,
        columns: Columns,
        demands: Demands,
        queue: PodQueue,
        clock: Clock,
        names: Collection[str],
    ) -> None:
        self._columns = columns
        self._queue = queue
        self._clock = clock
        self._names = frozenset(names)
        self._demands = demands
        self._namespaces: dict[str, Mapping[str, str]] = {}
        self._pods = informers.of(PODS)
        informers.of(NODES).on_change(self._on_node)
        informers.of(NAMESPACES).on_change(self._on_namespace)
        self._pods.on_change(self._on_pod)
        self._related = Related(informers, columns, queue)

    def bound(self, namespace: str, name: str, uid: str) -> bool:
        """Return whether the pod has been seen on a node."""
        item = self._pods.get(namespace, name)
        return item is not None and item.uid == uid and bool(item.object.spec.node_name)

    def _on_pod(self, change: Change[Pod]) -> None:
        old, new = change.old, change.new
        self._columns.seen(change.item.revision)
        if old is not None and (new is None or new.uid != old.uid):
            self._forget(old)
        if new is None:
            return
        pod = new.object
        if pod.status.phase in _FINISHED:
            self._forget(new)
        elif pod.spec.node_name:
            self._queue.remove(new.uid)
            self._place(new)
            if old is None or not old.object.spec.node_name:
                self._wake(Wake.POD_ADDED, new)
            elif old.labels != new.labels:
                self._wake(Wake.POD_ADDED, new)
                self._wake(Wake.POD_REMOVED, old)  # those who minded it as it was
            elif _takes_less(old.object, pod):
                self._wake(Wake.POD_REMOVED, new)
        elif pod.metadata.deletion_timestamp or pod.spec.scheduler_name not in self._names:
            self._queue.remove(new.uid)
        else:
            self._enqueue(new)

    def _forget(self, item: Item[Pod]) -> None:
        self._queue.remove(item.uid)
        if self._columns.remove(item.uid):
            self._wake(Wake.POD_REMOVED, item)

    def _wake(self, change: Wake, item: Item[Pod]) -> None:
        """Wake whom a pod that came to a node or left it can help."""
        if not self._queue.parked:
            return
        try:
            demand = self._demands.of(item.object)
        except ValueError:  # logged when it was to be counted: nobody knows what it took
            demand = None
        node = item.object.spec.node_name
        self._queue.woken(
            change,
            Happening(
                pod=demand,
                room=lambda asked: self._columns.room(node, asked),
                namespaces=self._namespaces,
            ),
        )

    def _place(self, item: Item[Pod]) -> None:
        try:
            demand = self._demands.of(item.object)
        except ValueError as error:
            log.error("pod %s/%s on a node cannot be counted: %s", item.namespace, item.name, error)
            return
        self._columns.place(item.uid, item.object.spec.node_name, demand, item.object.status.start_time)

    def _enqueue(self, item: Item[Pod]) -> None:
        try:
            demand = self._demands.of(item.object)
        except ValueError as error:
            log.error("pod %s/%s cannot be scheduled: %s", item.namespace, item.name, error)
            return
        waiting = Waiting(
            uid=item.uid,
            namespace=item.namespace,
            name=item.name,
            revision=item.revision,
            demand=demand,
            trace=item.trace,
            since=self._clock.monotonic(),
            scheduler=item.object.spec.scheduler_name,
            preempts=item.object.spec.preemption_policy != _NEVER,
            gated=bool(item.object.spec.scheduling_gates),
            group=group_of(item.object),
            nominated=item.object.status.nominated_node_name,
        )
        self._queue.put(waiting)

    def _on_namespace(self, change: Change[Namespace]) -> None:
        new = change.new
        self._columns.seen(change.item.revision)
        self._columns.set_namespace(change.item.name, new.labels if new is not None else None)
        if new is not None:
            self._namespaces[new.name] = new.labels
        else:
            self._namespaces.pop(change.item.name, None)
        if new is not None and (change.old is None or change.old.labels != new.labels):
            self._queue.woken(Wake.POD_ADDED)  # pods that were there before may be meant now

    def _on_node(self, change: Change[Node]) -> None:
        self._columns.seen(change.item.revision)
        if change.new is None:
            if change.old is not None:
                self._columns.remove_node(change.old.name)
                self._queue.woken(Wake.NODE_REMOVED, Happening(old=change.old.object, namespaces=self._namespaces))
            return
        try:
            self._columns.set_node(change.new.object)
        except ValueError as error:
            log.error("node %s cannot be used: %s", change.new.name, error)
            return
        old, new = change.old.object if change.old else None, change.new.object
        woken = _woken(old, new)
        if woken:
            self._queue.woken(woken, Happening(old=old, node=new, namespaces=self._namespaces))


def _takes_less(old: Pod, new: Pod) -> bool:
    """Return whether a pod on a node began to go, which spread constraints look at, or may have become smaller."""
    if new.metadata.deletion_timestamp and not old.metadata.deletion_timestamp:
        return True
    if old.spec.containers != new.spec.containers:
        return True
    before, after = old.status.container_statuses, new.status.container_statuses
    return before != after and [each.resources for each in before] != [each.resources for each in after]


def _woken(old: Node | None, new: Node) -> Wake:
    """Return what a node's change may make possible."""
    if old is None:
        return Wake.NODE_ADDED
    wake = Wake(0)
    if old.status.allocatable != new.status.allocatable:
        wake |= Wake.NODE_ALLOCATABLE
    if old.metadata.labels != new.metadata.labels:
        wake |= Wake.NODE_LABELS
    if old.spec.taints != new.spec.taints or old.spec.unschedulable != new.spec.unschedulable:
        wake |= Wake.NODE_TAINTS
    return wake
