"""Which pods a job that goes on needs made or deleted now (k8s.io/kubernetes pkg/controller/job manageJob). Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from orch.objects.pods import Pod
from orch_controllers.job.backoff import Backoff, finished_at, remaining
from orch_controllers.job.census import Census
from orch_controllers.job.indexes import Indexes, index_of
from orch_controllers.job.pods import attempts_of, is_tracked
from orch_controllers.replicaset.ranking import first_to_go

BURST: Final = 500
"""Pods that one reconciliation creates or deletes at most."""


class Creation(msgspec.Struct, frozen=True):
    """A pod to be made. `replaced` is the last that failed on its index, if the job counts failures of each."""

    index: int | None = None
    replaced: Pod | None = None


class Plan(msgspec.Struct, frozen=True):
    """Pods are either deleted or made, not both at a time. `wait`: seconds until pods are to be made."""

    delete: tuple[Pod, ...] = ()
    create: tuple[Creation, ...] = ()
    wait: float | None = None


_NOTHING: Final = Plan()


def planned(census: Census, backoff: Backoff, now: datetime) -> Plan:
    """Return what is to be done about the number of pods."""
    if census.job.spec.suspend:
        return Plan(delete=tuple(census.active))
    wanted = _wanted(census)
    surplus = _surplus(census, len(census.active) - wanted, now)
    if surplus:
        return Plan(delete=tuple(surplus[:BURST]))
    leaving = len(census.terminating) if census.replaces_failed_only else 0
    missing = min(wanted - leaving - len(census.active), BURST)
    return _creations(census, missing, backoff, now) if missing > 0 else _NOTHING


def _creations(census: Census, count: int, backoff: Backoff, now: datetime) -> Plan:
    if census.failed_indexes is not None:
        return _replacements(census, count, now)
    wait = backoff.remaining(now)
    if wait > 0:
        return Plan(wait=wait)
    if census.indexed:
        return Plan(create=tuple(Creation(index) for index in _pending(census, count)))
    return Plan(create=(Creation(),) * count)


def _wanted(census: Census) -> int:
    """Return how many pods are to be active."""
    if census.completions is None:
        # The job is done when one has succeeded and the others have ended.
        return len(census.active) if census.succeeded else census.parallelism
    return max(0, min(census.completions - census.succeeded, census.parallelism))


def _surplus(census: Census, count: int, now: datetime) -> list[Pod]:
    """Return the pods to delete, at least `count`.

    All those go that are of no use: whose index another pod works on, or is not the job's, and whose finalizer was
    taken away, because nobody would count them.
    """
    useless = [pod for pod in census.active if not is_tracked(pod)]
    useful = [pod for pod in census.active if is_tracked(pod)]
    if census.indexed:
        by_index: defaultdict[int | None, list[Pod]] = defaultdict(list)
        for pod in useful:
            by_index[index_of(pod)].append(pod)
        useful = list[Pod]()
        for index, pods in by_index.items():
            if index is None or index >= (census.completions or 0):
                useless += pods
                continue
            *repeated, kept = first_to_go(pods, (), len(pods), now)
            useless += repeated
            useful.append(kept)
    more = count - len(useless)
    return useless + (first_to_go(useful, (), more, now) if more > 0 else [])


def _pending(census: Census, count: int) -> Sequence[int]:
    """Return the first indexes on which nobody works and that have neither succeeded nor failed."""
    taken = census.succeeded_indexes | census.indexes_of(census.active)
    if census.replaces_failed_only:
        taken |= census.indexes_of(census.terminating)
    taken |= census.failed_indexes or Indexes()
    return taken.missing(count, census.completions or 0)


def _replacements(census: Census, count: int, now: datetime) -> Plan:
    """Return the pods to make when each index waits for itself after a failure."""
    last = census.awaiting_replacement
    create: list[Creation] = []
    waits: list[float] = []
    for index in _pending(census, count):
        failed = last.get(index)
        wait = 0.0 if failed is None else remaining(attempts_of(failed) + 1, finished_at(failed), now)
        if wait > 0:
            waits.append(wait)
        else:
            create.append(Creation(index, failed))
    return Plan(create=tuple(create), wait=min(waits, default=None))
