"""What a stateful set does next, as one step: which pods to make, to remove and to put right, in which order. Pure.

Rules are k8s.io/kubernetes pkg/controller/statefulset's (stateful_set_control.go). With OrderedReady a step goes as far
as the first pod that something has to be done about or waited for; with Parallel it does all there is to do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import msgspec

from orch.objects.apps import StatefulSet
from orch.objects.meta import Object
from orch.objects.pods import Pod
from orch_controllers.pod_state import available_in, is_finished
from orch_controllers.shares import resolve
from orch_controllers.statefulset.identity import (
    REVISION,
    claim_name,
    desired,
    has_identity,
    has_storage,
    in_range,
    parse,
    pod_name,
)
from orch_controllers.statefulset.retention import goes_when_scaled, is_stale, owners_of_claim

BURST: Final = 500
"""Pods that one step of a parallel set makes at most."""


class Create(msgspec.Struct, frozen=True):
    """Make the pod of that number from the revision of that name, and its claims."""

    ordinal: int
    revision: str


class Remove(msgspec.Struct, frozen=True):
    """Delete a pod."""

    pod: Pod


class Fill(msgspec.Struct, frozen=True):
    """Make the claims that a pending pod lacks."""

    pod: Pod


class Identify(msgspec.Struct, frozen=True):
    """Give a pod that was adopted its identity and its claims."""

    pod: Pod


class Own(msgspec.Struct, frozen=True):
    """Give a pod's claims the owners that the retention policy asks for."""

    pod: Pod


Action = Create | Remove | Fill | Identify | Own


class Situation(msgspec.Struct, frozen=True):
    """What a step is decided on. `current` and `update` name revisions; `claim` looks up a claim by its name."""

    owner: StatefulSet
    pods: Sequence[Pod]
    current: str
    update: str
    claim: Callable[[str], Object | None]
    now: datetime

    @property
    def ordered(self) -> bool:
        """Whether pods are made and removed one after the other."""
        return self.owner.spec.pod_management_policy != "Parallel"

    def available(self, pod: Pod) -> bool:
        """Return whether a pod serves, and has for long enough."""
        return available_in(pod, self.owner.spec.min_ready_seconds, self.now) == 0

    def healthy(self, pod: Pod) -> bool:
        """Return whether a pod serves and is to stay."""
        return self.available(pod) and not pod.metadata.deletion_timestamp

    def claims(self, ordinal: int) -> list[Object | None]:
        """Return the claims of the pod of that number, None for each that there is not."""
        owner = self.owner
        return [self.claim(claim_name(owner, each, ordinal)) for each in owner.spec.volume_claim_templates]


Plan = tuple[tuple[Action, ...], ...]
"""Stages: one begins when all of the one before has been done."""


def plan(at: Situation) -> Plan:
    """Return the next step of a set that is not being deleted."""
    replicas = {number: pod for pod in at.pods if in_range(at.owner, number := parse(pod.metadata.name)[1])}
    condemned = [pod for pod in at.pods if not in_range(at.owner, parse(pod.metadata.name)[1])]
    condemned.sort(key=_ordinal, reverse=True)
    living, goes_on = _living(at, replicas)
    if not goes_on:
        return _stages(living)
    owned = [Own(pod) for pod in condemned if _misowned(at, pod)]
    leaving = _condemned(at, condemned)
    if at.ordered and condemned:
        return _stages(living, owned, leaving)
    removed = {each.pod.metadata.uid for each in living if isinstance(each, Remove)}
    return _stages(living, owned, leaving, _outdated(at, replicas, removed))


def _stages(*stages: Sequence[Action]) -> Plan:
    return tuple(tuple(stage) for stage in stages if stage)


def _ordinal(pod: Pod) -> int:
    return parse(pod.metadata.name)[1]


def _living(at: Situation, replicas: dict[int, Pod]) -> tuple[list[Action], bool]:
    """Return what is to be done about the pods that are wanted, and whether the step goes on after that."""
    actions: list[Action] = []
    made, start = 0, at.owner.spec.ordinals.start
    for ordinal in range(start, start + desired(at.owner)):
        pod = replicas.get(ordinal)
        if pod is None:
            if not _is_blocked(at, ordinal):
                actions.append(Create(ordinal, _revision(at, ordinal)))
                made += 1
            if at.ordered:
                return actions, False
            if made == BURST:  # the others follow when these are seen
                return actions, False
            continue
        actions += _about(at, pod, ordinal)
        if at.ordered and (is_finished(pod) or not at.healthy(pod)):
            return actions, False
    return actions, True


def _about(at: Situation, pod: Pod, ordinal: int) -> list[Action]:
    """Return what is to be done about one pod that is there."""
    if is_finished(pod):
        # However it ended: a pod that was evicted or stopped with its node may have ended well by its exit code.
        return [] if pod.metadata.deletion_timestamp else [Remove(pod)]
    actions: list[Action] = []
    if pod.status.phase == "Pending" and None in at.claims(ordinal):
        actions.append(Fill(pod))
    if at.ordered and not at.healthy(pod):
        return actions
    if not pod.metadata.deletion_timestamp and not (has_identity(pod) and has_storage(at.owner, pod, ordinal)):
        actions.append(Identify(pod))
    if _misowned(at, pod):
        actions.append(Own(pod))
    return actions


def _is_blocked(at: Situation, ordinal: int) -> bool:
    """Return whether a pod must wait until a claim of its predecessor has gone."""
    if not goes_when_scaled(at.owner):
        return False
    name = pod_name(at.owner, ordinal)
    return any(claim is not None and is_stale(name, claim.metadata.owner_references) for claim in at.claims(ordinal))


def _misowned(at: Situation, pod: Pod) -> bool:
    return any(
        claim is not None and owners_of_claim(at.owner, pod.metadata, claim.metadata.owner_references) is not None
        for claim in at.claims(_ordinal(pod))
    )


def _revision(at: Situation, ordinal: int) -> str:
    """Return the revision of which a missing pod is made: below the partition, the one before the update."""
    strategy = at.owner.spec.update_strategy
    if strategy.type != "RollingUpdate" or strategy.rolling_update is None:
        return at.update
    below = ordinal < at.owner.spec.ordinals.start + strategy.rolling_update.partition
    return at.current if below else at.update


def _condemned(at: Situation, condemned: Sequence[Pod]) -> list[Action]:
    """Return which pods that are not wanted any more go now; `condemned` begins with the highest number.

    With OrderedReady one at a time, and only when those below it serve, or when it is itself the first that does not.
    One that has ended need not wait: it will never serve, and neither would those below it that have ended, too.
    """
    if not at.ordered:
        return [Remove(pod) for pod in condemned if not pod.metadata.deletion_timestamp]
    if not condemned or condemned[0].metadata.deletion_timestamp:
        return []
    last = condemned[0]
    first_unhealthy = next((pod for pod in reversed(condemned) if not at.healthy(pod)), None)
    return [Remove(last)] if at.available(last) or is_finished(last) or last is first_unhealthy else []


def _outdated(at: Situation, replicas: dict[int, Pod], removed: set[str]) -> list[Action]:
    """Return which pods of former revisions go now, the highest number first, so that enough others serve."""
    strategy = at.owner.spec.update_strategy
    if strategy.type != "RollingUpdate":
        return []
    rolling, wanted, start = strategy.rolling_update, desired(at.owner), at.owner.spec.ordinals.start
    share = resolve(rolling.max_unavailable if rolling else None, wanted, 1, up=False)
    unavailable = wanted - sum(at.healthy(pod) for pod in replicas.values())
    budget = max(share, 1) - unavailable
    first = start + (rolling.partition if rolling else 0)
    old = [
        pod
        for ordinal, pod in sorted(replicas.items(), reverse=True)
        if ordinal >= first
        and pod.metadata.labels.get(REVISION) != at.update
        and not pod.metadata.deletion_timestamp
        and pod.metadata.uid not in removed
    ]
    if at.ordered:
        return [Remove(pod) for pod in old[: max(budget, 0)]]
    broken = [Remove(pod) for pod in old if not at.available(pod)]  # nothing serves less without them
    serving = [pod for pod in old if at.available(pod)]
    return [*broken, *(Remove(pod) for pod in serving[: max(budget, 0)])]
