"""What is wrong with a request is said in the Status that Kubernetes' clients know; nothing of it is stored."""

from __future__ import annotations

import json
from typing import Any

import pytest
from local_cluster import LocalCluster
from rest import Answer, Rest

CORE = "/api/v1/namespaces/default"
MAPS = f"{CORE}/configmaps"
PODS = f"{CORE}/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
STRICT = {"fieldValidation": "Strict"}
YAML = "application/yaml"
MERGE = "application/merge-patch+json"


@pytest.fixture(scope="module")
def admin(simulated: LocalCluster) -> Rest:
    return simulated.rest()


def config_map(name: str = "bad", **fields: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **fields}


def pod(pod_name: str = "bad", **container: Any) -> dict[str, Any]:
    containers = [{"name": "main", "image": "nginx"} | container]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod_name}, "spec": {"containers": containers}}


def deployment(**spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "bad"}}, "spec": pod()["spec"]}
    content = {"selector": {"matchLabels": {"app": "bad"}}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "bad"}, "spec": content}


def refused(answer: Answer, code: int, reason: str, *said: str) -> None:
    status = answer.body
    assert (answer.status, status["kind"], status["status"]) == (code, "Status", "Failure"), status
    assert (status["code"], status["reason"]) == (code, reason)
    for words in said:
        assert words in status["message"]


def invalid(answer: Answer, *fields: str) -> None:
    refused(answer, 422, "Invalid", *fields)
    assert [cause["field"] for cause in answer.body["details"]["causes"]] == list(fields)


@pytest.mark.parametrize(
    ("body", "content_type", "said"),
    [
        pytest.param(b'{"apiVersion":', "application/json", "unexpected end of JSON input", id="half a document"),
        pytest.param(b"", "application/json", "unexpected end of JSON input", id="nothing"),
        pytest.param(b"[]", "application/json", "cannot unmarshal array", id="a list"),
        pytest.param(b"\xff\xfe{}", "application/json", "invalid character", id="not text"),
        pytest.param(b"a: [", YAML, "error converting YAML to JSON: yaml: ", id="half a sequence"),
        pytest.param(b"a: 1\n\tb: 2\n", YAML, "error converting YAML to JSON: yaml: ", id="a tab"),
        pytest.param(b"- " * 1_000_000, YAML, "yaml: exceeded max depth", id="lists in lists in YAML"),
        pytest.param(b"a: &a [*a]", YAML, "error converting YAML to JSON: yaml: ", id="a list of itself"),
        pytest.param(b"[" * 3_000_000, "application/json", "exceeded max depth", id="lists in lists"),
    ],
)
def test_malformed_bodies(admin: Rest, body: bytes, content_type: str, said: str) -> None:
    refused(admin("POST", MAPS, body, content_type=content_type), 400, "BadRequest", said)


def test_unknown_and_duplicate_fields_as_the_client_wishes(admin: Rest) -> None:
    body = config_map(dota={"a": "1"}, data={"a": "1"})
    body["metadata"]["lables"] = {}
    strict = admin("POST", MAPS, body, **STRICT)
    said = 'strict decoding error: unknown field "metadata.lables", unknown field "dota"'
    refused(strict, 400, "BadRequest", 'ConfigMap in version "v1" cannot be handled as a ConfigMap', said)

    twice = json.dumps(config_map())[:-1].encode() + b',"data":{"a":"1","a":"2"}}'
    refused(admin("POST", MAPS, twice, **STRICT), 400, "BadRequest", 'duplicate field "data.a"')
    absent(admin, MAPS)

    warned = admin("POST", MAPS, body, fieldValidation="Warn", dryRun="All")
    assert warned.status == 201
    assert '299 - "unknown field \\"dota\\""' in warned.headers["warning"]
    ignored = admin("POST", MAPS, body, fieldValidation="Ignore", dryRun="All")
    assert ignored.status == 201
    assert "warning" not in ignored.headers
    for answer in (warned, ignored):
        assert "dota" not in answer.body
        assert "lables" not in answer.body["metadata"]
    absent(admin, MAPS)


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        (MAPS, config_map(data={"a": 1}), ("cannot unmarshal number", "ConfigMap.data of type string")),
        (MAPS, config_map(data=["a"]), ("cannot unmarshal array", "ConfigMap.data of type map[string]string")),
        (PODS, pod(ports=[{"containerPort": "80"}]), ("spec.containers.ports.containerPort of type int32",)),
        (PODS, pod(env={}), ("spec.containers.env of type []v1.EnvVar",)),
        (PODS, pod(tty="yes"), ("spec.containers.tty of type bool",)),
        (DEPLOYMENTS, deployment(replicas=1.5), ("spec.replicas of type int32",)),
        (DEPLOYMENTS, deployment(replicas=1 << 40), ("spec.replicas of type int32",)),
        (PODS, pod(resources={"requests": {"cpu": "1x"}}), ("quantities must match the regular expression",)),
        (PODS, pod(resources={"limits": {"memory": "12 Mi"}}), ("quantities must match the regular expression",)),
    ],
)
def test_wrong_types(admin: Rest, path: str, body: dict[str, Any], said: tuple[str, ...]) -> None:
    refused(admin("POST", path, body), 400, "BadRequest", *said)
    absent(admin, path)


def test_a_bad_quantity_is_named_by_its_path(admin: Rest) -> None:
    answer = admin("POST", PODS, pod(resources={"requests": {"cpu": "1x"}}))
    refused(answer, 400, "BadRequest", "spec.containers[0].resources.requests.cpu: ")


@pytest.mark.parametrize(
    ("path", "body", "fields"),
    [
        (MAPS, config_map("Not_a_name"), ("metadata.name",)),
        (MAPS, config_map("a" * 254), ("metadata.name",)),
        (MAPS, {**config_map(), "metadata": {"namespace": "default"}}, ("metadata.name",)),
        (MAPS, {**config_map(), "metadata": {"name": "bad", "labels": {"a b": "c"}}}, ("metadata.labels",)),
        (MAPS, config_map(data={"no/slash": ""}), ("data[no/slash]",)),
        (PODS, pod(name="b.d", image=""), ("spec.containers[0].name", "spec.containers[0].image")),
        (PODS, pod(resources={"requests": {"cpu": "-1"}}), ("spec.containers[0].resources.requests[cpu]",)),
        (
            PODS,
            pod(resources={"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
            ("spec.containers[0].resources.requests",),
        ),
        (PODS, pod(ports=[{"containerPort": 70000}]), ("spec.containers[0].ports[0].containerPort",)),
        (PODS, pod(imagePullPolicy="Sometimes"), ("spec.containers[0].imagePullPolicy",)),
        (DEPLOYMENTS, deployment(selector=None), ("spec.selector", "spec.template.metadata.labels")),
        (DEPLOYMENTS, deployment(selector={"matchLabels": {"app": "other"}}), ("spec.template.metadata.labels",)),
        (DEPLOYMENTS, deployment(replicas=-1), ("spec.replicas",)),
        (
            DEPLOYMENTS,
            deployment(strategy={"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}}),
            ("spec.strategy.rollingUpdate.maxUnavailable",),
        ),
    ],
)
def test_rules_of_fields(admin: Rest, path: str, body: dict[str, Any], fields: tuple[str, ...]) -> None:
    answer = admin("POST", path, body)
    invalid(answer, *fields)
    assert answer.body["details"]["kind"] == body["kind"]
    absent(admin, path)


def test_immutable_fields_and_stale_versions(admin: Rest, simulated: LocalCluster, space: str) -> None:
    there = f"/api/v1/namespaces/{space}"
    workloads = f"/apis/apps/v1/namespaces/{space}/deployments"
    made = admin("POST", workloads, deployment(replicas=0)).body
    other = {"matchLabels": {"app": "other"}}
    made["spec"]["selector"] = other
    made["spec"]["template"]["metadata"]["labels"] = other["matchLabels"]
    del made["metadata"]["resourceVersion"]
    invalid(admin("PUT", f"{workloads}/bad", made), "spec.selector")

    admin("POST", f"{there}/pods", pod("fixed"))
    answer = admin("PATCH", f"{there}/pods/fixed", {"spec": {"hostname": "other"}}, content_type=MERGE)
    refused(answer, 422, "Invalid", "spec: Forbidden: pod updates may not change fields other than")

    fixed = admin("POST", f"{there}/configmaps", config_map("fixed", data={"a": "1"}, immutable=True)).body
    invalid(admin("PUT", f"{there}/configmaps/fixed", {**fixed, "data": {"a": "2"}}), "data")

    first = admin("POST", f"{there}/configmaps", config_map("moving", data={"a": "1"})).body
    second = admin("PUT", f"{there}/configmaps/moving", {**first, "data": {"a": "2"}})
    assert second.status == 200
    conflict = admin("PUT", f"{there}/configmaps/moving", {**first, "data": {"a": "3"}})
    refused(conflict, 409, "Conflict", 'configmaps "moving": the object has been modified; please apply your changes')
    stale = {"metadata": {"resourceVersion": first["metadata"]["resourceVersion"]}, "data": {"a": "3"}}
    refused(admin("PATCH", f"{there}/configmaps/moving", stale, content_type=MERGE), 409, "Conflict")
    other_uid = {"preconditions": {"uid": "another"}}
    refused(admin("DELETE", f"{there}/configmaps/moving", other_uid), 409, "Conflict", "Precondition failed: UID")
    assert admin("GET", f"{there}/configmaps/moving").body == second.body


def test_objects_that_are_too_large(admin: Rest) -> None:
    beyond_a_request = admin("POST", MAPS, config_map(data={"a": "x" * 3_300_000}))
    refused(beyond_a_request, 413, "RequestEntityTooLarge", "limit is 3145728")
    beyond_etcd = admin("POST", PODS, pod(env=[{"name": "A", "value": "x" * 1_600_000}]))
    refused(beyond_etcd, 413, "RequestEntityTooLarge", "etcdserver: request is too large")
    beyond_a_map = admin("POST", MAPS, config_map(data={"a": "x" * 1_100_000}))
    refused(beyond_a_map, 422, "Invalid", "data: Too long: may not be more than 1048576 bytes")
    body = config_map()
    body["metadata"]["annotations"] = {"a": "x" * 300_000}
    invalid(admin("POST", MAPS, body), "metadata.annotations")
    for path in (MAPS, PODS):
        absent(admin, path)
    # The api is none the worse for it.
    assert admin("GET", "/readyz").status == 200


def test_wrong_kinds_versions_and_places(admin: Rest) -> None:
    secret = {**config_map(), "kind": "Secret"}
    refused(admin("POST", MAPS, secret), 400, "BadRequest", "Secret in version")
    said = "the API version in the data (v2) does not match the expected API version (v1)"
    refused(admin("POST", MAPS, {**config_map(), "apiVersion": "v2"}), 400, "BadRequest", said)
    said = "the namespace of the provided object does not match the namespace sent on the request"
    elsewhere = {**config_map(), "metadata": {"name": "bad", "namespace": "other"}}
    refused(admin("POST", MAPS, elsewhere), 400, "BadRequest", said)
    nowhere = admin("POST", "/api/v1/namespaces/nowhere/configmaps", config_map())
    refused(nowhere, 404, "NotFound", 'namespaces "nowhere" not found')
    refused(admin("GET", f"{MAPS}/bad"), 404, "NotFound", 'configmaps "bad" not found')
    refused(admin("GET", "/apis/example.org/v1/things"), 404, "NotFound", "could not find the requested resource")
    refused(admin("PUT", MAPS, config_map()), 405, "MethodNotAllowed")


@pytest.mark.parametrize(
    ("query", "code", "said"),
    [
        ({"continue": "forged"}, 400, "continue key is not valid"),
        ({"continue": "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiIuLi9zZWNyZXRzLyJ9"}, 400, "continue"),
        ({"limit": -1}, 422, "limit: Invalid value: -1: must be greater than or equal to 0"),
        ({"limit": "9" * 40}, 400, "value out of range"),
        ({"sendInitialEvents": "true"}, 422, "sendInitialEvents is forbidden for list"),
        ({"watch": 1, "resourceVersionMatch": "NotOlderThan"}, 422, "is forbidden for watch unless sendInitialEvents"),
        ({"limit": "many"}, 400, 'strconv.ParseInt: parsing "many": invalid syntax'),
        ({"resourceVersion": "new"}, 400, "resourceVersion: Invalid value"),
        ({"labelSelector": "a in ("}, 400, "unable to parse requirement"),
        ({"fieldSelector": "spec.x=1"}, 400, '"spec.x" is not a known field selector'),
    ],
)
def test_lists_that_make_no_sense(admin: Rest, query: dict[str, object], code: int, said: str) -> None:
    answer = admin("GET", MAPS, **query)
    refused(answer, code, "Invalid" if code == 422 else "BadRequest", said)


def test_media_types_that_are_not_spoken(admin: Rest) -> None:
    sent = admin("POST", MAPS, b"x", content_type="text/plain")
    refused(sent, 415, "UnsupportedMediaType", "accepted media types include: application/json, application/yaml")
    patched = admin("PATCH", f"{MAPS}/kube-root-ca.crt", {}, content_type="application/json")
    refused(patched, 415, "UnsupportedMediaType", "application/merge-patch+json")
    asked = admin("GET", MAPS, headers={"Accept": "text/csv"})
    refused(asked, 406, "NotAcceptable", "only the following media types are accepted: application/json")


def test_heads_and_paths_that_make_no_sense(admin: Rest) -> None:
    escaped = admin("GET", f"{MAPS}/%zz")
    refused(escaped, 400, "BadRequest", f'parse "{MAPS}/%zz": invalid URL escape "%zz"')
    refused(admin("GET", f"{MAPS}/a%00b"), 404, "NotFound")
    refused(admin("TRACE", MAPS), 405, "MethodNotAllowed")
    said = 'invalid timeout specified in the request URL - time: missing unit in duration "5"'
    refused(admin("GET", f"{MAPS}?timeout=5"), 400, "BadRequest", said)
    many = "&".join(["a"] * 10_001)
    refused(admin("GET", f"{MAPS}?{many}"), 400, "BadRequest", "number of URL query parameters exceeded limit")
    named = admin("GET", MAPS, headers={"Audit-Id": "mine"})
    assert (named.status, named.headers["audit-id"]) == (200, "mine")
    assert named.headers["cache-control"] == "no-cache, private"


def test_patches_that_cannot_be_applied(admin: Rest, space: str) -> None:
    maps = f"/api/v1/namespaces/{space}/configmaps"
    made = admin("POST", maps, config_map(data={"a": "1"})).body
    json_patch = "application/json-patch+json"
    failed = admin("PATCH", f"{maps}/bad", [{"op": "test", "path": "/data/a", "value": "2"}], content_type=json_patch)
    refused(failed, 422, "Invalid")
    missing = admin("PATCH", f"{maps}/bad", [{"op": "remove", "path": "/data/b"}], content_type=json_patch)
    refused(missing, 422, "Invalid")
    refused(admin("PATCH", f"{maps}/bad", b"{", content_type=MERGE), 400, "BadRequest")
    renamed = admin("PATCH", f"{maps}/bad", {"metadata": {"name": "good"}}, content_type=MERGE)
    refused(renamed, 400, "BadRequest", "the name of the object (good) does not match the name on the URL (bad)")
    assert admin("GET", f"{maps}/bad").body == made


@pytest.fixture
def space(simulated: LocalCluster, namespace: Any) -> str:
    return namespace(simulated)


def absent(admin: Rest, path: str) -> None:
    """Nothing of this name, nor of the names that these tests try, is stored."""
    names = {item["metadata"]["name"] for item in admin("GET", path).body["items"]}
    assert names <= {"kube-root-ca.crt"}
