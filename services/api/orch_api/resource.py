"""The declarative entry of a kind: its names, verbs, subresources, columns, field selectors and strategy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Protocol

import msgspec

from orch.store.keys import ObjectKey
from orch_api.schema import KindSchema
from orch_api.strategy import Strategy

Cell = Callable[[dict[str, Any], datetime], Any]
"""What a column shows of a document at a moment."""

FieldValue = Callable[[dict[str, Any]], str]
"""What a field selector compares of a document."""

VERBS: Final = frozenset({"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"})
STATUS_VERBS: Final = frozenset({"get", "patch", "update"})
PROXY_VERBS: Final = frozenset({"create", "delete", "get", "patch", "update"})


class Column(msgspec.Struct, frozen=True):
    """A column of the kind's table. Priority 0 is always shown, 1 only with `-o wide`."""

    name: str
    value: Cell
    type: str = "string"
    format: str = ""
    description: str = ""
    priority: int = 0


class Subresource(msgspec.Struct, frozen=True):
    """What is served under an object: the kind of its documents, and the verbs."""

    kind: str
    group: str = ""
    version: str = "v1"
    verbs: frozenset[str] = STATUS_VERBS


class ScalePaths(msgspec.Struct, frozen=True):
    """Where the scale subresource finds its numbers in the document."""

    spec_replicas: tuple[str, ...] = ("spec", "replicas")
    status_replicas: tuple[str, ...] = ("status", "replicas")
    selector: tuple[str, ...] = ("spec", "selector")
    """Where the selector of the pods is: as a LabelSelector, or as text; empty when it is nowhere."""
    plain_selector: bool = False
    """Whether the selector is a map of labels instead of a metav1.LabelSelector."""


class Conversion(Protocol):
    """Turns documents of a served version into the one that is stored, and back. Raises ApiError."""

    async def to_storage(self, documents: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return documents of the served version as the stored one."""
        ...

    async def to_served(self, documents: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return stored documents as the served version."""
        ...


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """All that the generic parts of the api need to know of a kind in one of its versions."""

    group: str = ""
    version: str = "v1"
    plural: str
    singular: str
    kind: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: frozenset[str] = VERBS
    subresources: Mapping[str, Subresource] = {}
    strategy: Strategy
    columns: tuple[Column, ...] = ()
    fields: Mapping[str, FieldValue] = {}
    """What field selectors may name beyond name and namespace; read from stored documents, of user-defined kinds from
    those that are served."""
    scale: ScalePaths | None = None
    sensitive: bool = False
    """Whether the relay publishes only the metadata."""
    deprecation: str = ""
    """What every answer about the resource points out, as long as it is served at all."""
    returns_deleted: bool = False
    """Whether a deletion is answered with the object that is gone; a Status says so for all other kinds."""
    stored: bool = True
    """Whether there are objects of the kind. Others are questions: a document is posted, and comes back answered."""
    stored_as: Resource | None = None
    """The resource in whose version objects are stored, when it is not this one's; `conversion` leads there."""
    conversion: Conversion | None = None
    """What stored documents pass before they are shown, and others before they are stored; None: they are the same."""
    schema: KindSchema | None = None
    """The schema of a kind that Kubernetes' own schemas do not have."""
    list_name: str = ""
    """The kind of its lists, when that is not the kind's name and "List"."""

    @property
    def storage(self) -> Resource:
        """The resource in the version in which its objects are stored."""
        return self.stored_as or self

    def key(self, namespace: str, name: str) -> ObjectKey:
        """Return under which key an object is stored."""
        storage = self.stored_as or self
        return ObjectKey(storage.group, storage.plural, namespace if self.namespaced else "", name)

    @property
    def api_version(self) -> str:
        """The apiVersion of its documents: "v1", "apps/v1"."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def group_version(self) -> tuple[str, str]:
        """Group and version."""
        return (self.group, self.version)

    @property
    def list_kind(self) -> str:
        """The kind of its lists."""
        return self.list_name or f"{self.kind}List"

    @property
    def qualified(self) -> str:
        """The name that messages use: "pods", "deployments.apps"."""
        return f"{self.plural}.{self.group}" if self.group else self.plural
