"""Roles, bindings and pods handed to the authorizers as the cache hands them, without a cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from orch.store.keys import ObjectKey
from orch_api.storage.cache import CacheEvent
from orch_api.storage.objects import Cached, StateReader, deleted_state

RBAC = "rbac.authorization.k8s.io"


class Feed:
    """What observes a cache observes this."""

    def __init__(self) -> None:
        self._observers: dict[tuple[str, str], list[Callable[[CacheEvent], None]]] = {}
        self._known: dict[ObjectKey, Cached] = {}
        self._version = 0
        self._reader = StateReader()

    def observe(self, group: str, resource: str, observer: Callable[[CacheEvent], None]) -> None:
        self._observers.setdefault((group, resource), []).append(observer)

    def get(self, key: ObjectKey) -> Cached | None:
        return self._known.get(key)

    def put(self, group: str, resource: str, document: dict[str, Any]) -> None:
        metadata = {"resourceVersion": "", "uid": "u", **document["metadata"]}
        key = ObjectKey(group, resource, metadata.get("namespace", ""), metadata["name"])
        self._version += 1
        item = self._reader.state(key, msgspec.json.encode({**document, "metadata": metadata}), self._version)
        known = self._known.get(key)
        self._known[key] = item
        self._tell(CacheEvent("ADDED" if known is None else "MODIFIED", item, known))

    def delete(self, group: str, resource: str, namespace: str, name: str) -> None:
        known = self._known.pop(ObjectKey(group, resource, namespace, name), None)
        if known is not None:
            self._version += 1
            self._tell(CacheEvent("DELETED", deleted_state(known, self._version), known))

    def role(self, name: str, *rules: dict[str, Any], namespace: str = "") -> None:
        document = {"metadata": _metadata(name, namespace), "rules": list(rules)}
        self.put(RBAC, "roles" if namespace else "clusterroles", document)

    def bind(self, name: str, role: str, *subjects: tuple[str, ...], namespace: str = "", kind: str = "") -> None:
        """Bind a role; a subject is its kind, its name and, for an account, its namespace."""
        reference = {"kind": kind or "ClusterRole", "name": role}
        listed = [dict(zip(("kind", "name", "namespace"), subject, strict=False)) for subject in subjects]
        document = {"metadata": _metadata(name, namespace), "roleRef": reference, "subjects": listed}
        self.put(RBAC, "rolebindings" if namespace else "clusterrolebindings", document)

    def _tell(self, event: CacheEvent) -> None:
        key = event.item.key
        for observer in self._observers.get((key.group, key.resource), ()):
            observer(event)


def _metadata(name: str, namespace: str) -> dict[str, str]:
    return {"name": name, "namespace": namespace} if namespace else {"name": name}


def rule(verbs: str, resources: str, groups: str = "", names: str = "") -> dict[str, Any]:
    """Return a rule, its lists parted by spaces; without groups of the core one."""
    written: dict[str, Any] = {
        "verbs": verbs.split(),
        "apiGroups": groups.split() or [""],
        "resources": resources.split(),
    }
    if names:
        written["resourceNames"] = names.split()
    return written
