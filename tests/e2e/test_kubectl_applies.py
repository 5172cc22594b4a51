"""`kubectl apply` and `kubectl diff`: client-side and server-side, conflicts, moves between both, pruning."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from local_cluster import LocalCluster
from rollout import deployment
from space import Space

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


@pytest.fixture(scope="module")
def space(simulated: LocalCluster) -> Iterator[Space]:
    simulated.kubectl("create", "namespace", "applies")
    yield Space(simulated, "applies")
    simulated.kubectl("delete", "namespace", "applies", "--wait=false")


def config(name: str, labels: dict[str, str] | None = None, **data: str) -> str:
    metadata: dict[str, Any] = {"name": name, **({"labels": labels} if labels else {})}
    # Of an empty map that the server left out, kubectl would say each time that it configured it.
    return json.dumps(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, **({"data": data} if data else {})}
    )


def managers(found: dict[str, Any]) -> dict[tuple[str, str], Any]:
    return {(each["manager"], each["operation"]): each["fieldsV1"] for each in found["metadata"]["managedFields"]}


def owned(space: Space, *place: str) -> dict[tuple[str, str], Any]:
    return managers(json.loads(space.kubectl("get", *place, "-o", "json", "--show-managed-fields")))


@pytest.mark.parametrize("side", [(), ("--server-side",)], ids=["client", "server"])
def test_a_difference_is_shown_and_told_by_the_exit_code(space: Space, side: tuple[str, ...]) -> None:
    name = f"differs{len(side)}"
    code, said = space.code("diff", *side, "-f", "-", stdin=config(name, a="1"))
    assert (code, '+  a: "1"' in said) == (1, True), said
    # Asking created nothing.
    assert space.kubectl("get", "configmap", name, "--ignore-not-found") == ""
    space.kubectl("apply", *side, "-f", "-", stdin=config(name, a="1"))
    assert space.code("diff", *side, "-f", "-", stdin=config(name, a="1")) == (0, "")
    code, said = space.code("diff", *side, "-f", "-", stdin=config(name, a="2", b="3"))
    assert code == 1
    assert [line for line in said.splitlines() if line[:3] in {"-  ", "+  "}][-3:] == [
        '-  a: "1"',
        '+  a: "2"',
        '+  b: "3"',
    ]
    broken = config(name, a="1").replace('"1"', "1")
    assert space.code("diff", *side, "-f", "-", stdin=broken)[0] > 1
    assert space.get("configmap", name)["data"] == {"a": "1"}


def test_a_dry_run_on_either_side_changes_nothing(space: Space) -> None:
    web = json.dumps(deployment(1, 1))
    told = space.kubectl("apply", "-f", "-", "--dry-run=client", stdin=web)
    assert told == "deployment.apps/web created (dry run)\n"
    told = space.kubectl("apply", "-f", "-", "--dry-run=server", stdin=web)
    assert told == "deployment.apps/web created (server dry run)\n"
    told = space.kubectl("apply", "--server-side", "-f", "-", "--dry-run=server", stdin=web)
    assert told == "deployment.apps/web serverside-applied (server dry run)\n"
    # Only the server fills in what is left out.
    shown = json.loads(space.kubectl("apply", "-f", "-", "--dry-run=server", "-o", "json", stdin=web))
    assert (shown["spec"]["revisionHistoryLimit"], "uid" in shown["metadata"]) == (10, True)
    shown = json.loads(space.kubectl("apply", "-f", "-", "--dry-run=client", "-o", "json", stdin=web))
    assert "revisionHistoryLimit" not in shown["spec"]
    assert space.get("deployments") == []


def test_who_applies_what_another_owns_is_told(space: Space) -> None:
    def apply(manager: str, *options: str, check: bool = True, **data: str) -> str:
        wanted = config("shared", **data)
        side = ("--server-side", f"--field-manager={manager}")
        return space.kubectl("apply", *side, "-f", "-", *options, stdin=wanted, check=check)

    assert apply("one", a="1", b="1") == "configmap/shared serverside-applied\n"
    refused = apply("two", a="2", check=False)
    assert 'error: Apply failed with 1 conflict: conflict with "one": .data.a' in refused
    assert "re-run the apply\n  command with the `--force-conflicts` flag" in refused
    refused = apply("two", a="2", b="2", check=False)
    assert 'Apply failed with 2 conflicts: conflicts with "one":\n- .data.a\n- .data.b' in refused
    # The same value is owned by both, and stays when one lets go of it.
    apply("two", b="1", c="2")
    apply("one", a="1")
    assert space.get("configmap", "shared")["data"] == {"a": "1", "b": "1", "c": "2"}
    apply("two", "--force-conflicts", a="2")
    assert space.get("configmap", "shared")["data"] == {"a": "2"}
    apply("one", a="2")
    found = owned(space, "configmap", "shared")
    assert found["one", "Apply"] == found["two", "Apply"] == {"f:data": {"f:a": {}}}
    # A plain write takes what it changes, and tells who applies so.
    space.kubectl("patch", "configmap", "shared", "-p", '{"data": {"a": "3"}}', "--field-manager=three")
    assert 'conflict with "three" using v1: .data.a' in apply("one", a="4", check=False)


def test_from_the_clients_side_to_the_servers_and_back(space: Space) -> None:
    def apply(*options: str, **data: str) -> str:
        return space.kubectl("apply", *options, "-f", "-", stdin=config("moved", **data))

    def note() -> str:
        return space.get("configmap", "moved")["metadata"]["annotations"][LAST_APPLIED]

    apply(a="1", b="1")
    plain = json.loads(config("moved", a="1", b="1"))
    plain["metadata"] |= {"annotations": {}, "namespace": space.name}
    assert note() == json.dumps(plain, sort_keys=True, separators=(",", ":")) + "\n"
    # What it leaves out now goes, although it was applied from the other side.
    assert apply("--server-side", a="2") == "configmap/moved serverside-applied\n"
    assert space.get("configmap", "moved")["data"] == {"a": "2"}
    assert set(owned(space, "configmap", "moved")) == {("kubectl", "Apply"), ("kubectl-last-applied", "Apply")}
    assert json.loads(note())["data"] == {"a": "2"}
    apply("--server-side", a="2", c="2")
    assert apply(a="2") == "configmap/moved configured\n"
    assert space.get("configmap", "moved")["data"] == {"a": "2"}
    assert apply(a="2") == "configmap/moved unchanged\n"


def test_the_note_of_what_was_applied(space: Space, tmp_path: Path) -> None:
    file = tmp_path / "noted.json"
    file.write_text(config("noted", a="1"))
    space.kubectl("create", "-f", str(file))
    refused = space.kubectl("apply", "set-last-applied", "-f", str(file), check=False)
    assert "no last-applied-configuration annotation found on resource: noted" in refused
    told = space.kubectl("apply", "-f", str(file))
    assert "missing the kubectl.kubernetes.io/last-applied-configuration annotation" in told
    file.write_text(config("noted", a="2"))
    assert space.kubectl("apply", "set-last-applied", "-f", str(file)) == "configmap/noted configured\n"
    told = space.kubectl("apply", "view-last-applied", "configmap/noted", "-o", "json")
    assert json.loads(told)["data"] == {"a": "2"}
    editor = {"KUBE_EDITOR": "sed -i s/2/3/"}
    told = space.kubectl("apply", "edit-last-applied", "configmap/noted", environ=editor)
    assert "configmap/noted edited" in told
    assert '"a":"3"' in space.get("configmap", "noted")["metadata"]["annotations"][LAST_APPLIED]
    assert space.get("configmap", "noted")["data"] == {"a": "1"}


def test_what_is_no_longer_wanted_is_pruned(space: Space) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "p3", "labels": {"set": "p"}}}
    labels = {"set": "p"}
    every = "\n---\n".join([config("p1", labels), config("p2", labels), json.dumps(secret)])
    some = config("p1", labels)
    space.kubectl("create", "configmap", "mine")
    space.kubectl("label", "configmap", "mine", "set=p")
    kinds = ("--prune-allowlist=core/v1/ConfigMap", "--prune-allowlist=core/v1/Secret")

    def apply(content: str, *options: str) -> list[str]:
        told = space.kubectl("apply", "-f", "-", "--prune", "-l", "set=p", *options, *kinds, stdin=content)
        return sorted(told.splitlines())

    assert apply(every) == ["configmap/p1 created", "configmap/p2 created", "secret/p3 created"]
    gone = ["configmap/p1 unchanged", "configmap/p2 pruned", "secret/p3 pruned"]
    assert apply(some, "--dry-run=server") == [f"{line} (server dry run)" for line in gone]
    assert apply(some) == gone
    # What was not applied is not pruned.
    assert {each["metadata"]["name"] for each in space.get("configmaps", "-l", "set=p")} == {"p1", "mine"}


def test_a_set_is_pruned_by_its_parent(space: Space) -> None:
    def apply(*contents: str) -> list[str]:
        options = ("--prune", "--applyset=configmaps/parent", "-f", "-")
        environ = {"KUBECTL_APPLYSET": "true"}
        told = space.kubectl("apply", *options, stdin="\n---\n".join(contents), environ=environ)
        return sorted(told.splitlines())

    assert apply(config("s1"), config("s2")) == ["configmap/s1 created", "configmap/s2 created"]
    parent = space.get("configmap", "parent")["metadata"]
    mark = parent["labels"]["applyset.kubernetes.io/id"]
    assert parent["annotations"]["applyset.kubernetes.io/contains-group-kinds"] == "ConfigMap"
    assert space.get("configmap", "s1")["metadata"]["labels"] == {"applyset.kubernetes.io/part-of": mark}
    assert apply(config("s1")) == ["configmap/s1 unchanged", "configmap/s2 pruned"]


def test_what_cannot_be_applied_is_named(space: Space) -> None:
    strict = space.kubectl("apply", "-f", "-", stdin=config("odd", a="1").replace('"data"', '"date"'), check=False)
    assert 'strict decoding error: unknown field "date"' in strict
    side = ("apply", "-f", "-", "--validate=warn")
    mistyped = config("odd", a="b").replace('"data"', '"date"')
    assert 'Warning: unknown field "date"' in space.kubectl(*side, stdin=mistyped)
    told = space.kubectl("apply", "-f", "-", "--validate=ignore", stdin=mistyped)
    assert told == "configmap/odd configured\n"
    wrong = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "odd"}, "data": {"a": 1}})
    assert "cannot convert int64 to string" in space.kubectl("apply", "-f", "-", stdin=wrong, check=False)
    unknown = json.dumps({"apiVersion": "example.org/v1", "kind": "Thing", "metadata": {"name": "x"}})
    said = space.kubectl("apply", "-f", "-", stdin=unknown, check=False)
    assert 'no matches for kind "Thing" in version "example.org/v1"' in said


def test_what_cannot_be_changed_is_replaced_by_force(space: Space) -> None:
    fixed = json.loads(config("fixed", a="1")) | {"immutable": True}
    space.kubectl("apply", "-f", "-", stdin=json.dumps(fixed))
    uid = space.get("configmap", "fixed")["metadata"]["uid"]
    changed = json.dumps(fixed | {"data": {"a": "2"}})
    refused = space.kubectl("apply", "-f", "-", stdin=changed, check=False)
    assert 'The ConfigMap "fixed" is invalid: data: Forbidden: field is immutable when `immutable` is set' in refused
    assert space.kubectl("apply", "--force", "-f", "-", stdin=changed) == "configmap/fixed configured\n"
    found = space.get("configmap", "fixed")
    assert (found["data"], found["metadata"]["uid"] == uid) == ({"a": "2"}, False)


def test_kustomizations(space: Space, tmp_path: Path) -> None:
    (tmp_path / "web.json").write_text(json.dumps(deployment(1, 1)))
    kustomization = {
        "resources": ["web.json"],
        "configMapGenerator": [{"name": "conf", "literals": ["a=1"]}],
        "namePrefix": "k-",
        "images": [{"name": "web", "newTag": "9"}],
    }
    (tmp_path / "kustomization.yaml").write_text(json.dumps(kustomization))
    place = ("-k", str(tmp_path))
    built = space.kubectl("kustomize", str(tmp_path))
    assert "image: web:9" in built
    assert space.code("diff", *place)[0] == 1
    told = space.kubectl("apply", *place)
    assert "deployment.apps/k-web created" in told
    assert space.code("diff", *place) == (0, "")
    assert "configmap/k-conf-" in space.kubectl("get", *place, "-o", "name")
    assert space.kubectl("delete", *place).count("deleted") == 2
