"""Endpoint slices: where a service's backends are (k8s.io/kubernetes/pkg/apis/discovery/validation)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from orch.errors import Cause
from orch_api import validation
from orch_api.kinds.addresses import endpoint_address, full_domain_name
from orch_api.kinds.columns import AGE, NAME, text
from orch_api.resource import Column, Resource
from orch_api.strategy import Document, Strategy, section
from orch_api.validation import check, duplicate, immutable, invalid, one_of, required, same, too_many, unsupported

_ADDRESS_TYPES: Final = ("FQDN", "IPv4", "IPv6")
_PROTOCOLS: Final = ("SCTP", "TCP", "UDP")
_MAX_ENDPOINTS: Final = 1000
_MAX_ADDRESSES: Final = 100
_MAX_PORTS: Final = 100
_MAX_HINTS: Final = 8
_SHOWN: Final = 3


class EndpointSliceStrategy(Strategy):
    """The rules of endpoint slices."""

    has_generation = True

    def default(self, obj: Document) -> None:
        """Name no port, speak TCP; what is left of v1beta1's topology is not taken."""
        for port in obj.get("ports") or ():
            if port.get("name") is None:
                port["name"] = ""
            if port.get("protocol") is None:
                port["protocol"] = "TCP"
        for endpoint in obj.get("endpoints") or ():
            endpoint.pop("deprecatedTopology", None)

    def changes_generation(self, obj: Document, old: Document) -> bool:
        """Count all but the metadata, and the labels, which say whose slice it is."""
        if any(not same(obj.get(part), old.get(part)) for part in ("addressType", "endpoints", "ports")):
            return True
        return not same(section(obj, "metadata").get("labels"), section(old, "metadata").get("labels"))

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with addresses and ports."""
        kind: str = obj.get("addressType") or ""
        causes = one_of("addressType", kind, _ADDRESS_TYPES)
        endpoints: list[Document] = obj.get("endpoints") or []
        if len(endpoints) > _MAX_ENDPOINTS:
            causes.append(too_many("endpoints", len(endpoints), _MAX_ENDPOINTS))
        else:
            for index, endpoint in enumerate(endpoints):
                causes += _endpoint(f"endpoints[{index}]", endpoint, kind)
        return causes + _ports(obj.get("ports") or [])

    def validate_update(self, obj: Document, old: Document) -> list[Cause]:
        """Return the cause when the type of the addresses changes."""
        if obj.get("addressType") == old.get("addressType"):
            return []
        return [immutable("addressType", obj.get("addressType") or "")]


def _endpoint(at: str, endpoint: Document, kind: str) -> list[Cause]:
    addresses: list[str] = endpoint.get("addresses") or []
    causes: list[Cause] = []
    if not addresses:
        causes.append(required(f"{at}.addresses", "must contain at least 1 address"))
    elif len(addresses) > _MAX_ADDRESSES:
        causes.append(too_many(f"{at}.addresses", len(addresses), _MAX_ADDRESSES))
    for index, address in enumerate(addresses):
        one = f"{at}.addresses[{index}]"
        if kind == "FQDN":
            causes += full_domain_name(one, address)
        elif kind in _ADDRESS_TYPES:
            causes += _address(one, address, kind)
    if (node := endpoint.get("nodeName")) is not None:
        causes += check(f"{at}.nodeName", node, validation.dns_subdomain)
    if (hostname := endpoint.get("hostname")) is not None:
        causes += check(f"{at}.hostname", hostname, validation.dns_label)
    if (hints := endpoint.get("hints")) is not None:
        causes += _hints(f"{at}.hints", hints)
    return causes


def _address(at: str, address: str, kind: str) -> list[Cause]:
    if causes := check(at, address, validation.ip_address):
        return causes
    if (":" in address) != (kind == "IPv6"):
        causes = [invalid(at, address, f"must be an {kind} address")]
    return causes + endpoint_address(at, address)


def _hints(at: str, hints: Document) -> list[Cause]:
    causes: list[Cause] = []
    for part, rule in (("forZones", validation.label_value), ("forNodes", validation.dns_subdomain)):
        found: list[Document] = hints.get(part) or []
        if len(found) > _MAX_HINTS:
            causes.append(too_many(f"{at}.{part}", len(found), _MAX_HINTS))
            continue
        names: set[str] = set()
        for index, hint in enumerate(found):
            one = f"{at}.{part}[{index}].name"
            name: str = hint.get("name") or ""
            if name in names:
                causes.append(duplicate(one, name))
            names.add(name)
            causes += check(one, name, rule)
    return causes


def _ports(ports: list[Document]) -> list[Cause]:
    if len(ports) > _MAX_PORTS:
        return [too_many("ports", len(ports), _MAX_PORTS)]
    causes: list[Cause] = []
    names: set[str] = set()
    for index, port in enumerate(ports):
        at = f"ports[{index}]"
        name: str = port.get("name") or ""
        if name:
            causes += check(f"{at}.name", name, validation.dns_label)
        if name in names:
            causes.append(duplicate(f"{at}.name", name))
        names.add(name)
        if port.get("port") is not None:
            causes += validation.port_number(f"{at}.port", port["port"])
        if (protocol := port.get("protocol")) is None:
            causes.append(required(f"{at}.protocol"))
        elif protocol not in _PROTOCOLS:
            causes.append(unsupported(f"{at}.protocol", protocol, _PROTOCOLS))
        if (application := port.get("appProtocol")) is not None:
            causes += check(f"{at}.appProtocol", application, validation.qualified_name)
    return causes


def _first_few(values: Iterable[str]) -> str:
    found = list(values)
    shown = ",".join(found[:_SHOWN])
    more = len(found) - _SHOWN
    return f"{shown} + {more} more..." if more > 0 else shown or "<unset>"


def _shown_ports(obj: Document, now: datetime) -> str:
    _ = now
    ports: list[Document] = obj.get("ports") or []
    return _first_few(
        str(port["port"]) if port.get("port") is not None else port["name"] if port.get("name") is not None else "*"
        for port in ports
    )


def _shown_addresses(obj: Document, now: datetime) -> str:
    _ = now
    endpoints: list[Document] = obj.get("endpoints") or []
    return _first_few(address for endpoint in endpoints for address in endpoint.get("addresses") or ())


RESOURCES: Final = (
    Resource(
        group="discovery.k8s.io",
        plural="endpointslices",
        singular="endpointslice",
        kind="EndpointSlice",
        strategy=EndpointSliceStrategy(),
        columns=(
            NAME,
            Column("AddressType", text("addressType"), description="IPv4, IPv6 or FQDN."),
            Column("Ports", _shown_ports, description="Ports that serve."),
            Column("Endpoints", _shown_addresses, description="Addresses that serve."),
            AGE,
        ),
    ),
)
