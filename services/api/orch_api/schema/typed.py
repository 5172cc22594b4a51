"""How the values of a kind are structured for ownership: which maps and lists are merged, and which are one value.

The forms follow structured-merge-diff's schema, which Kubernetes derives from the list and map types of its OpenAPI
definitions (x-kubernetes-list-type, -list-map-keys and -map-type).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, Final

from orch_api.schema.definitions import Definition, Definitions


class Form(enum.Enum):
    """What a value is to those who own parts of it."""

    SCALAR = "a single value"
    ATOMIC = "a map or list that has one owner as a whole"
    STRUCT = "a map with declared fields, each owned for itself"
    MAP = "a map whose entries are owned each for itself"
    SET = "a list of distinct plain values, each owned for itself"
    KEYED = "a list of maps that are told apart by some of their fields"
    ANY = "a value that no schema describes: its maps are merged, its lists are atomic"


class FieldType:
    """The form of a value, and the types of what it holds. `elements` has a struct's fields: name → (element, type)."""

    __slots__ = ("defaults", "elements", "form", "item", "keys", "open", "standing", "zeros")

    def __init__(self, form: Form) -> None:
        self.form = form
        self.elements: dict[str, tuple[str, FieldType]] = {}
        self.open = False
        """Whether a struct may have fields that are not declared, of which no schema says what they are."""
        self.item: FieldType = self
        """The type of the entries of a map, or of the items of a list."""
        self.keys: tuple[str, ...] = ()
        """The fields that tell the items of a keyed list apart, in order of their names."""
        self.defaults: Mapping[str, str] = {}
        """What a key field is taken for when an item lacks it."""
        self.standing: tuple[str, ...] = ()
        """The fields of a struct that Kubernetes' servers always have, if only as an empty struct."""
        self.zeros: Mapping[str, Any] = {}
        """The fields of a struct that Kubernetes' servers always write, and their values when nothing sets them."""

    def declare(self, name: str, kind: FieldType) -> None:
        """Give a struct a field."""
        self.elements[name] = (f"f:{name}", kind)

    def complete(self, document: dict[str, Any]) -> None:
        """Add the structs that Kubernetes' servers always have, and the zeros that they write in a status."""
        for name in self.standing:
            inner: dict[str, Any] | None = document.get(name)
            if inner is None:
                inner = document[name] = {}
            kind = self.elements[name][1]
            if name == "status":
                kind.fill(inner)
            elif kind.standing:
                kind.complete(inner)

    def fill(self, status: dict[str, Any]) -> None:
        """Add the zeros and structs that Kubernetes' servers always write."""
        for name, zero in self.zeros.items():
            if name not in status:
                status[name] = zero
        for name in self.standing:
            inner: dict[str, Any] = status.setdefault(name, {})
            self.elements[name][1].fill(inner)

    def inner(self, name: str) -> FieldType:
        """Return the type of what a map or struct holds under a name."""
        if self.form is Form.STRUCT:
            found = self.elements.get(name)
            return ANY if found is None else found[1]
        return self.item if self.form is Form.MAP else ANY


SCALAR: Final = FieldType(Form.SCALAR)
ATOMIC: Final = FieldType(Form.ATOMIC)
ANY: Final = FieldType(Form.ANY)

_UNTYPED: Final = frozenset(
    {
        "io.k8s.apimachinery.pkg.runtime.RawExtension",
        "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
    }
)
_KEY_DEFAULTS: Final = {("ContainerPort", "protocol"): "TCP", ("ServicePort", "protocol"): "TCP"}

# Fields that are structs rather than pointers to structs in Go, so that every object has them. The schema does not
# tell; ownership of an empty struct depends on it. From the types of k8s.io/api.
_STANDING: Final[Mapping[str, tuple[str, ...]]] = {
    "Container": ("resources",),
    "EphemeralContainer": ("resources",),
    "ContainerStatus": ("lastState", "state"),
    "CronJobSpec": ("jobTemplate",),
    "DaemonSetSpec": ("template", "updateStrategy"),
    "DeploymentSpec": ("strategy", "template"),
    "JobSpec": ("template",),
    "JobTemplateSpec": ("metadata", "spec"),
    "PodTemplateSpec": ("metadata", "spec"),
    "ReplicaSetSpec": ("template",),
    "StatefulSetSpec": ("template", "updateStrategy"),
    "PersistentVolumeClaim": ("metadata", "spec", "status"),
    "PersistentVolumeClaimSpec": ("resources",),
    "PersistentVolumeClaimTemplate": ("metadata", "spec"),
    "HorizontalPodAutoscalerSpec": ("scaleTargetRef",),
    "HTTPIngressPath": ("backend",),
    "IngressStatus": ("loadBalancer",),
    "ServiceStatus": ("loadBalancer",),
    "NetworkPolicySpec": ("podSelector",),
    "NodeDaemonEndpoints": ("kubeletEndpoint",),
    "NodeStatus": ("daemonEndpoints", "nodeInfo"),
    "ResourceClaimSpec": ("devices",),
    "ResourceClaimTemplateSpec": ("metadata", "spec"),
    "ResourceSliceSpec": ("pool",),
    "VolumeAttachmentSpec": ("source",),
}
_ZEROS: Final[Mapping[tuple[str, str], Any]] = {
    ("integer", "int32"): 0,
    ("integer", "int64"): 0,
    ("string", ""): "",
    ("boolean", ""): False,
}
_ROOT_STANDING: Final = ("metadata", "spec", "status")


class FieldTypes:
    """Makes the types of the definitions; a definition that refers to itself has a type that refers to itself."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._named: dict[str, FieldType] = {}

    def of(self, name: str) -> FieldType:
        """Return the type of documents of the definition `name`."""
        kind = self._named_type(name)
        if not kind.standing:
            kind.standing = tuple(field for field in _ROOT_STANDING if field in kind.elements)
        return kind

    def _named_type(self, name: str) -> FieldType:
        found = self._named.get(name)
        if found is not None:
            return found
        definition = self._definitions[name]
        if name in _UNTYPED or definition.map_type == "atomic":
            made = ATOMIC
        elif definition.properties is None:
            made = self._type(definition) if definition.values is not None else SCALAR
        else:
            return self._struct(name, definition)
        self._named[name] = made
        return made

    def _struct(self, name: str, definition: Definition) -> FieldType:
        made = self._named[name] = FieldType(Form.STRUCT)
        for field, inner in sorted((definition.properties or {}).items()):
            made.declare(field, self._type(inner))
        made.zeros = {
            field: _ZEROS[inner.type, inner.format]
            for field in definition.required
            if (inner := (definition.properties or {})[field]) and (inner.type, inner.format) in _ZEROS
        }
        made.standing = _STANDING.get(name.rsplit(".", 1)[1], ())
        return made

    def _type(self, definition: Definition) -> FieldType:
        if definition.map_type == "atomic":
            return ATOMIC
        if definition.ref:
            return self._named_type(definition.ref)
        if definition.type == "array" and definition.items is not None:
            return self._list(definition, definition.items)
        if definition.values is not None:
            made = FieldType(Form.MAP)
            made.item = self._type(definition.values)
            return made
        return ATOMIC if definition.type == "object" else SCALAR

    def _list(self, definition: Definition, items: Definition) -> FieldType:
        if definition.list_type == "set":
            made = FieldType(Form.SET)
            made.item = SCALAR
            return made
        if definition.list_type != "map":
            return ATOMIC
        made = FieldType(Form.KEYED)
        made.item = self._type(items)
        made.keys = tuple(sorted(definition.list_map_keys))
        owner = items.ref.rsplit(".", 1)[-1]
        made.defaults = {key: _KEY_DEFAULTS[owner, key] for key in made.keys if (owner, key) in _KEY_DEFAULTS}
        return made
