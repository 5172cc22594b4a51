"""Making pods go for more important ones: a batch, in which each pod is told why and deleted with its grace.

For Kubernetes' scheduler that is a patch of the pod's status and then a deletion. Here it is one write where the pod
stays for its grace; where it goes at once it is two, so that whoever watches still sees why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from orch.clock import rfc3339
from orch.errors import ApiError, ServiceUnavailableError, UnavailableError
from orch.store.protocol import Compare
from orch_api.admission import UPDATE, Request
from orch_api.auth.identity import Caller
from orch_api.pipeline.deletion import DeleteOptions, Deletion, Preconditions
from orch_api.pipeline.parts import Document, Parts, WriteOptions
from orch_api.registry import Resource
from orch_api.strategy import section
from orch_pb.v1.object_pb2 import TraceContext
from orch_pb.v1.preemption_pb2 import Preempted
from orch_pb.v1.rpc_pb2 import WriteReply

CONDITION: Final = "DisruptionTarget"
REASON: Final = "PreemptionByScheduler"
_STATUS: Final = "status"


class Preempting:
    """Deletes pods that have to make room."""

    def __init__(self, parts: Parts, deletion: Deletion, pods: Resource) -> None:
        self._parts = parts
        self._deletion = deletion
        self._pods = pods

    async def preempt(
        self, caller: Caller, chosen: Sequence[Preempted], agent: str, fence: Compare | None
    ) -> list[WriteReply]:
        """Make pods go, all at the same time, so that the store takes them together; each succeeds or fails alone."""
        for namespace in {one.namespace for one in chosen}:
            await self._parts.authorizer.permit(caller, "patch", self._pods, namespace, "", _STATUS)
            await self._parts.authorizer.permit(caller, "delete", self._pods, namespace, "")
        return list(await asyncio.gather(*(self._answer(caller, one, agent, fence) for one in chosen)))

    async def _answer(self, caller: Caller, one: Preempted, agent: str, fence: Compare | None) -> WriteReply:
        trace: TraceContext | None = one.trace if one.HasField("trace") else None
        try:
            await self._go(caller, one, WriteOptions(agent=agent, trace=trace, fence=fence))
        except ApiError as error:
            return WriteReply(status=error.encode())
        except UnavailableError as error:
            return WriteReply(status=ServiceUnavailableError(str(error)).encode())
        return WriteReply()

    async def _go(self, caller: Caller, one: Preempted, options: WriteOptions) -> None:
        condition = _condition(one.message, rfc3339(self._parts.clock.now()))
        asked = DeleteOptions(preconditions=Preconditions(uid=one.uid or None))

        async def say(pod: Document) -> bool:
            before = {**pod}
            if not _say(pod, condition):
                return False
            request = Request(caller, UPDATE, self._pods, _STATUS, one.namespace, one.name, pod, before)
            await self._parts.admission.mutate(request)
            await self._parts.admission.validate(request)
            return True

        await self._deletion.carry_out(caller, self._pods, one.namespace, one.name, asked, options, say=say)


def _condition(message: str, now: str) -> Document:
    return {
        "type": CONDITION,
        "status": "True",
        "reason": REASON,
        "message": message,
        "lastTransitionTime": now,
    }


def _say(pod: Document, condition: Document) -> bool:
    """Put a condition into a pod's status; return whether that changes anything."""
    status = section(pod, _STATUS)
    known: list[Document] = list(status.get("conditions") or ())
    old = next((one for one in known if one.get("type") == CONDITION), None)
    if old is not None and all(old.get(key) == condition[key] for key in ("status", "reason", "message")):
        return False
    pod[_STATUS] = {**status, "conditions": [*(one for one in known if one is not old), condition]}
    return True
