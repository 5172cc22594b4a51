"""Resource slices: the devices that a driver offers on a node, or to several (validateResourceSliceSpec)."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from orch import quantity
from orch.errors import Cause
from orch_api import validation
from orch_api.kinds.columns import AGE, NAME, text
from orch_api.kinds.device_capacities import capacity, default_capacity
from orch_api.kinds.device_rules import (
    GROUP,
    binding_conditions,
    each,
    full_name,
    label,
    pool_name,
    qualified_name,
    skipped_operations,
    taint,
)
from orch_api.kinds.fields import field
from orch_api.kinds.persistent_volume_rules import driver_name
from orch_api.kinds.quantities import canonical
from orch_api.kinds.scheduling_rules import node_selector
from orch_api.resource import Column, Resource
from orch_api.strategy import Document, Strategy, section
from orch_api.validation import check, immutable, invalid, required, same, too_long, too_many

_MAX_DEVICES: Final = 128
_MAX_ADVANCED_DEVICES: Final = 64
_MAX_COUNTER_SETS: Final = 8
_MAX_COUNTERS: Final = 32
_MAX_CONSUMPTIONS: Final = 2
_MAX_ENTRIES: Final = 32
_MAX_VALUES: Final = 48
_MAX_TAINTS: Final = 16
_MAX_VALUE: Final = 64
_NODE_CHOICES: Final = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
_DEVICE_NODE_CHOICES: Final = (
    "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true "
    "in the ResourceSlice spec"
)
_TRUE_OR_UNSET: Final = "must be either unset or set to true"
_LISTS: Final = ("bools", "ints", "strings", "versions")
_ATTRIBUTE_KINDS: Final = ("bool", "int", "string", "version", *_LISTS)
_VERSION: Final = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?"
    r"(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?"
)


class ResourceSliceStrategy(Strategy):
    """The rules of slices."""

    has_generation = True

    def default(self, obj: Document) -> None:
        """Bring amounts into canonical form."""
        spec = section(obj, "spec")
        for counters in spec.get("sharedCounters") or ():
            _canonical_counters(counters)
        for device in spec.get("devices") or ():
            for found in section(device, "capacity").values():
                default_capacity(found)
            for consumption in device.get("consumesCounters") or ():
                _canonical_counters(consumption)

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the pool, the nodes and the devices."""
        spec = section(obj, "spec")
        causes = driver_name("spec.driver", spec.get("driver") or "")
        causes += _pool("spec.pool", section(spec, "pool"))
        causes += _nodes("spec", spec, _NODE_CHOICES, per_device=True)
        if spec.get("sharedCounters") is not None and spec.get("devices") is not None:
            causes.append(invalid("spec", "", "only one of `sharedCounters` or `devices` is allowed"))
        devices: list[Document] = spec.get("devices") or []
        limit = _MAX_ADVANCED_DEVICES if any(map(_is_advanced, devices)) else _MAX_DEVICES
        device = partial(_device, per_device=bool(spec.get("perDeviceNodeSelection")))
        causes += each("spec.devices", devices, limit, device, key="name")
        shared: list[Document] = spec.get("sharedCounters") or []
        causes += each("spec.sharedCounters", shared, _MAX_COUNTER_SETS, partial(_counters, name="name"), key="name")
        if (attribute := spec.get("partitionTypeAttribute")) is not None:
            causes += full_name("spec.partitionTypeAttribute", attribute)
        return causes + skipped_operations("spec.skipNodeOperations", spec.get("skipNodeOperations") or [])

    def validate_update(self, obj: Document, old: Document) -> list[Cause]:
        """Return what may not change: whose slice it is."""
        spec, before = section(obj, "spec"), section(old, "spec")
        causes: list[Cause] = []
        name = section(spec, "pool").get("name") or ""
        if name != (section(before, "pool").get("name") or ""):
            causes.append(immutable("spec.pool.name", name))
        causes += [
            immutable(f"spec.{part}", spec.get(part))
            for part in ("driver", "nodeName")
            if not same(spec.get(part), before.get(part))
        ]
        return causes

    def warnings(self, obj: Document) -> list[str]:
        """Point out a driver's name in capitals."""
        driver: str = section(obj, "spec").get("driver") or ""
        if driver == driver.lower():
            return []
        return [f'spec.driver: driver names should be lowercase; "{driver}" contains uppercase characters']


def _canonical_counters(found: Document) -> None:
    for counter in section(found, "counters").values():
        if counter.get("value") is not None:
            counter["value"] = canonical(str(counter["value"]))


def _pool(at: str, pool: Document) -> list[Cause]:
    causes = pool_name(f"{at}.name", pool.get("name") or "")
    count: int = pool.get("resourceSliceCount") or 0
    if count <= 0:
        causes.append(invalid(f"{at}.resourceSliceCount", count, "must be greater than zero"))
    generation: int = pool.get("generation") or 0
    if generation < 0:
        causes.append(invalid(f"{at}.generation", generation, "must be greater than or equal to zero"))
    return causes


def _nodes(at: str, found: Document, choices: str, *, per_device: bool) -> list[Cause]:
    """Return what is wrong with which nodes a slice or a device is for: one way of saying it, and no other."""
    causes: list[Cause] = []
    given: list[str] = []
    name: str | None = found.get("nodeName")
    if name:
        given.append("`nodeName`")
        causes += check(f"{at}.nodeName", name, validation.dns_subdomain)
    elif name is not None:
        problem = "must be either unset or set to a non-empty string" if per_device else "must not be empty"
        causes.append(invalid(f"{at}.nodeName", name, problem))
    if (selector := found.get("nodeSelector")) is not None:
        given.append("`nodeSelector`")
        causes += node_selector(f"{at}.nodeSelector", selector)
        terms: list[Document] = selector.get("nodeSelectorTerms") or []
        if per_device and len(terms) != 1:
            field_name = f"{at}.nodeSelector.nodeSelectorTerms"
            causes.append(invalid(field_name, terms, "must have exactly one node selector term"))
    for flag in ("allNodes", "perDeviceNodeSelection") if per_device else ("allNodes",):
        if found.get(flag):
            given.append(f"`{flag}`")
        elif found.get(flag) is not None:
            causes.append(invalid(f"{at}.{flag}", found[flag], _TRUE_OR_UNSET))
    if not given:
        causes.append(required(at, choices))
    elif len(given) > 1:
        problem = f"{choices}, but multiple fields are set" if per_device else choices
        causes.append(invalid(at, f"{{{', '.join(given)}}}", problem))
    return causes


def _is_advanced(device: Document) -> bool:
    """Tell whether a device uses what makes slices dear, so that fewer devices are allowed."""
    if device.get("taints") or device.get("consumesCounters"):
        return True
    attributes: dict[str, Document] = section(device, "attributes")
    return any(one.get(name) is not None for one in attributes.values() for name in _LISTS)


def _device(at: str, device: Document, *, per_device: bool) -> list[Cause]:
    causes = label(f"{at}.name", device.get("name") or "")
    attributes: dict[str, Document] = section(device, "attributes")
    amounts: dict[str, Document] = section(device, "capacity")
    if len(attributes) + len(amounts) > _MAX_ENTRIES:
        problem = f"the total number of attributes and capacities must not exceed {_MAX_ENTRIES}"
        causes.append(invalid(at, len(attributes) + len(amounts), problem))
    values = sum(sum(len(one.get(name) or ()) for name in _LISTS) or 1 for one in attributes.values())
    if values > _MAX_VALUES:
        problem = f"the total number of attribute values must not exceed {_MAX_VALUES}"
        causes.append(invalid(at, values, problem))
    causes += _entries(f"{at}.attributes", attributes, _attribute)
    rule = partial(capacity, shared=bool(device.get("allowMultipleAllocations")))
    causes += _entries(f"{at}.capacity", amounts, rule)
    causes += each(f"{at}.taints", device.get("taints") or [], _MAX_TAINTS, taint)
    consumed: list[Document] = device.get("consumesCounters") or []
    counters = partial(_counters, name="counterSet")
    causes += each(f"{at}.consumesCounters", consumed, _MAX_CONSUMPTIONS, counters, key="counterSet")
    if per_device:
        causes += _nodes(at, device, _DEVICE_NODE_CHOICES, per_device=False)
    elif any(device.get(name) is not None for name in ("nodeName", "nodeSelector", "allNodes")):
        problem = (
            "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in "
            "the ResourceSlice spec"
        )
        causes.append(invalid(at, None, problem))
    return causes + binding_conditions(at, device)


def _entries(at: str, found: dict[str, Document], rule: Callable[[str, Document], list[Cause]]) -> list[Cause]:
    causes: list[Cause] = []
    for name, value in found.items():
        causes += qualified_name(at, name) + rule(f"{at}[{name}]", value)
    return causes


def _counters(at: str, found: Document, *, name: str) -> list[Cause]:
    own: str = found.get(name) or ""
    causes = label(f"{at}.{name}", own) if own else [required(f"{at}.{name}")]
    counters: dict[str, Document] = section(found, "counters")
    if not counters:
        return [*causes, required(f"{at}.counters")]
    if len(counters) > _MAX_COUNTERS:
        return [*causes, too_many(f"{at}.counters", len(counters), _MAX_COUNTERS)]
    for key, counter in counters.items():
        causes += label(f"{at}.counters", key)
        causes += _amount(f"{at}.counters[{key}].value", counter.get("value"))
    return causes


def _amount(at: str, value: Any) -> list[Cause]:
    try:
        quantity.parse(str(value if value is not None else 0))
    except ValueError as problem:
        return [invalid(at, value, str(problem))]
    return []


def _attribute(at: str, attribute: Document) -> list[Cause]:
    given = [name for name in _ATTRIBUTE_KINDS if attribute.get(name) is not None]
    causes: list[Cause] = []
    for name in given:
        value: Any = attribute[name]
        if name in _LISTS and not value:
            causes.append(invalid(f"{at}.{name}", value, "must not be empty if specified"))
        if name in {"string", "version"}:
            causes += _text(f"{at}.{name}", value, version=name == "version")
        elif name in {"strings", "versions"}:
            for index, one in enumerate(value):
                causes += _text(f"{at}.{name}[{index}]", one, version=name == "versions")
    if len(given) != 1:
        causes.append(invalid(at, attribute if given else "", "exactly one value must be specified"))
    return causes


def _text(at: str, value: str, *, version: bool) -> list[Cause]:
    causes: list[Cause] = []
    if version and not _VERSION.fullmatch(value):
        causes.append(invalid(at, value, "must be a string compatible with semver.org spec 2.0.0"))
    if len(value.encode()) > _MAX_VALUE:
        causes.append(too_long(at, _MAX_VALUE))
    return causes


RESOURCES: Final = (
    Resource(
        group=GROUP,
        plural="resourceslices",
        singular="resourceslice",
        kind="ResourceSlice",
        namespaced=False,
        returns_deleted=True,
        strategy=ResourceSliceStrategy(),
        columns=(
            NAME,
            Column("Node", text("spec", "nodeName"), description="The node that has the devices."),
            Column("Driver", text("spec", "driver"), description="Whose devices they are."),
            Column("Pool", text("spec", "pool", "name"), description="The pool that they belong to."),
            AGE,
        ),
        fields={
            "spec.nodeName": field("spec", "nodeName"),
            "spec.driver": field("spec", "driver"),
            "spec.pool.name": field("spec", "pool", "name"),
        },
    ),
)
