"""Slices hold exactly the endpoints that are wanted, at most so many each, and change as little as can be."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.objects.discovery import Endpoint, EndpointConditions, EndpointPort, EndpointSlice
from orch.objects.meta import ObjectMeta
from orch_controllers.endpoint_slices.packing import Plan, Ports, plan

MOST = 4
NAMES = itertools.count()
LABELS = {"kubernetes.io/service-name": "web"}
HTTP: Ports = (EndpointPort(name="http", port=80, protocol="TCP"),)
OTHER: Ports = (EndpointPort(name="http", port=8080, protocol="TCP"),)


def endpoint(number: int, *, ready: bool = True) -> Endpoint:
    return Endpoint(addresses=(f"10.0.0.{number}",), conditions=EndpointConditions(ready=ready))


def slice_(name: str, *numbers: int, ports: Ports = HTTP, labels: dict[str, str] = LABELS) -> EndpointSlice:
    endpoints = tuple(endpoint(number) for number in numbers)
    return EndpointSlice(metadata=ObjectMeta(name=name, labels=labels), ports=ports, endpoints=endpoints)


def wanted(*numbers: int) -> dict[Ports, list[Endpoint]]:
    return {HTTP: [endpoint(number) for number in numbers]}


def carried_out(before: list[EndpointSlice], made: Plan) -> list[EndpointSlice]:
    """Return the slices after a plan."""
    after = {each.metadata.name: each for each in before}
    for gone in made.delete:
        del after[gone.metadata.name]
    for draft in made.write:
        name = draft.current.metadata.name if draft.current is not None else f"new-{next(NAMES)}"
        after[name] = EndpointSlice(
            metadata=ObjectMeta(name=name, labels=LABELS), ports=draft.ports, endpoints=draft.endpoints
        )
    return list(after.values())


def shape(made: Plan) -> tuple[list[tuple[str, int]], list[str]]:
    writes = [(draft.current.metadata.name if draft.current else "", len(draft.endpoints)) for draft in made.write]
    return writes, [gone.metadata.name for gone in made.delete]


@pytest.mark.parametrize(
    ("before", "numbers", "writes", "deleted"),
    [
        pytest.param([], (), [("", 0)], [], id="a service without endpoints has an empty slice"),
        pytest.param([slice_("a", ports=())], (), [], [], id="which is kept"),
        pytest.param([slice_("a", ports=())], (1,), [("a", 1)], [], id="and filled"),
        pytest.param([slice_("a", 1, 2)], (), [("a", 0)], [], id="and made of what is emptied"),
        pytest.param([], range(1, 10), [("", 4), ("", 4), ("", 1)], [], id="new ones are full but for the last"),
        pytest.param([slice_("a", 1, 2)], (1, 2), [], [], id="nothing changes, nothing is written"),
        pytest.param([slice_("a", 1, 2), slice_("b", 3)], (1, 2, 3, 4), [("a", 3)], [], id="the fullest that has room"),
        pytest.param([slice_("a", 1, 2, 3), slice_("b", 4, 5)], (1, 2, 3, 4, 9), [("b", 2)], [], id="the changed one"),
        pytest.param([slice_("a", 1), slice_("b", 2)], (1,), [], ["b"], id="an emptied one goes"),
        pytest.param([slice_("a", 1, 2, 3)], (1, 2, 3, 4, 5), [("", 2)], [], id="no room for all of them"),
        pytest.param([slice_("a", 1, labels={})], (1,), [("a", 1)], [], id="labels are put right"),
    ],
)
def test_writes(
    before: list[EndpointSlice], numbers: tuple[int, ...], writes: list[tuple[str, int]], deleted: list[str]
) -> None:
    desired = wanted(*numbers) if numbers else {}
    assert shape(plan(before, desired, LABELS, MOST)) == (writes, deleted)


def test_other_ports_are_another_slice_in_the_place_of_the_old_one() -> None:
    made = plan([slice_("a", 1, 2)], {OTHER: [endpoint(1), endpoint(2)]}, LABELS, MOST)
    assert shape(made) == ([("a", 2)], [])
    assert made.write[0].ports == OTHER


def test_an_endpoint_that_changes_stays_where_it_is() -> None:
    desired = {HTTP: [endpoint(1), endpoint(2, ready=False)]}
    made = plan([slice_("a", 1, 2)], desired, LABELS, MOST)
    assert shape(made) == ([("a", 2)], [])
    assert [each.conditions.ready for each in made.write[0].endpoints] == [True, False]


@given(st.lists(st.sets(st.tuples(st.integers(1, 30), st.booleans()), max_size=20), min_size=1, max_size=6))
def test_slices_hold_exactly_what_is_wanted_whatever_came_before(rounds: list[set[tuple[int, bool]]]) -> None:
    slices: list[EndpointSlice] = []
    for wish in rounds:
        numbers = dict(sorted(wish))
        desired: dict[Ports, list[Endpoint]] = {}
        for number, second in numbers.items():
            desired.setdefault(OTHER if second else HTTP, []).append(endpoint(number))
        made = plan(slices, desired, LABELS, MOST)
        untouched = {each.metadata.name for each in slices} - {
            each.current.metadata.name for each in made.write if each.current is not None
        }
        slices = carried_out(slices, made)
        held = sorted((one.addresses[0], each.ports == OTHER) for each in slices for one in each.endpoints)
        assert held == sorted((f"10.0.0.{number}", second) for number, second in numbers.items())
        assert all(len(each.endpoints) <= MOST for each in slices)
        assert all(each.endpoints for each in slices) or (len(slices) == 1 and not numbers)
        assert untouched >= {gone.metadata.name for gone in made.delete}
        again = plan(slices, desired, LABELS, MOST)
        assert again == Plan((), ()), "what is as it should be is not written"


def test_a_plan_is_plain_data() -> None:
    made = plan([], wanted(1), LABELS, MOST)
    assert msgspec.to_builtins(made)["write"][0]["current"] is None
