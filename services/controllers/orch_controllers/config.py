"""The controllers' settings."""

from __future__ import annotations

from typing import Annotated

import msgspec

from orch.config import Duration, EtcdConfig, NatsConfig, TelemetryConfig


class ControllersConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What `orch-controllers --config FILE` reads.

    `workers`: keys of one controller that are reconciled at a time. `resync_period`: seconds after which every key is
    looked at again. `node_grace_period`: seconds of silence after which a node counts as lost. `autoscaler_*`: what
    kube-controller-manager's flags --horizontal-pod-autoscaler-* are for.
    """

    etcd: EtcdConfig = EtcdConfig()
    nats: NatsConfig = NatsConfig(user="system:kube-controller-manager")
    telemetry: TelemetryConfig = TelemetryConfig()
    identity: str = ""
    leader_election: bool = True
    lease_ttl: Duration = 5.0
    workers: int = 10
    resync_period: Duration = 30.0
    node_grace_period: Duration = 5.0
    horizontal_pod_autoscaling: bool = True
    autoscaler_tolerance: Annotated[float, msgspec.Meta(ge=0)] = 0.1
    autoscaler_downscale_stabilization: Duration = 300.0
    autoscaler_cpu_initialization: Duration = 300.0
    autoscaler_initial_readiness_delay: Duration = 30.0
