"""Views of EndpointSlice and Endpoints: where a service is served (k8s.io/api/discovery/v1, core/v1)."""

from __future__ import annotations

from orch.objects.meta import Object, View

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
SKIP_MIRROR = "endpointslice.kubernetes.io/skip-mirror"
HEADLESS_LABEL = "service.kubernetes.io/headless"
TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"


class TargetReference(View, frozen=True):
    """The object behind an address, a pod as a rule."""

    api_version: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    resource_version: str = ""
    field_path: str = ""


class EndpointConditions(View, frozen=True):
    """What can be expected of an endpoint."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class Named(View, frozen=True):
    """A zone or a node, by name."""

    name: str = ""


class EndpointHints(View, frozen=True):
    """For whom an endpoint is meant, if it can be chosen."""

    for_zones: tuple[Named, ...] = ()
    for_nodes: tuple[Named, ...] = ()


class Endpoint(View, frozen=True):
    """One backend of a service."""

    addresses: tuple[str, ...] = ()
    conditions: EndpointConditions = EndpointConditions()
    hostname: str | None = None
    target_ref: TargetReference | None = None
    node_name: str | None = None
    zone: str | None = None
    hints: EndpointHints | None = None


class EndpointPort(View, frozen=True):
    """A port of all endpoints of a slice, or of a subset of Endpoints."""

    name: str | None = None
    protocol: str | None = None
    port: int | None = None
    app_protocol: str | None = None


class EndpointSlice(Object, frozen=True):
    """A part of a service's backends, all with the same ports."""

    address_type: str = "IPv4"
    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[EndpointPort, ...] = ()


class EndpointAddress(View, frozen=True):
    """An address of Endpoints."""

    ip: str = ""
    hostname: str = ""
    node_name: str | None = None
    target_ref: TargetReference | None = None


class EndpointSubset(View, frozen=True):
    """Addresses that share their ports."""

    addresses: tuple[EndpointAddress, ...] = ()
    not_ready_addresses: tuple[EndpointAddress, ...] = ()
    ports: tuple[EndpointPort, ...] = ()


class Endpoints(Object, frozen=True):
    """All backends of a service in one object, at most a thousand."""

    subsets: tuple[EndpointSubset, ...] = ()
