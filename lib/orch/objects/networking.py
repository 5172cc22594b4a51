"""Views of Service, of the ranges of service addresses and of who has which (k8s.io/api/core/v1, networking/v1)."""

from __future__ import annotations

import msgspec

from orch.objects.meta import Condition, Object, View

HEADLESS = "None"
"""The cluster address of a service that has none and wants none."""


class ServicePort(View, frozen=True):
    """A port of a service. `target_port` is a number or the name of a container's port."""

    name: str = ""
    protocol: str = "TCP"
    app_protocol: str | None = None
    port: int = 0
    target_port: int | str = 0
    node_port: int = 0


class ServiceSpec(View, frozen=True):
    """What a service shall be. Without a selector its endpoints are someone else's business."""

    type: str = "ClusterIP"
    selector: dict[str, str] = {}
    ports: tuple[ServicePort, ...] = ()
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    cluster_ips: tuple[str, ...] = msgspec.field(default=(), name="clusterIPs")
    ip_families: tuple[str, ...] = ()
    ip_family_policy: str = ""
    external_ips: tuple[str, ...] = msgspec.field(default=(), name="externalIPs")
    external_name: str = ""
    external_traffic_policy: str = ""
    internal_traffic_policy: str = ""
    health_check_node_port: int = 0
    load_balancer_class: str | None = None
    load_balancer_ip: str = msgspec.field(default="", name="loadBalancerIP")
    load_balancer_source_ranges: tuple[str, ...] = ()
    publish_not_ready_addresses: bool = False
    session_affinity: str = "None"
    traffic_distribution: str | None = None


class LoadBalancerIngress(View, frozen=True):
    """Where a load balancer is reached."""

    ip: str = ""
    ip_mode: str | None = None
    hostname: str = ""


class LoadBalancerStatus(View, frozen=True):
    """Where all of a service's load balancers are reached."""

    ingress: tuple[LoadBalancerIngress, ...] = ()


class ServiceStatus(View, frozen=True):
    """What a service is."""

    load_balancer: LoadBalancerStatus = LoadBalancerStatus()
    conditions: tuple[Condition, ...] = ()


class Service(Object, frozen=True):
    """A service."""

    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()

    @property
    def headless(self) -> bool:
        """Whether clients are told the pods' addresses instead of one of the service's own."""
        return self.spec.cluster_ip == HEADLESS


class ServiceCIDRSpec(View, frozen=True):
    """Ranges of addresses, one a family."""

    cidrs: tuple[str, ...] = ()


class ServiceCIDRStatus(View, frozen=True):
    """Whether addresses are taken from the ranges."""

    conditions: tuple[Condition, ...] = ()


class ServiceCIDR(Object, frozen=True):
    """Ranges of service addresses."""

    spec: ServiceCIDRSpec = ServiceCIDRSpec()
    status: ServiceCIDRStatus = ServiceCIDRStatus()
