"""What columns are told of beside nodes and pods, as entries of the journal, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar

import msgspec

from orch.errors import OrchError
from orch.objects.meta import LabelSelector, Object, ObjectMeta
from orch.objects.storage import (
    CSIDriver,
    CSINode,
    CSIStorageCapacity,
    PersistentVolume,
    PersistentVolumeClaim,
    StorageClass,
)
from orch_pb.v1.journal_pb2 import JournalEntry, Told
from orch_scheduler.columns import Columns
from orch_scheduler.disruptions import Allowance, Budgets, Departures
from orch_scheduler.replay.journal import Journal
from orch_scheduler.storage import Storage
from orch_scheduler.workloads import Workloads

NAMESPACE: Final = "namespace"
SERVICE: Final = "service"
OWNER: Final = "owner"
CLAIM: Final = "claim"
VOLUME: Final = "volume"
STORAGE_CLASS: Final = "storage class"
CSI_NODE: Final = "csi node"
GOING: Final = "going"
BUDGET: Final = "budget"
CSI_DRIVER: Final = "csi driver"
CSI_CAPACITY: Final = "csi capacity"

FoundT = TypeVar("FoundT")

_encode: Final = msgspec.json.Encoder().encode


class Teller:
    """Tells the journal of objects, and remembers the newest of each for checkpoints."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._told: dict[tuple[str, str], bytes] = {}

    def tell(self, what: str, name: str, found: msgspec.Struct | Mapping[str, str] | float | None) -> None:
        """Take down an object as it is now, None when it is gone; what is as it was is not told again."""
        if isinstance(found, Object):
            found = _essence(found)
        json = _encode(found)
        old = self._told.pop((what, name), None)
        if found is not None:
            self._told[what, name] = json
        if old != (json if found is not None else None):
            self._journal.told(what, name, json)

    def checkpoint(self) -> list[JournalEntry]:
        """Return all objects as entries."""
        return [JournalEntry(told=Told(what=what, name=name, json=json)) for (what, name), json in self._told.items()]


class RecordedWorkloads(Workloads):
    """Says which selectors services and workloads have."""

    def __init__(self, teller: Teller) -> None:
        super().__init__()
        self._teller = teller

    def set_service(self, namespace: str, name: str, selector: Mapping[str, str] | None) -> bool:
        """Take over a service's selector, None or an empty one when it selects nothing; return whether it changed."""
        changed = super().set_service(namespace, name, selector)
        self._teller.tell(SERVICE, f"{namespace}/{name}", selector or None)
        return changed

    def set_owner(self, kind: str, namespace: str, name: str, selector: LabelSelector | None) -> bool:
        """Take over a workload's selector, None when it is gone; return whether it changed. Raises ValueError."""
        changed = super().set_owner(kind, namespace, name, selector)
        self._teller.tell(OWNER, f"{kind}/{namespace}/{name}", selector)
        return changed


class RecordedStorage(Storage):
    """Says which claims, volumes and classes of storage there are, and what nodes can attach."""

    def __init__(self, teller: Teller) -> None:
        super().__init__()
        self._teller = teller

    def set_claim(self, namespace: str, name: str, claim: PersistentVolumeClaim | None) -> None:
        """Take over a claim, None when it is gone."""
        super().set_claim(namespace, name, claim)
        self._teller.tell(CLAIM, f"{namespace}/{name}", claim)

    def set_volume(self, name: str, volume: PersistentVolume | None) -> None:
        """Take over a volume, None when it is gone."""
        super().set_volume(name, volume)
        self._teller.tell(VOLUME, name, volume)

    def set_class(self, name: str, found: StorageClass | None) -> None:
        """Take over a class of storage, None when it is gone."""
        super().set_class(name, found)
        self._teller.tell(STORAGE_CLASS, name, found)

    def set_node(self, name: str, node: CSINode | None) -> None:
        """Take over what a node can attach, None when that is not known any more."""
        super().set_node(name, node)
        self._teller.tell(CSI_NODE, name, node)

    def set_driver(self, name: str, driver: CSIDriver | None) -> bool:
        """Take over a driver, None when it is gone; return whether pods can have got room by that."""
        more = super().set_driver(name, driver)
        self._teller.tell(CSI_DRIVER, name, driver)
        return more

    def set_capacity(self, namespace: str, name: str, capacity: CSIStorageCapacity | None) -> bool:
        """Take over how much room there is on some nodes; return whether pods can have got room by that."""
        more = super().set_capacity(namespace, name, capacity)
        self._teller.tell(CSI_CAPACITY, f"{namespace}/{name}", capacity)
        return more


class RecordedDepartures(Departures):
    """Says which pods leave."""

    def __init__(self, teller: Teller) -> None:
        super().__init__()
        self._teller = teller

    def set(self, uid: str, until: float | None) -> None:
        """Take note that a pod leaves, None: that it has left, or stays."""
        super().set(uid, until)
        self._teller.tell(GOING, uid, until)


class RecordedBudgets(Budgets):
    """Says what disruption budgets allow."""

    def __init__(self, teller: Teller) -> None:
        super().__init__()
        self._teller = teller

    def set(self, namespace: str, name: str, allowance: Allowance | None) -> None:
        """Take over a budget, None when it is gone. Raises ValueError for a selector that cannot be read."""
        super().set(namespace, name, allowance)
        self._teller.tell(BUDGET, f"{namespace}/{name}", allowance)

    def count(self, number: int, taken: int) -> Allowance:
        """Take note of how many disruptions of a budget preemption has caused; return what the budget says now."""
        allowance = super().count(number, taken)
        self._teller.tell(BUDGET, "/".join(self.name_of(number)), allowance)
        return allowance


def retell(columns: Columns, told: Told) -> bool:
    """Tell columns what was told before; return whether it is known here. Raises TellingError for what is not it."""
    name, json = told.name, told.json
    namespace, _, plain = name.rpartition("/")
    try:
        match told.what:
            case "namespace":
                columns.set_namespace(name, _read(json, dict[str, str]))
            case "service":
                columns.workloads.set_service(namespace, plain, _read(json, dict[str, str]))
            case "owner":
                kind, _, namespace = namespace.partition("/")
                columns.workloads.set_owner(kind, namespace, plain, _read(json, LabelSelector))
            case "going":
                columns.departures.set(name, _read(json, float))
            case "budget":
                columns.budgets.set(namespace, plain, _read(json, Allowance))
            case _:
                return _retell_storage(columns, told, namespace, plain)
    except msgspec.MsgspecError as error:
        raise TellingError(f"{told.what} {name} cannot be read: {error}") from error
    return True


def _retell_storage(columns: Columns, told: Told, namespace: str, plain: str) -> bool:
    name, json, storage = told.name, told.json, columns.storage
    match told.what:
        case "claim":
            storage.set_claim(namespace, plain, _read(json, PersistentVolumeClaim))
        case "volume":
            storage.set_volume(name, _read(json, PersistentVolume))
        case "storage class":
            storage.set_class(name, _read(json, StorageClass))
        case "csi node":
            storage.set_node(name, _read(json, CSINode))
        case "csi driver":
            storage.set_driver(name, _read(json, CSIDriver))
        case "csi capacity":
            storage.set_capacity(namespace, plain, _read(json, CSIStorageCapacity))
        case _:
            return False
    return True


def _read(json: bytes, kind: type[FoundT]) -> FoundT | None:
    return None if json == b"null" else msgspec.json.decode(json, type=kind)


class TellingError(OrchError):
    """An entry of a journal whose content is not what it says."""


def _essence(found: Object) -> Object:
    """Return an object without what only says when and by whom it was changed."""
    metadata = found.metadata
    kept = ObjectMeta(
        name=metadata.name,
        namespace=metadata.namespace,
        uid=metadata.uid,
        labels=metadata.labels,
        annotations=metadata.annotations,
        deletion_timestamp=metadata.deletion_timestamp,
        owner_references=metadata.owner_references,
    )
    return msgspec.structs.replace(found, metadata=kept)
