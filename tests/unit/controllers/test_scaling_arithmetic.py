from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from workloads import deployment, replica_set

from orch_controllers.deployment import scaling
from orch_controllers.deployment.scaling import Bounds

DESIRED = "deployment.kubernetes.io/desired-replicas"
MAX = "deployment.kubernetes.io/max-replicas"


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "expected"),
    [
        (4, None, None, Bounds(1, 1)),
        (3, None, None, Bounds(1, 0)),
        (10, "25%", "25%", Bounds(3, 2)),
        (10, 2, 0, Bounds(2, 0)),
        (10, "0%", 0, Bounds(0, 1)),
        (1, "0%", "50%", Bounds(0, 1)),
        (100, "7%", "7%", Bounds(7, 7)),
        (0, "25%", "25%", Bounds(0, 0)),
        (2, 0, 5, Bounds(0, 2)),
        (None, 1, 0, Bounds(1, 0)),
        (3, "100%", "100%", Bounds(3, 3)),
    ],
)
def test_shares_of_the_desired_number(
    replicas: int | None, surge: int | str | None, unavailable: int | str | None, expected: Bounds
) -> None:
    assert scaling.bounds(deployment(replicas, surge=surge, unavailable=unavailable)) == expected


def test_recreate_has_no_bounds() -> None:
    assert scaling.bounds(deployment(5, surge=2, strategy={"type": "Recreate"})) == Bounds(0, 0)


@pytest.mark.parametrize(
    ("replicas", "surge", "new", "old", "expected"),
    [
        (3, 1, None, [], 3),
        (3, 1, None, [3], 1),
        (3, 0, None, [3], 0),
        (3, 0, 0, [2], 1),
        (3, 3, None, [3], 3),
        (3, 1, 1, [3], 1),
        (3, 1, 1, [2], 2),
        (3, 1, 5, [0], 3),  # more than wanted: down at once
        (5, 2, 2, [2, 2], 3),
        (3, 1, 3, [1], 3),
        (3, 1, 1, [9], 1),  # no room: stays
    ],
)
def test_the_new_set_takes_the_room_that_there_is(
    replicas: int, surge: int, new: int | None, old: list[int], expected: int
) -> None:
    sets = [replica_set(f"old-{index}", size) for index, size in enumerate(old)]
    made = replica_set("new", new) if new is not None else None
    assert scaling.new_size(deployment(replicas, surge=surge, unavailable=0), made, sets) == expected


def test_pods_that_are_about_to_go_take_room_until_they_are_gone() -> None:
    asked = deployment(3, surge=1, unavailable=1)
    new = replica_set("new", 1)
    assert scaling.new_size(asked, new, [replica_set("old", 2, there=3)]) == 1
    assert scaling.new_size(asked, new, [replica_set("old", 2, there=2)]) == 2
    assert scaling.new_size(asked, new, [replica_set("old", 2, there=2, generation=3, observed=2)]) == 1


def test_recreate_takes_all_at_once() -> None:
    assert scaling.new_size(deployment(3, strategy={"type": "Recreate"}), None, []) == 3


@pytest.mark.parametrize(
    ("unavailable", "new", "new_available", "old", "expected"),
    [
        # Ten are desired. Of old sets, size and available pods are given.
        (0, 0, 0, [(10, 10)], {}),
        (2, 0, 0, [(10, 10)], {"old-0": 8}),
        (2, 4, 0, [(8, 8)], {}),
        (2, 4, 4, [(8, 8)], {"old-0": 4}),
        (2, 4, 2, [(8, 8)], {"old-0": 6}),
        (0, 4, 4, [(10, 10)], {"old-0": 6}),
        (2, 0, 0, [(10, 7)], {"old-0": 8}),  # what does not serve goes first, and only so much
        (2, 4, 0, [(10, 8)], {"old-0": 8}),
        (2, 2, 2, [(4, 0), (6, 6)], {"old-0": 0}),
        (0, 3, 3, [(2, 2), (8, 8)], {"old-0": 0, "old-1": 7}),
        (2, 10, 10, [(0, 0)], {}),
        (2, 10, 10, [(2, 1)], {"old-0": 0}),
    ],
)
def test_old_sets_shrink_by_what_can_be_spared(
    unavailable: int, new: int, new_available: int, old: list[tuple[int, int]], expected: dict[str, int]
) -> None:
    sets = [replica_set(f"old-{i}", size, available=there, created=i) for i, (size, there) in enumerate(old)]
    made = replica_set("new", new, available=new_available)
    asked = deployment(10, surge=5, unavailable=unavailable)
    shrunk = scaling.scale_down_old(asked, made, sets)
    assert {each.metadata.name: size for each, size in shrunk} == expected


def test_availability_that_a_shrunk_set_still_reports_is_not_spent_again() -> None:
    asked = deployment(3, surge=0, unavailable=1)
    stale = replica_set("old", 2, there=3, available=3)
    assert scaling.scale_down_old(asked, replica_set("new", 1), [stale]) == [(stale, 1)]


@pytest.mark.parametrize(
    ("before", "after", "surge", "sets", "expected"),
    [
        # sets: sizes from the oldest to the youngest, sized when the deployment wanted `before`
        (10, 15, 3, [8, 5], [11, 7]),
        (10, 5, 0, [8, 2], [4, 1]),
        (10, 20, 0, [5, 5], [10, 10]),
        (10, 11, 0, [5, 5], [5, 6]),  # the younger grows first
        (10, 9, 0, [5, 5], [4, 5]),  # the older shrinks first
        (10, 0, 2, [8, 4], [0, 0]),
        (3, 7, 0, [1, 1, 1], [2, 2, 3]),
        (100, 101, 0, [60, 40], [61, 40]),
        (10, 1, 2, [2, 2, 2, 2, 4], [0, 1, 1, 1, 0]),  # the largest has not as many as rounding leaves
    ],
)
def test_sets_share_a_change_of_scale_in_proportion(
    before: int, after: int, surge: int, sets: list[int], expected: list[int]
) -> None:
    remembered = {MAX: str(before + surge), DESIRED: str(before)}
    active = [replica_set(f"set-{i}", size, created=i, annotations=remembered) for i, size in enumerate(sets)]
    found = scaling.proportionally(deployment(after, surge=surge, unavailable=1), active)
    by_name = {each.metadata.name: size for each, size in found}
    assert [by_name[f"set-{i}"] for i in range(len(sets))] == expected


@given(
    sizes=st.lists(st.integers(1, 50), min_size=2, max_size=5),
    after=st.integers(0, 200),
    surge=st.integers(0, 10),
    remembered=st.booleans(),
)
@settings(deadline=None, max_examples=150)
def test_whatever_the_scale_the_sum_is_the_limit(sizes: list[int], after: int, surge: int, *, remembered: bool) -> None:
    annotations = {MAX: str(sum(sizes)), DESIRED: str(sum(sizes))} if remembered else {}
    active = [replica_set(f"set-{i}", size, created=i, annotations=annotations) for i, size in enumerate(sizes)]
    found = scaling.proportionally(deployment(after, surge=surge, unavailable=1), active)
    assert all(size >= 0 for _, size in found)
    if remembered:
        assert sum(size for _, size in found) == (after + surge if after else 0)


@pytest.mark.parametrize(
    ("annotation", "size", "expected"), [("3", 3, False), ("2", 3, True), ("", 3, False), ("2", 0, False)]
)
def test_a_scaling_event_is_seen_by_what_sets_were_sized_for(annotation: str, size: int, *, expected: bool) -> None:
    annotations = {DESIRED: annotation} if annotation else {}
    sets = [replica_set("set", size, annotations=annotations)]
    assert scaling.was_scaled(deployment(3), sets) is expected


def test_a_set_is_saturated_when_all_is_there_for_the_present_scale() -> None:
    asked = deployment(3)
    assert scaling.is_saturated(asked, replica_set("new", 3, annotations={DESIRED: "3"}))
    assert not scaling.is_saturated(asked, replica_set("new", 3, annotations={DESIRED: "2"}))
    assert not scaling.is_saturated(asked, replica_set("new", 3, available=2, annotations={DESIRED: "3"}))


def test_sets_remember_what_they_were_sized_for() -> None:
    assert scaling.scale_annotations(deployment(4, surge=2)) == {DESIRED: "4", MAX: "6"}
