"""Several managers apply random configurations to one object, against a plain model of who owns what.

The model knows nested maps whose entries are owned each for itself, told by paths: a manager owns the paths that it
applied last. The kind is a custom object without a schema, whose maps are such.
"""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.errors import ConflictError
from orch_api import fields
from orch_api.fields import Manager, sets
from orch_api.fields.managers import UNOWNED, track
from orch_api.schema import Schemas
from orch_api.schema.typed import ANY, SCALAR, FieldType, Form

Document = dict[str, Any]
Path = tuple[str, ...]

MANAGERS = ("one", "two", "three")
LEAVES = st.sampled_from(("", "u", "v", 1, ["l"]))
MAPS = st.recursive(
    st.dictionaries(st.sampled_from("abc"), LEAVES, min_size=1, max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), st.one_of(LEAVES, inner), min_size=1, max_size=3),
    max_leaves=5,
)
STEPS = st.lists(st.tuples(st.sampled_from(MANAGERS), MAPS, st.booleans()), min_size=1, max_size=6)


def custom() -> FieldType:
    """A custom object: its metadata and a spec that no schema describes."""
    metadata = FieldType(Form.STRUCT)
    for name in ("name", "creationTimestamp"):
        metadata.declare(name, SCALAR)
    kind = FieldType(Form.STRUCT)
    for name in ("apiVersion", "kind"):
        kind.declare(name, SCALAR)
    kind.declare("metadata", metadata)
    kind.declare("spec", ANY)
    return kind


KIND = custom()


def apply(live: Document, spec: Document, name: str, *, force: bool, now: str = "now") -> Document:
    configuration = {"apiVersion": "x/v1", "kind": "X", "metadata": {"name": "n"}, "spec": spec}
    manager = Manager(name, "Apply", "x/v1")
    options: dict[str, Any] = {"resource": "xs", "group": "x", "has_status": False, "now": now}
    before = copy.deepcopy((live, configuration))
    made = fields.apply(KIND, live, configuration, manager, force=force, **options)
    assert (live, configuration) == before
    return made


def paths(value: Any, path: Path = ()) -> dict[Path, Any]:
    """Every path of nested maps with what is there: its value, or None for a map."""
    if not isinstance(value, dict):
        return {path: value}
    found = {path: None} if path else {}
    for key, inner in value.items():
        found |= paths(inner, (*path, key))
    return found


class Model:
    """What there is, and who owns it, by paths."""

    def __init__(self) -> None:
        self.there: dict[Path, Any] = {}
        self.owned: dict[str, set[Path]] = {}

    def conflicts(self, name: str, spec: Document) -> bool:
        """Whether others own what the configuration changes: a value, or what it puts a value or a map in place of."""
        others: set[Path] = set().union(*(owned for other, owned in self.owned.items() if other != name))
        return bool(self.changed(spec) & others)

    def changed(self, spec: Document) -> set[Path]:
        return {path for path, value in paths(spec).items() if path in self.there and self.there[path] != value}

    def apply(self, name: str, spec: Document) -> None:
        changed, wanted = self.changed(spec), paths(spec)
        for other, owned in self.owned.items():
            if other != name:  # with a value that was a map goes all that was in it
                owned -= {path for path in owned if any(path[: len(top)] == top for top in changed)}
        dropped = self.owned.get(name, set()) - set(wanted)
        dropped -= set().union(*(owned for other, owned in self.owned.items() if other != name))
        gone = {path for path in self.there if any(path[: len(top)] == top for top in changed)}
        self.there = {path: value for path, value in self.there.items() if path not in gone} | wanted
        self.there = {path: value for path, value in self.there.items() if path not in dropped}
        for path in sorted(dropped, key=len, reverse=True):
            self.leave(path)
        self.owned[name] = set(wanted)

    def leave(self, path: Path) -> None:
        """Remove the maps that were left empty, whoever owns them."""
        for length in range(len(path) - 1, 0, -1):
            above = path[:length]
            if self.there.get(above, above) is None and not any(
                one[:length] == above for one in self.there if len(one) > length
            ):
                del self.there[above]
                for owned in self.owned.values():
                    owned.discard(above)


def owned_paths(document: Document) -> dict[str, set[Path]]:
    found: dict[str, set[Path]] = {}
    for entry in document["metadata"].get("managedFields", ()):
        inside = entry["fieldsV1"].get("f:spec", {})
        found[entry["manager"]] = {tuple(step[2:] for step in path) for path in sets.paths(inside)}
    return found


@given(STEPS)
def test_what_each_applied_last_stands_and_is_theirs(steps: list[tuple[str, Document, bool]]) -> None:
    live: Document = {}
    model = Model()
    for name, spec, force in steps:
        if not force and model.conflicts(name, spec):
            with pytest.raises(ConflictError):
                apply(live, spec, name, force=False)
            continue
        live = apply(live, spec, name, force=force)
        model.apply(name, spec)
        assert paths(live["spec"]) == model.there
        assert owned_paths(live) == {one: owned for one, owned in model.owned.items() if owned}
        for owned in model.owned.values():
            assert owned <= set(model.there)
        for path, value in paths(spec).items():
            assert model.there[path] == value
        assert apply(live, spec, name, force=False, now="later") == live, "applying it again changes nothing"


@given(STEPS, MAPS)
def test_who_updates_takes_what_changes_and_the_rest_stays(
    steps: list[tuple[str, Document, bool]], updated: Document
) -> None:
    live: Document = {}
    for name, spec, _ in steps:
        live = apply(live, spec, name, force=True)
    before = owned_paths(live)
    wanted = {**copy.deepcopy(live), "spec": updated}
    track(KIND, wanted, live, Manager("updater", "Update", "x/v1"), "later")
    old, new = paths(live["spec"]), paths(updated)
    touched = {path for path in old.keys() | new.keys() if (path in old, old.get(path)) != (path in new, new.get(path))}
    after = owned_paths(wanted)
    for name, owned in before.items():
        assert after.get(name, set()) == owned - touched
    assert after.get("updater", set()) == touched & new.keys()
    for owned in after.values():
        assert owned <= new.keys()


DEPLOYMENT = Schemas.load().of("apps", "v1", "Deployment").fields
CONTAINERS = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from("xyz")},
        optional={
            "image": st.sampled_from("ab"),
            "env": st.lists(
                st.fixed_dictionaries({"name": st.sampled_from("AB")}, optional={"value": st.sampled_from("12")}),
                min_size=1,
                max_size=2,
                unique_by=lambda one: one["name"],
            ),
            "ports": st.lists(
                st.fixed_dictionaries({"containerPort": st.sampled_from((80, 81))}, optional={"name": st.just("p")}),
                min_size=1,
                max_size=2,
                unique_by=lambda one: one["containerPort"],
            ),
        },
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda one: one["name"],
)
SPECS = st.fixed_dictionaries(
    {},
    optional={
        "replicas": st.integers(0, 2),
        "template": st.fixed_dictionaries({"spec": st.fixed_dictionaries({}, optional={"containers": CONTAINERS})}),
    },
)


@given(st.lists(st.tuples(st.sampled_from(MANAGERS), SPECS, st.booleans()), min_size=1, max_size=5))
def test_lists_told_apart_by_keys_are_shared_as_well(steps: list[tuple[str, Document, bool]]) -> None:
    live: Document = {}
    applied: dict[str, Document] = {}
    for name, spec, force in steps:
        configuration = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "n"}, "spec": spec}
        options: dict[str, Any] = {"resource": "deployments", "group": "apps", "has_status": True}
        manager = Manager(name, "Apply", "apps/v1")
        try:
            live = fields.apply(DEPLOYMENT, live, configuration, manager, force=force, now="now", **options)
        except ConflictError:
            assert not force
            continue
        if not force:
            others = [one for other, one in applied.items() if other != name]
            assert all(holds(live.get("spec"), one) for one in others), "nobody's fields change unless forced away"
        applied = {other: one for other, one in applied.items() if holds(live.get("spec"), one)} | {name: spec}
        assert holds(live.get("spec"), spec)
        DEPLOYMENT.complete(live)  # as the pipeline does
        for entry in live["metadata"]["managedFields"]:
            for path in sets.paths(sets.difference(entry["fieldsV1"], UNOWNED)):
                assert exists(live, path), path
        again = fields.apply(DEPLOYMENT, live, configuration, manager, force=False, now="later", **options)
        assert again == live, "applying it again changes nothing"


def holds(there: Any, wanted: Any) -> bool:
    """Whether all that is wanted is there, what is empty aside; in lists, by what tells the items apart."""
    if isinstance(wanted, dict):
        live = there if isinstance(there, dict) else {}
        return all(holds(live.get(name), one) for name, one in wanted.items())
    if isinstance(wanted, list):
        return all(any(holds(one, item) for one in there or ()) for item in wanted)
    return there == wanted


def exists(value: Any, path: Path) -> bool:
    for step in path:
        kind, _, text = step.partition(":")
        if kind == "f":
            if not isinstance(value, dict) or text not in value:
                return False
            value = value[text]
        else:
            keys = sets._decode(text)
            keys.pop("protocol", None)  # which is a default
            value = next((one for one in value if all(one.get(key) == keys[key] for key in keys)), None)
            if value is None:
                return False
    return True


def test_of_a_new_objects_labels_the_names_are_owned_whatever_they_say() -> None:
    kind = Schemas.load().of("", "v1", "Pod").fields
    made: list[Any] = []
    for value in ("1", "2"):
        metadata = {"name": value, "labels": {"a": value}, "annotations": {"b": value}, "generateName": "p-"}
        document: Document = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"nodeName": "n"}}
        track(kind, document, None, Manager("me", "Update", "v1"), "2026-01-01T00:00:00Z")
        (entry,) = msgspec.json.decode(msgspec.json.encode(document))["metadata"]["managedFields"]
        made.append(entry["fieldsV1"])
    named = {"f:annotations": {".": {}, "f:b": {}}, "f:generateName": {}, "f:labels": {".": {}, "f:a": {}}}
    assert made == [{"f:metadata": named, "f:spec": {"f:nodeName": {}}}] * 2
    assert list(made[0]) == ["f:metadata", "f:spec"]
