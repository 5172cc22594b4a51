"""Puts an agent process together: one node with Podman or a CRI runtime, or a fleet of simulated ones."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from orch import quantity
from orch.bus import subjects
from orch.bus.protocol import Bus, Subscription
from orch.bus.sealing import SealingKey
from orch.clock import Clock
from orch.objects.pods import Pod
from orch.objects.scheme import PODS, SERVICES
from orch.runtime.client import BusClient, Client
from orch.runtime.events import EventRecorder
from orch.runtime.informer import Change, Informer
from orch_agent.config import AgentConfig, FleetSettings
from orch_agent.eviction.thresholds import reserved_by, thresholds_of
from orch_agent.housekeeping import Housekeeping, HouseSettings, SimulatedHousekeeping, share_of
from orch_agent.lease import NodeLease
from orch_agent.logs.collector import LogCollector
from orch_agent.network.addresses import AddressBook
from orch_agent.network.sandbox import NetnsSandboxes, Sandboxes
from orch_agent.network.simulated import SimulatedSandboxes
from orch_agent.node import Machine, Node, NodeSettings
from orch_agent.pods.allocations import NodeAllocations
from orch_agent.pods.assignments import Assignments
from orch_agent.pods.groups import PodGroups
from orch_agent.pods.host import PodHost
from orch_agent.pods.namespaces import PodNamespaces
from orch_agent.pods.preemption import Preemption
from orch_agent.pods.resources import Policy, shares_of_cpu
from orch_agent.pods.service_links import ServiceLinks
from orch_agent.pods.static_pods import StaticPods
from orch_agent.queries import NodeQueries
from orch_agent.reporter import Reporter
from orch_agent.runtimes.cgroups import Hierarchy
from orch_agent.runtimes.cri.loading import load
from orch_agent.runtimes.cri.network import install
from orch_agent.runtimes.podman.runtime import PodmanRuntime
from orch_agent.runtimes.podman.service import PodmanService
from orch_agent.runtimes.protocol import Features, Limits, Runtime
from orch_agent.runtimes.simulated import SimulatedRuntime
from orch_agent.shutdown.node_shutdown import NodeShutdown
from orch_agent.stats.machine import least_oom_score
from orch_agent.stats.meter import NodeMeter
from orch_agent.streams import NodeStreams
from orch_agent.volumes.mounts import SystemMounts
from orch_agent.volumes.upkeep import VolumeUpkeep, volumes_of

_LOG: Final = logging.getLogger(__name__)
_POD_PREFIX: Final = 24
_COMPONENT: Final = "kubelet"
"""The source of a node's events, as users and their tools know it."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """One node of this process, before it is brought to life."""

    node: Node
    runtime: Runtime
    sandboxes: Sandboxes
    scheme: str
    files: Path | None = None
    groups: Hierarchy | None = None
    parent: str = ""
    namespaces: Path | None = None
    handlers: frozenset[str] | None = None


async def run_agent(config: AgentConfig, bus: Bus, clock: Clock) -> None:
    """Run the agent for ever; when cancelled, its containers go on."""
    if config.runtime == "simulated":
        await serve(config, bus, clock, simulated_places(config, clock))
    elif config.runtime == "cri":
        await _run_cri(config, bus, clock)
    else:
        await _run_podman(config, bus, clock)


async def _run_podman(config: AgentConfig, bus: Bus, clock: Clock) -> None:
    state = Path(config.state_dir)
    parent = config.podman.cgroup_parent or f"/orch-{config.node_name}"
    await asyncio.to_thread(state.mkdir, parents=True, exist_ok=True)
    hierarchy = Hierarchy()
    place_service = partial(hierarchy.add, f"{parent}-system")
    service = PodmanService(
        config.podman, state / "podman", config.network.network_namespace, clock, placed=place_service
    )
    runtime = PodmanRuntime(
        service.socket,
        config.node_name,
        clock,
        cgroup_parent=parent,
        log_size_max=config.pods.log_max_size,
        log_files_max=config.pods.log_max_files,
        single_process_oom_kill=config.pods.single_process_oom_kill,
        handlers=config.podman.handlers,
        exits_folder=service.exits,
    )
    addresses = await asyncio.to_thread(AddressBook, config.pod_cidr, state / "addresses.json")
    sandboxes = NetnsSandboxes(config.network, addresses)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(service.run(), name="podman service")
            await sandboxes.prepare()
            await service.wait_ready()
            machine = await asyncio.to_thread(Machine.here, config.state_dir, await runtime.version())
            features = Features(handlers=("", *sorted(config.podman.handlers)))
            place = Place(
                node=Node(_settings(config), machine, runtime, features=features),
                groups=hierarchy,
                parent=parent,
                runtime=runtime,
                sandboxes=sandboxes,
                scheme="podman",
                files=state / "pods",
                namespaces=service.socket.parent / "namespaces",
                handlers=frozenset(config.podman.handlers),
            )
            tasks.create_task(serve(config, bus, clock, [place]), name="node")
    finally:
        await runtime.close()


async def _run_cri(config: AgentConfig, bus: Bus, clock: Clock) -> None:
    state = Path(config.state_dir)
    settings, namespace = config.cri, config.network.network_namespace
    parent = settings.cgroup_parent or f"/orch-{config.node_name}"
    await asyncio.to_thread(state.mkdir, parents=True, exist_ok=True)
    await asyncio.to_thread(install, settings)
    runtime = load(
        settings,
        config.node_name,
        clock,
        cgroup_parent=parent,
        logs=Path(settings.log_dir) if settings.log_dir else state / "logs",
        streams_in=f"/run/netns/{namespace}" if namespace else "",
        log_max_size=config.pods.log_max_size,
        log_max_files=config.pods.log_max_files,
    )
    addresses = await asyncio.to_thread(AddressBook, config.pod_cidr, state / "addresses.json")
    sandboxes = NetnsSandboxes(config.network, addresses)
    try:
        await sandboxes.prepare()
        version = await runtime.wait_ready()
        machine = await asyncio.to_thread(Machine.here, config.state_dir, version)
        features = await runtime.features()
        place = Place(
            node=Node(_settings(config), machine, runtime, features=features),
            groups=Hierarchy(),
            parent=parent,
            runtime=runtime,
            sandboxes=sandboxes,
            scheme=version.partition("://")[0],
            files=state / "pods",
        )
        await serve(config, bus, clock, [place])
    finally:
        await runtime.close()


async def serve(config: AgentConfig, bus: Bus, clock: Clock, places: Iterable[Place]) -> None:
    """Serve the nodes of `places` for ever."""
    client = BusClient(bus, seal=SealingKey(config.nats))
    places = list(places)
    single = config.node_name
    recorder = EventRecorder(client, _COMPONENT, clock, host=single) if config.events else None
    lease = NodeLease(
        clock, config.intervals.lease, Path(config.state_dir) / "lease" if config.runtime != "simulated" else None
    )
    reporter = _reporter(config, bus, clock, recorder, lease)
    subject = subjects.node_pods(single) if single else subjects.NODE_PODS_OF_ALL
    informer = Informer(bus, PODS, stream=subjects.NODES.name, subject=subject)
    simulated = {
        place.node.settings.name: place.runtime for place in places if isinstance(place.runtime, SimulatedRuntime)
    }
    if simulated:
        informer.on_change(lambda change: _follow_script(simulated, change))
    services = Informer(bus, SERVICES)
    links = ServiceLinks(services)
    hosts = {place.node.settings.name: _host(config, place, client, reporter, lease, links) for place in places}
    nodes = {place.node.settings.name: place.node for place in places}
    static: StaticPods | None = None
    if single:
        folder = Path(config.static_pods) if config.static_pods else None
        static = StaticPods(folder, hosts[single], client, reporter)
    assignments = Assignments(informer, hosts, static)
    upkeeps = [
        _give_volumes(hosts[place.node.settings.name], place.files.parent / "volumes", bus, client, assignments)
        for place in places
        if place.files is not None
    ]
    collectors = _collectors(config, places, hosts, assignments, bus, clock)
    for name, host in hosts.items():
        host.preempt = Preemption(name, assignments, host.allocations, clock).admit
    shutdown = NodeShutdown(config.shutdown, nodes, hosts, assignments, reporter, clock)
    keepers, meter = _keepers(config, nodes, hosts, assignments, reporter, simulated, clock)
    for host in hosts.values():
        await host.groups.prepare()
    answers = (NodeStreams(bus, assignments, clock), NodeQueries(bus, assignments, nodes, config, clock, meter))
    _LOG.info("agent of %s", single or f"{len(places)} simulated nodes")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_answer(answers, single), name="answers")
        tasks.create_task(reporter.run(nodes), name="reporter")
        if recorder is not None:
            tasks.create_task(recorder.run(), name="events")
        for place in places:
            tasks.create_task(place.runtime.run(assignments.wake), name=f"runtime of {place.node.settings.name}")
        for name, keeper in keepers.items():
            tasks.create_task(keeper.run(), name=f"housekeeping of {name}")
        for part in (*upkeeps, *collectors):
            tasks.create_task(part.run(), name=type(part).__name__)
        tasks.create_task(services.run(), name="services")
        tasks.create_task(shutdown.run(), name="shutdown")
        tasks.create_task(assignments.run(), name="assignments")
        tasks.create_task(lease.watch(assignments.recheck_leased), name="lease")


async def _answer(parts: Iterable[NodeStreams | NodeQueries], node: str) -> None:
    """Answer what nodes are asked, for ever, once there is a bus to be asked over."""
    streams: list[Subscription] = []
    try:
        for part in parts:
            streams += await part.serve(node)
        await asyncio.get_running_loop().create_future()
    finally:
        for stream in streams:
            await stream.stop()


def _reporter(
    config: AgentConfig, bus: Bus, clock: Clock, recorder: EventRecorder | None, lease: NodeLease
) -> Reporter:
    intervals = config.intervals
    return Reporter(
        bus,
        clock,
        recorder,
        lease=lease,
        heartbeat_interval=intervals.heartbeat,
        node_interval=intervals.node,
        usage_interval=intervals.usage,
        quiet_interval=max(intervals.usage_quiet, intervals.usage),
    )


def simulated_places(config: AgentConfig, clock: Clock) -> list[Place]:
    """Return the nodes of a simulated fleet. One that is named is alone and has its own settings."""
    machine = Machine.here("/", "simulated://1")
    names = _fleet(config.fleet) if not config.node_name else [(config.node_name, config.node_ip, config.pod_cidr)]
    places: list[Place] = []
    for name, address, pods in names:
        runtime = SimulatedRuntime(clock, pull_seconds=config.fleet.pull_delay, start_seconds=config.fleet.start_delay)
        settings = msgspec.structs.replace(_settings(config), name=name, address=address, pod_cidr=pods)
        places.append(
            Place(
                node=Node(settings, machine, runtime, simulated=True),
                runtime=runtime,
                sandboxes=SimulatedSandboxes(pods),
                scheme="simulated",
            )
        )
    return places


def _follow_script(runtimes: Mapping[str, SimulatedRuntime], change: Change[Pod]) -> None:
    runtime = runtimes.get(change.item.object.spec.node_name)
    if runtime is not None:
        runtime.follow_script(change)


def _fleet(fleet: FleetSettings) -> list[tuple[str, str, str]]:
    """Return (name, address, pod range) of each simulated node."""
    addresses = ipaddress.ip_network(fleet.address_range).hosts()
    ranges = ipaddress.ip_network(fleet.pod_range).subnets(new_prefix=_POD_PREFIX)
    triples = zip(addresses, ranges, strict=False)
    return [
        (f"{fleet.name_prefix}{number}", str(address), str(pods))
        for number, (address, pods) in enumerate(islice(triples, fleet.nodes), start=1)
    ]


def _settings(config: AgentConfig) -> NodeSettings:
    return NodeSettings(
        name=config.node_name,
        address=config.node_ip,
        pod_cidr=config.pod_cidr,
        labels=config.labels,
        taints=tuple(msgspec.to_builtins(taint) for taint in config.taints),
        capacity=config.capacity,
        reserved=config.reserved,
        system_reserved=config.system_reserved,
        kept=partial(reserved_by, thresholds_of(config.eviction)),
        state_dir=config.state_dir if config.runtime != "simulated" else "/",
    )


def _give_volumes(host: PodHost, folder: Path, bus: Bus, client: BusClient, assignments: Assignments) -> VolumeUpkeep:
    host.volumes = volumes = volumes_of(host, folder, client, SystemMounts())
    volumes.wake = assignments.wake
    return VolumeUpkeep(bus, host.node, volumes, host.clock)


def _collectors(
    config: AgentConfig,
    places: Iterable[Place],
    hosts: Mapping[str, PodHost],
    assignments: Assignments,
    bus: Bus,
    clock: Clock,
) -> list[LogCollector]:
    """Return who collects the nodes' logs, of those whose logs are wanted."""
    found: list[LogCollector] = []
    for place in places:
        simulated = isinstance(place.runtime, SimulatedRuntime)
        if config.logs.collect == "none" or (simulated and config.logs.collect == "real"):
            continue
        name = place.node.settings.name
        state = place.files.parent / "collected.json" if place.files is not None else None
        containers = partial(assignments.containers_of, name)
        collector = LogCollector(name, bus, clock, place.runtime, containers, config.logs, state)
        hosts[name].before_removal = collector.finish
        found.append(collector)
    return found


def _keepers(
    config: AgentConfig,
    nodes: Mapping[str, Node],
    hosts: Mapping[str, PodHost],
    assignments: Assignments,
    reporter: Reporter,
    simulated: Mapping[str, SimulatedRuntime],
    clock: Clock,
) -> tuple[Mapping[str, Housekeeping | SimulatedHousekeeping], Callable[[str], NodeMeter]]:
    """Return who looks after the nodes, one for each that is real and one for all that are not, and their meters."""
    settings = HouseSettings(eviction=config.eviction, images=config.images, folder=config.state_dir)

    def make(name: str, how: HouseSettings) -> Housekeeping:
        return Housekeeping(nodes[name], hosts[name], assignments, reporter, clock, how)

    real = {name: make(name, settings) for name in nodes if name not in simulated}
    light = msgspec.structs.replace(settings, folder="")
    fleet = SimulatedHousekeeping(lambda name: make(name, light), simulated, clock, config.eviction.interval)
    keepers = {**real, **({"simulated nodes": fleet} if simulated else {})}
    return keepers, lambda name: real[name].meter if name in real else fleet.house(name).meter


def _groups(config: AgentConfig, place: Place) -> PodGroups:
    """Return the groups of a node's pods; together they may use what the node has, less what is kept for others."""
    node, settings = place.node, config.pods
    policy = Policy(
        memory_capacity=node.memory_capacity,
        memory_allocatable=quantity.value(node.allocatable["memory"]),
        pids=settings.pids_limit,
        least_oom_score=least_oom_score(),
        memory_qos=settings.memory_qos,
    )
    reserved = (node.settings.reserved, node.settings.system_reserved)
    cpus = quantity.milli(node.capacity["cpu"]) - sum(quantity.milli(each.get("cpu", "0")) for each in reserved)
    whole = Limits(cpu_shares=shares_of_cpu(max(cpus, 0)), memory=share_of(node).pods_memory)
    return PodGroups(place.groups, place.parent, policy, whole=whole)


def _host(
    config: AgentConfig, place: Place, client: Client, reporter: Reporter, lease: NodeLease, links: ServiceLinks
) -> PodHost:
    host = PodHost(
        node=place.node.settings.name,
        host_ip=place.node.settings.address,
        allocatable=place.node.allocatable,
        memory_capacity=place.node.memory_capacity,
        runtime=place.runtime,
        scheme=place.scheme,
        sandboxes=place.sandboxes,
        files=place.files,
        reader=client,
        outlet=reporter,
        clock=lease.clock,
        settings=config.pods,
        lease=lease,
        scripted=isinstance(place.runtime, SimulatedRuntime),
        labels=place.node.labels,
        services=links,
        namespaces=PodNamespaces(place.namespaces),
        handlers=place.handlers,
        groups=_groups(config, place),
        allocations=NodeAllocations(place.node.allocatable),
    )
    host.admission.strict_groups = place.node.features.strict_groups
    return host
