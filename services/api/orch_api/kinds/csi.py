"""Drivers of the container storage interface, where they run, and how much room they have.

Source: k8s.io/kubernetes/pkg/apis/storage/validation.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from orch.errors import Cause
from orch_api import validation
from orch_api.kinds.columns import AGE, NAME, NONE, text
from orch_api.kinds.persistent_volume_rules import driver_name
from orch_api.kinds.persistent_volumes import UNSET
from orch_api.kinds.quantities import canonical
from orch_api.resource import Cell, Column, Resource
from orch_api.strategy import Document, Strategy, put_section, section
from orch_api.validation import (
    check,
    duplicate,
    immutable,
    invalid,
    label_selector,
    non_negative,
    required,
    same,
    unsupported,
)

_GROUP: Final = "storage.k8s.io"
_DEFAULTS: Final[dict[str, Any]] = {
    "attachRequired": True,
    "podInfoOnMount": False,
    "storageCapacity": False,
    "fsGroupPolicy": "ReadWriteOnceWithFSType",
    "requiresRepublish": False,
    "seLinuxMount": False,
}
_FS_GROUP_POLICIES: Final = ("File", "None", "ReadWriteOnceWithFSType")
_LIFECYCLE_MODES: Final = ("Persistent", "Ephemeral")
_MIN_TOKEN_SECONDS: Final = 600
_MAX_TOKEN_SECONDS: Final = 1 << 32
_MIN_UPDATE_SECONDS: Final = 10
_MAX_NODE_ID: Final = 192


class CSIDriverStrategy(Strategy):
    """The rules of drivers."""

    has_generation = True

    def default(self, obj: Document) -> None:
        """Say what a driver that says nothing can do."""
        spec = put_section(obj, "spec")
        for name, value in _DEFAULTS.items():
            if spec.get(name) is None:
                spec[name] = value
        if not spec.get("volumeLifecycleModes"):
            spec["volumeLifecycleModes"] = ["Persistent"]

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the driver."""
        spec = section(obj, "spec")
        causes: list[Cause] = []
        policy: str = spec.get("fsGroupPolicy") or ""
        if policy not in _FS_GROUP_POLICIES:
            causes.append(unsupported("spec.fsGroupPolicy", policy, _FS_GROUP_POLICIES))
        causes += _token_requests("spec.tokenRequests", spec.get("tokenRequests") or [])
        causes += [
            unsupported("spec.volumeLifecycleModes", mode, _LIFECYCLE_MODES)
            for mode in spec.get("volumeLifecycleModes") or ()
            if mode not in _LIFECYCLE_MODES
        ]
        period: int | None = spec.get("nodeAllocatableUpdatePeriodSeconds")
        if period is not None and period < _MIN_UPDATE_SECONDS:
            problem = "must be greater than or equal to 10 seconds"
            causes.append(invalid("spec.nodeAllocatableUpdatePeriodSeconds", period, problem))
        return causes

    def validate_update(self, obj: Document, old: Document) -> list[Cause]:
        """Return what may not change while volumes are in use."""
        spec, before = section(obj, "spec"), section(old, "spec")
        return [
            immutable(field, spec.get(name))
            for name, field in (
                ("attachRequired", "spec.attachedRequired"),
                ("volumeLifecycleModes", "spec.volumeLifecycleModes"),
            )
            if not same(spec.get(name), before.get(name))
        ]


def _token_requests(at: str, requests: list[Document]) -> list[Cause]:
    causes: list[Cause] = []
    audiences: set[str] = set()
    for index, request in enumerate(requests):
        audience: str = request.get("audience") or ""
        if audience in audiences:
            causes.append(duplicate(f"{at}[{index}].audience", audience))
            continue
        audiences.add(audience)
        seconds: int | None = request.get("expirationSeconds")
        field = f"{at}[{index}].expirationSeconds"
        if seconds is not None and seconds < _MIN_TOKEN_SECONDS:
            causes.append(invalid(field, seconds, "may not specify a duration less than 10 minutes"))
        if seconds is not None and seconds > _MAX_TOKEN_SECONDS:
            causes.append(invalid(field, seconds, "may not specify a duration larger than 2^32 seconds"))
    return causes


class CSINodeStrategy(Strategy):
    """The rules of the list of a node's drivers."""

    def prepare_create(self, obj: Document) -> None:
        """Drop the health of storage, which is behind a feature gate that is off."""
        super().prepare_create(obj)
        obj.pop("status", None)

    def prepare_update(self, obj: Document, old: Document) -> None:
        """Drop the health of storage."""
        super().prepare_update(obj, old)
        obj.pop("status", None)

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the drivers."""
        causes: list[Cause] = []
        names: set[str] = set()
        for index, driver in enumerate(section(obj, "spec").get("drivers") or ()):
            at = f"spec.drivers[{index}]"
            name: str = driver.get("name") or ""
            causes += driver_name(f"{at}.name", name) + _node_driver(at, driver)
            if name in names:
                causes.append(duplicate(f"{at}.name", name))
            names.add(name)
            causes += _topology_keys(at, driver.get("topologyKeys") or [])
        return causes

    def validate_update(self, obj: Document, old: Document) -> list[Cause]:
        """Return which drivers change; only how much a driver can hold may."""
        before: dict[str, Document] = {
            driver.get("name") or "": driver for driver in section(old, "spec").get("drivers") or ()
        }
        drivers: list[Document] = section(obj, "spec").get("drivers") or []
        causes: list[Cause] = []
        for driver in drivers:
            known = before.get(driver.get("name") or "")
            if known is not None and not same(driver | {"allocatable": None}, known | {"allocatable": None}):
                shown = {name: value for name, value in driver.items() if name != "allocatable"}
                causes.append(immutable("spec.drivers", shown))
        return causes


def _node_driver(at: str, driver: Document) -> list[Cause]:
    node: str = driver.get("nodeID") or ""
    causes = [] if node else [required(f"{at}.nodeID")]
    if len(node) > _MAX_NODE_ID:
        causes.append(invalid(f"{at}.nodeID", node, f"must be {_MAX_NODE_ID} characters or less"))
    return causes + non_negative(f"{at}.allocatable.count", section(driver, "allocatable").get("count") or 0)


def _topology_keys(at: str, keys: list[str]) -> list[Cause]:
    causes: list[Cause] = []
    for index, key in enumerate(keys):
        if not key:
            causes.append(required(at))
        if key in keys[:index]:
            causes.append(duplicate(at, key))
        causes += check(at, key, validation.qualified_name)
    return causes


class CSIStorageCapacityStrategy(Strategy):
    """The rules of how much room a driver has in a part of the cluster."""

    def default(self, obj: Document) -> None:
        """Bring the amounts into canonical form."""
        for name in ("capacity", "maximumVolumeSize"):
            if obj.get(name) is not None:
                obj[name] = canonical(str(obj[name]))

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the topology, the class and the amount."""
        causes: list[Cause] = []
        if (topology := obj.get("nodeTopology")) is not None:
            causes += label_selector("nodeTopology", topology)
        causes += check("storageClassName", obj.get("storageClassName") or "", validation.dns_subdomain)
        if obj.get("capacity") is not None:
            causes += validation.quantity_value("capacity", obj["capacity"])
        return causes

    def validate_update(self, obj: Document, old: Document) -> list[Cause]:
        """Return the cause when the object is no longer about the same storage."""
        return [
            immutable(name, obj.get(name))
            for name in ("nodeTopology", "storageClassName")
            if not same(obj.get(name), old.get(name))
        ]


def _flag(name: str, *, missing: bool = False) -> Cell:
    def cell(obj: Document, now: datetime) -> bool:
        _ = now
        found: bool | None = section(obj, "spec").get(name)
        return missing if found is None else found

    return cell


def _audiences(obj: Document, now: datetime) -> str:
    _ = now
    requests: list[Document] | None = section(obj, "spec").get("tokenRequests")
    return UNSET if requests is None else ",".join(one.get("audience") or "" for one in requests)


def _modes(obj: Document, now: datetime) -> str:
    _ = now
    return ",".join(section(obj, "spec").get("volumeLifecycleModes") or ()) or NONE


def _drivers(obj: Document, now: datetime) -> int:
    _ = now
    return len(section(obj, "spec").get("drivers") or ())


RESOURCES: Final = (
    Resource(
        group=_GROUP,
        plural="csidrivers",
        singular="csidriver",
        kind="CSIDriver",
        namespaced=False,
        returns_deleted=True,
        strategy=CSIDriverStrategy(),
        columns=(
            NAME,
            Column("AttachRequired", _flag("attachRequired", missing=True), type="boolean", description="Attaches."),
            Column("PodInfoOnMount", _flag("podInfoOnMount"), type="boolean", description="Is told of the pod."),
            Column("StorageCapacity", _flag("storageCapacity"), type="boolean", description="Tells its capacity."),
            Column("TokenRequests", _audiences, description="The audiences of tokens that it gets."),
            Column("RequiresRepublish", _flag("requiresRepublish"), type="boolean", description="Is called again."),
            Column("Modes", _modes, description="Lifecycles of volumes that it serves."),
            AGE,
        ),
    ),
    Resource(
        group=_GROUP,
        plural="csinodes",
        singular="csinode",
        kind="CSINode",
        namespaced=False,
        returns_deleted=True,
        strategy=CSINodeStrategy(),
        columns=(NAME, Column("Drivers", _drivers, type="integer", description="Number of drivers."), AGE),
    ),
    Resource(
        group=_GROUP,
        plural="csistoragecapacities",
        singular="csistoragecapacity",
        kind="CSIStorageCapacity",
        strategy=CSIStorageCapacityStrategy(),
        columns=(
            NAME,
            Column("StorageClassName", text("storageClassName"), description="The class that the room is for."),
            Column("Capacity", text("capacity", missing=UNSET), description="How much room there is."),
        ),
    ),
)
