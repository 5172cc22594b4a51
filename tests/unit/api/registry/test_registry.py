import pytest

from orch_api.kinds import usage
from orch_api.registry import REGISTRY, Registry, Resource
from orch_api.schema import Schemas
from orch_api.strategy import Strategy


def test_all_kinds_of_the_first_slice_are_served():
    assert {f"{one.api_version}/{one.kind}" for one in REGISTRY.resources} >= {
        "v1/Namespace",
        "v1/Node",
        "v1/Pod",
        "v1/Service",
        "v1/ConfigMap",
        "v1/Secret",
        "v1/ServiceAccount",
        "v1/Event",
        "v1/Endpoints",
        "coordination.k8s.io/v1/Lease",
        "apps/v1/Deployment",
        "apps/v1/ReplicaSet",
    }


def test_a_resource_is_found_by_path_kind_and_key():
    deployments = REGISTRY.find("apps", "v1", "deployments")
    assert deployments is not None
    assert deployments is REGISTRY.of_kind("apps", "v1", "Deployment")
    assert deployments is REGISTRY.stored("apps", "deployments")
    assert deployments.api_version == "apps/v1"
    assert deployments.list_kind == "DeploymentList"
    assert deployments.qualified == "deployments.apps"
    assert REGISTRY.find("", "v1", "deployments") is None


KUBERNETES_OWN = [one for one in REGISTRY.resources if one.group != usage.GROUP]
"""All but what Kubernetes leaves to an add-on."""


@pytest.mark.parametrize("resource", KUBERNETES_OWN, ids=lambda one: one.plural)
def test_every_kind_is_in_the_schema(resource):
    schemas = Schemas.load()
    assert schemas.of(resource.group, resource.version, resource.kind).kind == resource.kind
    for subresource in resource.subresources.values():
        if not subresource.kind.endswith("Options"):  # those are written in the query
            assert schemas.of(subresource.group, subresource.version, subresource.kind) is not None


def test_names_are_unique():
    with pytest.raises(ValueError, match="share a name"):
        Registry([Resource(plural="a", singular="a", kind=kind, strategy=Strategy()) for kind in ("A", "B")])


def test_only_secrets_are_sensitive():
    assert [one.plural for one in REGISTRY.resources if one.sensitive] == ["secrets"]


@pytest.mark.parametrize(
    ("plural", "document", "expected"),
    [
        (
            "pods",
            {
                "spec": {"nodeName": "n", "hostNetwork": True},
                "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}]},
            },
            {
                "spec.nodeName": "n",
                "spec.hostNetwork": "true",
                "status.phase": "Running",
                "status.podIP": "10.0.0.1",
                "status.nominatedNodeName": "",
            },
        ),
        ("pods", {}, {"spec.hostNetwork": "false", "spec.nodeName": ""}),
        ("nodes", {}, {"spec.unschedulable": "false"}),
        ("nodes", {"spec": {"unschedulable": True}}, {"spec.unschedulable": "true"}),
        ("secrets", {"type": "Opaque"}, {"type": "Opaque"}),
        ("namespaces", {"status": {"phase": "Active"}}, {"status.phase": "Active"}),
        ("replicasets", {"status": {"replicas": 3}}, {"status.replicas": "3"}),
        ("replicasets", {}, {"status.replicas": "0"}),
        (
            "services",
            {"spec": {"clusterIP": "None", "type": "ClusterIP"}},
            {"spec.clusterIP": "None", "spec.type": "ClusterIP"},
        ),
        (
            "events",
            {"involvedObject": {"kind": "Pod", "name": "web"}, "source": {"component": "agent"}, "type": "Normal"},
            {
                "involvedObject.kind": "Pod",
                "involvedObject.name": "web",
                "source": "agent",
                "type": "Normal",
                "reason": "",
            },
        ),
        ("events", {"reportingComponent": "x"}, {"source": "x", "reportingComponent": "x"}),
    ],
)
def test_field_selectors(plural, document, expected):
    resource = next(one for one in REGISTRY.resources if one.plural == plural)
    assert {name: resource.fields[name](document) for name in expected} == expected
