"""A service's pods as endpoints (k8s.io/endpointslice reconciler.go, utils.go and trafficdist). Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from orch.objects.discovery import (
    Endpoint,
    EndpointConditions,
    EndpointHints,
    EndpointPort,
    Named,
    TargetReference,
)
from orch.objects.networking import Service
from orch.objects.pods import Pod
from orch_controllers.pod_state import is_ready
from orch_controllers.service_pods import addresses_of, belongs, hostname_of, port_number

ZONE: Final = "topology.kubernetes.io/zone"

_SAME_ZONE: Final = frozenset({"PreferClose", "PreferSameZone"})
_SAME_NODE: Final = "PreferSameNode"

Ports = tuple[EndpointPort, ...]
ZoneOf = Callable[[str], str | None]
"""Returns a node's zone, "" when it is in none, None when there is no such node."""


def families_of(service: Service) -> tuple[str, ...]:
    """Return the kinds of addresses that the service's slices have."""
    return service.spec.ip_families or ("IPv4",)


def endpoints_of(service: Service, pods: Iterable[Pod], family: str, zone_of: ZoneOf) -> dict[Ports, list[Endpoint]]:
    """Return the endpoints by the ports that they share.

    A pod whose node is gone is left out, unless the service asks for pods whatever their state.
    """
    found: dict[Ports, list[Endpoint]] = {}
    for pod in pods:
        if not belongs(pod, terminating=True):
            continue
        addresses = addresses_of(pod, family)
        zone = zone_of(pod.spec.node_name) if pod.spec.node_name else ""
        if not addresses or (zone is None and not service.spec.publish_not_ready_addresses):
            continue
        endpoint = _endpoint(service, pod, addresses, zone or None)
        found.setdefault(_ports(service, pod), []).append(endpoint)
    return {ports: _hinted(service, endpoints) for ports, endpoints in found.items()}


def _endpoint(service: Service, pod: Pod, addresses: tuple[str, ...], zone: str | None) -> Endpoint:
    meta = pod.metadata
    serving, terminating = is_ready(pod), bool(meta.deletion_timestamp)
    ready = service.spec.publish_not_ready_addresses or (serving and not terminating)
    return Endpoint(
        addresses=addresses,
        conditions=EndpointConditions(ready=ready, serving=serving, terminating=terminating),
        hostname=hostname_of(pod, service),
        node_name=pod.spec.node_name or None,
        zone=zone,
        target_ref=TargetReference(kind="Pod", namespace=meta.namespace, name=meta.name, uid=meta.uid),
    )


def _ports(service: Service, pod: Pod) -> Ports:
    return tuple(
        EndpointPort(name=port.name, protocol=port.protocol, port=number, app_protocol=port.app_protocol)
        for port in service.spec.ports
        if (number := port_number(pod, port)) is not None
    )


def _hinted(service: Service, endpoints: list[Endpoint]) -> list[Endpoint]:
    """Say for whom each endpoint is meant, as the service's trafficDistribution asks for."""
    wanted = service.spec.traffic_distribution
    if wanted in _SAME_ZONE:
        return [msgspec.structs.replace(each, hints=_for_zone(each)) for each in endpoints]
    if wanted == _SAME_NODE:
        return [msgspec.structs.replace(each, hints=_for_node(each)) for each in endpoints]
    return endpoints


def _for_zone(endpoint: Endpoint) -> EndpointHints | None:
    if not endpoint.zone or not endpoint.conditions.ready:
        return None
    return EndpointHints(for_zones=(Named(name=endpoint.zone),))


def _for_node(endpoint: Endpoint) -> EndpointHints | None:
    if not endpoint.node_name or not endpoint.conditions.ready:
        return None
    zones = (Named(name=endpoint.zone),) if endpoint.zone else ()
    return EndpointHints(for_zones=zones, for_nodes=(Named(name=endpoint.node_name),))
