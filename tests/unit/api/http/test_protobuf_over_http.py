import json

import pytest

from orch_api import wire
from orch_api.wire.descriptors import small_class

NS = "/api/v1/namespaces/default"
PROTOBUF = "application/vnd.kubernetes.protobuf"
CLIENT_GO = {"accept": f"{PROTOBUF},application/json"}
RAW = small_class("RawExtension", (1, "raw", "bytes", ""))
EVENT = small_class("WatchEvent", (1, "type", "string", ""), (2, "object", "bytes", ""))


def sent(document):
    return wire.message_of(json.dumps(document).encode())


def config_map(name="c", **fields):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **fields}


def read(answer):
    assert answer.headers["content-type"] == PROTOBUF, answer.body
    return json.loads(wire.json_of(answer.body))


def events(answer):
    """The whole frames of a watch."""
    body, found = answer.body, []
    while len(body) > 4 and len(body) >= (end := 4 + int.from_bytes(body[:4], "big")):
        event = EVENT.FromString(body[4:end])
        found.append((event.type, json.loads(wire.json_of(RAW.FromString(event.object).raw))))
        body = body[end:]
    return found


@pytest.fixture
async def watching(http):
    """Begin watches that end with the test."""
    begun = []

    def begin(url, **headers):
        answer, task, leave = http.begin("GET", url, **headers)
        begun.append((task, leave))
        return answer

    yield begin
    for task, leave in begun:
        leave.set()
        await task


async def test_an_object_lives_in_protobuf(http):
    body = sent(config_map(data={"a": "b"}))
    created = await http("POST", f"{NS}/configmaps", body, content_type=PROTOBUF, **CLIENT_GO)
    assert created.status == 201
    document = read(created)
    assert document["data"] == {"a": "b"}
    assert (await http("GET", f"{NS}/configmaps/c")).json == document
    changed = sent({**document, "data": {"a": "c"}})
    updated = await http("PUT", f"{NS}/configmaps/c", changed, content_type=PROTOBUF, **CLIENT_GO)
    assert read(updated)["data"] == {"a": "c"}
    stale = await http("PUT", f"{NS}/configmaps/c", changed, content_type=PROTOBUF, **CLIENT_GO)
    assert (stale.status, stale.headers["content-type"]) == (409, "application/json")
    wrong = sent({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": "x"}})
    assert (await http("DELETE", f"{NS}/configmaps/c", wrong, content_type=PROTOBUF)).status == 409
    options = sent({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"})
    gone = await http("DELETE", f"{NS}/configmaps/c", options, content_type=PROTOBUF, **CLIENT_GO)
    assert (gone.status, gone.json["status"]) == (200, "Success")


async def test_lists_and_metadata_only(http):
    for name in ("a", "b", "c"):
        await http("POST", f"{NS}/configmaps", config_map(name, data={"x": name}))
    page = read(await http("GET", f"{NS}/configmaps?limit=2", **CLIENT_GO))
    assert (page["kind"], page["apiVersion"]) == ("ConfigMapList", "v1")
    assert [item["data"] for item in page["items"]] == [{"x": "a"}, {"x": "b"}]
    assert page["metadata"]["remainingItemCount"] == 1
    rest = read(await http("GET", f"{NS}/configmaps?limit=2&continue={page['metadata']['continue']}", **CLIENT_GO))
    assert [item["metadata"]["name"] for item in rest["items"]] == ["c"]
    partial = f"{PROTOBUF};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
    listed = read(await http("GET", f"{NS}/configmaps", accept=partial))
    assert listed["kind"] == "PartialObjectMetadataList"
    assert [set(item) for item in listed["items"]] == [{"metadata"}] * 3
    one = read(await http("GET", f"{NS}/configmaps/a", accept=partial.replace("List", "")))
    assert (one["kind"], one["metadata"]["name"]) == ("PartialObjectMetadata", "a")


async def test_the_scale_subresource(http):
    template = {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": "d"}}, "template": template}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec}
    url = "/apis/apps/v1/namespaces/default/deployments"
    created = await http("POST", url, sent(deployment), content_type=PROTOBUF)
    assert created.json["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": "25%", "maxUnavailable": "25%"}
    scale = read(await http("GET", f"{url}/d/scale", **CLIENT_GO))
    assert (scale["kind"], scale["spec"]) == ("Scale", {"replicas": 2})
    scale["spec"] = {"replicas": 0}
    scaled = await http("PUT", f"{url}/d/scale", sent(scale), content_type=PROTOBUF, **CLIENT_GO)
    assert scaled.status == 200
    assert read(await http("GET", f"{url}/d", **CLIENT_GO))["spec"]["replicas"] == 0


async def test_a_watch_in_frames(http, watching, eventually):
    await http("POST", f"{NS}/configmaps", config_map("a"))
    query = "watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
    answer = watching(f"{NS}/configmaps?{query}", **CLIENT_GO)
    await eventually(lambda: len(events(answer)) == 2)
    await http("DELETE", f"{NS}/configmaps/a")
    await eventually(lambda: len(events(answer)) == 3)
    assert answer.headers["content-type"] == f"{PROTOBUF};stream=watch"
    assert [kind for kind, _ in events(answer)] == ["ADDED", "BOOKMARK", "DELETED"]
    bookmark = events(answer)[1][1]
    assert bookmark["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_what_has_no_form_in_protobuf_is_json(http):
    table = f"{PROTOBUF};as=Table;g=meta.k8s.io;v=v1"
    listed = await http("GET", f"{NS}/configmaps", accept=f"{table},application/json;as=Table;g=meta.k8s.io;v=v1")
    assert listed.json["kind"] == "Table"
    refused = await http("GET", f"{NS}/configmaps", accept=table)
    assert (refused.status, refused.json["reason"]) == (406, "NotAcceptable")
    assert PROTOBUF in refused.json["message"]
    discovered = await http("GET", "/api/v1", **CLIENT_GO)
    assert discovered.json["kind"] == "APIResourceList"


async def test_what_is_no_protobuf_is_refused(http):
    refused = await http("POST", f"{NS}/configmaps", b"{}", content_type=PROTOBUF, **CLIENT_GO)
    assert (refused.status, refused.json["reason"]) == (400, "BadRequest")
    wrong_kind = sent({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "c"}})
    refused = await http("POST", f"{NS}/configmaps", wrong_kind, content_type=PROTOBUF)
    assert (refused.status, refused.json["reason"]) == (400, "BadRequest")
