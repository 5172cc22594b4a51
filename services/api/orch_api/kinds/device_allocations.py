"""What the status of a resource claim may say: which devices it got, who uses them, and how they fare.

Source: k8s.io/kubernetes/pkg/apis/resource/validation, validateResourceClaimStatusUpdate.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from orch.errors import Cause
from orch_api.kinds.addresses import interface_address
from orch_api.kinds.condition_rules import conditions
from orch_api.kinds.device_requests import request_name, request_names
from orch_api.kinds.device_rules import (
    MAX_CONFIGS,
    MAX_PARAMETER_BYTES,
    MAX_REQUESTS,
    binding_conditions,
    each,
    label,
    pool_name,
    raw,
    settings,
    skipped_operations,
    toleration,
    uid,
)
from orch_api.kinds.persistent_volume_rules import driver_name
from orch_api.kinds.scheduling_rules import node_selector
from orch_api.strategy import Document, section
from orch_api.validation import (
    check,
    duplicate,
    forbidden,
    immutable,
    invalid,
    required,
    same,
    too_long,
    too_many,
    unsupported,
)

_MAX_CONSUMERS: Final = 256
_MAX_DEVICE_CONDITIONS: Final = 8
_MAX_ADDRESSES: Final = 16
_MAX_INTERFACE: Final = 256
_MAX_HARDWARE: Final = 128
_SOURCES: Final = ("FromClaim", "FromClass")


def _identity(device: Document) -> tuple[str, str, str, str]:
    return (
        device.get("driver") or "",
        device.get("pool") or "",
        device.get("device") or "",
        device.get("shareID") or "",
    )


def _results(status: Document) -> list[Document]:
    found: list[Document] | None = section(section(status, "allocation"), "devices").get("results")
    return found or []


def drop_deallocated(status: Document, before: Document) -> None:
    """Drop what is said of devices that the claim had, and has no longer."""
    gone = {_identity(one)[:3] for one in _results(before)} - {_identity(one)[:3] for one in _results(status)}
    if devices := status.get("devices"):
        status["devices"] = [one for one in devices if _identity(one)[:3] not in gone]


def claim_status(obj: Document, old: Document) -> list[Cause]:
    """Return what is wrong with a claim's new status."""
    status, before = section(obj, "status"), section(old, "status")
    field = "status.reservedFor"
    consumers: list[Document] = status.get("reservedFor") or []
    causes = each(field, consumers, _MAX_CONSUMERS, _consumer, key="uid")
    causes += _devices("status.devices", status)
    allocation: Document | None = status.get("allocation")
    if consumers and allocation is None:
        causes.append(forbidden(field, "may not be specified when `allocated` is not set"))
    elif section(obj, "metadata").get("deletionTimestamp"):
        known: list[Document] = before.get("reservedFor") or []
        if any(consumer not in known for consumer in consumers):
            problem = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"
            causes.append(forbidden(field, problem))
    if allocation is None:
        return causes
    if before.get("allocation") is None:
        return causes + _allocation("status.allocation", allocation, request_names(section(obj, "spec")))
    return causes if same(allocation, before["allocation"]) else [*causes, immutable("status.allocation", allocation)]


def _consumer(at: str, consumer: Document) -> list[Cause]:
    return [required(f"{at}.{part}") for part in ("resource", "name", "uid") if not consumer.get(part)]


def _allocation(at: str, allocation: Document, known: frozenset[str]) -> list[Cause]:
    devices = section(allocation, "devices")
    results = partial(_result, known=known)
    causes = each(f"{at}.devices.results", devices.get("results") or [], MAX_REQUESTS, results)
    config = partial(_config, known=known)
    causes += each(f"{at}.devices.config", devices.get("config") or [], 2 * MAX_CONFIGS, config)
    if (selector := allocation.get("nodeSelector")) is not None:
        causes += node_selector(f"{at}.nodeSelector", selector)
    return causes


def _device_names(at: str, device: Document) -> list[Cause]:
    causes = driver_name(f"{at}.driver", device.get("driver") or "")
    causes += pool_name(f"{at}.pool", device.get("pool") or "")
    causes += label(f"{at}.device", device.get("device") or "")
    share: str | None = device.get("shareID")
    return causes if share is None else causes + uid(f"{at}.shareID", share)


def _result(at: str, result: Document, *, known: frozenset[str]) -> list[Cause]:
    causes = request_name(f"{at}.request", result.get("request") or "", known=known)
    causes += _device_names(at, result) + binding_conditions(at, result)
    for index, one in enumerate(result.get("tolerations") or ()):
        causes += toleration(f"{at}.tolerations[{index}]", one)
    return causes + skipped_operations(f"{at}.skipNodeOperations", result.get("skipNodeOperations") or [])


def _config(at: str, config: Document, *, known: frozenset[str]) -> list[Cause]:
    source: str = config.get("source") or ""
    causes: list[Cause] = []
    if not source:
        causes.append(required(f"{at}.source"))
    elif source not in _SOURCES:
        causes.append(unsupported(f"{at}.source", source, _SOURCES))
    named = partial(request_name, known=known)
    causes += each(f"{at}.requests", config.get("requests") or [], MAX_REQUESTS, named, key="")
    return causes + settings(at, config)


def _devices(field: str, status: Document) -> list[Cause]:
    allocated = {_identity(one) for one in _results(status)}
    causes: list[Cause] = []
    seen: set[tuple[str, str, str, str]] = set()
    for index, device in enumerate(status.get("devices") or ()):
        at = f"{field}[{index}]"
        identity = _identity(device)
        shown = "/".join(part for part in identity if part)
        causes += _device_names(at, device)
        if identity not in allocated:
            causes.append(invalid(at, shown, "must be an allocated device in the claim"))
        if identity in seen:
            causes.append(duplicate(at, shown))
        seen.add(identity)
        causes += _device_state(at, device)
    return causes


def _device_state(at: str, device: Document) -> list[Cause]:
    found: list[Document] = device.get("conditions") or []
    causes: list[Cause] = []
    if len(found) > _MAX_DEVICE_CONDITIONS:
        causes.append(too_many(f"{at}.conditions", len(found), _MAX_DEVICE_CONDITIONS))
    causes += conditions(f"{at}.conditions", found)
    data: Any = device.get("data")
    if data is not None:
        causes += raw(f"{at}.data", data, MAX_PARAMETER_BYTES)
    network = section(device, "networkData")
    for name, limit in (("interfaceName", _MAX_INTERFACE), ("hardwareAddress", _MAX_HARDWARE)):
        if len((network.get(name) or "").encode()) > limit:
            causes.append(too_long(f"{at}.networkData.{name}", limit))
    addresses: list[str] = network.get("ips") or []
    return causes + each(
        f"{at}.networkData.ips",
        addresses,
        _MAX_ADDRESSES,
        lambda one, text: check(one, text, interface_address),
        key="",
    )
