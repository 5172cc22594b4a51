"""NodeRestriction: what a node's credentials are refused although authorization lets them through."""

import copy
from typing import Any, cast

import pytest

from orch.store.keys import ObjectKey
from orch_api.admission import CREATE, DELETE, UPDATE
from orch_api.admission.node_restriction import NodeRestriction
from orch_api.auth.attributes import NO_OPINION, Verdict
from orch_api.auth.identity import NODES, Caller
from orch_api.storage.cache import ObjectCache
from orch_api.storage.objects import Cached, StateReader, to_json

NODE = Caller("system:node:one", (NODES, "system:authenticated"))
NODE_DOCUMENT = {"metadata": {"name": "one", "labels": {"kubernetes.io/hostname": "one", "own": "x"}}, "spec": {}}
MIRROR = {"kubernetes.io/config.mirror": "x"}


class Cache:
    """What the api has stored: the node `one`, and a pod on each of two nodes."""

    def __init__(self) -> None:
        tokens = [{"serviceAccountToken": {"audience": "vault", "path": "t"}}]
        volumes = [{"name": "v", "projected": {"sources": tokens}}]
        self._items: dict[ObjectKey, Cached] = {}
        self._add(ObjectKey("", "nodes", "", "one"), {})
        for node in ("one", "two"):
            self._add(ObjectKey("", "pods", "default", f"on-{node}"), {"nodeName": node, "volumes": volumes})

    def _add(self, key: ObjectKey, spec: dict[str, Any]) -> None:
        json = to_json({"metadata": {"uid": f"uid-of-{key.name}"}, "spec": spec})
        self._items[key] = StateReader().state(key, json, 1)

    def get(self, key: ObjectKey) -> Cached | None:
        return self._items.get(key)

    async def catch_up(self) -> None:
        """Know all already."""


class Authorizer:
    """Permits nothing."""

    async def judge(self, *_: Any) -> Verdict:
        return NO_OPINION


@pytest.fixture
def plugin() -> NodeRestriction:
    return NodeRestriction(cast("ObjectCache", Cache()), cast("Any", Authorizer()))


def changed(document: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    made = copy.deepcopy(document)
    made["metadata"].update(metadata)
    return made


@pytest.mark.parametrize(
    ("new", "problem"),
    [
        (changed(NODE_DOCUMENT, annotations={"a": "b"}), ""),
        (changed(NODE_DOCUMENT, labels={"kubernetes.io/hostname": "other", "topology.kubernetes.io/zone": "z"}), ""),
        (changed(NODE_DOCUMENT, labels={"node.kubernetes.io/own": "x", "kubelet.kubernetes.io/x": "y"}), ""),
        (
            changed(NODE_DOCUMENT, labels={"node-restriction.kubernetes.io/secret": "x", "a.k8s.io/b": "y"}),
            "is not allowed to modify labels: a.k8s.io/b, node-restriction.kubernetes.io/secret",
        ),
        (
            changed(NODE_DOCUMENT, labels={"node-role.kubernetes.io/control-plane": ""}),
            "is not allowed to modify labels: node-role.kubernetes.io/control-plane",
        ),
        ({**NODE_DOCUMENT, "spec": {"taints": [{"key": "x"}]}}, 'node "one" is not allowed to modify taints'),
        (changed(NODE_DOCUMENT, ownerReferences=[{"uid": "u"}]), 'node "one" is not allowed to modify ownerReferences'),
        (changed(NODE_DOCUMENT, name="two"), 'node "one" is not allowed to modify node "two"'),
    ],
)
async def test_what_a_node_changes_of_itself(ask, tell, plugin, new, problem):
    said = await tell(plugin, ask("nodes", new, NODE_DOCUMENT, operation=UPDATE, caller=NODE))
    assert said.endswith(problem)
    assert bool(said) is bool(problem)
    assert await tell(plugin, ask("nodes", new, NODE_DOCUMENT, operation=UPDATE)) == ""  # others are not looked at


async def test_a_node_takes_its_own_taints_away_no_more_than_it_sets_them(ask, tell, plugin):
    tainted = {**NODE_DOCUMENT, "spec": {"taints": [{"key": "x"}]}}
    said = await tell(plugin, ask("nodes", NODE_DOCUMENT, tainted, operation=UPDATE, caller=NODE))
    assert said.endswith('node "one" is not allowed to modify taints')
    registering = changed(NODE_DOCUMENT, labels={"node-restriction.kubernetes.io/x": "y"})
    said = await tell(plugin, ask("nodes", registering, caller=NODE))
    assert said.endswith('node "one" is not allowed to set the following labels: node-restriction.kubernetes.io/x')


def on(name: str, **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", "labels": {"a": "b"}}, "spec": {"nodeName": name}, "status": status}


@pytest.mark.parametrize(
    ("what", "operation", "new", "old", "problem"),
    [
        ("pods", DELETE, None, on("one"), ""),
        ("pods", DELETE, None, on("two"), 'node "one" can only delete pods with spec.nodeName set to itself'),
        ("pods/status", UPDATE, on("one", phase="Running"), on("one"), ""),
        (
            "pods/status",
            UPDATE,
            on("two"),
            on("two"),
            'node "one" can only update pod status for pods with spec.nodeName set to itself',
        ),
        (
            "pods/status",
            UPDATE,
            changed(on("one"), labels={"a": "c"}),
            on("one"),
            'node "one" cannot update labels through pod status',
        ),
        (
            "pods",
            UPDATE,
            on("one"),
            on("one"),
            'unexpected operation "UPDATE", node "one" can only create and delete mirror pods',
        ),
        ("pods/ephemeralcontainers", UPDATE, on("one"), on("one"), "only 'status' and 'eviction' are allowed"),
    ],
)
async def test_what_a_node_does_with_pods(ask, tell, plugin, what, operation, new, old, problem):
    said = await tell(plugin, ask(what, new, old, operation=operation, caller=NODE))
    assert said.endswith(problem)
    assert bool(said) is bool(problem)


async def test_a_node_evicts_its_own_pods(ask, tell, plugin):
    assert await tell(plugin, ask("pods/eviction", {"metadata": {"name": "on-one"}}, caller=NODE)) == ""
    said = await tell(plugin, ask("pods/eviction", {"metadata": {"name": "on-two"}}, caller=NODE))
    assert said.endswith('node "one" can only evict pods with spec.nodeName set to itself')


def mirror(uid: str, **spec: Any) -> dict[str, Any]:
    owner = {"apiVersion": "v1", "kind": "Node", "name": "one", "uid": uid, "controller": True}
    metadata = {"name": "m", "annotations": MIRROR, "ownerReferences": [owner]}
    return {"metadata": metadata, "spec": {"nodeName": "one", "containers": [{"name": "c"}], **spec}}


async def test_a_node_creates_images_of_its_own_pods_alone(ask, tell, plugin):
    uid = "uid-of-one"
    assert await tell(plugin, ask("pods", mirror(uid), caller=NODE)) == ""
    cases = [
        (on("one"), 'annotation, node "one" can only create mirror pods'),
        (mirror(uid, nodeName="two"), 'node "one" can only create pods with spec.nodeName set to itself'),
        (mirror("other"), f"node one UID mismatch: expected {uid} got other"),
        (mirror(uid, serviceAccountName="x"), 'node "one" can not create pods that reference a service account'),
        (mirror(uid, volumes=[{"secret": {}}]), 'node "one" can not create pods that reference secrets'),
        (
            mirror(uid, containers=[{"env": [{"valueFrom": {"configMapKeyRef": {}}}]}]),
            'node "one" can not create pods that reference configmaps',
        ),
    ]
    for made, problem in cases:
        assert (await tell(plugin, ask("pods", made, caller=NODE))).endswith(problem)
    ownerless = mirror(uid)
    ownerless["metadata"]["ownerReferences"] = []
    said = await tell(plugin, ask("pods", ownerless, caller=NODE))
    assert said.endswith('node "one" can only create pods with an owner reference set to itself')


async def test_tokens_are_for_pods_of_the_node(ask, tell, plugin):
    uids = {name: f"uid-of-{name}" for name in ("on-one", "on-two")}

    async def asked(pod: str, uid: str = "", **spec: Any) -> str:
        bound = {"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid or uids.get(pod, "")}
        document = {"metadata": {"name": "default"}, "spec": {"boundObjectRef": bound, **spec}}
        return await tell(plugin, ask("serviceaccounts/token", document, caller=NODE))

    assert await asked("on-one", audiences=["vault"]) == ""
    assert (await asked("on-one", audiences=["bank"])).endswith('audience "bank" not found in pod spec volume')
    assert (await asked("on-two")).endswith("node requested token bound to a pod scheduled on a different node")
    assert "does not match the UID in record" in await asked("on-one", "other")
    assert (await asked("absent", "u")).endswith('pods "absent" not found')
    assert (await asked("on-one", boundObjectRef=None)).endswith("node requested token not bound to a pod")


@pytest.mark.parametrize(
    ("what", "document", "namespace", "problem"),
    [
        ("leases.coordination.k8s.io", {"metadata": {"name": "one"}}, "kube-node-lease", ""),
        (
            "leases.coordination.k8s.io",
            {"metadata": {"name": "two"}},
            "kube-node-lease",
            "can only access node lease with the same name as the requesting node",
        ),
        (
            "leases.coordination.k8s.io",
            {"metadata": {"name": "one"}},
            "default",
            'can only access leases in the "kube-node-lease" system namespace',
        ),
        (
            "csinodes.storage.k8s.io",
            {"metadata": {"name": "two"}},
            "",
            "can only access CSINode with the same name as the requesting node",
        ),
        (
            "resourceslices.resource.k8s.io",
            {"metadata": {"name": "s"}, "spec": {"nodeName": "two"}},
            "",
            "can only create ResourceSlice with the same NodeName as the requesting node",
        ),
        ("persistentvolumeclaims", {"metadata": {"name": "c"}}, "default", "may only update PVC status"),
    ],
)
async def test_what_else_is_the_nodes(ask, tell, plugin, what, document, namespace, problem):
    said = await tell(plugin, ask(what, document, operation=CREATE, caller=NODE, namespace=namespace))
    assert said.endswith(problem)
    assert bool(said) is bool(problem)


async def test_of_a_claim_a_node_tells_the_size(ask, tell, plugin):
    def claim(phase: str, size: str) -> dict[str, Any]:
        return {"metadata": {"name": "c"}, "status": {"phase": phase, "capacity": {"storage": size}}}

    old = claim("Bound", "1Gi")
    sized = ask("persistentvolumeclaims/status", claim("Bound", "2Gi"), old, operation=UPDATE, caller=NODE)
    assert await tell(plugin, sized) == ""
    lost = ask("persistentvolumeclaims/status", claim("Lost", "1Gi"), old, operation=UPDATE, caller=NODE)
    assert "is not allowed to update fields other than status.capacity" in await tell(plugin, lost)
