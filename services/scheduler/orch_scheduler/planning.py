"""From a batch of pods to decisions: which pods are planned together, on what, and what follows from the plan.

Pods are planned in the queue's order. A run ends where the next pod must meet another state of the cluster: another
profile; a group, which is planned whole; and, while there are nominated pods, another priority.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from orch.clock import Clock
from orch_scheduler.columns import Columns
from orch_scheduler.deciders import Decider
from orch_scheduler.decisions import Plan
from orch_scheduler.engine import Placement
from orch_scheduler.explain import Explanation
from orch_scheduler.filters.protocol import Wake
from orch_scheduler.gangs.groups import Groups
from orch_scheduler.preemption.nominations import Nominations
from orch_scheduler.queue import PodQueue
from orch_scheduler.waiting import Waiting

log = logging.getLogger(__name__)

_NO_WAKE: Final = Wake(0)


class Run(msgspec.Struct, frozen=True):
    """Pods that are planned together. `group` names the PodGroup of which they are all that wait."""

    pods: Sequence[Waiting]
    profile: Decider
    group: str = ""


class Refused(msgspec.Struct, frozen=True):
    """A pod that got no place, why, and what could help. `alone`: others could make room for it, one by one.

    `quiet`: nobody is told, since it is tried again in a moment.
    """

    pod: Waiting
    message: str
    wake: Wake
    rules: frozenset[str]
    alone: bool = True
    quiet: bool = False


class Decided(msgspec.Struct, frozen=True):
    """What became of a run. `failed` could not be judged at all.

    `lacking` says what a group lacks to start; then `fitting` are the pods of it that would fit and the nodes on which,
    and `missing` is how many more it needs.
    """

    placed: Sequence[tuple[Waiting, Placement]] = ()
    refused: Sequence[Refused] = ()
    failed: Sequence[tuple[Waiting, Exception]] = ()
    lacking: str = ""
    fitting: Sequence[tuple[Waiting, str]] = ()
    missing: int = 0


class Planner:
    """Decides for runs of pods; what it places is counted in the columns. It never waits."""

    def __init__(
        self,
        columns: Columns,
        queue: PodQueue,
        nominations: Nominations,
        groups: Groups,
        clock: Clock,
        planned: Callable[[Plan], None],
    ) -> None:
        self._columns = columns
        self._queue = queue
        self._nominations = nominations
        self._groups = groups
        self._clock = clock
        self._planned = planned

    def runs(self, batch: Sequence[Waiting], profile_of: Callable[[str], Decider]) -> Iterator[Run]:
        """Yield the batch in runs; each is to be decided before the next is asked for."""
        done: set[str] = set()
        start = 0
        while start < len(batch):
            pod = batch[start]
            profile = profile_of(pod.scheduler)
            if pod.uid in done:
                start += 1
            elif self._is_gang(pod):
                members = self._members(pod, batch[start:], done)
                done.update(member.uid for member in members)
                yield Run(members, profile, pod.group)
                start += 1
            else:
                end = start + 1
                while end < len(batch) and self._continues(pod, batch[end], done):
                    end += 1
                yield Run(batch[start:end], profile)
                start = end

    def decide(self, run: Run) -> Decided:
        """Plan a run and count what it places."""
        if run.group:
            return self._decide_gang(run)
        return self._settle(run, self._plan(run.pods, run.profile))

    def _continues(self, first: Waiting, pod: Waiting, done: set[str]) -> bool:
        if pod.uid in done or pod.scheduler != first.scheduler or self._is_gang(pod):
            return False
        return not len(self._nominations) or pod.priority == first.priority

    def _is_gang(self, pod: Waiting) -> bool:
        return self._groups.holds(pod)

    def _members(self, pod: Waiting, batch: Sequence[Waiting], done: set[str]) -> list[Waiting]:
        """Return all of the pod's group that waits: those of the batch, and those that were waiting elsewhere."""
        taken = self._queue.take(one for one in self._queue.members(pod.group) if one.scheduler == pod.scheduler)
        taken += [one for one in batch if one.group == pod.group and one.uid not in done]
        return sorted(taken, key=lambda one: (-one.priority, one.since))

    def _plan(self, pods: Sequence[Waiting], profile: Decider) -> list[Placement | Exception]:
        """Plan pods together; when that fails, each alone, so that one odd pod harms no other."""
        with self._nominations.aside(pods, pods[0].priority):
            try:
                return list(self._ask(pods, profile))
            except Exception as error:
                if len(pods) == 1:
                    log.error("pod %s/%s cannot be judged", pods[0].namespace, pods[0].name, exc_info=error)
                    return [error]
        outcomes: list[Placement | Exception] = []
        for pod in pods:
            (outcome,) = self._plan((pod,), profile)
            if isinstance(outcome, Placement) and outcome.node:
                self._columns.place(pod.uid, outcome.node, pod.demand)
            outcomes.append(outcome)
        return outcomes

    def _ask(self, pods: Sequence[Waiting], profile: Decider) -> list[Placement]:
        snapshot = self._columns.snapshot()
        preferred = [self._nominated(pod) for pod in pods] if len(self._nominations) else ()
        started = self._clock.monotonic()
        placements = profile.engine.plan(snapshot, [pod.demand for pod in pods], preferred)
        self._planned(
            Plan(
                pods=pods,
                placements=placements,
                snapshot=snapshot,
                nodes=self._columns.nodes,
                profile=profile.name,
                profile_hash=profile.hash,
                seed=0,
                took=self._clock.monotonic() - started,
                preferred=preferred,
            )
        )
        return placements

    def _nominated(self, pod: Waiting) -> str:
        nomination = self._nominations.get(pod.uid)
        return nomination.node if nomination is not None else ""

    def _settle(self, run: Run, outcomes: Sequence[Placement | Exception]) -> Decided:
        placed: list[tuple[Waiting, Placement]] = []
        refused: list[Refused] = []
        failed: list[tuple[Waiting, Exception]] = []
        for pod, outcome in zip(run.pods, outcomes, strict=True):
            if isinstance(outcome, Exception):
                failed.append((pod, outcome))
            elif outcome.node:
                self._columns.place(pod.uid, outcome.node, pod.demand)
                placed.append((pod, outcome))
            else:
                refused.append(refusal_of(pod, outcome))
        return Decided(placed, refused, failed)

    def _decide_gang(self, run: Run) -> Decided:
        """Place a group whole, or as far as it must be to start; or not at all."""
        if not all(self._groups.known(pod) for pod in run.pods):
            return Decided(
                refused=[Refused(pod, pod.message, _NO_WAKE, frozenset(), alone=False, quiet=True) for pod in run.pods]
            )
        group = self._groups.get(run.group)
        if group is None:
            return _held_back(run, f"waiting for pod group {run.group}, which does not exist")
        bound, needed = self._on_nodes(run), group.object.spec.min_member
        if bound + len(run.pods) < needed:
            there = f"{bound + len(run.pods)} of at least {needed} pods are there"
            return _held_back(run, f"pod group {run.group} is not complete: {there}")
        outcomes = self._plan(run.pods, run.profile)
        fit = sum(isinstance(outcome, Placement) and bool(outcome.node) for outcome in outcomes)
        if bound + fit >= needed:
            return self._settle(run, outcomes)
        for pod in run.pods:
            self._columns.remove(pod.uid)  # what was placed alone for want of a plan of all
        message = f"only {bound + fit} of at least {needed} pods of group {run.group} fit"
        return _whole_or_not(run, outcomes, message, needed - bound - fit)

    def _on_nodes(self, run: Run) -> int:
        """Return how many pods of a group are on nodes already, or on their way there."""
        mine = {pod.uid for pod in run.pods}
        others = (pod for pod in self._queue.members(run.group) if pod.uid not in mine)
        return self._groups.bound(run.group) + sum(self._queue.handed_out(pod.uid) for pod in others)


def refusal_of(pod: Waiting, placement: Placement) -> Refused:
    """Return what a placement without a node says."""
    explanation = _explanation(placement)
    rules = frozenset(one.rule for one in explanation.refusals)
    return Refused(pod, explanation.message, explanation.wake, rules)


def _explanation(placement: Placement) -> Explanation:
    if placement.refusal is None:
        raise ValueError("a placement has neither a node nor a refusal")
    return placement.refusal


def _held_back(run: Run, message: str) -> Decided:
    """Nothing but a change of the group itself can help."""
    refused = [Refused(pod, message, _NO_WAKE, frozenset(), alone=False) for pod in run.pods]
    return Decided(refused=refused, lacking=message)


def _whole_or_not(run: Run, outcomes: Sequence[Placement | Exception], message: str, missing: int) -> Decided:
    """None is placed; what could help those that did not fit helps all."""
    failed = [(pod, one) for pod, one in zip(run.pods, outcomes, strict=True) if isinstance(one, Exception)]
    refusals = [_explanation(one) for one in outcomes if isinstance(one, Placement) and not one.node]
    wake, rules = _NO_WAKE, frozenset[str]()
    for refusal in refusals:
        wake |= refusal.wake
        rules |= frozenset(one.rule for one in refusal.refusals)
    told = f"{message}: {refusals[0].message}" if refusals else message
    odd = {pod.uid for pod, _ in failed}
    refused = [Refused(pod, told, wake, rules, alone=False) for pod in run.pods if pod.uid not in odd]
    pairs = list(zip(run.pods, outcomes, strict=True))
    fitting = [(pod, one.node) for pod, one in pairs if isinstance(one, Placement) and one.node]
    return Decided(refused=refused, failed=failed, lacking=told, fitting=fitting, missing=missing)
