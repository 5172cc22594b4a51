"""The agent's settings; see README.md for what each is for."""

from __future__ import annotations

import ipaddress
from typing import Literal

import msgspec

from orch import quantity
from orch.config import Duration, NatsConfig, TelemetryConfig
from orch.errors import ConfigError
from orch_agent.eviction.thresholds import EvictionSettings, thresholds_of
from orch_agent.images.collection import ImageSettings
from orch_agent.logs.settings import LogSettings
from orch_agent.network.sandbox import NetworkSettings
from orch_agent.pods.host import PodSettings
from orch_agent.pods.sysctls import pattern_problem
from orch_agent.runtimes.cri.settings import CriSettings
from orch_agent.runtimes.podman.service import LONGEST_RUNROOT, LONGEST_SOCKET, PodmanSettings
from orch_agent.shutdown.settings import ShutdownSettings


class TaintSettings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A taint that the node is registered with."""

    key: str
    value: str = ""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = "NoSchedule"


class FleetSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The nodes that one process with the simulated runtime plays: `<name_prefix>1` to `<name_prefix><nodes>`.

    Each has the next /24 of `pod_range` and the next address of `address_range`. A simulated node that has a
    `node_name` is alone, with the settings of a real one.
    """

    nodes: int = 1
    name_prefix: str = "node-"
    pod_range: str = "10.64.0.0/10"
    address_range: str = "198.18.0.0/15"
    pull_delay: Duration = 0.0
    start_delay: Duration = 0.0


class Intervals(msgspec.Struct, frozen=True, kw_only=True):
    """How often the node says what: `usage` while its use changes, `usage_quiet` while that is steady.

    `lease`: after so long without an acknowledged heartbeat, pods that must not run twice are stopped; 0: never.
    """

    heartbeat: Duration = 1.0
    node: Duration = 300.0
    usage: Duration = 1.0
    usage_quiet: Duration = 10.0
    lease: Duration = 30.0


class IdentitySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the node's certificate is renewed: the api's address. Empty: somebody else sees to it."""

    server: str = ""


class AgentConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one agent process: one real node, or a fleet of simulated ones.

    `capacity` overrides what is found, so that several nodes can share one machine; `reserved` (for the agent and its
    runtime) and `system_reserved` (for all else) are kept from pods. `static_pods` is a folder with pods, one a file,
    that the node runs on its own.
    """

    node_name: str = ""
    node_ip: str = ""
    pod_cidr: str = ""
    labels: dict[str, str] = {}
    taints: tuple[TaintSettings, ...] = ()
    capacity: dict[str, str] = {}
    reserved: dict[str, str] = {}
    system_reserved: dict[str, str] = {}
    state_dir: str = "/var/lib/orch/agent"
    runtime: Literal["podman", "cri", "simulated"] = "podman"
    podman: PodmanSettings = PodmanSettings()
    cri: CriSettings = CriSettings()
    fleet: FleetSettings = FleetSettings()
    network: NetworkSettings = NetworkSettings()
    pods: PodSettings = PodSettings()
    static_pods: str = ""
    eviction: EvictionSettings = EvictionSettings()
    shutdown: ShutdownSettings = ShutdownSettings()
    images: ImageSettings = ImageSettings()
    logs: LogSettings = LogSettings()
    intervals: Intervals = Intervals()
    events: bool = True
    identity: IdentitySettings = IdentitySettings()
    nats: NatsConfig = NatsConfig()
    telemetry: TelemetryConfig = TelemetryConfig()

    def check(self) -> None:
        """Raise ConfigError, with the setting's path, for what the types cannot rule out."""
        thresholds_of(self.eviction)
        self.shutdown.check("shutdown")
        self.images.check("images")
        self.logs.check("logs")
        self.pods.pulls.check("pods.pulls")
        for setting in ("capacity", "reserved", "system_reserved"):
            _quantities(setting, getattr(self, setting))
        if self.runtime == "simulated" and not self.node_name:
            if self.fleet.nodes < 1:
                raise ConfigError("fleet.nodes", "must be at least 1")
            _range("fleet.pod_range", self.fleet.pod_range)
            _range("fleet.address_range", self.fleet.address_range)
            return
        if not self.node_name:
            raise ConfigError("node_name", "is required")
        if self.runtime == "cri":
            self.cri.check()
        try:
            ipaddress.ip_address(self.node_ip)
        except ValueError as error:
            raise ConfigError("node_ip", str(error)) from error
        if _range("pod_cidr", self.pod_cidr).num_addresses < 8:
            raise ConfigError("pod_cidr", "has too few addresses")
        self._check_pods()
        for setting, longest in (("runroot", LONGEST_RUNROOT), ("socket", LONGEST_SOCKET)):
            if len(getattr(self.podman, setting)) > longest:
                raise ConfigError(f"podman.{setting}", f"must be at most {longest} characters long")

    def _check_pods(self) -> None:
        if self.pods.log_max_size < 1:
            raise ConfigError("pods.log_max_size", "must be positive")
        if self.pods.log_max_files < 2:
            raise ConfigError("pods.log_max_files", "must be at least 2")
        for place, server in enumerate(self.pods.cluster_dns):
            try:
                ipaddress.ip_address(server)
            except ValueError as error:
                raise ConfigError(f"pods.cluster_dns[{place}]", str(error)) from error
        for place, pattern in enumerate(self.pods.allowed_unsafe_sysctls):
            if problem := pattern_problem(pattern):
                raise ConfigError(f"pods.allowed_unsafe_sysctls[{place}]", problem)


def _range(path: str, text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ConfigError(path, str(error)) from error


def _quantities(path: str, amounts: dict[str, str]) -> None:
    for name, text in amounts.items():
        try:
            amount = quantity.parse(text).nanos
        except ValueError as error:
            raise ConfigError(f"{path}[{name}]", str(error)) from error
        if amount < 0:
            raise ConfigError(f"{path}[{name}]", "must not be negative")
