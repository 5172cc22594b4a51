"""Who owns whom, over all kinds, as the informers know it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from orch.objects.meta import ObjectMeta, OwnerReference
from orch.objects.scheme import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    ENDPOINTS,
    LEASES,
    NAMESPACES,
    NODES,
    PODS,
    REPLICA_SETS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    Kind,
)
from orch.runtime.informer import Informer, Item
from orch.runtime.reconcile import Key
from orch_controllers.context import Context

COLLECTED: Final[tuple[Kind[Any], ...]] = (
    PODS,
    REPLICA_SETS,
    DEPLOYMENTS,
    SERVICES,
    ENDPOINTS,
    CONFIG_MAPS,
    SECRETS,
    SERVICE_ACCOUNTS,
    LEASES,
    NAMESPACES,
    NODES,
)
"""The kinds that own or are owned."""

FOREGROUND: Final = "foregroundDeletion"
ORPHAN: Final = "orphan"

_INDEX: Final = "garbage/owner"
_BY_NAME: Final = {(kind.group, kind.name): kind for kind in COLLECTED}
_BY_KEY: Final = {kind.qualified: kind for kind in COLLECTED}

Dependent = tuple[Kind[Any], Item[Any]]


class Graph:
    """Who depends on whom."""

    def __init__(self, context: Context) -> None:
        informers: dict[str, Informer[Any]] = {}
        for kind in COLLECTED:
            informer: Informer[Any] = context.informers.of(kind)
            informer.add_index(_INDEX, _owner_uids)
            informers[kind.qualified] = informer
        self._informers: Mapping[str, Informer[Any]] = informers

    def item(self, kind: Kind[Any], key: Key) -> Item[Any] | None:
        """Return an object as the informer holds it."""
        return self._informers[kind.qualified].get(key.namespace, key.name)

    def dependents(self, uid: str) -> list[Dependent]:
        """Return what names `uid` as an owner."""
        return [(kind, item) for kind in COLLECTED for item in self._informers[kind.qualified].indexed(_INDEX, uid)]

    def has_seen(self, version: int) -> bool:
        """Return whether every dependent that existed at a version is known."""
        return all(informer.revision >= version for informer in self._informers.values())


def kind_of(owner: OwnerReference) -> Kind[Any] | None:
    """Return the kind that an owner reference names, None for one that is not collected."""
    group = owner.api_version.rpartition("/")[0]
    return _BY_NAME.get((group, owner.kind))


def key_of(kind: Kind[Any], namespace: str, name: str) -> Key:
    """Return the key of an object."""
    return Key(namespace, name, kind.qualified)


def kind_of_key(key: Key) -> Kind[Any]:
    """Return the kind that a key names."""
    return _BY_KEY[key.kind]


def waits_for_dependents(meta: ObjectMeta) -> bool:
    """Return whether the object is being deleted in the foreground."""
    return bool(meta.deletion_timestamp) and FOREGROUND in meta.finalizers


def _owner_uids(item: Item[Any]) -> Iterable[str]:
    return {owner.uid for owner in item.object.metadata.owner_references}
