"""When what an object of endpoints tells last changed: how long the network takes to learn of it is measured by that.

The rules are k8s.io/endpointslice/trigger_time_tracker.go's: of all that changed since the last time, the earliest
moment counts.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from orch.objects.networking import Service
from orch.objects.pods import Pod
from orch.runtime.reconcile import Key
from orch_controllers.pod_state import ready_condition


class _Seen(msgspec.Struct, frozen=True):
    service: str
    pods: dict[str, str]


class TriggerTimes:
    """Remembers of each service when it and its pods last changed."""

    def __init__(self) -> None:
        self._seen: dict[Key, _Seen] = {}

    def changed(self, key: Key, service: Service, pods: Iterable[Pod]) -> str:
        """Return the moment (RFC 3339) of the earliest change that is new, "" when nothing is."""
        now = _Seen(
            service.metadata.creation_timestamp, {pod.metadata.name: time for pod in pods if (time := _changed_at(pod))}
        )
        before = self._seen.get(key)
        self._seen[key] = now
        moments = [time for name, time in now.pods.items() if before is None or time > before.pods.get(name, "")]
        if before is None or now.service > before.service:
            moments.append(now.service)
        return min(moments, default="")

    def forget(self, key: Key) -> None:
        """Drop a service that is gone."""
        self._seen.pop(key, None)


def _changed_at(pod: Pod) -> str:
    """Return when the pod became ready or ceased to be."""
    condition = ready_condition(pod) or pod.status.condition("Ready")
    return condition.last_transition_time if condition is not None else ""
