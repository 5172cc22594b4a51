"""The subsets of a service's Endpoints (k8s.io/kubernetes pkg/controller/endpoint and pkg/api/v1/endpoints). Pure."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from typing import Final

import msgspec

from orch.objects.discovery import EndpointAddress, EndpointPort, EndpointSubset, TargetReference
from orch.objects.networking import Service
from orch.objects.pods import Pod
from orch_controllers.pod_state import is_ready
from orch_controllers.service_pods import addresses_of, belongs, hostname_of, port_number

log = logging.getLogger(__name__)

MOST: Final = 1000
"""Addresses that one object holds; what is beyond is left out, and the annotation says so."""

_Entry = tuple[EndpointAddress, bool]


def subsets_of(service: Service, pods: Iterable[Pod]) -> tuple[EndpointSubset, ...]:
    """Return the subsets: addresses that share all their ports stand together."""
    unready = service.spec.publish_not_ready_addresses
    family = service.spec.ip_families[0] if service.spec.ip_families else "IPv4"
    found: dict[_Entry, set[EndpointPort]] = {}
    for pod in pods:
        if not belongs(pod, terminating=unready):
            continue
        for address in addresses_of(pod, family)[:1]:
            entry = (_address(pod, service, address), unready or is_ready(pod))
            ports = _ports(service, pod)
            if ports or (service.headless and not service.spec.ports):
                found.setdefault(entry, set()).update(ports)
    by_ports: dict[tuple[EndpointPort, ...], list[_Entry]] = {}
    for entry, ports in found.items():
        by_ports.setdefault(tuple(sorted(ports, key=_port_order)), []).append(entry)
    return tuple(
        _subset(by_ports[ports], ports) for ports in sorted(by_ports, key=lambda each: [*map(_port_order, each)])
    )


def truncated(subsets: Sequence[EndpointSubset]) -> tuple[tuple[EndpointSubset, ...], bool]:
    """Return at most MOST addresses, and whether some had to be left out: those that are not ready first."""
    ready = sum(len(subset.addresses) for subset in subsets)
    unready = sum(len(subset.not_ready_addresses) for subset in subsets)
    if ready + unready <= MOST:
        return tuple(subsets), False
    cut: list[EndpointSubset] = []
    left = MOST
    kept_ready = min(ready, MOST)
    for subset in subsets:
        share = kept_ready if ready <= MOST else _share(len(subset.addresses), ready, MOST)
        addresses = subset.addresses[: min(share, left)]
        left -= len(addresses)
        cut.append(msgspec.structs.replace(subset, addresses=addresses, not_ready_addresses=()))
    for index, subset in enumerate(subsets):
        taken = subset.not_ready_addresses[
            : min(_share(len(subset.not_ready_addresses), unready, MOST - kept_ready), left)
        ]
        left -= len(taken)
        cut[index] = msgspec.structs.replace(cut[index], not_ready_addresses=taken)
    return tuple(subset for subset in cut if subset.addresses or subset.not_ready_addresses), True


def _share(part: int, whole: int, room: int) -> int:
    """Return what a part may have of the room, rounded up."""
    return -(-part * room // whole) if whole else 0


def _address(pod: Pod, service: Service, address: str) -> EndpointAddress:
    meta = pod.metadata
    return EndpointAddress(
        ip=address,
        hostname=hostname_of(pod, service) or "",
        node_name=pod.spec.node_name or None,
        target_ref=TargetReference(kind="Pod", namespace=meta.namespace, name=meta.name, uid=meta.uid),
    )


def _ports(service: Service, pod: Pod) -> list[EndpointPort]:
    ports: list[EndpointPort] = []
    for port in service.spec.ports:
        number = port_number(pod, port)
        if number is None:
            log.debug("pod %s has no port %r", pod.metadata.name, port.target_port)
            continue
        ports.append(
            EndpointPort(name=port.name or None, protocol=port.protocol, port=number, app_protocol=port.app_protocol)
        )
    return ports


def _subset(entries: Iterable[_Entry], ports: tuple[EndpointPort, ...]) -> EndpointSubset:
    ordered = sorted(entries, key=lambda entry: (ip_address(entry[0].ip), entry[0].hostname))
    return EndpointSubset(
        addresses=tuple(address for address, ready in ordered if ready),
        not_ready_addresses=tuple(address for address, ready in ordered if not ready),
        ports=ports,
    )


def _port_order(port: EndpointPort) -> tuple[str, int, str, str]:
    return port.name or "", port.port or 0, port.protocol or "", port.app_protocol or ""
