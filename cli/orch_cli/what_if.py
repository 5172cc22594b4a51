"""`orch what-if -f FILE`: where pods would go that do not exist yet, and how many would fit. Nothing is changed."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from urllib.parse import quote

import msgspec

from orch.errors import OrchError
from orch.objects.pods import Pod
from orch_cli.answers import add_namespace, add_output, fields, show, table
from orch_cli.judged import Decision, Remedy, ask, check, decision_of, refused_lines, remedies_of, remedy_lines
from orch_cli.layout import Layout
from orch_cli.session import Session, open_session
from orch_cli.templates import Wanted, read_manifests
from orch_pb.v1.question_pb2 import WhatIfReply, WhatIfRequest


class Outcome(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What would become of one manifest. `fit`: pods that there is room for; with `more`, at least so many."""

    kind: str
    namespace: str
    name: str
    replicas: int
    placed: int
    nodes: dict[str, int]
    fit: int
    cluster: int
    more: bool = False
    next: Decision | None = None
    remedies: tuple[Remedy, ...] = ()

    def lines(self) -> list[str]:
        """Return it for a person to read."""
        count = f"at least {self.fit}" if self.more else str(self.fit or "no")
        room = f"for {count} such pod{'' if self.fit == 1 else 's'}"
        lines = fields(
            (
                (self.kind, f"{self.namespace}/{self.name}" if self.name else self.namespace),
                ("Placed", f"{self.placed} of {self.replicas}"),
                ("Room", f"{room} on {self.cluster} node{'' if self.cluster == 1 else 's'}"),
                ("The next", self.next.message if self.next else ""),
            )
        )
        if self.nodes:
            lines += ["", *table(("NODE", "PODS"), sorted(self.nodes.items()))]
        if self.next is not None and self.next.refused:
            lines += ["", *refused_lines(self.next.refused)]
        if self.remedies:
            lines += ["", "What would help the next, one of:", *remedy_lines(self.remedies)]
        return lines


class WhatIf(msgspec.Struct, frozen=True):
    """What would become of each manifest, each for itself."""

    outcomes: tuple[Outcome, ...]

    def text(self) -> str:
        """Return it for a person to read."""
        return "\n\n".join("\n".join(outcome.lines()) for outcome in self.outcomes)


def add_what_if(command: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    command.add_argument(
        "-f",
        "--filename",
        required=True,
        metavar="FILE",
        help="a Pod, or what has a template of pods; - reads the input",
    )
    command.add_argument(
        "--replicas", type=_count, metavar="N", help="how many (default: what the manifest says, or 1)"
    )
    add_namespace(command)
    add_output(command)


def what_if(parsed: argparse.Namespace, layout: Layout) -> int:
    """Print what would happen; return 0 when all replicas would find a place, else 1."""
    manifests = read_manifests(parsed.filename, parsed.namespace)

    async def answer() -> WhatIf:
        async with open_session(layout, parsed.timeout) as session:
            return await learn(session, manifests, parsed.replicas)

    learned = asyncio.run(answer())
    show(learned, parsed.output)
    return 0 if all(each.placed == each.replicas for each in learned.outcomes) else 1


async def learn(session: Session, manifests: Sequence[Wanted], replicas: int | None) -> WhatIf:
    """Return what would become of manifests. Raises ApiError for pods that the API would refuse."""
    return WhatIf(tuple([await _outcome(session, each, replicas or each.replicas) for each in manifests]))


async def _outcome(session: Session, wanted: Wanted, replicas: int) -> Outcome:
    if not replicas:
        raise OrchError(
            f"{wanted.kind} {wanted.namespace}/{wanted.name} asks for no pods; say how many with --replicas"
        )
    # The API says what it would make of the pod: defaults, admission, priority.
    path = f"/api/v1/namespaces/{quote(wanted.namespace)}/pods?dryRun=All"
    body = await session.api.create(path, msgspec.json.encode(wanted.pod), msgspec.Raw)
    pod = msgspec.json.decode(body, type=Pod)
    request = WhatIfRequest(pod=bytes(body), replicas=replicas)
    reply = WhatIfReply.FromString(await ask(session, pod.spec.scheduler_name, "what-if", request))
    check(reply.status)
    return Outcome(
        kind=wanted.kind,
        namespace=wanted.namespace,
        name=wanted.name,
        replicas=replicas,
        placed=reply.placed,
        nodes={each.node: each.pods for each in reply.nodes},
        fit=reply.fit,
        cluster=reply.nodes_total,
        more=reply.more,
        next=decision_of(reply.next) if reply.HasField("next") else None,
        remedies=remedies_of(reply.remedies),
    )


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least one pod must be asked for")
    return number
