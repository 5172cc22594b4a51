"""How much room drivers have left to make volumes in, where (storage capacity tracking, CSIStorageCapacity)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from orch.objects.meta import LabelSelector
from orch.objects.pods import NodeSelector, NodeSelectorRequirement, NodeSelectorTerm
from orch.objects.storage import CSIDriver, CSIStorageCapacity
from orch_scheduler.requests import amount

_STORAGE: Final = "storage"

Name = tuple[str, str]
"""The namespace and name of an object that tells of room."""


class StorageCapacities:
    """What drivers say. Of a driver that does not say that it tells, any room is believed."""

    def __init__(self) -> None:
        self._telling: set[str] = set()
        self._of_class: dict[str, dict[Name, CSIStorageCapacity]] = {}
        self._class_of: dict[Name, str] = {}

    def set_driver(self, name: str, driver: CSIDriver | None) -> bool:
        """Take over a driver, None when it is gone; return whether it does not tell any more."""
        told = name in self._telling
        if driver is not None and driver.spec.storage_capacity:
            self._telling.add(name)
            return False
        self._telling.discard(name)
        return told

    def set_capacity(self, name: Name, capacity: CSIStorageCapacity | None) -> bool:
        """Take over what is told of some nodes, None when it is gone; return whether there is more room than before.

        Raises ValueError for an amount that cannot be read; then all is as before.
        """
        limit = _limit(capacity) if capacity is not None else 0
        old = self._of_class.get(self._class_of.pop(name, ""), {}).pop(name, None)
        if capacity is None:
            return False
        self._class_of[name] = capacity.storage_class_name
        self._of_class.setdefault(capacity.storage_class_name, {})[name] = capacity
        if old is None or (old.storage_class_name, old.node_topology) != (
            capacity.storage_class_name,
            capacity.node_topology,
        ):
            return True
        return limit > _limit(old)

    def tells(self, driver: str) -> bool:
        """Return whether a driver tells where it has room."""
        return driver in self._telling

    def room_for(self, storage_class: str, size: int) -> Sequence[NodeSelector | None]:
        """Return the nodes for which a volume of a class and size can be made, as selectors; None: all of them."""
        return [
            _nodes(capacity.node_topology)
            for capacity in self._of_class.get(storage_class, {}).values()
            if capacity.node_topology is not None and 0 <= size <= _limit(capacity)
        ]


def _limit(capacity: CSIStorageCapacity) -> int:
    """Return how large a volume can be; -1 when that is not told."""
    text = capacity.maximum_volume_size or capacity.capacity
    return amount(_STORAGE, text) if text else -1


def _nodes(topology: LabelSelector) -> NodeSelector | None:
    """Return a selector of labels as one of nodes, which has the same operators; None for one that takes all."""
    equal = [
        NodeSelectorRequirement(key=key, operator="In", values=(value,)) for key, value in topology.match_labels.items()
    ]
    more = [
        NodeSelectorRequirement(key=one.key, operator=one.operator, values=tuple(one.values))
        for one in topology.match_expressions
    ]
    if not equal and not more:
        return None
    return NodeSelector(node_selector_terms=(NodeSelectorTerm(match_expressions=(*equal, *more)),))
