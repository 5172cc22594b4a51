"""How the status of a job may change: whoever controls the job, clients can rely on what it says.

A rule that ties several fields together counts only when one of them changes: a status that breaks it already may
still be changed elsewhere (ValidateJobStatusUpdate and getStatusValidationOptions of Kubernetes).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from orch.clock import parse_rfc3339
from orch.errors import Cause
from orch_api.kinds.job_policies import index_ranges, unshown
from orch_api.kinds.job_rules import INDEXED
from orch_api.kinds.workload_rules import counts
from orch_api.strategy import Document, section
from orch_api.validation import duplicate, invalid, required, same

COMPLETE: Final = "Complete"
FAILED: Final = "Failed"
FAILURE_TARGET: Final = "FailureTarget"
SUSPENDED: Final = "Suspended"
SUCCESS: Final = "SuccessCriteriaMet"


def holds(job: Document, kind: str) -> bool:
    """Return whether a condition of the job is true."""
    conditions: list[Document] = section(job, "status").get("conditions") or []
    return any(one.get("type") == kind and one.get("status") == "True" for one in conditions)


def status_change(job: Document, old: Document) -> list[Cause]:
    """Return what is wrong with the new status of a job."""
    causes = counts(job, "active", "succeeded", "failed", "ready", "terminating")
    causes += _uncounted(section(job, "status"))
    change = _Change(job, old)
    return [*causes, *change.times(), *change.finish(), *change.indexes(), *change.conditions(), *change.regress()]


def _uncounted(status: Document) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for part in ("succeeded", "failed"):
        uids: list[str] = section(status, "uncountedTerminatedPods").get(part) or []
        for index, uid in enumerate(uids):
            at = f"status.uncountedTerminatedPods.{part}[{index}]"
            if not uid:
                causes.append(invalid(at, uid, "must not be empty"))
            elif uid in seen:
                causes.append(duplicate(at, uid))
            seen.add(uid)
    return causes


class _Change:
    """A job before and after a write to its status."""

    def __init__(self, job: Document, old: Document) -> None:
        self._job, self._old = job, old
        self._spec = section(job, "spec")
        self._status, self._before = section(job, "status"), section(old, "status")
        self._complete = holds(job, COMPLETE)
        self._finished = self._complete or holds(job, FAILED)
        self._finish_changed = self._finished != (holds(old, COMPLETE) or holds(old, FAILED))
        self._complete_changed = self._complete != holds(old, COMPLETE)

    def _changed(self, *names: str) -> bool:
        return any(not same(self._status.get(name), self._before.get(name)) for name in names)

    def times(self) -> Iterator[Cause]:
        """Yield what is wrong with when the job started and was completed."""
        start, end = self._status.get("startTime"), self._status.get("completionTime")
        at = "status.completionTime"
        if self._complete_changed or self._changed("completionTime"):
            if end and not self._complete:
                yield invalid(at, end, "cannot set completionTime when there is no Complete=True condition")
            if not end and self._complete:
                yield required(at, "completionTime is required for Complete jobs")
        if start and end and self._changed("startTime", "completionTime") and parse_rfc3339(end) < parse_rfc3339(start):
            yield invalid(at, end, "completionTime cannot be set before startTime")
        if end and self._before.get("completionTime") and self._changed("completionTime"):
            yield invalid(at, end, "completionTime cannot be mutated")
        rests = self._spec.get("suspend") or (holds(self._old, SUSPENDED) and not holds(self._job, SUSPENDED))
        if self._before.get("startTime") and self._changed("startTime") and not rests:
            yield required("status.startTime", "startTime cannot be removed for unsuspended job")
        if self._finished and not start and (self._finish_changed or self._changed("startTime")):
            yield required("status.startTime", "startTime is required for finished job")

    def finish(self) -> Iterator[Cause]:
        """Yield what a job that has finished still has."""
        if not self._finished:
            return
        active = self._status.get("active") or 0
        if active > 0 and (self._finish_changed or self._changed("active")):
            yield invalid("status.active", active, "active>0 is invalid for finished job")
        name = "uncountedTerminatedPods"
        uncounted = section(self._status, name)
        if (uncounted.get("failed") or uncounted.get("succeeded")) and (self._finish_changed or self._changed(name)):
            yield invalid(f"status.{name}", uncounted, f"{name} needs to be empty for finished job")

    def indexes(self) -> Iterator[Cause]:
        """Yield what is wrong with the indexes that completed and failed."""
        completed: str = self._status.get("completedIndexes") or ""
        failed: str | None = self._status.get("failedIndexes")
        per_index = self._spec.get("backoffLimitPerIndex") is not None
        if self._changed("completedIndexes"):
            yield from self._ranges("completedIndexes", completed)
            if completed and self._spec.get("completionMode") != INDEXED:
                problem = "cannot set non-empty completedIndexes when non-indexed completion mode"
                yield invalid("status.completedIndexes", completed, problem)
        if failed is None:
            return
        if self._changed("failedIndexes"):
            if per_index:
                yield from self._ranges("failedIndexes", failed)
            else:
                problem = "cannot set non-null failedIndexes when backoffLimitPerIndex is null"
                yield invalid("status.failedIndexes", failed, problem)
        if self._changed("failedIndexes", "completedIndexes"):
            yield from self._overlap(completed, failed)

    def _ranges(self, name: str, text: str) -> Iterator[Cause]:
        completions: int | None = self._spec.get("completions")
        if completions is None:
            return
        try:
            _ = list(index_ranges(text, completions))
        except ValueError as error:
            yield invalid(f"status.{name}", text, f"error parsing {name}: {error}")

    def _overlap(self, completed: str, failed: str) -> Iterator[Cause]:
        completions: int | None = self._spec.get("completions")
        if completions is None:
            return
        try:
            done, lost = list(index_ranges(completed, completions)), list(index_ranges(failed, completions))
        except ValueError:
            return  # `_ranges` says so when the text was changed
        common = _first_common(done, lost)
        if common is not None:
            problem = f"failedIndexes and completedIndexes overlap at index: {common}"
            yield invalid("status.failedIndexes", failed, problem)

    def conditions(self) -> Iterator[Cause]:
        """Yield which conditions exclude one another."""
        at = "status.conditions"
        failed, target, success = (holds(self._job, kind) for kind in (FAILED, FAILURE_TARGET, SUCCESS))
        if self._complete and failed and (self._complete_changed or not holds(self._old, FAILED)):
            yield unshown(at, "cannot set Complete=True and Failed=true conditions")
        if self._complete and target and (self._complete_changed or not holds(self._old, FAILURE_TARGET)):
            yield unshown(at, "cannot set Complete=True and FailureTarget=true conditions")
        if success and failed:
            yield unshown(at, "cannot set SuccessCriteriaMet=True and Failed=true conditions")
        if success and target:
            yield unshown(at, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions")
        if self._spec.get("successPolicy") is not None and not success and self._complete:
            problem = "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True"
            yield unshown(at, problem)

    def regress(self) -> Iterator[Cause]:
        """Yield what a job cannot take back."""
        at = "status.conditions"
        for kind in (FAILED, COMPLETE, FAILURE_TARGET):
            if holds(self._old, kind) and not holds(self._job, kind):
                yield unshown(at, f"cannot disable the terminal {kind}=True condition")
        elastic = self._spec.get("completionMode") == INDEXED
        elastic = elastic and self._spec.get("completions") == self._spec.get("parallelism")
        for name in ("failed",) if elastic else ("failed", "succeeded"):
            number: Any = self._status.get(name) or 0
            if number < (self._before.get(name) or 0):
                yield invalid(f"status.{name}", number, f"cannot decrease the {name} counter")
        success, had_success = holds(self._job, SUCCESS), holds(self._old, SUCCESS)
        if had_success and not success:
            yield unshown(at, "cannot disable the SuccessCriteriaMet=True condition")
        if success and not had_success and holds(self._old, COMPLETE):
            yield unshown(at, "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions")


def _first_common(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> int | None:
    """Return the first index that is in ranges of both lists, which are in order."""
    left = right = 0
    while left < len(one) and right < len(other):
        first, last = max(one[left][0], other[right][0]), min(one[left][1], other[right][1])
        if first <= last:
            return first
        if one[left][1] < other[right][1]:
            left += 1
        else:
            right += 1
    return None
