"""The pods that a job makes, and the finalizer that keeps each of them until its result is counted."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from orch.objects.batch import Job
from orch.objects.pods import Pod
from orch.objects.scheme import JOBS
from orch_controllers.job.failure_policy import IGNORE, judge
from orch_controllers.job.indexes import COMPLETION_INDEX
from orch_controllers.pod_templates import pod_of

FINALIZER: Final = "batch.kubernetes.io/job-tracking"
FAILURES: Final = "batch.kubernetes.io/job-index-failure-count"
"""The annotation in which a pod carries how many before it failed on the same index."""
IGNORED_FAILURES: Final = "batch.kubernetes.io/job-index-ignored-failure-count"

_VARIABLE: Final = "JOB_COMPLETION_INDEX"
_INDEX_VARIABLE: Final = {
    "name": _VARIABLE,
    "valueFrom": {"fieldRef": {"fieldPath": f"metadata.labels['{COMPLETION_INDEX}']"}},
}
_MAX_PREFIX: Final = 58
"""As much of a name as is given; the rest is generated."""


class _Restarts(msgspec.Struct, frozen=True, rename="camel"):
    restart_policy: str = ""


def restart_policy(job: Job) -> str:
    """Return the restart policy of the job's pods."""
    return msgspec.json.decode(job.spec.template.spec, type=_Restarts).restart_policy


def is_tracked(pod: Pod) -> bool:
    """Return whether the pod's result has yet to be counted."""
    return FINALIZER in pod.metadata.finalizers


def without_finalizer(uid: str) -> dict[str, Any]:
    """Return the strategic merge patch that lets a pod go."""
    return {"metadata": {"uid": uid, "$deleteFromPrimitiveList/finalizers": [FINALIZER]}}


def name_base(job: Job, index: int | None) -> str:
    """Return what the names of the job's pods are made of; the index stays whole however long the job's name is."""
    if index is None:
        return job.metadata.name
    ending = f"-{index}"
    return job.metadata.name[: _MAX_PREFIX - len(ending) - 1] + ending


def body_of(job: Job, name: str, index: int | None, replaced: Pod | None) -> dict[str, Any]:
    """Return the body of a pod. `replaced` is the one before it that failed on the same index, if any."""
    body = pod_of(JOBS, job.metadata, job.spec.template, name)
    meta: dict[str, Any] = body["metadata"]
    meta["generateName"] = f"{name_base(job, index)}-"
    meta["finalizers"] = list(dict.fromkeys((*job.spec.template.metadata.finalizers, FINALIZER)))
    if index is None:
        return body
    position = {COMPLETION_INDEX: str(index)}
    counts = _failure_counts(job, replaced) if job.spec.backoff_limit_per_index is not None else {}
    meta["labels"] = {**job.spec.template.metadata.labels, **position}
    meta["annotations"] = {**job.spec.template.metadata.annotations, **position, **counts}
    spec = _with_index_variable(bytes(job.spec.template.spec))
    body["spec"] = {**spec, "hostname": f"{job.metadata.name}-{index}"}
    return body


def failures_of(pod: Pod) -> int:
    """Return how many pods before this one failed on its index, those that were ignored left out."""
    return _count(pod, FAILURES)


def attempts_of(pod: Pod) -> int:
    """Return how many pods before this one failed on its index."""
    return _count(pod, FAILURES) + _count(pod, IGNORED_FAILURES)


def _failure_counts(job: Job, replaced: Pod | None) -> dict[str, str]:
    if replaced is None:
        return {FAILURES: "0"}
    ignored = judge(job.spec.pod_failure_policy, replaced).action == IGNORE
    counts = {FAILURES: str(failures_of(replaced) + (not ignored))}
    if skipped := _count(replaced, IGNORED_FAILURES) + ignored:
        counts[IGNORED_FAILURES] = str(skipped)
    return counts


def _count(pod: Pod, annotation: str) -> int:
    text = pod.metadata.annotations.get(annotation, "")
    return int(text) if text.isascii() and text.isdecimal() else 0


@lru_cache(256)
def _with_index_variable(template: bytes) -> Mapping[str, Any]:
    """Return a pod's spec whose containers have their index in the environment. Not to be changed."""
    spec: dict[str, Any] = msgspec.json.decode(template)
    for part in ("initContainers", "containers"):
        for container in spec.get(part) or ():
            env: list[dict[str, Any]] = container.get("env") or []
            if all(variable["name"] != _VARIABLE for variable in env):
                container["env"] = [*env, _INDEX_VARIABLE]
    return spec
