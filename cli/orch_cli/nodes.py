"""The nodes of a local cluster: the agents' settings, and what has to go when the cluster goes down."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from orch.config import NatsConfig
from orch.errors import OrchError
from orch_cli import programs
from orch_cli.identities import FLEET, Identities
from orch_cli.images import image_programs, pull_environment, registries_file
from orch_cli.layout import Layout
from orch_cli.network import BLACKHOLES, CLUSTER_DNS, lay_network, node_network, pod_namespace_prefix, remove_network
from orch_cli.process import Program
from orch_cli.state import ClusterState

_CGROUPS: Final = Path("/sys/fs/cgroup")
_REMOVE_SECONDS: Final = 60.0
_CGROUP_SECONDS: Final = 10.0
_HARD_THRESHOLDS: Final = ("memory.available<100Mi", "nodefs.available<1%", "nodefs.inodesFree<1%")
"""The disk is shared with all else on the machine: that it is nearly full must not empty the cluster."""


def agent_programs(layout: Layout, state: ClusterState, identities: Identities) -> list[Program]:
    """Return what runs the nodes: a registry or doorway and an agent each, or one agent that plays them all."""
    bus = f"127.0.0.1:{state.ports.nats}"
    if state.runtime == "simulated":
        settings = {
            "runtime": "simulated",
            "fleet": {"nodes": state.nodes},
            "nats": identities.clients[FLEET].nats(bus),
            "telemetry": state.telemetry(),
        }
        return [_agent("agent", layout, settings)]
    registries = registries_file(state, layout.config)
    agents = [
        _agent(
            f"agent-{node}",
            layout,
            podman_settings(layout, state, index, registries, identities.clients[node].nats(bus)),
            environ=pull_environment(state),
        )
        for index, node in enumerate(state.node_names())
    ]
    return [*image_programs(state, layout.config), *agents]


def podman_settings(
    layout: Layout, state: ClusterState, index: int, registries: str, nats: NatsConfig
) -> dict[str, object]:
    """Return the settings of a Podman node's agent."""
    node = state.node_names()[index]
    place = node_network(state.cluster, index)
    others = (node_network(state.cluster, other) for other in range(state.nodes) if other != index)
    volatile = runtime_folder(state) / node
    return {
        "node_name": node,
        "node_ip": place.address,
        "pod_cidr": place.pod_cidr,
        "capacity": share_of_machine(state.nodes),
        "state_dir": str(layout.nodes / node),
        "runtime": "podman",
        "podman": {
            "runroot": str(volatile / "run"),
            "tmpdir": str(volatile / "tmp"),
            "socket": str(volatile / "podman.sock"),
            "registries_file": registries,
            "cgroup_parent": f"/{_cgroup(state)}/{node}",
        },
        "network": {
            "network_namespace": place.namespace,
            "pod_namespace_prefix": pod_namespace_prefix(state.cluster),
            "blackholes": BLACKHOLES,
            "routes": [{"to": other.pod_cidr, "via": other.address} for other in others],
        },
        "eviction": {"hard": _HARD_THRESHOLDS},
        "images": {"high_threshold": 99, "low_threshold": 98},
        "pods": {"cluster_dns": [CLUSTER_DNS]},
        "static_pods": str(layout.nodes / node / "static-pods"),
        "nats": nats,
        "telemetry": state.telemetry(),
    }


def prepare_nodes(state: ClusterState) -> None:
    """Lay the network that Podman nodes need. What stands is kept, and with it the containers in it."""
    if state.runtime == "podman":
        lay_network(state.cluster, state.nodes)


def clear_nodes(layout: Layout, state: ClusterState) -> None:
    """Remove all containers, and everything of theirs outside the state folder; images stay."""
    for folder in sorted(layout.nodes.glob("*")):
        _remove_containers(folder, runtime_folder(state) / folder.name)
    if runtime_folder(state).exists() or layout.nodes.exists():
        remove_network(state.cluster)
    for folder in (layout.nodes, runtime_folder(state)):
        _unmount_below(folder)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(runtime_folder(state))
    groups = [_CGROUPS / _cgroup(state), *_CGROUPS.glob(f"*/{_cgroup(state)}")]
    _remove_cgroups([group for group in groups if group.is_dir()])


def runtime_folder(state: ClusterState) -> Path:
    """Return where the nodes' sockets and mounts are: their paths must be short, and a boot must empty it."""
    return Path("/run") / f"orch-{state.cluster}"


def _agent(
    name: str, layout: Layout, settings: Mapping[str, object], environ: Mapping[str, str] | None = None
) -> Program:
    file = layout.config / f"{name}.yaml"
    programs.write_yaml(file, settings)
    argv = (programs.executable("orch-agent"), "--config", str(file))
    return Program(name=name, argv=argv, stage=programs.AGENTS, environ=environ or {})


def share_of_machine(nodes: int) -> dict[str, str]:
    """Return a node's capacity: together, the nodes have what the machine has."""
    cpus = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cpu": f"{cpus * 1000 // nodes}m", "memory": f"{memory // nodes // 1024}Ki"}


def _remove_containers(node: Path, volatile: Path) -> None:
    settings, root = node / "podman" / "containers.conf", node / "podman" / "containers"
    if not settings.exists() or not volatile.exists():
        return
    folders = ("--root", str(root), "--runroot", str(volatile / "run"), "--tmpdir", str(volatile / "tmp"))
    command = ("podman", *folders, "rm", "--all", "--force", "--time", "2")
    environ = {**os.environ, "CONTAINERS_CONF": str(settings)}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=environ, timeout=_REMOVE_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise OrchError(f"the containers of {node.name} cannot be removed: {error}") from error
    if done.returncode:
        raise OrchError(f"the containers of {node.name} cannot be removed: {done.stderr.strip()}")


def _unmount_below(folder: Path) -> None:
    """Unmount what Podman has mounted below a folder, the innermost first."""
    mounted = (line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    paths = [path.encode().decode("unicode_escape") for path in mounted]
    for path in sorted((path for path in paths if Path(path).is_relative_to(folder)), key=len, reverse=True):
        subprocess.run(("umount", "--lazy", path), check=True, capture_output=True, timeout=_REMOVE_SECONDS)


def _cgroup(state: ClusterState) -> str:
    return f"orch-{state.cluster}"


def _remove_cgroups(groups: list[Path]) -> None:
    """Remove control groups, and first what still lives in them: monitors of exec sessions stay on for minutes."""
    deadline = time.monotonic() + _CGROUP_SECONDS
    while True:
        for procs in (file for group in groups for file in group.rglob("cgroup.procs")):
            for pid in procs.read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
        try:
            for group in groups:
                for folder, _, _ in os.walk(group, topdown=False):
                    os.rmdir(folder)  # noqa: PTH106 - os.walk gives text
        except OSError as error:
            if time.monotonic() > deadline:
                raise OrchError(f"a control group cannot be removed: {error}") from error
            time.sleep(0.02)
        else:
            return
