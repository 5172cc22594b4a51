"""Which pods of a target count in a metric: those that are ready, those too young to tell, those that say nothing.

The rules are those of kube-controller-manager's replica calculator (groupPods).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from orch_pb.v1.autoscaling_pb2 import AutoscaledPod, AutoscalingInputs, PodReading

_CPU: Final = "cpu"


class Groups(msgspec.Struct):
    """The pods of a target by their places, in the light of one metric. `values` are the readings that count."""

    values: dict[int, int]
    ready: int = 0
    unready: list[int] = msgspec.field(default_factory=list[int])
    missing: list[int] = msgspec.field(default_factory=list[int])
    ignored: int = 0


def group(inputs: AutoscalingInputs, readings: Sequence[PodReading], resource: str) -> Groups:
    """Return the pods in groups. `resource` is "cpu" when processors were read: starting up takes more of them."""
    known = {reading.pod: reading for reading in readings}
    groups = Groups({})
    for place, pod in enumerate(inputs.pods):
        reading = known.get(place)
        if pod.deleted or pod.phase == "Failed":
            groups.ignored += 1
        elif pod.phase == "Pending":
            groups.unready.append(place)
        elif reading is None:
            groups.missing.append(place)
        elif resource == _CPU and _is_starting(inputs, pod, reading):
            groups.unready.append(place)
        else:
            groups.ready += 1
            groups.values[place] = reading.value
    return groups


def _is_starting(inputs: AutoscalingInputs, pod: AutoscaledPod, reading: PodReading) -> bool:
    """Return whether what the pod uses may be its start's, not its work's."""
    if not pod.ready or not pod.started:
        return True
    unready = pod.ready == "False"
    if pod.started + inputs.cpu_initialization > inputs.at:
        return unready or reading.at < pod.ready_since + reading.window
    # Long after its start a pod that is not ready counts, unless it never was ready.
    return unready and pod.started + inputs.initial_readiness_delay > pod.ready_since
