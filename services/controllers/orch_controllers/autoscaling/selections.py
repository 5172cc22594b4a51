"""Which pods each autoscaler's target selects, and which autoscalers select the same pods.

Pods with the same labels (those of one revision of a workload) are kept together, so that a selector is compared once
for all of them and a pod's change costs the same however many autoscalers there are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from orch.objects.pods import Pod
from orch.objects.scheme import PODS
from orch.runtime.informer import Change, Informers, Item
from orch.runtime.reconcile import Key
from orch.selectors import Selector
from orch_controllers.autoscaling.usage import UsageTable

_Labels = tuple[tuple[str, str], ...]
_NONE: Final[frozenset[Key]] = frozenset()


class _Alike(msgspec.Struct):
    """The pods of a namespace that have the same labels, and the autoscalers that select them."""

    labels: dict[str, str]
    pods: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    keys: set[Key] = msgspec.field(default_factory=set[Key])


class _Space(msgspec.Struct):
    """A namespace with autoscalers."""

    alike: dict[_Labels, _Alike] = msgspec.field(default_factory=dict[_Labels, _Alike])
    selectors: dict[Key, Selector] = msgspec.field(default_factory=dict[Key, Selector])
    chosen: dict[Key, dict[_Labels, _Alike]] = msgspec.field(default_factory=dict[Key, dict[_Labels, _Alike]])
    """What each autoscaler selects of `alike`."""


class Selections:
    """Follows the pods of namespaces that have autoscalers; what is selected is measured.

    `on_move` is called with the autoscalers of a pod whose use has moved.
    """

    def __init__(self, informers: Informers, usage: UsageTable) -> None:
        self._pods = informers.of(PODS)
        self._usage = usage
        self.on_move: Callable[[Key], None] = _nobody
        self._spaces: dict[str, _Space] = {}
        self._selected: dict[str, _Alike] = {}
        usage.on_move = self._moved
        self._pods.on_change(self._take)

    def put(self, key: Key, selector: Selector) -> None:
        """Note what an autoscaler's target selects."""
        space = self._spaces.get(key.namespace)
        if space is None:
            space = self._spaces[key.namespace] = _Space()
            for item in self._pods.items(key.namespace):
                self._add(space, item)
        if space.selectors.get(key) == selector:
            return
        space.selectors[key] = selector
        for labels, alike in space.alike.items():
            self._match(space, labels, alike, key, selected=selector.matches(alike.labels))

    def drop(self, key: Key) -> None:
        """Forget an autoscaler."""
        space = self._spaces.get(key.namespace)
        if space is None or space.selectors.pop(key, None) is None:
            return
        for labels, alike in tuple(space.chosen.get(key, {}).items()):
            self._match(space, labels, alike, key, selected=False)
        space.chosen.pop(key, None)
        if not space.selectors:
            del self._spaces[key.namespace]

    def pods(self, key: Key) -> list[Item[Pod]]:
        """Return the pods that an autoscaler's target selects, by name."""
        names = sorted(name for alike in self._chosen(key) for name in alike.pods)
        found = (self._pods.get(key.namespace, name) for name in names)
        return [item for item in found if item is not None]

    def sharing(self, key: Key) -> list[Key]:
        """Return all autoscalers, this one too, that select pods which this one selects."""
        return sorted({other for alike in self._chosen(key) for other in alike.keys})

    def _chosen(self, key: Key) -> list[_Alike]:
        space = self._spaces.get(key.namespace)
        return [] if space is None else list(space.chosen.get(key, {}).values())

    def _moved(self, uid: str) -> None:
        alike = self._selected.get(uid)
        for key in alike.keys if alike is not None else _NONE:
            self.on_move(key)

    def _match(self, space: _Space, labels: _Labels, alike: _Alike, key: Key, *, selected: bool) -> None:
        """Note whether an autoscaler selects these pods; they are measured while one does."""
        if selected == (key in alike.keys):
            return
        if selected:
            alike.keys.add(key)
            space.chosen.setdefault(key, {})[labels] = alike
        else:
            alike.keys.discard(key)
            space.chosen.get(key, {}).pop(labels, None)
        if len(alike.keys) == int(selected):
            for name, uid in alike.pods.items():
                item = self._pods.get(key.namespace, name)
                if selected and item is not None:
                    self._measure(alike, item)
                elif not selected:
                    self._leave(uid)

    def _take(self, change: Change[Pod]) -> None:
        space = self._spaces.get(change.item.namespace)
        if space is None:
            return
        old, new = change.old, change.new
        if old is not None and (new is None or old.labels != new.labels):
            self._remove(space, old)
        if new is not None:
            self._add(space, new)

    def _add(self, space: _Space, item: Item[Pod]) -> None:
        labels = _key(item)
        alike = space.alike.get(labels)
        if alike is None:
            alike = space.alike[labels] = _Alike(dict(labels))
            for key, selector in space.selectors.items():
                if selector.matches(item.labels):
                    self._match(space, labels, alike, key, selected=True)
        alike.pods[item.name] = item.uid
        if alike.keys:
            self._measure(alike, item)

    def _remove(self, space: _Space, item: Item[Pod]) -> None:
        labels = _key(item)
        alike = space.alike.get(labels)
        if alike is None:
            return
        if alike.pods.get(item.name) == item.uid:
            del alike.pods[item.name]
        self._leave(item.uid)
        if not alike.pods:
            del space.alike[labels]
            for key in alike.keys:
                space.chosen.get(key, {}).pop(labels, None)

    def _measure(self, alike: _Alike, item: Item[Pod]) -> None:
        if node := item.object.spec.node_name:
            self._selected[item.uid] = alike
            self._usage.track(item.uid, node)

    def _leave(self, uid: str) -> None:
        self._selected.pop(uid, None)
        self._usage.untrack(uid)


def _nobody(_key: Key) -> None:
    """Stand in until somebody wants to know."""


def _key(item: Item[Pod]) -> _Labels:
    return tuple(sorted(item.labels.items()))
