import copy

import pytest

from orch.errors import BadRequestError
from orch_api.patch import strategic
from orch_api.schema import Schemas

DEPLOYMENT = Schemas.load().of("apps", "v1", "Deployment")
SERVICE = Schemas.load().of("", "v1", "Service")


@pytest.fixture
def deployment():
    containers = [
        {
            "name": "web",
            "image": "nginx:1",
            "args": ["a", "b"],
            "ports": [{"containerPort": 80}],
            "env": [{"name": "A", "value": "1"}],
        },
        {"name": "side", "image": "envoy:1"},
    ]
    return {
        "metadata": {"name": "web", "finalizers": ["a.b/c", "a.b/d"], "labels": {"app": "web"}},
        "spec": {
            "replicas": 1,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
            "template": {"spec": {"containers": containers, "nodeSelector": {"disk": "ssd"}}},
        },
    }


def patched(document, patch, schema=DEPLOYMENT):
    before = copy.deepcopy((document, patch))
    result = strategic.apply(document, patch, schema)
    assert (document, patch) == before
    return result


def pod_patch(**fields):
    return {"spec": {"template": {"spec": fields}}}


def containers_of(document):
    return document["spec"]["template"]["spec"]["containers"]


def test_containers_are_merged_by_name(deployment):
    result = patched(deployment, pod_patch(containers=[{"name": "web", "image": "nginx:2"}]))
    assert containers_of(result) == [{**containers_of(deployment)[0], "image": "nginx:2"}, containers_of(deployment)[1]]


def test_lists_without_a_merge_strategy_are_replaced(deployment):
    result = patched(deployment, pod_patch(containers=[{"name": "web", "args": ["c"]}]))
    assert containers_of(result)[0]["args"] == ["c"]


def test_lists_in_lists_are_merged_by_their_own_key(deployment):
    new = {"name": "web", "env": [{"name": "B", "value": "2"}], "ports": [{"containerPort": 80, "name": "http"}]}
    (web, _) = containers_of(patched(deployment, pod_patch(containers=[new])))
    assert sorted(one["name"] for one in web["env"]) == ["A", "B"]
    assert web["ports"] == [{"containerPort": 80, "name": "http"}]


def test_ports_are_told_apart_by_number_only(deployment):
    ports = [{"containerPort": 53, "protocol": "TCP"}, {"containerPort": 53, "protocol": "UDP"}]
    containers_of(deployment)[0]["ports"] = ports
    patch = pod_patch(containers=[{"name": "web", "ports": [{"containerPort": 53, "protocol": "UDP", "name": "dns"}]}])
    result = containers_of(patched(deployment, patch))[0]["ports"]
    assert result == [{"containerPort": 53, "protocol": "UDP", "name": "dns"}, ports[1]]


def test_an_item_is_deleted_by_directive(deployment):
    result = patched(deployment, pod_patch(containers=[{"name": "side", "$patch": "delete"}]))
    assert [one["name"] for one in containers_of(result)] == ["web"]


def test_a_list_is_replaced_by_directive(deployment):
    result = patched(deployment, pod_patch(containers=[{"$patch": "replace"}, {"name": "new", "image": "x"}]))
    assert containers_of(result) == [{"name": "new", "image": "x"}]


def test_a_map_is_replaced_or_emptied_by_directive(deployment):
    result = patched(deployment, pod_patch(nodeSelector={"$patch": "replace", "zone": "a"}))
    assert result["spec"]["template"]["spec"]["nodeSelector"] == {"zone": "a"}
    result = patched(deployment, pod_patch(nodeSelector={"$patch": "delete"}))
    assert result["spec"]["template"]["spec"]["nodeSelector"] == {}
    result = patched(deployment, pod_patch(nodeSelector={"$patch": "merge", "zone": "a"}))
    assert result["spec"]["template"]["spec"]["nodeSelector"] == {"disk": "ssd", "zone": "a"}


def test_null_removes(deployment):
    result = patched(deployment, {"metadata": {"labels": {"app": None}}, **pod_patch(nodeSelector=None)})
    assert result["metadata"]["labels"] == {}
    assert "nodeSelector" not in result["spec"]["template"]["spec"]


def test_retained_keys(deployment):
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert patched(deployment, patch)["spec"]["strategy"] == {"type": "Recreate"}


def test_plain_values_are_united_and_deleted(deployment):
    assert set(patched(deployment, {"metadata": {"finalizers": ["a.b/c", "a.b/e"]}})["metadata"]["finalizers"]) == {
        "a.b/c",
        "a.b/d",
        "a.b/e",
    }
    patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a.b/c"]}}
    assert patched(deployment, patch)["metadata"]["finalizers"] == ["a.b/d"]


def test_the_order_of_the_patch_counts(deployment):
    patch = pod_patch(
        **{"$setElementOrder/containers": [{"name": "side"}, {"name": "new"}, {"name": "web"}]},
        containers=[{"name": "new", "image": "x"}, {"name": "web", "image": "nginx:2"}],
    )
    result = containers_of(patched(deployment, patch))
    assert [one["name"] for one in result] == ["side", "new", "web"]
    assert result[2]["args"] == ["a", "b"]


def test_an_order_alone_moves_items(deployment):
    patch = pod_patch(**{"$setElementOrder/containers": [{"name": "side"}, {"name": "web"}]})
    assert containers_of(patched(deployment, patch)) == containers_of(deployment)[::-1]


def test_what_is_new_keeps_no_directives(deployment):
    volume = {"name": "v", "secret": {"$retainKeys": ["secretName"], "secretName": "x", "optional": None}}
    patch = pod_patch(volumes=[volume, {"name": "gone", "$patch": "delete"}])
    result = patched(deployment, patch)
    assert result["spec"]["template"]["spec"]["volumes"] == [{"name": "v", "secret": {"secretName": "x"}}]


def test_service_ports_are_merged_by_port():
    service = {"spec": {"ports": [{"port": 80, "nodePort": 30080}, {"port": 443}]}}
    patch = {"spec": {"ports": [{"port": 80, "targetPort": 8080}]}}
    assert patched(service, patch, SERVICE)["spec"]["ports"] == [
        {"port": 80, "nodePort": 30080, "targetPort": 8080},
        {"port": 443},
    ]


@pytest.mark.parametrize(
    ("patch", "problem"),
    [
        ({"$patch": "destroy"}, "unknown patch type: destroy in map"),
        (pod_patch(containers=[{"name": "web", "$patch": "destroy"}]), "unknown patch type: destroy in map"),
        (pod_patch(containers=[{"image": "x"}]), "does not contain declared merge key: name"),
        (pod_patch(containers=[{"$patch": "delete"}]), "does not contain declared merge key: name"),
        (pod_patch(containers=["web"]), "list element types are not identical"),
        (pod_patch(containers=[[]]), "lists of lists are not supported"),
        (pod_patch(**{"$setElementOrder/containers": "web"}), "invalid patch format of setElementOrder list"),
        ({"metadata": {"$deleteFromPrimitiveList/finalizers": "x"}}, "invalid patch format of primitive list"),
        ({"spec": {"strategy": {"$retainKeys": "type"}}}, "invalid patch format of retainKeys"),
        ({"spec": {"strategy": {"$retainKeys": ["type"], "rollingUpdate": {}}}}, "invalid patch format of retainKeys"),
        (
            pod_patch(
                **{"$setElementOrder/containers": [{"name": "web"}, {"name": "side"}]},
                containers=[{"name": "side"}, {"name": "web"}],
            ),
            "doesn't match \\$setElementOrder list",
        ),
        ([], "cannot unmarshal array into Go value of type map"),
    ],
)
def test_patches_that_make_no_sense(deployment, patch, problem):
    with pytest.raises(BadRequestError, match=problem):
        strategic.apply(deployment, patch, DEPLOYMENT)
