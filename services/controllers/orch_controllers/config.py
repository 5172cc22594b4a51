"""The controllers' settings."""

from __future__ import annotations

from typing import Annotated

import msgspec

from orch.config import Duration, EtcdConfig, NatsConfig, TelemetryConfig

Rate = Annotated[float, msgspec.Meta(ge=0)]


class ControllersConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What `orch-controllers --config FILE` reads.

    `workers`: keys of one controller that are reconciled at a time. `resync_period`: seconds after which every key is
    looked at again. `node_grace_period`: seconds of silence after which a node counts as lost. `autoscaler_*`: what
    kube-controller-manager's flags --horizontal-pod-autoscaler-* are for.
    """

    etcd: EtcdConfig = EtcdConfig()
    nats: NatsConfig = NatsConfig(user="system:kube-controller-manager")
    witness: NatsConfig | None = None
    """How to reach NATS as a user of its system account, to hear at once whose connection has ended; None: not."""
    telemetry: TelemetryConfig = TelemetryConfig()
    identity: str = ""
    leader_election: bool = True
    lease_ttl: Duration = 5.0
    workers: int = 32
    resync_period: Duration = 30.0
    node_grace_period: Duration = 5.0
    horizontal_pod_autoscaling: bool = True
    node_eviction_rate: Rate = 0.1
    """Lost nodes a second whose pods are evicted, in each zone."""
    node_eviction_burst: Annotated[int, msgspec.Meta(ge=1)] = 10
    """Lost nodes of a zone that are emptied at once, before the rate counts."""
    secondary_node_eviction_rate: Rate = 0.0
    """The rate in large zones of which most nodes are lost; in others of them nothing is evicted."""
    large_cluster_size_threshold: Annotated[int, msgspec.Meta(ge=0)] = 50
    """Nodes above which a zone is large."""
    root_ca_file: str = ""
    """The authority that the api's certificate is of; by default the one that the bus is known by."""
    cluster_signing_cert_file: str = ""
    """The authority that signs certificates which are requested; without it none is signed."""
    cluster_signing_key_file: str = ""
    cluster_signing_duration: Duration = 31_536_000.0
    """Seconds that such a certificate is valid at most."""
    cluster_cidr: str = "10.244.0.0/16"
    """The range that nodes are given a part of for their pods if they bring none; empty: they are given none."""
    node_cidr_mask_size: Annotated[int, msgspec.Meta(ge=8, le=30)] = 24
    load_balancer_ranges: tuple[str, ...] = ("127.64.0.0/16",)
    """What services of type LoadBalancer are given addresses of; none: others see to them."""
    load_balancer_class: str = "orch.dev/load-balancer"
    """The spec.loadBalancerClass that is served beside no class at all."""
    terminated_pod_threshold: Annotated[int, msgspec.Meta(ge=0)] = 12_500
    """Pods that have ended and are kept; beyond them the oldest are deleted. 0: all are kept."""
    unhealthy_zone_threshold: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.55
    """The share of a zone's nodes that are most of them."""
    autoscaler_tolerance: Annotated[float, msgspec.Meta(ge=0)] = 0.1
    autoscaler_downscale_stabilization: Duration = 300.0
    autoscaler_cpu_initialization: Duration = 300.0
    autoscaler_initial_readiness_delay: Duration = 30.0
