"""A pod that waits for a node, as the queue, the loop and preemption see it."""

from __future__ import annotations

import msgspec

from orch.runtime.events import ObjectReference
from orch_pb.v1.object_pb2 import TraceContext
from orch_scheduler.demand import Demand
from orch_scheduler.filters.protocol import Wake


class Waiting(msgspec.Struct, eq=False):
    """A pod that waits.

    `since`, `queued` and `parked` are monotonic seconds: when it was first seen, when it last came to the queue, when
    it was refused. `rules` are those that refused it, `wake` the changes that can help it, `message` the last refusal's
    text. `scheduler` is spec.schedulerName, `preempts` whether its priority may cost others their place, `nominated`
    the node on which room is being made for it. `group` names the PodGroup that it starts with, "" for none.
    """

    uid: str
    namespace: str
    name: str
    revision: int
    demand: Demand
    trace: TraceContext | None
    since: float
    scheduler: str = ""
    preempts: bool = True
    gated: bool = False
    group: str = ""
    nominated: str = ""
    queued: float = 0.0
    attempts: int = 0
    failures: int = 0
    parked: float = 0.0
    wake: Wake = Wake.NODE_ADDED
    rules: frozenset[str] = frozenset()
    message: str = ""

    @property
    def priority(self) -> int:
        """The pod's priority."""
        return self.demand.priority

    @property
    def reference(self) -> ObjectReference:
        """What events name the pod by."""
        return ObjectReference(
            api_version="v1",
            kind="Pod",
            namespace=self.namespace,
            name=self.name,
            uid=self.uid,
            resource_version=str(self.revision),
        )
