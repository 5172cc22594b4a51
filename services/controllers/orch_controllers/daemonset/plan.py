"""What a daemon set does next: which nodes get a pod, and which pods go. Pure.

Rules are k8s.io/kubernetes pkg/controller/daemon's (daemon_controller.go, update.go).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

import msgspec

from orch.objects.apps import DaemonSet
from orch.objects.pods import Pod
from orch_controllers.daemonset.placement import Fit
from orch_controllers.daemonset.pods import is_updated, target_of
from orch_controllers.pod_state import available_in, is_finished, is_ready
from orch_controllers.shares import resolve


class Bounds(msgspec.Struct, frozen=True):
    """On how many nodes a pod may be missing, and on how many there may be two, while pods are replaced."""

    unavailable: int
    surge: int


class Ended(msgspec.Struct, frozen=True):
    """A pod that has ended on a node where it should run."""

    pod: Pod
    node: str


class Plan(msgspec.Struct):
    """The nodes that get a pod and the pods that go; `ended` are those among the latter that people are told of."""

    create: list[str] = msgspec.field(default_factory=list[str])
    delete: list[Pod] = msgspec.field(default_factory=list[Pod])
    ended: list[Ended] = msgspec.field(default_factory=list[Ended])
    waits: list[float] = msgspec.field(default_factory=list[float])
    """Seconds after which failed pods may be replaced."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be done."""
        return not self.create and not self.delete


class Situation(msgspec.Struct, frozen=True):
    """What a step is decided on. `fits` has every node; `wait` says for how long a node's failed pod must stay."""

    owner: DaemonSet
    hash: str
    fits: Mapping[str, Fit]
    pods: Mapping[str, Sequence[Pod]]
    wait: Callable[[str], float]
    now: datetime

    def available(self, pod: Pod) -> bool:
        """Return whether a pod serves, and has for long enough."""
        return available_in(pod, self.owner.spec.min_ready_seconds, self.now) == 0

    def updated(self, pod: Pod) -> bool:
        """Return whether a pod is of the present template."""
        return is_updated(self.owner, self.hash, pod)

    def should_run(self, node: str) -> bool:
        """Return whether a node is there and is to run a pod."""
        found = self.fits.get(node)
        return found is not None and found.should_run


def by_node(pods: Iterable[Pod]) -> dict[str, list[Pod]]:
    """Return the pods by the node that they are on or meant for, but for those that have ended and are going."""
    found: dict[str, list[Pod]] = {}
    for pod in pods:
        if pod.metadata.deletion_timestamp and is_finished(pod):
            continue
        if node := target_of(pod):
            found.setdefault(node, []).append(pod)
    return found


def bounds(owner: DaemonSet, wanted: int) -> Bounds:
    """Return maxUnavailable and maxSurge as numbers of nodes; were both 0, one pod may be missing."""
    rolling = owner.spec.update_strategy.rolling_update
    unavailable = resolve(rolling.max_unavailable if rolling else None, wanted, 1, up=True)
    surge = resolve(rolling.max_surge if rolling else None, wanted, 0, up=True)
    return Bounds(1 if wanted and not unavailable and not surge else unavailable, surge)


def oldest_first(pods: Iterable[Pod]) -> list[Pod]:
    """Return pods in the order in which they have a claim to their node: bound ones first, then by age."""
    return sorted(
        pods, key=lambda each: (not each.spec.node_name, each.metadata.creation_timestamp, each.metadata.name)
    )


def manage(at: Situation) -> Plan:
    """Return what it takes that each node has the pod that it should have, and no other."""
    plan = Plan()
    surging = at.owner.spec.update_strategy.type == "RollingUpdate" and bounds(at.owner, len(at.fits)).surge > 0
    for node, found in at.fits.items():
        pods = at.pods.get(node, ())
        if found.should_run and not pods:
            plan.create.append(node)
        elif found.may_stay:
            running = _running(at, plan, node, pods)
            if surging:
                _settle_two(at, plan, node, running)
            else:
                plan.delete += oldest_first(running)[1:]
        else:
            plan.delete += [pod for pod in pods if not pod.metadata.deletion_timestamp]
    for node, pods in at.pods.items():
        if node not in at.fits:  # the pods that were bound there go with what remains of the node
            plan.delete += [pod for pod in pods if not pod.spec.node_name and not pod.metadata.deletion_timestamp]
    return plan


def _running(at: Situation, plan: Plan, node: str, pods: Sequence[Pod]) -> list[Pod]:
    """Return the pods that run on a node; those that have ended are to go, failed ones not too often."""
    running: list[Pod] = []
    for pod in pods:
        if pod.metadata.deletion_timestamp:
            continue
        if not is_finished(pod):
            running.append(pod)
            continue
        wait = at.wait(node) if pod.status.phase == "Failed" else 0
        if wait:
            plan.waits.append(wait)
            continue
        plan.delete.append(pod)
        plan.ended.append(Ended(pod, node))
    return running


def _settle_two(at: Situation, plan: Plan, node: str, running: Sequence[Pod]) -> None:
    """Decide about a node that may have two pods: one of the former template until the new one serves."""
    if len(running) <= 1:
        if not running and at.should_run(node):
            plan.create.append(node)
        return
    ordered = oldest_first(running)
    new = next((pod for pod in ordered if at.updated(pod)), None)
    old = next((pod for pod in ordered if not at.updated(pod)), None)
    plan.delete += [pod for pod in ordered if pod is not new and pod is not old]
    if new is not None and old is not None and (not is_ready(old) or at.available(new)):
        plan.delete.append(old)


def roll(at: Situation) -> Plan:
    """Return the next step of a rolling update, when each node has the pods that it should have."""
    if all(at.updated(pod) for pods in at.pods.values() for pod in pods):
        return Plan()  # as it is nearly always
    wanted = sum(found.should_run for found in at.fits.values())
    nodes = dict(at.pods)
    for node, found in at.fits.items():
        if found.should_run:
            nodes.setdefault(node, ())
    limits = bounds(at.owner, wanted)
    return _surge(at, nodes, limits.surge, wanted) if limits.surge else _replace(at, nodes, limits.unavailable)


class _Pair(msgspec.Struct, frozen=True):
    """A node's pod of the present template, and that of a former one."""

    new: Pod | None
    old: Pod | None


def _pair(at: Situation, pods: Sequence[Pod]) -> _Pair | None:
    """Return the node's pods that are to stay; None when there are too many of a kind."""
    staying = [pod for pod in pods if not pod.metadata.deletion_timestamp]
    new = [pod for pod in staying if at.updated(pod)]
    old = [pod for pod in staying if not at.updated(pod)]
    if len(new) > 1 or len(old) > 1:
        return None
    return _Pair(new[0] if new else None, old[0] if old else None)


def _replace(at: Situation, nodes: Mapping[str, Sequence[Pod]], unavailable: int) -> Plan:
    """Return which pods go, to be replaced: those that do not serve at once, others as far as may be missing."""
    missing = 0
    broken: list[Pod] = []
    candidates: list[Pod] = []
    for _, pods in sorted(nodes.items()):
        pair = _pair(at, pods)
        if pair is None or (pair.new is None) == (pair.old is None):
            missing += 1  # it is being seen to
        elif pair.old is None:
            missing += pair.new is None or not at.available(pair.new)
        elif at.available(pair.old):
            candidates.append(pair.old)
        else:
            broken.append(pair.old)
            missing += 1
    return Plan(delete=[*broken, *candidates[: max(unavailable - missing, 0)]])


def _surge(at: Situation, nodes: Mapping[str, Sequence[Pod]], surge: int, wanted: int) -> Plan:
    """Return which nodes get a second pod, of the present template, and which pods of former ones have had their time.

    On nodes that are not to run a pod any more the old one goes when enough others serve.
    """
    surging, available = 0, 0
    plan = Plan()
    leaving: list[Pod] = []
    candidates: list[str] = []
    for node, pods in sorted(nodes.items()):
        pair = _pair(at, pods)
        if pair is None:
            surging += 1
            continue
        serving = pair.old or pair.new
        available += serving is not None and at.available(serving)
        if pair.old is None:
            continue
        if pair.new is not None:
            if at.available(pair.new):
                plan.delete.append(pair.old)
            else:
                surging += 1
        elif at.available(pair.old):
            if at.should_run(node):
                candidates.append(node)
            else:
                leaving.append(pair.old)
        elif at.should_run(node):
            plan.create.append(node)
        else:
            plan.delete.append(pair.old)
    plan.delete += leaving[: max(available - wanted, 0)]
    plan.create += candidates[: max(surge - surging, 0)]
    return plan
