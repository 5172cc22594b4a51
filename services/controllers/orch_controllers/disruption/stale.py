"""Takes back what was said of a pod that was to be disrupted and was not: its condition DisruptionTarget.

Two minutes after it was set it no longer holds, unless the pod is on its way out. What the pod's own node said stands.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from orch.clock import parse_rfc3339, rfc3339
from orch.errors import NotFoundError
from orch.objects.meta import Condition
from orch.objects.pods import Pod
from orch.objects.scheme import PODS
from orch.runtime.informer import Change
from orch.runtime.reconcile import DONE, Key, Result
from orch_controllers.context import Context
from orch_controllers.pod_state import is_active

log = logging.getLogger(__name__)

TARGET: Final = "DisruptionTarget"
TIMEOUT: Final = timedelta(minutes=2)
_BY_NODE: Final = "TerminationByKubelet"


class StaleDisruptionReconciler:
    """Reconciles pods that are said to be disrupted."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._pods = context.informers.of(PODS)

    def keys_of_pod(self, change: Change[Pod]) -> Iterable[Key]:
        """Return a pod that is said to be disrupted and lives."""
        new = change.new
        return () if new is None or _target(new.object) is None else (Key(new.namespace, new.name),)

    async def reconcile(self, key: Key) -> Result:
        """Take the condition back when it is too old."""
        item = self._pods.get(key.namespace, key.name)
        condition = None if item is None else _target(item.object)
        if item is None or condition is None:
            return DONE
        now = self._clock.now()
        left = parse_rfc3339(condition.last_transition_time or rfc3339(now)) + TIMEOUT - now
        if left > timedelta():
            return Result(left.total_seconds())
        meta = item.object.metadata
        undone = {"type": TARGET, "status": "False", "lastTransitionTime": rfc3339(now), "reason": "", "message": ""}
        version = {"uid": meta.uid, "resourceVersion": meta.resource_version}
        patch = {"metadata": version, "status": {"conditions": [undone]}}
        try:
            await self._client.patch(PODS, key.namespace, key.name, patch, subresource="status", strategic=True)
        except NotFoundError:
            log.debug("pod %s was gone already", key)
        return DONE


def _target(pod: Pod) -> Condition | None:
    """Return the condition of a pod that is not on its way out, unless its node has set it."""
    condition = pod.status.condition(TARGET)
    if condition is None or condition.status != "True" or condition.reason == _BY_NODE or not is_active(pod):
        return None
    return condition
