"""Revisions of stateful sets and daemon sets: which one is the template's, its number, its name, and which may go."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from lagging_world import Process, World, run
from stateful import stateful_set, template, view

from orch.errors import InternalError
from orch.objects.apps import ControllerRevision
from orch.objects.pods import PodTemplate
from orch.objects.scheme import CONTROLLER_REVISIONS, STATEFUL_SETS
from orch.runtime.reconcile import Key
from orch.selectors import from_label_selector
from orch_controllers.revision_history.history import RevisionHistory
from orch_controllers.revision_history.revisions import (
    choose,
    keeps,
    name_of,
    ordered,
    revision_of,
    superfluous,
    template_of,
)

KEY = Key("default", "web")
HASH = "controller.kubernetes.io/hash"
OWNER = stateful_set()


def of(image: str) -> PodTemplate:
    return view(template(image), PodTemplate)


def revision(image: str, number: int, name: str = "") -> ControllerRevision:
    body = revision_of(STATEFUL_SETS, OWNER.metadata, of(image), number, 0, HASH)
    body["metadata"]["name"] = name or f"web-{number}"
    return view(body, ControllerRevision)


def test_a_revision_brings_its_template_back_as_kubectl_applies_it() -> None:
    body = revision_of(STATEFUL_SETS, OWNER.metadata, of("web:1"), 3, 0, HASH)
    name, hash_ = name_of("web", of("web:1"), 0)
    assert (body["metadata"]["name"], body["revision"]) == (name, 3)
    assert name == f"web-{hash_}"
    assert body["metadata"]["labels"] == {"app": "web", HASH: hash_}
    assert body["metadata"]["ownerReferences"][0]["uid"] == "set"
    written = msgspec.json.decode(msgspec.json.encode(body["data"]))
    assert written == {"spec": {"template": {"$patch": "replace", **template("web:1")}}}
    found = view(body, ControllerRevision)
    assert keeps(found, of("web:1"))
    assert not keeps(found, of("web:2"))
    assert template_of(found).metadata.labels == {"app": "web"}


def test_a_revision_that_makes_no_sense_keeps_no_template() -> None:
    for data in ({}, {"spec": 3}, {"spec": {"template": "x"}}):
        odd = view({"metadata": {"name": "odd"}, "data": data, "revision": 1}, ControllerRevision)
        assert not keeps(odd, of("web:1"))


@pytest.mark.parametrize(
    ("there", "image", "expected"),
    [
        ([], "a", (None, 1)),
        ([("a", 1)], "a", ("web-1", 1)),
        ([("a", 1)], "b", (None, 2)),
        ([("a", 1), ("b", 2)], "b", ("web-2", 2)),
        ([("a", 1), ("b", 2)], "a", ("web-1", 3)),
        ([("a", 1), ("b", 5), ("a", 7)], "a", ("web-7", 7)),
        ([("a", 1), ("a", 4), ("b", 5)], "a", ("web-4", 6)),
    ],
)
def test_a_template_that_comes_back_gets_the_next_number(
    there: list[tuple[str, int]], image: str, expected: tuple[str | None, int]
) -> None:
    found = choose(ordered(revision(*each) for each in there), of(image))
    assert (found.revision.metadata.name if found.revision else None, found.number) == expected
    assert found.is_settled == (found.revision is not None and found.revision.revision == found.number)


def test_the_order_of_fields_makes_no_other_template() -> None:
    spec = msgspec.Raw(b'{"containers":[{"image":"web:1","name":"main"}]}')
    assert keeps(revision("web:1", 1), PodTemplate(metadata=of("web:1").metadata, spec=spec))


@pytest.mark.parametrize(
    ("limit", "count_live", "expected"),
    [
        (None, False, []),
        (-1, False, []),
        (0, False, ["web-1", "web-3"]),
        (1, False, ["web-1"]),
        (2, False, []),
        (2, True, ["web-1"]),
        (0, True, ["web-1", "web-3"]),
    ],
)
def test_the_oldest_that_nobody_uses_go(limit: int | None, *, count_live: bool, expected: list[str]) -> None:
    there = ordered([revision("c", 3), revision("a", 1), revision("b", 2)])
    found = superfluous(there, ["web-2"], limit, count_live=count_live)
    assert [each.metadata.name for each in found] == expected


class Keeper:
    """A history in a world of its own."""

    def __init__(self, loop: Any) -> None:
        self.loop = loop
        self.world = World()
        self.process = Process(self.world, [CONTROLLER_REVISIONS])
        self.history = RevisionHistory(self.process.context, STATEFUL_SETS, HASH)
        self.selector = from_label_selector(OWNER.spec.selector)

    def current(self, image: str, collisions: int = 0) -> tuple[ControllerRevision, int]:
        self.process.catch_up()
        there = run(self.loop, self.history.of(OWNER, self.selector))
        return run(self.loop, self.history.current(KEY, OWNER, of(image), there, collisions))

    def numbers(self) -> dict[str, int]:
        return {each["metadata"]["name"]: each["revision"] for each in self.world.all(CONTROLLER_REVISIONS)}


@pytest.fixture
def keeper() -> Iterator[Keeper]:
    loop = asyncio.new_event_loop()
    yield Keeper(loop)
    loop.close()


def test_revisions_are_made_once_and_renumbered_when_they_come_back(keeper: Keeper) -> None:
    first, _ = keeper.current("web:1")
    assert not keeper.history.shown(KEY), "what was written has not been seen"
    assert keeper.current("web:1")[0].metadata.name == first.metadata.name
    assert keeper.history.shown(KEY)
    second, _ = keeper.current("web:2")
    assert keeper.numbers() == {first.metadata.name: 1, second.metadata.name: 2}
    again, _ = keeper.current("web:1")
    assert again.metadata.name == first.metadata.name
    assert keeper.numbers() == {first.metadata.name: 3, second.metadata.name: 2}


def test_a_name_that_is_taken_is_a_collision(keeper: Keeper) -> None:
    for count in range(2):
        name, _ = name_of("web", of("web:1"), count)
        keeper.world.create(CONTROLLER_REVISIONS, "default", {"metadata": {"name": name}, "data": {}, "revision": 1})
    made, collisions = keeper.current("web:1")
    assert collisions == 2
    assert made.metadata.name == name_of("web", of("web:1"), 2)[0]
    assert keeper.current("web:1", 2) == (keeper.current("web:1", 2)[0], 2)
    for count in range(3, 30):
        name, _ = name_of("web", of("web:3"), count)
        keeper.world.create(CONTROLLER_REVISIONS, "default", {"metadata": {"name": name}, "data": {}, "revision": 1})
    with pytest.raises(InternalError, match="no free name"):
        keeper.current("web:3", 3)


def test_a_revision_that_was_written_but_not_answered_is_found(keeper: Keeper) -> None:
    body = revision_of(STATEFUL_SETS, OWNER.metadata, of("web:1"), 1, 0, HASH)
    keeper.world.create(CONTROLLER_REVISIONS, "default", msgspec.json.decode(msgspec.json.encode(body)))
    made, collisions = run(keeper.loop, keeper.history.current(KEY, OWNER, of("web:1"), [], 0))
    assert (made.metadata.name, collisions) == (body["metadata"]["name"], 0)


def test_orphans_that_are_selected_are_adopted_and_others_let_go(keeper: Keeper) -> None:
    keeper.world.create(STATEFUL_SETS, "default", {"metadata": {"name": "web"}, "spec": {}})
    owner = keeper.world.find(STATEFUL_SETS, "web")
    assert owner is not None
    meta = msgspec.structs.replace(OWNER.metadata, uid=owner["metadata"]["uid"])
    for name, labels in (("mine", {"app": "web"}), ("other", {"app": "x"})):
        body = {"metadata": {"name": name, "labels": labels}, "data": {}, "revision": 1}
        keeper.world.create(CONTROLLER_REVISIONS, "default", body)
    keeper.process.catch_up()
    found = run(keeper.loop, keeper.history.of(msgspec.structs.replace(OWNER, metadata=meta), keeper.selector))
    assert [each.metadata.name for each in found] == ["mine"]
    run(keeper.loop, keeper.history.clear(found))
    run(keeper.loop, keeper.history.clear(found))  # it is gone already
    assert set(keeper.numbers()) == {"other"}
