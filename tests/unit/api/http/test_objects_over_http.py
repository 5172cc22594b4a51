import asyncio
import gzip

NS = "/api/v1/namespaces/default"


def config_map(name="c", **fields):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **fields}


def deployment(name="d", **spec):
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    base = {"selector": {"matchLabels": {"app": name}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {**base, **spec}}


async def test_an_object_lives(http):
    created = await http("POST", f"{NS}/configmaps", config_map(data={"a": "b"}))
    assert created.status == 201
    assert created.headers["content-type"] == "application/json"
    assert (await http("GET", f"{NS}/configmaps/c")).json == created.json
    changed = {**created.json, "data": {"a": "c"}}
    updated = await http("PUT", f"{NS}/configmaps/c", changed)
    assert updated.status == 200
    assert updated.json["data"] == {"a": "c"}
    assert int(updated.json["metadata"]["resourceVersion"]) > int(created.json["metadata"]["resourceVersion"])
    stale = await http("PUT", f"{NS}/configmaps/c", changed)
    assert (stale.status, stale.json["reason"]) == (409, "Conflict")
    assert stale.json["message"] == (
        'Operation cannot be fulfilled on configmaps "c": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    gone = await http("DELETE", f"{NS}/configmaps/c")
    assert (gone.status, gone.json["status"], gone.json["details"]["name"]) == (200, "Success", "c")
    missing = await http("GET", f"{NS}/configmaps/c")
    assert missing.status == 404
    assert missing.json["message"] == 'configmaps "c" not found'
    assert missing.json["details"] == {"name": "c", "kind": "configmaps"}


async def test_patches_by_content_type(http):
    await http("POST", "/apis/apps/v1/namespaces/default/deployments", deployment())
    url = "/apis/apps/v1/namespaces/default/deployments/d"

    async def patch(kind, body):
        answer = await http("PATCH", url, body, content_type=f"application/{kind}+json")
        assert answer.status == 200, answer.body
        return answer.json["spec"]

    assert (await patch("merge-patch", {"spec": {"replicas": 2}}))["replicas"] == 2
    assert (await patch("json-patch", [{"op": "replace", "path": "/spec/replicas", "value": 3}]))["replicas"] == 3
    added = {"spec": {"template": {"spec": {"containers": [{"name": "e", "image": "i"}]}}}}
    assert len((await patch("strategic-merge-patch", added))["template"]["spec"]["containers"]) == 2
    refused = await http("PATCH", url, {}, content_type="application/x")
    assert (refused.status, refused.json["reason"]) == (415, "UnsupportedMediaType")


async def test_the_scale_subresource(http):
    await http("POST", "/apis/apps/v1/namespaces/default/deployments", deployment(replicas=2))
    url = "/apis/apps/v1/namespaces/default/deployments/d/scale"
    scale = (await http("GET", url)).json
    assert (scale["kind"], scale["apiVersion"], scale["spec"]["replicas"]) == ("Scale", "autoscaling/v1", 2)
    scale["spec"]["replicas"] = 5
    assert (await http("PUT", url, scale)).json["spec"]["replicas"] == 5
    assert (await http("GET", url.removesuffix("/scale"))).json["spec"]["replicas"] == 5


async def test_lists_are_paged_consistently(http):
    for number in range(5):
        await http("POST", f"{NS}/configmaps", config_map(f"c{number}"))
    first = (await http("GET", f"{NS}/configmaps?limit=2")).json
    assert [item["metadata"]["name"] for item in first["items"]] == ["c0", "c1"]
    assert first["metadata"]["remainingItemCount"] == 3
    await http("DELETE", f"{NS}/configmaps/c2")
    rest = (await http("GET", f"{NS}/configmaps?limit=10&continue={first['metadata']['continue']}")).json
    assert [item["metadata"]["name"] for item in rest["items"]] == ["c2", "c3", "c4"]
    assert rest["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert "continue" not in rest["metadata"]


async def test_selectors(http):
    for name, labels in (("a", {"x": "1"}), ("b", {"x": "2"})):
        body = config_map(name)
        body["metadata"]["labels"] = labels
        await http("POST", f"{NS}/configmaps", body)
    chosen = (await http("GET", "/api/v1/configmaps?labelSelector=x%3D2")).json["items"]
    assert [item["metadata"]["name"] for item in chosen] == ["b"]
    chosen = (await http("GET", f"{NS}/configmaps?fieldSelector=metadata.name%3Da")).json["items"]
    assert [item["metadata"]["name"] for item in chosen] == ["a"]
    assert (await http("GET", f"{NS}/configmaps?labelSelector=%3D%3D")).status == 400


async def test_a_collection_is_deleted(http):
    for name in ("a", "b"):
        await http("POST", f"{NS}/configmaps", config_map(name))
    answer = await http("DELETE", f"{NS}/configmaps?fieldSelector=metadata.name%3Da")
    assert [item["metadata"]["name"] for item in answer.json["items"]] == ["a"]
    assert [item["metadata"]["name"] for item in (await http("GET", f"{NS}/configmaps")).json["items"]] == ["b"]


async def test_forms_of_an_answer(http):
    await http("POST", f"{NS}/configmaps", config_map(data={"a": "b", "c": "d"}))
    table = (await http("GET", f"{NS}/configmaps", accept="application/json;as=Table;v=v1;g=meta.k8s.io")).json
    assert table["kind"] == "Table"
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Data", "Age"]
    assert table["rows"][0]["cells"][:2] == ["c", 2]
    partial = (
        await http("GET", f"{NS}/configmaps", accept="application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io")
    ).json
    assert partial["kind"] == "PartialObjectMetadataList"
    assert partial["items"][0]["kind"] == "PartialObjectMetadata"
    assert "data" not in partial["items"][0]
    yaml = await http("GET", f"{NS}/configmaps/c", accept="application/yaml")
    assert yaml.headers["content-type"] == "application/yaml"
    assert b"kind: ConfigMap" in yaml.body
    refused = await http("GET", f"{NS}/configmaps/c", accept="text/plain")
    assert (refused.status, refused.json["reason"]) == (406, "NotAcceptable")


async def test_yaml_bodies(http):
    body = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: y\ndata:\n  a: b\n"
    created = await http("POST", f"{NS}/configmaps", body, content_type="application/yaml")
    assert (created.status, created.json["data"]) == (201, {"a": "b"})
    broken = await http("POST", f"{NS}/configmaps", b"a: [", content_type="application/yaml")
    assert (broken.status, broken.json["reason"]) == (400, "BadRequest")


async def test_unknown_fields_are_warned_about_unless_asked_otherwise(http):
    warned = await http("POST", f"{NS}/configmaps", config_map("w", foo=1))
    assert (warned.status, warned.headers["warning"]) == (201, '299 - "unknown field \\"foo\\""')
    strict = await http("POST", f"{NS}/configmaps?fieldValidation=Strict", config_map("s", foo=1))
    assert strict.status == 400
    assert 'strict decoding error: unknown field "foo"' in strict.json["message"]
    ignored = await http("POST", f"{NS}/configmaps?fieldValidation=Ignore", config_map("i", foo=1))
    assert "warning" not in ignored.headers
    assert "foo" not in ignored.json
    assert (await http("POST", f"{NS}/configmaps?fieldValidation=Maybe", config_map("m"))).status == 422


async def test_dry_run_stores_nothing(http):
    assert (await http("POST", f"{NS}/configmaps?dryRun=All", config_map())).status == 201
    assert (await http("GET", f"{NS}/configmaps/c")).status == 404
    assert (await http("POST", f"{NS}/configmaps?dryRun=Some", config_map())).status == 422


async def test_large_answers_are_compressed_for_those_who_can_read_that(http):
    await http("POST", f"{NS}/configmaps", config_map(data={"a": "x" * 200_000}))
    plain = await http("GET", f"{NS}/configmaps/c")
    packed = await http("GET", f"{NS}/configmaps/c", accept_encoding="gzip")
    assert packed.headers["content-encoding"] == "gzip"
    assert len(packed.body) < len(plain.body)
    assert gzip.decompress(packed.body) == plain.body


async def test_bad_requests(http):
    async def reason(method, url, body=None, **headers):
        answer = await http(method, url, body, **headers)
        assert answer.json["kind"] == "Status"
        return answer.status, answer.json["reason"]

    assert await reason("GET", "/api/v1/nothing") == (404, "NotFound")
    assert await reason("GET", "/api/v2/pods") == (404, "NotFound")
    assert await reason("GET", f"{NS}/nodes") == (404, "NotFound")
    assert await reason("GET", f"{NS}/configmaps/c/scale") == (404, "NotFound")
    assert await reason("PUT", f"{NS}/configmaps", {}) == (405, "MethodNotAllowed")
    assert await reason("POST", f"{NS}/configmaps", b"{") == (400, "BadRequest")
    assert await reason("POST", f"{NS}/configmaps", b"a", content_type="text/x") == (415, "UnsupportedMediaType")
    assert await reason("POST", f"{NS}/configmaps", b"x" * (3 * 1024 * 1024 + 1)) == (413, "RequestEntityTooLarge")
    assert await reason("GET", f"{NS}/configmaps?limit=-1") == (422, "Invalid")
    assert await reason("GET", f"{NS}/configmaps?limit=x") == (400, "BadRequest")
    assert await reason("GET", f"{NS}/configmaps?continue=nonsense") == (400, "BadRequest")
    assert await reason("POST", f"{NS}/configmaps", {**config_map(), "kind": "Pod"}) == (400, "BadRequest")


async def test_who_may_do_what(http, anonymous, node_client):
    refused = await anonymous("GET", "/api/v1/pods")
    assert refused.status == 403
    assert refused.json["message"] == (
        'pods is forbidden: User "system:anonymous" cannot list resource "pods" in API group "" at the cluster scope'
    )
    unknown = await anonymous("GET", "/api/v1/pods", authorization="Bearer nobody")
    assert (unknown.status, unknown.headers["www-authenticate"]) == (401, "Bearer")
    assert (await node_client("GET", f"{NS}/secrets/s")).status == 403
    assert (await anonymous("GET", "/healthz")).body == b"ok"
    assert (await anonymous("GET", "/metrics")).status == 403


async def test_documents_and_health(http):
    assert (await http("GET", "/api")).json["versions"] == ["v1"]
    aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
    document = await http("GET", "/apis", accept=aggregated)
    assert document.json["kind"] == "APIGroupDiscoveryList"
    assert (await http("GET", "/apis", accept=aggregated, if_none_match=document.headers["etag"])).status == 304
    names = {each["name"] for each in (await http("GET", "/apis/apps/v1")).json["resources"]}
    assert {"deployments", "deployments/scale", "replicasets"} <= names
    index = (await http("GET", "/openapi/v3")).json["paths"]
    assert (await http("GET", index["apis/apps/v1"]["serverRelativeURL"])).json["openapi"].startswith("3.")
    assert (await http("GET", "/openapi/v2")).json["swagger"] == "2.0"
    assert (await http("GET", "/version")).json["major"] == "1"
    assert (await http("GET", "/readyz")).body == b"ok"
    assert b"[+]etcd ok" in (await http("GET", "/readyz?verbose")).body
    assert b"apiserver_request" in (await http("GET", "/metrics")).body
    assert (await http("GET", "/docs")).status == 200
    assert (await http("GET", "/nowhere")).json["reason"] == "NotFound"


async def test_many_clients_create_at_once(http):
    answers = await asyncio.gather(*(http("POST", f"{NS}/configmaps", config_map(f"m{n}")) for n in range(50)))
    assert {answer.status for answer in answers} == {201}
    assert len({answer.json["metadata"]["resourceVersion"] for answer in answers}) == 50


async def test_large_lists_come_in_pieces_that_add_up(http):
    blob = "x" * 20_000
    for number in range(40):
        body = {"metadata": {"name": f"large-{number:02}"}, "data": {"blob": blob}}
        assert (await http("POST", "/api/v1/namespaces/default/configmaps", body)).status == 201
    listed = await http("GET", "/api/v1/namespaces/default/configmaps")
    assert int(listed.headers["content-length"]) == len(listed.body) > 800_000
    names = [item["metadata"]["name"] for item in listed.json["items"]]
    assert names == [f"large-{number:02}" for number in range(40)]
    head = await http("HEAD", "/api/v1/namespaces/default/configmaps")
    assert (head.body, head.headers["content-length"]) == (b"", listed.headers["content-length"])
    packed = await http("GET", "/api/v1/namespaces/default/configmaps", accept_encoding="gzip")
    assert gzip.decompress(packed.body) == listed.body


async def test_a_binding_may_name_its_pod_itself(http):
    pods = "/api/v1/namespaces/default/pods"
    pod = {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    await http("POST", pods, pod)
    binding = {"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "one"}}
    bound = await http("POST", "/api/v1/namespaces/default/bindings", binding)
    assert (bound.status, bound.json["status"]) == (201, "Success")
    assert (await http("GET", f"{pods}/a")).json["spec"]["nodeName"] == "one"
    nameless = await http("POST", "/api/v1/namespaces/default/bindings", {"target": {"name": "one"}})
    assert nameless.status == 400
