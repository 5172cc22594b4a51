"""The choice of victims against a plain reading of kube-scheduler's rules."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orch_scheduler.preemption.victims import Occupant, Toll, toll_by_room, toll_by_trial

STARTS = ("", "2026-01-01T00:00:00Z", "2026-01-01T00:00:05Z", "2026-01-02T00:00:00Z")


def no_budgets(number):
    raise AssertionError(number)


def pod(uid, priority=0, cpu=1, **more):
    return Occupant(uid, priority, more.pop("started", STARTS[1]), (cpu, 1), **more)


def toll(occupants, *, cpu, pods=1, capacity=4, places=10, priority=10, allowed=no_budgets, row=0):
    """Ask for so much cpu on a node of so much in all."""
    free = (capacity - sum(one.amounts[0] for one in occupants), places - len(occupants))
    needed = tuple((column, amount) for column, amount in enumerate((cpu, pods)) if amount)
    return toll_by_room(row, free, needed, priority, occupants, allowed)


def names(found):
    return [one.uid for one in found.victims]


def test_no_more_go_than_must():
    found = toll([pod("a"), pod("b"), pod("c"), pod("d")], cpu=2)
    assert len(found.victims) == 2


def test_the_least_important_go():
    occupants = [pod("high", 5), pod("low", 1), pod("middle", 3), pod("lowest", 0)]
    assert names(toll(occupants, cpu=2)) == ["low", "lowest"]


def test_of_equals_those_go_that_started_last():
    occupants = [pod(f"p{number}", started=start) for number, start in enumerate(STARTS)]
    assert names(toll(occupants, cpu=2)) == ["p3", "p0"]  # p0 has not started


def test_one_large_pod_goes_rather_than_many_that_are_more_important():
    assert names(toll([pod("large", 0, cpu=3), pod("small", 1, cpu=1)], cpu=3)) == ["large"]


def test_nobody_of_the_same_priority_goes():
    assert toll([pod("a", 10), pod("b", 10), pod("c", 11), pod("d", 12)], cpu=1) is None


def test_pods_that_leave_anyhow_are_no_victims():
    occupants = [pod("leaving", 50, cpu=2, going=True), pod("a"), pod("b")]
    assert names(toll(occupants, cpu=2)) == []


def test_a_pod_that_has_none_of_what_is_short_is_spared():
    occupants = [pod("user", 0, cpu=4), pod("idle", 0, cpu=0)]
    assert names(toll(occupants, cpu=4)) == ["user"]


def test_budgets_are_violated_only_if_nothing_else_makes_room():
    occupants = [pod("guarded", 0, budgets=(7,)), pod("free", 5), pod("c", 20), pod("d", 20)]
    found = toll(occupants, cpu=1, allowed={7: 0}.__getitem__)
    assert (names(found), found.violations) == (["free"], 0)
    found = toll(occupants, cpu=2, allowed={7: 0}.__getitem__)
    assert (names(found), found.violations) == (["free", "guarded"], 1)


def test_a_budget_lets_as_many_go_as_it_allows():
    occupants = [pod(f"p{number}", budgets=(1,)) for number in range(4)]
    assert toll(occupants, cpu=2, allowed={1: 2}.__getitem__).violations == 0
    assert toll(occupants, cpu=3, allowed={1: 2}.__getitem__).violations == 1


def costs(*victims, violations=0, row=0):
    ranked = sorted(victims, key=lambda one: one.rank)
    return Toll(row, tuple(ranked), frozenset(str(number) for number in range(violations))).cost


def test_nodes_are_compared_by_one_criterion_after_the_other():
    early, late = STARTS[1], STARTS[2]
    cheaper_first = [
        costs(row=9),
        costs(pod("a", 9), pod("b", 9)),
        costs(pod("a", 1), violations=1),
    ]
    assert cheaper_first == sorted(cheaper_first)
    assert costs(pod("a", 2), pod("b", 2), pod("c", 2)) < costs(pod("a", 3))
    assert costs(pod("a", 3), pod("b", 1)) < costs(pod("a", 3), pod("b", 2))
    assert costs(pod("a", -5)) < costs(pod("a", -5), pod("b", -9))
    assert costs(pod("a", 3, started=late), row=5) < costs(pod("a", 3, started=early), row=1)
    assert costs(pod("a", 3), row=1) < costs(pod("a", 3), row=2)


amounts = st.integers(0, 3)
occupants_of = st.lists(
    st.tuples(st.integers(0, 4), amounts, st.sampled_from(STARTS), st.booleans(), st.sampled_from(((), (0,), (1,)))),
    max_size=6,
).map(
    lambda found: [
        Occupant(f"p{number}", priority, started, (cpu, 1), going, budgets)
        for number, (priority, cpu, started, going, budgets) in enumerate(found)
    ]
)


def leaves_room(occupants, gone, capacity, cpu):
    """Return whether the pod fits: only what it asks for is looked at."""
    stay = [one for one in occupants if one.uid not in gone]
    used = sum(one.amounts[0] for one in stay)
    return (cpu == 0 or capacity - used >= cpu) and 6 - len(stay) >= 1


@given(occupants_of, st.integers(0, 8), st.integers(0, 4), st.integers(0, 5), st.integers(0, 2))
def test_victims_are_valid_minimal_and_of_lower_priority(occupants, capacity, cpu, priority, allowed):
    found = toll(occupants, cpu=cpu, capacity=capacity, places=6, priority=priority, allowed=lambda _: allowed)
    going = {one.uid for one in occupants if one.going}
    lower = {one.uid for one in occupants if one.priority < priority} | going
    if found is None:
        assert not leaves_room(occupants, lower, capacity, cpu)
        return
    victims = {one.uid for one in found.victims}
    assert leaves_room(occupants, victims | going, capacity, cpu)
    assert all(one.priority < priority and not one.going for one in found.victims)
    for spared in victims:
        assert not leaves_room(occupants, (victims - {spared}) | going, capacity, cpu)


def plain_reprieve(occupants, capacity, cpu, priority, allowed):
    """Return the victims as the documentation of DefaultPreemption tells it, and how many violate budgets."""
    removable = [one for one in occupants if one.priority < priority and not one.going]
    gone = {one.uid for one in occupants if one.going} | {one.uid for one in removable}
    if not leaves_room(occupants, gone, capacity, cpu):
        return None
    removable.sort(key=lambda one: (-one.priority, one.started or "later"))
    spent, violating = {0: 0, 1: 0}, []
    for one in removable:
        for budget in one.budgets:
            spent[budget] += 1
            if spent[budget] > allowed:
                violating.append(one)
    for one in violating + [one for one in removable if one not in violating]:
        if leaves_room(occupants, gone - {one.uid}, capacity, cpu):
            gone.discard(one.uid)
    victims = [one for one in removable if one.uid in gone]
    return {one.uid for one in victims}, sum(one in violating for one in victims)


@given(occupants_of, st.integers(0, 8), st.integers(0, 4), st.integers(0, 5), st.integers(0, 2))
def test_victims_are_those_of_a_plain_reading(occupants, capacity, cpu, priority, allowed):
    expected = plain_reprieve(occupants, capacity, cpu, priority, allowed)
    found = toll(occupants, cpu=cpu, capacity=capacity, places=6, priority=priority, allowed=lambda _: allowed)
    assert (found and ({one.uid for one in found.victims}, found.violations)) == expected
    tried = toll_by_trial(
        0, priority, occupants, lambda gone: leaves_room(occupants, gone, capacity, cpu), lambda _: allowed
    )
    if tried is not None:
        assert ({one.uid for one in tried.victims}, tried.violations) == expected
