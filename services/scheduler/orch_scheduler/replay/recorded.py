"""Columns and demands that say to the journal what they are told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Final
from weakref import WeakKeyDictionary

import msgspec

from orch.objects.cluster import Node
from orch.objects.meta import ObjectMeta
from orch.objects.pods import Pod
from orch_pb.v1 import journal_pb2
from orch_pb.v1.journal_pb2 import Began, JournalEntry, Placements, Template, Told
from orch_scheduler.columns import Columns
from orch_scheduler.demand import Demand, Demands
from orch_scheduler.profiles import Profile
from orch_scheduler.replay.journal import PIECE, Journal
from orch_scheduler.replay.told import (
    NAMESPACE,
    RecordedBudgets,
    RecordedDepartures,
    RecordedStorage,
    RecordedWorkloads,
    Teller,
)

NODE: Final = "node"
NODE_GONE: Final = "node gone"
_NODES: Final = 1_024
"""Nodes in one piece of a checkpoint."""

_encode: Final = msgspec.json.Encoder().encode


class RecordedDemands(Demands):
    """Remembers of each demand the pod that it was first made for, for as long as anybody has the demand."""

    def __init__(self, journal: Journal, limit: int = 16384) -> None:
        super().__init__(limit)
        self._journal = journal
        self._templates: WeakKeyDictionary[Demand, Template] = WeakKeyDictionary()
        self._written: set[int] = set()
        self._last = 0
        self._recent: Demand | None = None
        self._number = 0

    def of(self, pod: Pod, *, pinned: bool = False) -> Demand:
        """Return the pod's demand. Raises ValueError for a quantity or a selector that cannot be read."""
        demand = super().of(pod, pinned=pinned)
        if demand is not self._recent and demand not in self._templates:
            self._last += 1
            self._templates[demand] = Template(id=self._last, pod=_encode(_essence(pod)), pinned=pinned)
        return demand

    def template(self, demand: Demand) -> int:
        """Return the number of a demand's template, which is in the journal when this returns."""
        if demand is self._recent:
            return self._number
        template = self._templates[demand]
        if self._journal.recording:
            if template.id not in self._written:
                self._written.add(template.id)
                self._journal.template(template)
            # Pods of one class come one after another: the next is likely to be of the same.
            self._recent, self._number = demand, template.id
        return template.id

    def checkpoint(self) -> list[JournalEntry]:
        """Return all templates that anything may name, as entries; from now on they count as written."""
        self._recent = None
        templates = list(self._templates.values())
        self._written = {template.id for template in templates}
        return [JournalEntry(template=template) for template in templates]


class RecordedColumns(Columns):
    """The live columns of a scheduler whose decisions can be replayed."""

    def __init__(self, journal: Journal, demands: RecordedDemands, profiles: Sequence[Profile]) -> None:
        super().__init__()
        self._teller = Teller(journal)
        self.workloads = RecordedWorkloads(self._teller)
        self.storage = RecordedStorage(self._teller)
        self.budgets = RecordedBudgets(self._teller)
        self.departures = RecordedDepartures(self._teller)
        self._journal = journal
        self._demands = demands
        self._profiles = profiles
        self._told_nodes: dict[str, bytes] = {}
        self._where: dict[str, tuple[str, int, str]] = {}  # uid → (node, template, started)
        journal.attach(self._checkpoint)

    def set_node(self, node: Node) -> None:
        """Add a node or take over its new state. Raises ValueError for a quantity that cannot be read."""
        super().set_node(node)
        name, json = node.metadata.name, _encode(_node_essence(node))
        if self._told_nodes.get(name) != json:
            self._told_nodes[name] = json
            self._journal.told(NODE, name, json)

    def remove_node(self, name: str) -> None:
        """Forget a node; its pods count again if it returns before they are gone."""
        super().remove_node(name)
        if self._told_nodes.pop(name, None) is not None:
            self._journal.told(NODE_GONE, name)

    def place(self, uid: str, node: str, demand: Demand, started: str = "") -> None:
        """Count a pod on a node; placing it again as it is where it is changes nothing."""
        super().place(uid, node, demand, started)
        where = (node, self._demands.template(demand), started)
        if self._where.get(uid) != where:
            self._where.pop(uid, None)
            self._where[uid] = where
            self._journal.placed(uid, *where)

    def remove(self, uid: str) -> bool:
        """Stop counting a pod; return whether it was counted."""
        counted = super().remove(uid)
        if self._where.pop(uid, None) is not None:
            self._journal.removed(uid)
        return counted

    def set_namespace(self, name: str, labels: Mapping[str, str] | None) -> None:
        """Remember a namespace's labels; None when it is gone."""
        super().set_namespace(name, labels)
        self._teller.tell(NAMESPACE, name, labels)

    def _checkpoint(self) -> Iterator[list[JournalEntry]]:
        """Take what is, at once; the pieces are made as they are asked for."""
        snapshot = self.snapshot()
        profiles = [
            journal_pb2.Profile(name=profile.name, hash=profile.hash, config=profile.settings)
            for profile in self._profiles
        ]
        began = Began(resources=list(snapshot.resources), rows=snapshot.names, free=self._free, profiles=profiles)
        head = [JournalEntry(began=began), *self._demands.checkpoint(), *self._teller.checkpoint()]
        nodes = [(name, self._told_nodes[name]) for name in snapshot.names if name]
        pods = dict(self._where)
        return _pieces(head, nodes, pods)


def _pieces(
    head: list[JournalEntry], nodes: Sequence[tuple[str, bytes]], pods: Mapping[str, tuple[str, int, str]]
) -> Iterator[list[JournalEntry]]:
    yield head
    for start in range(0, len(nodes), _NODES):
        part = nodes[start : start + _NODES]
        yield [JournalEntry(told=Told(what=NODE, name=name, json=json)) for name, json in part]
    left = iter(pods.items())
    while part := list(islice(left, PIECE)):
        placements = Placements(
            uids=[uid for uid, _ in part],
            nodes=[node for _, (node, _, _) in part],
            templates=[template for _, (_, template, _) in part],
            started=[started for _, (_, _, started) in part],
        )
        yield [JournalEntry(placed=placements)]


def _essence(pod: Pod) -> Pod:
    """Return what a demand can depend on."""
    metadata = msgspec.structs.replace(pod.metadata, uid="", resource_version="", annotations={}, finalizers=())
    return msgspec.structs.replace(pod, metadata=metadata)


def _node_essence(node: Node) -> Node:
    """Return what the columns can depend on: not the times of heartbeats."""
    metadata = ObjectMeta(name=node.metadata.name, labels=node.metadata.labels, annotations=node.metadata.annotations)
    status = msgspec.structs.replace(node.status, conditions=(), addresses=())
    return msgspec.structs.replace(node, metadata=metadata, status=status)
