"""What informers tell of what pods are related to: services and workloads, claims, volumes and drivers of nodes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from orch.objects.apps import ReplicaSet, ReplicationController, StatefulSet
from orch.objects.meta import LabelSelector, Object
from orch.objects.networking import Service
from orch.objects.scheme import (
    CSI_DRIVERS,
    CSI_NODES,
    CSI_STORAGE_CAPACITIES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    SERVICES,
    STATEFUL_SETS,
    STORAGE_CLASSES,
    Kind,
)
from orch.objects.storage import CSIDriver, CSIStorageCapacity, PersistentVolumeClaim
from orch.runtime.informer import Change, Handler, Informers
from orch_scheduler.columns import Columns
from orch_scheduler.filters.protocol import Wake
from orch_scheduler.queue import PodQueue

log = logging.getLogger(__name__)

ObjectT = TypeVar("ObjectT", bound=Object)


class Related:
    """Tells the columns, and wakes the pods that storage can help."""

    def __init__(self, informers: Informers, columns: Columns, queue: PodQueue) -> None:
        self._columns = columns
        self._queue = queue
        storage = columns.storage
        informers.of(SERVICES).on_change(self._on_service)
        informers.of(REPLICA_SETS).on_change(self._owner("ReplicaSet", _selector))
        informers.of(STATEFUL_SETS).on_change(self._owner("StatefulSet", _selector))
        informers.of(REPLICATION_CONTROLLERS).on_change(self._owner("ReplicationController", _plain_selector))
        informers.of(PERSISTENT_VOLUME_CLAIMS).on_change(self._on_claim)
        self._follow(informers, PERSISTENT_VOLUMES, storage.set_volume)
        self._follow(informers, STORAGE_CLASSES, storage.set_class)
        self._follow(informers, CSI_NODES, storage.set_node)
        informers.of(CSI_DRIVERS).on_change(self._on_driver)
        informers.of(CSI_STORAGE_CAPACITIES).on_change(self._on_capacity)

    def _on_service(self, change: Change[Service]) -> None:
        item, new = change.item, change.new
        self._columns.seen(item.revision)
        selector = new.object.spec.selector if new is not None else None
        self._columns.workloads.set_service(item.namespace, item.name, selector)

    def _owner(self, kind: str, read: Callable[[ObjectT], LabelSelector]) -> Handler[ObjectT]:
        def on_change(change: Change[ObjectT]) -> None:
            item, new = change.item, change.new
            self._columns.seen(item.revision)
            selector = read(new.object) if new is not None else None
            try:
                self._columns.workloads.set_owner(kind, item.namespace, item.name, selector)
            except ValueError as error:
                log.error("the selector of %s %s/%s cannot be used: %s", kind, item.namespace, item.name, error)

        return on_change

    def _on_claim(self, change: Change[PersistentVolumeClaim]) -> None:
        item, new = change.item, change.new
        self._columns.seen(item.revision)
        self._columns.storage.set_claim(item.namespace, item.name, new.object if new is not None else None)
        self._queue.woken(Wake.STORAGE)

    def _on_driver(self, change: Change[CSIDriver]) -> None:
        self._columns.seen(change.item.revision)
        driver = change.new.object if change.new is not None else None
        if self._columns.storage.set_driver(change.item.name, driver):
            self._queue.woken(Wake.STORAGE)

    def _on_capacity(self, change: Change[CSIStorageCapacity]) -> None:
        item, new = change.item, change.new
        self._columns.seen(item.revision)
        capacity = new.object if new is not None else None
        try:
            more = self._columns.storage.set_capacity(item.namespace, item.name, capacity)
        except ValueError as error:
            log.error("the capacity that %s/%s tells cannot be used: %s", item.namespace, item.name, error)
            more = self._columns.storage.set_capacity(item.namespace, item.name, None)
        if more:
            self._queue.woken(Wake.STORAGE)

    def _follow(self, informers: Informers, kind: Kind[ObjectT], tell: Callable[[str, ObjectT | None], None]) -> None:
        def on_change(change: Change[ObjectT]) -> None:
            item, new = change.item, change.new
            self._columns.seen(item.revision)
            tell(item.name, new.object if new is not None else None)
            self._queue.woken(Wake.STORAGE)

        informers.of(kind).on_change(on_change)


def _selector(workload: ReplicaSet | StatefulSet) -> LabelSelector:
    return workload.spec.selector


def _plain_selector(workload: ReplicationController) -> LabelSelector:
    return LabelSelector(match_labels=workload.spec.selector)
