"""Where pods would go that do not exist, and how many of them would fit."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec

from orch.errors import BadRequestError
from orch.objects.pods import Pod
from orch_pb.v1.question_pb2 import NodeCount, WhatIfReply, WhatIfRequest
from orch_scheduler.columns import Snapshot
from orch_scheduler.demand import Demand
from orch_scheduler.questions.remedies import remedies
from orch_scheduler.questions.room import Room

MOST_REPLICAS: Final = 1_000
"""What may be asked for at once."""
_MOST_COUNTED: Final = 5_000
"""Pods to which counting how many would fit goes on."""
_SECONDS: Final = 0.1
"""What counting may cost the scheduler, beyond the replicas that were asked for."""


def what_if(room: Room, request: WhatIfRequest) -> WhatIfReply:
    """Return where the replicas would go and how many would fit. Raises BadRequestError for a pod that is none."""
    if not 1 <= request.replicas <= MOST_REPLICAS:
        raise BadRequestError(f"replicas: Invalid value: {request.replicas}: must be between 1 and {MOST_REPLICAS}")
    try:
        pod = msgspec.json.decode(request.pod, type=Pod)
    except msgspec.MsgspecError as error:
        raise BadRequestError(f"the pod cannot be read: {error}") from error
    demand = room.demand(pod)
    snapshot = room.columns.snapshot()
    began = time.perf_counter()
    first = room.engine.plan(snapshot, [demand])[0]
    spent = max(time.perf_counter() - began, 1e-6)
    count = max(request.replicas, min(_MOST_COUNTED, int(_SECONDS / spent))) if first.node else 1
    placements = room.engine.plan(snapshot, [demand] * count)
    places = [placement.node for placement in placements]
    fit = sum(1 for node in places if node)
    wanted = Counter(node for node in places[: request.replicas] if node)
    reply = WhatIfReply(
        placed=wanted.total(),
        nodes=[NodeCount(node=node, pods=pods) for node, pods in wanted.items()],
        fit=fit,
        more=fit == count,
        nodes_total=snapshot.nodes,
        revision=snapshot.revision,
    )
    if fit < count:
        after = _with(snapshot, demand, places[:fit])
        reply.next.CopyFrom(room.decision(pod, placements[fit], snapshot))
        reply.remedies.extend(remedies(room.engine.verdict(after, demand), after, demand))
    return reply


def _with(snapshot: Snapshot, demand: Demand, places: Sequence[str]) -> Snapshot:
    """Return the snapshot with pods thought onto nodes."""
    after = snapshot.planned()
    for node, count in Counter(places).items():
        after.count(demand, snapshot.rows[node], count)
    return after
