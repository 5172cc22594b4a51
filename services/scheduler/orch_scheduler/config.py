"""The scheduler's settings."""

from __future__ import annotations

import msgspec

from orch.config import Duration, EtcdConfig, NatsConfig, TelemetryConfig


class SchedulerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What `orch-scheduler --config FILE` reads.

    `batch`: pods that one plan places at most. `lease_ttl`: seconds after which a silent leader is replaced.
    `pod_priority`: whether pods of higher priority come first. `pod_affinity`: whether required pod affinity and
    anti-affinity hold.
    """

    etcd: EtcdConfig = EtcdConfig()
    nats: NatsConfig = NatsConfig(user="system:kube-scheduler")
    telemetry: TelemetryConfig = TelemetryConfig()
    scheduler_name: str = "default-scheduler"
    identity: str = ""
    leader_election: bool = True
    lease_ttl: Duration = 5.0
    batch: int = 512
    pod_priority: bool = True
    pod_affinity: bool = True
