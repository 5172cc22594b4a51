"""Decisions as bytes: parts that are encoded once for all that share them, and joined for each pod."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from orch_pb.v1.decision_pb2 import Refusal, SchedulingDecision, Score, ScorePart
from orch_scheduler.engine import Judgement, Placement


class Asked(msgspec.Struct, frozen=True, gc=False):
    """The pod of a placement, as its record names it."""

    namespace: str
    name: str
    uid: str


class Records(msgspec.Struct, frozen=True):
    """A batch's decisions. `judged` gives each pod's place in `judgements`; `pods` are the pods' own parts."""

    judgements: list[bytes]
    judged: list[int]
    pods: list[bytes]


def encode(asked: Sequence[Asked], placements: Sequence[Placement], nodes: int) -> Records:
    """Return what a plan on `nodes` nodes came to, one record a pod. Equal input gives equal bytes."""
    judgements: list[bytes] = []
    judged: list[int] = []
    pods: list[bytes] = []
    last: Judgement | None = None
    for place, (pod, placement) in enumerate(zip(asked, placements, strict=True)):
        if placement.judgement is not last:
            last = placement.judgement
            judgements.append(encode_judgement(last, nodes))
        judged.append(len(judgements) - 1)
        own = SchedulingDecision(
            namespace=pod.namespace,
            name=pod.name,
            uid=pod.uid,
            node=placement.node,
            feasible=placement.feasible,
            place=place,
            score=placement.score,
        )
        pods.append(own.SerializeToString())
    return Records(judgements, judged, pods)


def encode_judgement(judgement: Judgement, nodes: int) -> bytes:
    """Return the part of the records that the pods of one class share."""
    shared = SchedulingDecision(
        nodes=nodes,
        refusals=[
            Refusal(rule=each.rule, reason=each.reason, nodes=each.nodes, names=each.names)
            for each in judgement.refused
        ],
        best=[
            Score(
                node=each.node,
                total=each.total,
                parts=[ScorePart(rule=rule, share=share) for rule, share in each.parts],
            )
            for each in judgement.best
        ],
    )
    return shared.SerializeToString()
