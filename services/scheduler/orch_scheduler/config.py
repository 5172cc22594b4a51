"""The scheduler's settings."""

from __future__ import annotations

from typing import Final

import msgspec

from orch.config import Duration, EtcdConfig, NatsConfig, TelemetryConfig

DEFAULT_NAME: Final = "default-scheduler"


class SchedulerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What `orch-scheduler --config FILE` reads.

    `batch`: pods that one plan places at most. `lease_ttl`: seconds after which a silent leader is replaced.
    `lease_name`: those who share it stand in for one another; without, it follows from the scheduler's name.
    `profiles`: a file in the shape of KubeSchedulerConfiguration, whose profiles are served instead of
    `scheduler_name`. `pod_priority`: whether pods of higher priority come first. `pod_affinity`: whether required pod
    affinity and anti-affinity hold. `pod_initial_backoff`, `pod_max_backoff`: how long a pod waits after its first
    refusal, and at most.
    """

    etcd: EtcdConfig = EtcdConfig()
    nats: NatsConfig = NatsConfig(user="system:kube-scheduler")
    telemetry: TelemetryConfig = TelemetryConfig()
    scheduler_name: str = DEFAULT_NAME
    identity: str = ""
    leader_election: bool = True
    lease_ttl: Duration = 5.0
    lease_name: str = ""
    profiles: str = ""
    batch: int = 512
    pod_priority: bool = True
    pod_affinity: bool = True
    pod_initial_backoff: Duration = 1.0
    pod_max_backoff: Duration = 10.0

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if self.batch < 1:
            raise ValueError(f"batch: expected a number of pods from 1 on, got {self.batch}")
        if self.pod_initial_backoff <= 0 or self.pod_max_backoff < self.pod_initial_backoff:
            raise ValueError("pod_initial_backoff must be more than 0 and pod_max_backoff not less than it")

    def lease(self, scheduler: str, identity: str) -> str:
        """Return the name of the lease to lead under; without an election, one that nobody else asks for.

        `scheduler` is the first name that is served.
        """
        name = self.lease_name
        if not name:
            name = "scheduler" if scheduler == DEFAULT_NAME else f"scheduler-{scheduler}"
        return name if self.leader_election else f"{name}-{identity}"
