"""Documents that fit the schema and yet hold what nobody writes: each is answered as Kubernetes answers it."""

from __future__ import annotations

from typing import Any

import pytest

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
MERGE = {"content_type": "application/merge-patch+json"}
PROTOBUF = "application/vnd.kubernetes.protobuf"


def entry(**other: Any) -> dict[str, Any]:
    known = {"manager": "m", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {}}
    return {**known, **other}


def deep(levels: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(levels):
        found = {"f:x": found}
    return found


@pytest.mark.parametrize(
    "given",
    [
        entry(fieldsV1=7),
        entry(fieldsV1=["f:data"]),
        entry(fieldsV1={"f:data": "f:a"}),
        entry(fieldsV1={"data": {}}),
        entry(fieldsV1={"k:[1]": {}}),
        entry(fieldsV1={"k:{": {}}),
        entry(fieldsV1={"v:": {}}),
        entry(fieldsV1=deep(300)),
        entry(operation="Guess"),
        entry(fieldsType="FieldsV2"),
        entry(apiVersion=""),
    ],
    ids=lambda given: str(given)[:99],
)
async def test_owners_that_make_no_sense_count_for_nothing(http: Any, given: dict[str, Any]) -> None:
    made = (await http("POST", CONFIG_MAPS, {"metadata": {"name": "c"}, "data": {"a": "1"}})).json
    wanted = {**made, "metadata": {**made["metadata"], "managedFields": [given]}}
    written = await http("PUT", f"{CONFIG_MAPS}/c", wanted)
    assert written.status == 200, written.body
    assert written.json["metadata"]["managedFields"] == made["metadata"]["managedFields"]
    patched = await http("PATCH", f"{CONFIG_MAPS}/c", {"metadata": {"managedFields": [given]}}, **MERGE)
    assert patched.json["metadata"]["managedFields"] == made["metadata"]["managedFields"]


async def test_a_secret_may_hold_nothing_under_a_name(http: Any) -> None:
    made = await http("POST", "/api/v1/namespaces/default/secrets", {"metadata": {"name": "s"}, "data": {"k": None}})
    assert (made.status, made.json["data"]) == (201, {"k": ""})


async def test_a_question_may_name_an_extra_without_values(http: Any) -> None:
    spec = {"user": "u", "extra": {"scopes": None}, "nonResourceAttributes": {"path": "/x", "verb": "get"}}
    asked = await http("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", {"spec": spec})
    assert (asked.status, asked.json["status"]["allowed"]) == (201, False)


async def test_a_time_that_never_was_goes_to_protobuf_and_back(http: Any) -> None:
    path = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
    budget = {"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}}
    assert (await http("POST", path, budget)).status == 201
    counts = {"currentHealthy": 0, "desiredHealthy": 1, "disruptionsAllowed": 0, "expectedPods": 0}
    status = {"disruptedPods": {"p": None, "q": "0001-01-01T00:00:00Z"}, **counts}
    written = await http("PUT", f"{path}/b/status", {**budget, "status": status})
    assert written.json["status"]["disruptedPods"] == {"p": None, "q": None}
    sent = await http("GET", f"{path}/b", accept=PROTOBUF)
    assert sent.status == 200
    returned = await http("PUT", f"{path}/b/status", sent.body, content_type=PROTOBUF)
    assert returned.json["status"]["disruptedPods"] == {"p": None, "q": None}


@pytest.mark.parametrize("version", ["one", "-1", "1e3", "٣", "9" * 400])
async def test_a_pod_is_not_bound_at_a_version_that_none_can_have(http: Any, version: str) -> None:
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    await http("POST", "/api/v1/namespaces/default/pods", pod)
    binding = {"metadata": {"resourceVersion": version}, "target": {"name": "n"}}
    refused = await http("POST", "/api/v1/namespaces/default/pods/p/binding", binding)
    assert (refused.status, refused.json["reason"]) == (409, "Conflict")


async def test_counts_below_zero_are_refused_beside_those_that_are_missing(http: Any) -> None:
    path = "/apis/apps/v1/namespaces/default/replicasets"
    labels = {"app": "a"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    made = {"metadata": {"name": "r"}, "spec": {"selector": {"matchLabels": labels}, "template": template}}
    await http("POST", path, made)
    refused = await http("PUT", f"{path}/r/status", {**made, "status": {"replicas": -1}})
    assert refused.status == 422
    assert "status.readyReplicas: Invalid value: 0: cannot be greater than status.replicas" in refused.json["message"]
