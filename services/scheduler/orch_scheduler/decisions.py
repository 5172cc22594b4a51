"""Decisions on the bus, for whoever asks why."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from orch.bus.protocol import Bus
from orch.bus.subjects import decision_subject
from orch.errors import OrchError
from orch_pb.v1.decision_pb2 import Refusal, SchedulingDecision
from orch_scheduler.engine import Placement
from orch_scheduler.queue import Waiting

log = logging.getLogger(__name__)


class Decisions:
    """Puts decisions on the bus; nobody waits for them."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def publish(self, pod: Waiting, placement: Placement, nodes: int) -> None:
        """Publish one decision about a cluster of `nodes` nodes; a failure is logged and forgotten."""
        refusal = placement.refusal
        decision = SchedulingDecision(
            namespace=pod.namespace,
            name=pod.name,
            uid=pod.uid,
            node=placement.node,
            feasible=placement.feasible,
            nodes=refusal.nodes if refusal else nodes,
            refusals=_refusals(placement),
            trace=pod.trace,
        )
        subject = decision_subject("scheduler", pod.namespace, pod.name)
        try:
            await self._bus.publish(subject, decision.SerializeToString())
        except OrchError as error:
            log.debug("a decision was not published: %s", error)


def _refusals(placement: Placement) -> Sequence[Refusal]:
    if placement.refusal is None:
        return ()
    return [Refusal(rule=each.rule, reason=each.reason, nodes=each.nodes) for each in placement.refusal.refusals]
