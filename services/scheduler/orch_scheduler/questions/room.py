"""What answering takes: the live cluster as one profile sees it, for looking at only."""

from __future__ import annotations

import msgspec

from orch.clock import Clock
from orch.errors import NotFoundError
from orch.objects.pods import Pod
from orch.objects.scheme import PODS
from orch.runtime.informer import Informer, Item
from orch_pb.v1.decision_pb2 import SchedulingDecision, Score, ScorePart
from orch_scheduler.columns import Columns, Snapshot
from orch_scheduler.demand import Demand, Demands
from orch_scheduler.engine import Engine, NodeScore, Placement
from orch_scheduler.queue import PodQueue
from orch_scheduler.records import encode_judgement


class Room(msgspec.Struct, frozen=True):
    """One profile's view. `profile_hash` tells its settings apart from others of the same name."""

    profile: str
    profile_hash: str
    engine: Engine
    columns: Columns
    demands: Demands
    queue: PodQueue
    pods: Informer[Pod]
    clock: Clock

    def pod(self, namespace: str, name: str) -> Item[Pod]:
        """Return a pod of the cluster. Raises NotFoundError."""
        item = self.pods.get(namespace, name)
        if item is None:
            raise NotFoundError.of(PODS.resource, PODS.group, name)
        return item

    def demand(self, pod: Pod) -> Demand:
        """Return what a pod asks. Raises ValueError for a quantity or a selector that cannot be read."""
        return self.demands.of(pod)

    def decision(self, pod: Pod, placement: Placement, snapshot: Snapshot) -> SchedulingDecision:
        """Return a placement as it would be recorded."""
        record = SchedulingDecision.FromString(encode_judgement(placement.judgement, snapshot.nodes))
        record.namespace, record.name, record.uid = pod.metadata.namespace, pod.metadata.name, pod.metadata.uid
        record.node, record.feasible, record.score = placement.node, placement.feasible, placement.score
        record.profile, record.profile_hash, record.revision = self.profile, self.profile_hash, snapshot.revision
        record.time = round(self.clock.now().timestamp() * 1e6)
        if placement.refusal is not None:
            record.message = placement.refusal.message
        return record


def score_of(score: NodeScore) -> Score:
    """Return a node's score as it travels."""
    parts = [ScorePart(rule=rule, share=share) for rule, share in score.parts]
    return Score(node=score.node, total=score.total, parts=parts)
