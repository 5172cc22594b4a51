"""`orch recommend [KIND NAME]`: what the containers of workloads should request, judged by what they have used."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

import msgspec
from google.protobuf.message import DecodeError

from orch.bus.subjects import RECOMMENDATIONS, RECOMMENDATIONS_OF_ALL, recommendations_in
from orch.clock import rfc3339
from orch.errors import BusError, NotFoundError
from orch_cli.answers import add_namespace, add_output, duration, show, table
from orch_cli.layout import Layout
from orch_cli.session import newest, open_session
from orch_pb.v1.autoscaling_pb2 import ContainerRecommendation, WorkloadRecommendation

_NANO: Final = 1_000_000_000
_ALIASES: Final = {
    "deploy": "deployment",
    "sts": "statefulset",
    "ds": "daemonset",
    "rs": "replicaset",
    "rc": "replicationcontroller",
    "cj": "cronjob",
    "po": "pod",
}


class Bounds(msgspec.Struct, frozen=True):
    """What to request of a resource, and between what a request makes sense; quantities as text."""

    target: str
    lower: str
    upper: str


class ContainerAdvice(msgspec.Struct, frozen=True, rename="camel"):
    """What a container should request."""

    container: str
    cpu: Bounds
    memory: Bounds
    samples: int
    seconds: float


class WorkloadAdvice(msgspec.Struct, frozen=True, rename="camel"):
    """What the containers of a workload should request."""

    namespace: str
    kind: str
    name: str
    time: str
    containers: tuple[ContainerAdvice, ...]


class Advice(msgspec.Struct, frozen=True, rename="camel"):
    """What was learned of all that was asked for."""

    workloads: tuple[WorkloadAdvice, ...]

    def text(self) -> str:
        """Return it for a person to read."""
        if not self.workloads:
            return "Nothing is known yet: use is looked at once a minute."
        rows = [
            (
                f"{workload.namespace}/{workload.kind.lower()}/{workload.name}",
                one.container,
                *(one.cpu.target, f"{one.cpu.lower} - {one.cpu.upper}"),
                *(one.memory.target, f"{one.memory.lower} - {one.memory.upper}"),
                f"{one.samples} in {duration(one.seconds)}",
            )
            for workload in self.workloads
            for one in workload.containers
        ]
        return "\n".join(table(("WORKLOAD", "CONTAINER", "CPU", "BOUNDS", "MEMORY", "BOUNDS", "SAMPLES"), rows))


def add_recommend(command: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    command.add_argument("kind", nargs="?", type=_kind, default="", metavar="KIND", help="such as deployment")
    command.add_argument("name", nargs="?", default="", metavar="NAME")
    add_namespace(command)
    command.add_argument("-A", "--all-namespaces", action="store_true", help="of all namespaces")
    add_output(command)


def recommend(parsed: argparse.Namespace, layout: Layout) -> int:
    """Print what is recommended for one workload, those of a kind, or all."""

    async def ask() -> Advice:
        subject = RECOMMENDATIONS_OF_ALL if parsed.all_namespaces else recommendations_in(parsed.namespace)
        async with open_session(layout, parsed.timeout) as session:
            messages = await newest(session.bus, RECOMMENDATIONS.name, subject)
        return advice((message.data for message in messages), parsed.kind, parsed.name)

    found = asyncio.run(ask())
    if parsed.name and not found.workloads:
        raise NotFoundError(f'nothing is known of the use of {parsed.kind} "{parsed.name}"')
    show(found, parsed.output)
    return 0


def advice(published: Iterable[bytes], kind: str, name: str) -> Advice:
    """Return what was published about workloads of a kind and a name; "" is any."""
    workloads: list[WorkloadAdvice] = []
    for data in published:
        try:
            one = WorkloadRecommendation.FromString(data)
        except DecodeError as error:
            raise BusError(f"a recommendation cannot be read: {error}") from error
        if kind in {"", one.kind.lower()} and name in {"", one.name}:
            containers = tuple(_container(each) for each in one.containers)
            at = rfc3339(datetime.fromtimestamp(one.at / _NANO, UTC))
            workloads.append(WorkloadAdvice(one.namespace, one.kind, one.name, at, containers))
    return Advice(tuple(sorted(workloads, key=lambda one: (one.namespace, one.kind, one.name))))


def _container(one: ContainerRecommendation) -> ContainerAdvice:
    cpu = Bounds(*(f"{milli}m" for milli in (one.target_cpu, one.lower_cpu, one.upper_cpu)))
    memory = Bounds(*(_size(size) for size in (one.target_memory, one.lower_memory, one.upper_memory)))
    return ContainerAdvice(one.container, cpu, memory, one.samples, (one.last - one.first) / _NANO)


def _size(size: int) -> str:
    return f"{-(-size // 2**20)}Mi"


def _kind(text: str) -> str:
    """Return a kind as recommendations call it: in lower case, singular."""
    kind = text.lower()
    return _ALIASES.get(kind, kind.removesuffix("s"))
