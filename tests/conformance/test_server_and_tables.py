"""Server version, discovery, Tables (sig-api-machinery: server version, Discovery, Table transformation)."""

from __future__ import annotations

from expecting_client import Client

TABLE = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
PODS = "/api/v1/namespaces/default/pods"
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


async def test_the_version_has_numbers(api: Client) -> None:
    version = await api.get("/version")
    assert version["major"].isdigit()
    assert version["minor"].isdigit()
    assert version["gitVersion"].startswith("v1.")


async def test_pods_as_a_table(api: Client) -> None:
    spec = {"containers": [{"name": "main", "image": "nginx"}]}
    await api.create(PODS, {"metadata": {"name": "pod-1"}, "spec": spec})
    table = await api("GET", f"{PODS}/pod-1", **TABLE)
    assert len(table["columnDefinitions"]) > 2
    assert table["columnDefinitions"][0]["name"] == "Name"
    (row,) = table["rows"]
    assert len(row["cells"]) == len(table["columnDefinitions"])
    assert row["cells"][0] == "pod-1"
    assert row["object"]["kind"] == "PartialObjectMetadata"


async def test_nodes_as_a_table(api: Client) -> None:
    await api.create("/api/v1/nodes", {"metadata": {"name": "n1"}})
    table = await api("GET", "/api/v1/nodes", **TABLE)
    assert table["metadata"]["resourceVersion"]
    assert [row["cells"][0] for row in table["rows"]] == ["n1"]


async def test_a_question_has_no_table(api: Client) -> None:
    review = {"spec": {"nonResourceAttributes": {"verb": "get"}}}
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    refused = await api("POST", path, review, expect=406, **TABLE)
    assert refused["reason"] == "NotAcceptable"
    assert "only the following media types are accepted: " in refused["message"]


async def test_every_group_prefers_a_version_that_it_has(api: Client) -> None:
    for group in (await api.get("/apis"))["groups"]:
        alone = await api.get(f"/apis/{group['name']}")
        assert alone["preferredVersion"] == group["preferredVersion"]
        assert alone["preferredVersion"] in alone["versions"]
        for version in alone["versions"]:
            listed = await api.get(f"/apis/{version['groupVersion']}")
            assert listed["groupVersion"] == version["groupVersion"]
            assert listed["resources"]


async def test_both_forms_of_discovery_agree(api: Client) -> None:
    for root in ("/api", "/apis"):
        items = (await api("GET", root, accept=AGGREGATED))["items"]
        assert items
        for group in items:
            name = group["metadata"].get("name", "")
            for version in group["versions"]:
                assert version["freshness"] == "Current"
                place = f"/apis/{name}/{version['version']}" if name else f"/api/{version['version']}"
                plain = {one["name"]: one for one in (await api.get(place))["resources"] if "/" not in one["name"]}
                assert {one["resource"] for one in version["resources"]} == plain.keys()
                for one in version["resources"]:
                    assert sorted(one["verbs"]) == plain[one["resource"]]["verbs"]
                    assert one["responseKind"]["kind"] == plain[one["resource"]]["kind"]


async def test_the_root_lists_what_there_is(api: Client) -> None:
    paths = (await api.get("/"))["paths"]
    assert paths == sorted(paths)
    wanted = {"/api/v1", "/apis", "/apis/apps", "/apis/apps/v1", "/livez/ping", "/openapi/v2", "/openid/v1/jwks"}
    assert wanted <= set(paths)
    places = [path for path in paths if not path.startswith("/openapi")]  # which take long to build
    assert [path for path in places if (await api.http("GET", path, host="127.0.0.1")).status == 404] == []


async def test_what_is_missing_is_told_apart(api: Client) -> None:
    names = [one["name"] for one in (await api.get("/api/v1"))["resources"]]
    assert "pods" in names
    assert "notpods" not in names
    assert (await api.get("/apis/notagroup/v1", expect=404))["reason"] == "NotFound"
    assert (await api.get("/apis/apps/v1/notaresource", expect=404))["reason"] == "NotFound"


async def test_component_statuses_are_told(api: Client) -> None:
    listed = await api.get("/api/v1/componentstatuses")
    assert listed["kind"] == "ComponentStatusList"
    names = [one["metadata"]["name"] for one in listed["items"]]
    assert {"controller-manager", "scheduler"} <= set(names)
    for one in listed["items"]:
        (condition,) = one["conditions"]
        assert condition["type"] == "Healthy"
        assert condition["status"] in {"True", "False", "Unknown"}
    alone = await api.get(f"/api/v1/componentstatuses/{names[0]}")
    assert alone["kind"] == "ComponentStatus"
    missing = await api.get("/api/v1/componentstatuses/nobody", expect=404)
    assert missing["message"] == 'componentstatus "nobody" not found'
    table = await api("GET", "/api/v1/componentstatuses", **TABLE)
    assert [one["name"] for one in table["columnDefinitions"]] == ["Name", "Status", "Message", "Error"]
