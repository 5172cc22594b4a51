"""`orch why-not pod NAME NODE`: what keeps a pod off a node, or what made another one better."""

from __future__ import annotations

import argparse
import asyncio
from urllib.parse import quote

import msgspec

from orch.objects.pods import Pod
from orch_cli.answers import add_namespace, add_output, fields, object_name, show
from orch_cli.judged import (
    Refused,
    Remedy,
    Scored,
    ask,
    best_lines,
    check,
    refused_lines,
    refused_of,
    remedies_of,
    remedy_lines,
    scored_of,
)
from orch_cli.layout import Layout
from orch_cli.session import Session, open_session
from orch_pb.v1.question_pb2 import WhyNotReply, WhyNotRequest


class WhyNot(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Why a pod is not on `wanted`. `node`: where it is, empty while it waits; `rank`: from 1, which is the best."""

    namespace: str
    name: str
    wanted: str
    node: str = ""
    refused: tuple[Refused, ...] = ()
    remedies: tuple[Remedy, ...] = ()
    score: Scored | None = None
    best: Scored | None = None
    rank: int = 0
    feasible: int = 0

    def text(self) -> str:
        """Return it for a person to read."""
        where = f"on {self.node}" if self.node else "pending"
        lines = fields((("Pod", f"{self.namespace}/{self.name}, {where}"), (f"Not {self.wanted}", self._why())))
        if self.refused:
            lines += ["", *refused_lines(self.refused)]
        if self.score is not None and self.best is not None:
            shown = [self.best] if self.best.node == self.score.node else [self.best, self.score]
            lines += ["", *best_lines(shown, self.node)]
        if self.remedies:
            lines += ["", "What would help:", *remedy_lines(self.remedies)]
        return "\n".join(lines)

    def _why(self) -> str:
        if self.node == self.wanted:
            return "but it is there"
        if self.refused:
            rules = tuple(dict.fromkeys(each.rule for each in self.refused))
            return f"{len(rules)} rule{'' if len(rules) == 1 else 's'} refuse{'s' if len(rules) == 1 else ''} it"
        if self.rank == 1:
            return "it would do, and is now the best of all; scores were others when the pod was placed"
        return f"it would do, but is only number {self.rank} of {self.feasible} by score now"


def add_why_not(command: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    command.add_argument("kind", choices=("pod", "pods", "po"), metavar="pod")
    command.add_argument("name", type=object_name, metavar="NAME")
    command.add_argument("node", type=object_name, metavar="NODE")
    add_namespace(command)
    add_output(command)


def why_not(parsed: argparse.Namespace, layout: Layout) -> int:
    """Print why the pod is not on the node."""

    async def answer() -> WhyNot:
        async with open_session(layout, parsed.timeout) as session:
            return await learn(session, parsed.namespace, parsed.name, parsed.node)

    show(asyncio.run(answer()), parsed.output)
    return 0


async def learn(session: Session, namespace: str, name: str, wanted: str) -> WhyNot:
    """Return why a pod is not on a node. Raises NotFoundError when there is no such pod or node."""
    pod = await session.api.get(f"/api/v1/namespaces/{quote(namespace)}/pods/{quote(name)}", Pod)
    request = WhyNotRequest(namespace=namespace, name=name, node=wanted)
    reply = WhyNotReply.FromString(await ask(session, pod.spec.scheduler_name, "why-not", request))
    check(reply.status)
    return WhyNot(
        namespace,
        name,
        wanted,
        node=reply.node,
        refused=refused_of(reply.refusals),
        remedies=remedies_of(reply.remedies),
        score=scored_of(reply.score) if reply.HasField("score") else None,
        best=scored_of(reply.best) if reply.HasField("best") else None,
        rank=reply.rank,
        feasible=reply.feasible,
    )
