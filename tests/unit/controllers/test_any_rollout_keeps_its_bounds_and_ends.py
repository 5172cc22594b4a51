"""A rollout simulated over the arithmetic: statuses lag behind, pods take their time, sets act in any order."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from workloads import deployment, replica_set

from orch.objects.apps import Deployment, ReplicaSet
from orch_controllers.deployment import scaling


class Pods:
    """A replica set with its pods, and the status that it wrote last. True stands for a pod that serves."""

    def __init__(self, name: str, size: int, created: int) -> None:
        self.name = name
        self.size = size
        self.created = created
        self.pods = [True] * size
        self.generation = self.observed = 1
        self.told = (size, size)

    def resize(self, size: int) -> None:
        if size != self.size:
            self.size = size
            self.generation += 1

    def reconcile(self) -> None:
        """Make or delete pods, those that do not serve first; the status counts what was just made."""
        self.pods = sorted(self.pods, reverse=True)
        before = list(self.pods)
        self.pods = self.pods[: self.size] + [False] * (self.size - len(self.pods))
        self.told = (max(len(before), len(self.pods)), sum(before))
        self.observed = self.generation

    def stumble(self) -> None:
        """Reconcile, but fail to make or delete anything."""
        self.told = (len(self.pods), sum(self.pods))
        self.observed = self.generation

    def tell(self) -> None:
        if self.observed == self.generation:
            self.told = (len(self.pods), sum(self.pods))

    def ready_one(self) -> None:
        if False in self.pods:
            self.pods[self.pods.index(False)] = True

    def view(self) -> ReplicaSet:
        there, available = self.told
        return replica_set(
            self.name,
            self.size,
            there=there,
            available=available,
            created=self.created,
            generation=self.generation,
            observed=self.observed,
        )


def step(asked: Deployment, new: Pods, old: list[Pods]) -> None:
    """Do what the deployment controller does in one reconciliation."""
    views = [each.view() for each in old]
    size = scaling.new_size(asked, new.view(), views)
    if size != new.size:
        new.resize(size)
        return
    by_name = {each.name: each for each in old}
    for view, count in scaling.scale_down_old(asked, new.view(), views):
        by_name[view.metadata.name].resize(count)


SHARES = st.one_of(st.integers(0, 4), st.sampled_from(["0%", "10%", "25%", "50%", "100%"]))


@given(
    replicas=st.integers(1, 8),
    split=st.integers(0, 8),
    surge=SHARES,
    unavailable=SHARES,
    turns=st.randoms(use_true_random=False),
)
@settings(deadline=None, max_examples=80)
def test_bounds_hold_at_every_moment(
    replicas: int, split: int, surge: int | str, unavailable: int | str, turns: random.Random
) -> None:
    asked = deployment(replicas, surge=surge, unavailable=unavailable)
    limits = scaling.bounds(asked)
    first = min(split, replicas)
    old = [Pods("old-0", first, 0), Pods("old-1", replicas - first, 1)]
    new = Pods("new", 0, 2)
    sets = [*old, new]

    def check() -> None:
        assert sum(len(each.pods) for each in sets) <= replicas + limits.surge
        assert sum(sum(each.pods) for each in sets) >= replicas - limits.unavailable

    for _ in range(80):
        which, action = turns.choice(sets), turns.randrange(5)
        if action == 0:
            step(asked, new, old)
        elif action == 1:
            which.reconcile()
        elif action == 2:
            which.tell()
        elif action == 3:
            which.stumble()
        else:
            which.ready_one()
        check()

    for _ in range(20 * replicas + 20):
        step(asked, new, old)
        for each in sets:
            each.reconcile()
            check()
            each.ready_one()
            each.tell()
    assert new.pods == [True] * replicas
    assert [each.pods for each in old] == [[], []]
