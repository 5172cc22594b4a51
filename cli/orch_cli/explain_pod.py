"""`orch explain pod NAME`: why a pod is on its node, or why it is on none and what would change that."""

from __future__ import annotations

from typing import Final, Literal
from urllib.parse import quote

import msgspec

from orch.bus.protocol import Bus
from orch.errors import NotFoundError
from orch.objects.pods import Pod
from orch_cli.answers import duration, fields, some
from orch_cli.judged import (
    Decision,
    Remedy,
    ask,
    best_lines,
    check,
    decision_of,
    recorded,
    refused_lines,
    remedies_of,
    remedy_lines,
)
from orch_cli.room_made import Room, room_for, sent_away
from orch_cli.session import Session
from orch_pb.v1 import question_pb2

State = Literal["placed", "pending", "gone"]

_FINISHED: Final = frozenset({"Succeeded", "Failed"})


class PodExplanation(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Why a pod is where it is. `decision` is the newest on record; `now` how a pending pod would be judged now.

    `room` was made for it at the cost of others; it was `sent_away` for another: it, or one of its name before it.
    `leaving`: it was told to go.
    """

    namespace: str
    name: str
    state: State
    uid: str = ""
    node: str = ""
    phase: str = ""
    queue: str = ""
    attempts: int = 0
    waited_seconds: float = 0.0
    retry_seconds: float = 0.0
    wakes: tuple[str, ...] = ()
    nominated: str = ""
    decision: Decision | None = None
    now: Decision | None = None
    remedies: tuple[Remedy, ...] = ()
    room: Room | None = None
    sent_away: Room | None = None
    leaving: bool = False

    def text(self) -> str:
        """Return it for a person to read."""
        decision = self.now or self.decision
        if self.now is not None and self.decision is not None and self.decision.message.startswith(self.now.message):
            decision = self.decision  # it says as well why nobody could be made to go
        lines = fields(
            (
                ("Pod", f"{self.namespace}/{self.name}"),
                ("State", self._state()),
                ("Nominated", self.nominated),
                ("Why", self._why(decision) if decision else self._unknown()),
                ("Decided", _decided(self.decision) if self.decision else ""),
                ("Room", _room(self.room) if self.room else ""),
                ("Sent away", self._sent_away(self.sent_away) if self.sent_away else ""),
                ("Recorded", _recorded(self.decision) if self.decision else ""),
            )
        )
        for made in (self.room, self.sent_away):
            if made is not None and (shown := made.lines(self._own(made))):
                lines += ["", *shown]
        if decision is not None and decision.refused:
            lines += ["", *refused_lines(decision.refused)]
        if decision is not None and decision.best:
            lines += ["", *best_lines(decision.best, decision.node)]
        if self.remedies:
            lines += ["", "What would help, one of:", *remedy_lines(self.remedies)]
        if self.wakes:
            lines += ["", f"It is tried again when {_either(self.wakes)}{self._again()}."]
        return "\n".join(lines)

    def _state(self) -> str:
        if self.state == "gone":
            node = self.decision.node if self.decision else ""
            if not node and self.sent_away is not None and self._own(self.sent_away) == self.uid:
                node = self.sent_away.node
            return f"gone; it was on {node}" if node else "gone"
        if self.state == "placed":
            phase = ", ".join(part for part in (self.phase, "leaving" if self.leaving else "") if part)
            return f"on {self.node} ({phase})" if phase else f"on {self.node}"
        tried = f", tried {self.attempts} time{'' if self.attempts == 1 else 's'}" if self.attempts else ""
        queue = f"; {self.queue}" if self.queue else ""
        return f"pending for {duration(self.waited_seconds)}{tried}{queue}"

    def _own(self, made: Room) -> str:
        """Return the uid of this pod as one of the victims, if it is."""
        victim = made.victim(self.namespace, self.name)
        return victim.uid if victim is not None else ""

    def _sent_away(self, made: Room) -> str:
        victim = made.victim(self.namespace, self.name)
        mine = f"; its own is {victim.priority}" if victim is not None else ""
        whom = f"{made.namespace}/{made.name} of priority {made.priority}{mine}"
        stays = self.state != "gone" and not self.leaving
        if victim is not None and stays and victim.uid == self.uid:
            first = f"it was to go for {whom}, at {made.time}, and is still here"
        elif victim is not None and self.uid and victim.uid != self.uid:
            first = f"a pod of this name before it went for {whom}, at {made.time}"
        else:
            first = f"for {whom}, at {made.time}"
        return f"{first}\n{_else(made)}"

    def _why(self, decision: Decision) -> str:
        room = self.room
        if room is not None and decision.node == room.node and decision.feasible == 1:
            return "room was made for it there"  # no other node was looked at
        return _why(decision)

    def _again(self) -> str:
        return f", at the latest in {duration(self.retry_seconds)}" if self.retry_seconds else ""

    def _unknown(self) -> str:
        if self.state == "placed":
            return "no decision is on record: it was made with spec.nodeName, or its record has expired (after an hour)"
        return "no decision is on record"


async def explain_pod(session: Session, namespace: str, name: str) -> PodExplanation:
    """Return why a pod is where it is. Raises NotFoundError when there is neither a pod nor a record of one."""
    try:
        pod = await session.api.get(f"/api/v1/namespaces/{quote(namespace)}/pods/{quote(name)}", Pod)
    except NotFoundError:
        return await _gone(session.bus, namespace, name)
    decision, room, away = await _on_record(session.bus, namespace, name)
    uid = pod.metadata.uid
    if decision is not None and decision.uid != uid:
        decision = None  # about one of the same name before it
    if room is not None and room.uid != uid:
        room = None
    if pod.spec.node_name or pod.status.phase in _FINISHED:
        found = PodExplanation(namespace, name, "placed", node=pod.spec.node_name, phase=pod.status.phase)
    else:
        found = await _pending(session, pod)
    leaving = bool(pod.metadata.deletion_timestamp)
    return msgspec.structs.replace(found, uid=uid, decision=decision, room=room, sent_away=away, leaving=leaving)


async def _gone(bus: Bus, namespace: str, name: str) -> PodExplanation:
    """Return what is on record of a pod that is not there. Raises NotFoundError when nothing is."""
    decision, room, away = await _on_record(bus, namespace, name)
    victim = away.victim(namespace, name) if away is not None else None
    uids = (decision and decision.uid, victim and victim.uid, room and room.uid)
    uid = next((each for each in uids if each), "")
    if not uid:
        raise NotFoundError.of("pods", "", name)
    if room is not None and room.uid != uid:
        room = None
    return PodExplanation(namespace, name, "gone", uid, decision=decision, room=room, sent_away=away)


async def _on_record(bus: Bus, namespace: str, name: str) -> tuple[Decision | None, Room | None, Room | None]:
    return (
        await recorded(bus, namespace, name),
        await room_for(bus, namespace, name),
        await sent_away(bus, namespace, name),
    )


async def _pending(session: Session, pod: Pod) -> PodExplanation:
    """Ask the pod's scheduler how it fares and how it would be judged now."""
    namespace, name = pod.metadata.namespace, pod.metadata.name
    request = question_pb2.ExplainRequest(namespace=namespace, name=name)
    reply = question_pb2.ExplainReply.FromString(await ask(session, pod.spec.scheduler_name, "explain", request))
    check(reply.status)
    return PodExplanation(
        namespace,
        name,
        "placed" if reply.node else "pending",
        node=reply.node,
        queue=reply.place,
        attempts=reply.attempts,
        waited_seconds=reply.waited,
        retry_seconds=reply.retry,
        wakes=tuple(reply.wakes),
        nominated=pod.status.nominated_node_name,
        now=decision_of(reply.now) if reply.HasField("now") else None,
        remedies=remedies_of(reply.remedies),
    )


def _why(decision: Decision) -> str:
    if not decision.node:
        return decision.message or some((), decision.nodes)
    if decision.message:
        return decision.message  # it was planned, and given up with its group
    if decision.feasible == 1:
        return f"the only one of {decision.nodes} nodes that would do"
    score = f", with a score of {decision.score:g}" if decision.score else ""
    return f"the best of {decision.feasible} that would do, of {decision.nodes} nodes{score}"


def _room(made: Room) -> str:
    count = len(made.victims)
    cost = f"{count} pod{'' if count == 1 else 's'} had to go" if count else "nobody had to go"
    nodes = f"of {made.candidates} nodes that could make some" if made.candidates > 1 else "the only node that could"
    return f"made on {made.node} at {made.time}, {nodes}: {cost} for its priority {made.priority}\n{_else(made)}"


def _else(made: Room) -> str:
    return f"without that: {made.message}" if made.message else ""


def _either(words: tuple[str, ...]) -> str:
    return " or ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)


def _decided(decision: Decision) -> str:
    tried = f", at attempt {decision.attempts}" if decision.attempts > 1 else ""
    took = f" in {duration(decision.took_microseconds / 1e6)}" if decision.took_microseconds else ""
    return f"{decision.time}{took}{tried}"


def _recorded(decision: Decision) -> str:
    where = f"place {decision.place} of batch {decision.batch}, term {decision.term}, revision {decision.revision}"
    return f"{where}; profile {decision.profile} ({decision.profile_hash}), seed {decision.seed}"
