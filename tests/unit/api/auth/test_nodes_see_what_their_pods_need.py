"""The node authorizer: what each kind of object takes to be a node's, and how its graph follows changes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from role_feed import Feed

from orch_api.auth.attributes import Attributes, Requirement
from orch_api.auth.identity import Caller
from orch_api.auth.nodes.authorizer import NodeAuthorizer

UNRELATED = "no relationship found between node 'n' and this object"


class Nodes:
    """An authorizer and what it is told."""

    def __init__(self) -> None:
        self.feed = Feed()
        self._authorizer = NodeAuthorizer(self.feed)  # pyright: ignore[reportArgumentType]

    def ask(self, verb: str, what: str, name: str = "", *, namespace: str = "a", node: str = "n", **wanted: Any) -> str:
        """Return "" for a permission, else the reason of the refusal; `what` is written "pods/status" or "x.group"."""
        resource, _, subresource = what.partition("/")
        plural, _, group = resource.partition(".")
        asked = Attributes(
            verb=verb,
            group=group,
            resource=plural,
            subresource=subresource,
            namespace=namespace,
            name=name,
            **wanted,
        )
        verdict = self._authorizer.decide(Caller(f"system:node:{node}", ("system:nodes",)), asked)
        return "" if verdict.allowed else verdict.reason or "no opinion"

    def pod(self, name: str, node: str = "n", *, status: Any = None, annotations: Any = None, **spec: Any) -> None:
        metadata: dict[str, Any] = {"name": name, "namespace": "a"}
        if annotations:
            metadata["annotations"] = annotations
        document = {"metadata": metadata, "spec": {**({"nodeName": node} if node else {}), **spec}}
        self.feed.put("", "pods", {**document, **({"status": status} if status else {})})


@pytest.fixture
def nodes() -> Nodes:
    return Nodes()


def volume(name: str, **source: Any) -> dict[str, Any]:
    return {"name": name, **source}


FULL: dict[str, Any] = {
    "serviceAccountName": "robot",
    "containers": [
        {
            "env": [{"valueFrom": {"secretKeyRef": {"name": "s-env"}}}, {"value": "plain"}],
            "envFrom": [{"configMapRef": {"name": "c-from"}}, {"secretRef": {"name": "s-from"}}],
        }
    ],
    "initContainers": [{"env": [{"valueFrom": {"configMapKeyRef": {"name": "c-init"}}}]}],
    "ephemeralContainers": [{"envFrom": [{"secretRef": {"name": "s-late"}}]}],
    "imagePullSecrets": [{"name": "s-pull"}],
    "volumes": [
        volume("v1", secret={"secretName": "s-volume"}),
        volume("v2", projected={"sources": [{"secret": {"name": "s-part"}}, {"configMap": {"name": "c-part"}}]}),
        volume("v3", persistentVolumeClaim={"claimName": "claim"}),
        volume("v4", ephemeral={"volumeClaimTemplate": {}}),
        volume("v5", csi={"driver": "d", "nodePublishSecretRef": {"name": "s-csi"}}),
        volume("v6", azureFile={"secretName": "s-azure"}),
    ],
    "resourceClaims": [{"name": "x", "resourceClaimName": "device"}],
}


def test_a_pod_opens_what_it_refers_to_to_its_node_alone(nodes):
    claims = {"resourceClaimStatuses": [{"name": "y", "resourceClaimName": "made"}]}
    nodes.pod("p", **FULL, status=claims)
    secrets = ("s-env", "s-from", "s-late", "s-pull", "s-volume", "s-part", "s-csi", "s-azure")
    opened = [("secrets", name) for name in secrets]
    opened += [("configmaps", name) for name in ("c-from", "c-init", "c-part")]
    opened += [("persistentvolumeclaims", name) for name in ("claim", "p-v4")]
    opened += [("resourceclaims.resource.k8s.io", name) for name in ("device", "made")]
    opened += [("serviceaccounts", "robot"), ("pods", "p")]
    for what, name in opened:
        assert (nodes.ask("get", what, name), name) == ("", name)
        assert nodes.ask("get", what, name, node="other") == UNRELATED.replace("'n'", "'other'")
        if what != "pods":
            assert nodes.ask("get", what, name, namespace="b") == UNRELATED
    assert nodes.ask("create", "serviceaccounts/token", "robot") == ""
    assert nodes.ask("create", "serviceaccounts/token", "default") == UNRELATED
    assert nodes.ask("get", "configmaps", "s-env") == UNRELATED
    for verb in ("list", "watch"):
        assert nodes.ask(verb, "secrets", "s-env") == ""
        assert nodes.ask(verb, "secrets") == "No Object name found"
    nodes.feed.delete("", "pods", "a", "p")
    assert {nodes.ask("get", what, name) for what, name in opened if what != "pods"} == {UNRELATED}
    assert not nodes._authorizer._graph._needed


def test_a_pod_that_is_not_bound_or_mirrors_opens_nothing(nodes):
    nodes.pod("waiting", "", imagePullSecrets=[{"name": "s"}])
    nodes.pod("mirror", imagePullSecrets=[{"name": "s"}], annotations={"kubernetes.io/config.mirror": "x"})
    assert nodes.ask("get", "secrets", "s") == UNRELATED
    assert nodes.ask("get", "pods", "mirror") == ""
    nodes.pod("waiting", "n", imagePullSecrets=[{"name": "s"}])
    assert nodes.ask("get", "secrets", "s") == ""


def test_a_volume_opens_itself_and_its_secrets_through_its_claim(nodes):
    spec = {
        "claimRef": {"namespace": "a", "name": "claim"},
        "csi": {"nodeStageSecretRef": {"name": "stage", "namespace": "vault"}},
    }
    nodes.feed.put("", "persistentvolumes", {"metadata": {"name": "pv"}, "spec": spec})
    assert nodes.ask("get", "persistentvolumes", "pv", namespace="") == UNRELATED
    nodes.pod("p", volumes=[volume("v", persistentVolumeClaim={"claimName": "claim"})])
    assert nodes.ask("get", "persistentvolumes", "pv", namespace="") == ""
    assert nodes.ask("get", "secrets", "stage", namespace="vault") == ""
    assert nodes.ask("get", "secrets", "stage") == UNRELATED
    assert nodes.ask("list", "persistentvolumes", namespace="") == "can only get individual resources of this type"
    assert nodes.ask("patch", "persistentvolumeclaims/status", "claim") == ""
    assert nodes.ask("patch", "persistentvolumeclaims/status", "another") == UNRELATED
    nodes.feed.put("", "persistentvolumes", {"metadata": {"name": "pv"}, "spec": {}})
    assert nodes.ask("get", "persistentvolumes", "pv", namespace="") == UNRELATED
    assert nodes.ask("get", "secrets", "stage", namespace="vault") == UNRELATED


@pytest.mark.parametrize(
    ("verb", "what", "name", "namespace", "reason"),
    [
        ("get", "nodes", "n", "", ""),
        ("get", "nodes", "m", "", "node 'n' cannot read 'm', only its own Node object"),
        ("list", "nodes", "", "", "node 'n' cannot read all nodes, only its own Node object"),
        ("update", "nodes/status", "n", "", ""),
        ("delete", "nodes", "n", "", "no opinion"),
        ("get", "leases.coordination.k8s.io", "n", "kube-node-lease", ""),
        ("create", "leases.coordination.k8s.io", "", "kube-node-lease", ""),
        (
            "update",
            "leases.coordination.k8s.io",
            "m",
            "kube-node-lease",
            "can only access node lease with the same name as the requesting node",
        ),
        (
            "get",
            "leases.coordination.k8s.io",
            "n",
            "kube-system",
            'can only access leases in the "kube-node-lease" system namespace',
        ),
        (
            "list",
            "leases.coordination.k8s.io",
            "",
            "kube-node-lease",
            "can only get, create, update, patch, or delete a node lease",
        ),
        ("patch", "csinodes.storage.k8s.io", "n", "", ""),
        (
            "patch",
            "csinodes.storage.k8s.io",
            "m",
            "",
            "can only access CSINode with the same name as the requesting node",
        ),
        ("list", "secrets", "", "", "can only read namespaced object of this type"),
        ("update", "secrets", "s", "a", "can only read resources of this type"),
        ("create", "serviceaccounts", "", "a", "can only create token subresource of serviceaccount"),
        ("list", "pods", "", "", "can only list/watch pods with spec.nodeName field selector"),
        ("update", "pods", "p", "a", "no opinion"),
        ("create", "pods/exec", "p", "a", "no opinion"),
        ("create", "pods/eviction", "p", "a", ""),
        ("list", "services", "", "", ""),
        ("list", "deployments.apps", "", "", "no opinion"),
        ("create", "events", "", "a", ""),
        ("create", "tokenreviews.authentication.k8s.io", "", "", ""),
        ("get", "csidrivers.storage.k8s.io", "d", "", ""),
    ],
)
def test_what_needs_no_pod(nodes, verb, what, name, namespace, reason):
    assert nodes.ask(verb, what, name, namespace=namespace) == reason


def test_lists_are_for_what_their_field_selector_says_is_the_node_s(nodes):
    for what, field in (
        ("pods", "spec.nodeName"),
        ("nodes", "metadata.name"),
        ("resourceslices.resource.k8s.io", "spec.nodeName"),
        ("podcertificaterequests.certificates.k8s.io", "spec.nodeName"),
    ):
        for verb in ("list", "watch"):
            own, other = (Requirement(field, "In", (value,)) for value in ("n", "m"))
            assert nodes.ask(verb, what, namespace="", fields=(own,)) == ""
            assert nodes.ask(verb, what, namespace="", fields=(other,)) != ""
            assert nodes.ask(verb, what, namespace="", fields=(Requirement(field, "NotIn", ("n",)),)) != ""


def test_what_names_a_node_is_that_node_s(nodes):
    for what, namespace in (
        ("volumeattachments.storage.k8s.io", ""),
        ("resourceslices.resource.k8s.io", ""),
        ("podcertificaterequests.certificates.k8s.io", "a"),
    ):
        plural, _, group = what.partition(".")
        metadata = {"name": "x", **({"namespace": namespace} if namespace else {})}
        nodes.feed.put(group, plural, {"metadata": metadata, "spec": {"nodeName": "n"}})
        assert nodes.ask("get", what, "x", namespace=namespace) == ""
        assert nodes.ask("get", what, "x", namespace=namespace, node="m") != ""
        nodes.feed.put(group, plural, {"metadata": metadata, "spec": {"nodeName": "m"}})
        assert nodes.ask("get", what, "x", namespace=namespace) == UNRELATED


def test_only_a_node_with_a_name_is_one():
    authorizer = NodeAuthorizer(Feed())  # pyright: ignore[reportArgumentType]
    wanted = Attributes(verb="list", resource="services")
    assert authorizer.decide(Caller("system:node:n", ()), wanted).decision == "none"
    assert authorizer.decide(Caller("jane", ("system:nodes",)), wanted).decision == "none"
    nameless = authorizer.decide(Caller("system:node:", ("system:nodes",)), wanted)
    assert (nameless.decision, nameless.reason) == ("none", 'unknown node for user "system:node:"')


PODS = st.tuples(st.sampled_from("pqr"), st.sampled_from(("n", "m", "")), st.sets(st.sampled_from("stu"), max_size=3))


@settings(max_examples=60)
@given(st.lists(st.one_of(PODS, st.tuples(st.sampled_from("pqr"))), max_size=20))
def test_the_graph_agrees_with_a_scan_of_the_pods(changes):
    nodes = Nodes()
    pods: dict[str, tuple[str, set[str]]] = {}
    for change in changes:
        if len(change) == 1:
            nodes.feed.delete("", "pods", "a", change[0])
            pods.pop(change[0], None)
            continue
        name, node, secrets = change
        nodes.pod(name, node, imagePullSecrets=[{"name": secret} for secret in sorted(secrets)])
        pods[name] = (node, secrets)
        for asking in ("n", "m"):
            for secret in "stu":
                needed = any(node == asking and secret in secrets for node, secrets in pods.values())
                assert (nodes.ask("get", "secrets", secret, node=asking) == "") is needed
