"""Object metadata and what all kinds share (k8s.io/apimachinery/pkg/apis/meta/v1)."""

from __future__ import annotations

import msgspec


class View(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel", kw_only=True, gc=False):
    """The base of every view: immutable, camelCase in JSON, defaults left out, unknown fields ignored.

    What was decoded from JSON holds no cycle, so the cycle collector, whose work would grow with the cluster, is told
    to leave it alone.
    """


class OwnerReference(View, frozen=True):
    """Names an object that this one lives and dies with."""

    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool = False
    block_owner_deletion: bool = False


class ObjectMeta(View, frozen=True):
    """metav1.ObjectMeta. Times are RFC 3339 texts, empty when unset."""

    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str = ""
    deletion_timestamp: str = ""
    deletion_grace_period_seconds: int | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: tuple[OwnerReference, ...] = ()
    finalizers: tuple[str, ...] = ()

    @property
    def controller(self) -> OwnerReference | None:
        """The owner that manages this object, if any."""
        for owner in self.owner_references:
            if owner.controller:
                return owner
        return None


class SelectorRequirement(View, frozen=True):
    """One expression of a label selector."""

    key: str = ""
    operator: str = ""
    values: tuple[str, ...] = ()


class LabelSelector(View, frozen=True):
    """metav1.LabelSelector: all of it must hold; an empty one selects everything."""

    match_labels: dict[str, str] = {}
    match_expressions: tuple[SelectorRequirement, ...] = ()


class Condition(View, frozen=True):
    """A condition of any kind; the times that a kind does not have stay empty."""

    type: str = ""
    status: str = "Unknown"
    reason: str = ""
    message: str = ""
    observed_generation: int = 0
    last_transition_time: str = ""
    last_update_time: str = ""
    last_heartbeat_time: str = ""
    last_probe_time: str = ""


class Object(View, frozen=True):
    """An object of a kind of which only the metadata matters (PartialObjectMetadata)."""

    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
