"""Why a pod waits, and why it is not on a certain node."""

from __future__ import annotations

from typing import Final

from orch.errors import NotFoundError
from orch.objects.scheme import NODES
from orch_pb.v1.decision_pb2 import Refusal
from orch_pb.v1.question_pb2 import ExplainReply, ExplainRequest, WhyNotReply, WhyNotRequest
from orch_scheduler.columns import Snapshot
from orch_scheduler.filters.protocol import Wake
from orch_scheduler.questions.remedies import remedies
from orch_scheduler.questions.room import Room, score_of
from orch_scheduler.queue import PARKED, PARKED_AT_MOST

_WAKES: Final = (
    (Wake.NODE_ADDED, "a node is added"),
    (Wake.NODE_REMOVED, "a node goes"),
    (Wake.NODE_ALLOCATABLE, "a node has more to give"),
    (Wake.NODE_LABELS, "a node's labels change"),
    (Wake.NODE_TAINTS, "a node's taints change or it is uncordoned"),
    (Wake.POD_ADDED, "a pod comes to a node"),
    (Wake.POD_REMOVED, "a pod leaves a node"),
    (Wake.STORAGE, "a claim, a volume or a storage class changes"),
)


def explain(room: Room, request: ExplainRequest) -> ExplainReply:
    """Return how a pod fares and how it would be judged now. Raises NotFoundError."""
    item = room.pod(request.namespace, request.name)
    pod = item.object
    reply = ExplainReply(uid=item.uid, node=pod.spec.node_name)
    if pod.spec.node_name:
        return reply
    waiting = room.queue.get(item.uid)
    if waiting is not None:
        now = room.clock.monotonic()
        reply.place = room.queue.place(item.uid)
        reply.attempts = waiting.attempts
        reply.waited = max(now - waiting.since, 0.0)
        if reply.place == PARKED:
            reply.retry = max(waiting.parked + PARKED_AT_MOST - now, 0.0)
            reply.wakes.extend(words for wake, words in _WAKES if waiting.wake & wake)
    demand = room.demand(pod)
    snapshot = room.columns.snapshot()
    placement = room.engine.plan(snapshot, [demand])[0]
    reply.now.CopyFrom(room.decision(pod, placement, snapshot))
    if not placement.node:
        reply.remedies.extend(remedies(room.engine.verdict(snapshot, demand), snapshot, demand))
    return reply


def why_not(room: Room, request: WhyNotRequest) -> WhyNotReply:
    """Return every rule that keeps a pod off a node, or, when none does, how the node scores. Raises NotFoundError."""
    item = room.pod(request.namespace, request.name)
    pod = item.object
    snapshot = room.columns.snapshot()
    row = snapshot.rows.get(request.node)
    if row is None:
        raise NotFoundError.of(NODES.resource, NODES.group, request.node)
    reply = WhyNotReply(node=pod.spec.node_name)
    if pod.spec.node_name == request.node:
        return reply
    demand = room.demand(pod)
    snapshot = _without(snapshot, pod.spec.node_name, item.uid)
    refusals = room.engine.judge(snapshot, demand, row)
    reply.refusals.extend(
        Refusal(rule=each.rule, reason=each.reason, nodes=1, names=[request.node]) for each in refusals
    )
    if refusals:
        reply.remedies.extend(remedies(room.engine.verdict(snapshot, demand), snapshot, demand, only=row))
        return reply
    scores = room.engine.scored(snapshot, demand)
    names = [score.node for score in scores]
    place = names.index(request.node)
    reply.score.CopyFrom(score_of(scores[place]))
    reply.best.CopyFrom(score_of(scores[0]))
    reply.rank, reply.feasible = place + 1, len(scores)
    return reply


def _without(snapshot: Snapshot, node: str, uid: str) -> Snapshot:
    """Return the snapshot with a pod thought away from where it is: it would not be in two places."""
    row = snapshot.rows.get(node) if node else None
    return snapshot if row is None else snapshot.less(row, {uid})
