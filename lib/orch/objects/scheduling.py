"""View of PodGroup (scheduling.x-k8s.io/v1alpha1): pods that start together or not at all."""

from __future__ import annotations

from typing import Final

from orch.objects.meta import Condition, Object, View

POD_GROUP_LABEL: Final = "scheduling.x-k8s.io/pod-group"
"""The label by which a pod says to which group of its namespace it belongs."""


class PodGroupSpec(View, frozen=True):
    """How many pods must be able to start, and how long their start may take once it has begun."""

    min_member: int = 1
    schedule_timeout_seconds: int | None = None


class PodGroupStatus(View, frozen=True):
    """How far the group has come: Pending, Scheduling, Scheduled; `scheduled` pods are on nodes."""

    phase: str = ""
    scheduled: int = 0
    schedule_start_time: str = ""
    conditions: tuple[Condition, ...] = ()


class PodGroup(Object, frozen=True):
    """A group of pods."""

    spec: PodGroupSpec = PodGroupSpec()
    status: PodGroupStatus = PodGroupStatus()
