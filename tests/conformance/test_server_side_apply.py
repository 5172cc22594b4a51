"""Server-side apply (sig-api-machinery: ServerSideApply, client-go apply)."""

from __future__ import annotations

from typing import Any

from expecting_client import Client

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
PODS = "/api/v1/namespaces/default/pods"
MAPS = "/api/v1/namespaces/default/configmaps"


def config(**data: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": data}


def pod(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    named = [{"name": "main", "image": "nginx"}, *containers]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"containers": named, **spec},
    }


def owners(document: dict[str, Any]) -> dict[str, Any]:
    return {one["manager"]: one["fieldsV1"] for one in document["metadata"].get("managedFields", ())}


async def test_applied_twice_it_changes_nothing(api: Client) -> None:
    made = await api.apply(f"{MAPS}/m", config(key="value"), expect=201)
    assert await api.apply(f"{MAPS}/m", config(key="value")) == made


async def test_the_status_is_applied_apart(api: Client) -> None:
    await api.apply(f"{PODS}/p", pod(), expect=201)
    condition = {"type": "MyStatus", "status": "True"}
    status = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "status": {"conditions": [condition]}}
    applied = await api.apply(f"{PODS}/p/status", status, "me")
    assert applied["status"]["conditions"] == [condition]
    ignored = await api.apply(f"{PODS}/p", {**pod(), "status": {"phase": "Failed"}})
    assert ignored["status"]["phase"] == "Pending"


async def test_what_is_left_out_goes_unless_others_want_it(api: Client) -> None:
    await api.apply(f"{MAPS}/m", config(a="1", b="2"), "first", expect=201)
    await api.apply(f"{MAPS}/m", config(b="2"), "second")
    left = await api.apply(f"{MAPS}/m", config(), "first")
    assert left["data"] == {"b": "2"}
    gone = await api.apply(f"{MAPS}/m", config(), "second")
    assert not gone.get("data")


async def test_nothing_applied_over_a_list_takes_it_away(api: Client) -> None:
    """What a configuration says is empty holds nothing of its manager's any more."""
    await api.apply(f"{PODS}/p", {**pod(), "metadata": {"name": "p", "finalizers": ["example.com/a"]}}, expect=201)
    empty = {**pod(), "metadata": {"name": "p", "finalizers": []}}
    applied = await api.apply(f"{PODS}/p", empty)
    assert "finalizers" not in applied["metadata"]


async def test_nothing_applied_over_keyed_items(api: Client) -> None:
    ports = [{"name": "http", "containerPort": 80}]
    first = pod()
    first["spec"]["containers"][0]["ports"] = ports
    await api.apply(f"{PODS}/p", first, expect=201)
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s"},
        "spec": {"ports": [{"name": "a", "port": 80}], "selector": {"app": "a"}, "externalIPs": ["80.11.12.10"]},
    }
    services = "/api/v1/namespaces/default/services"
    await api.apply(f"{services}/s", service, expect=201)
    service["spec"] |= {"selector": {}, "externalIPs": []}
    applied = await api.apply(f"{services}/s", service)
    assert "selector" not in applied["spec"]
    assert "externalIPs" not in applied["spec"]
    service["spec"]["ports"] = []
    refused = await api.apply(f"{services}/s", service, expect=422)
    assert refused["details"]["causes"][0]["field"] == "spec.ports"


async def test_force_ends_conflicts_and_takes_over(api: Client) -> None:
    await api.apply(f"{MAPS}/m", config(a="1"), "first", expect=201)
    conflict = await api.apply(f"{MAPS}/m", config(a="2"), "second", expect=409)
    assert conflict["details"]["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "first"', "field": ".data.a"}
    ]
    forced = await api.apply(f"{MAPS}/m", config(a="2"), "second", force=True)
    assert forced["data"] == {"a": "2"}
    assert owners(forced).keys() == {"second"}


async def test_who_creates_owns_whatever_a_creation_says_of_others(api: Client) -> None:
    entry = {
        "manager": "restored",
        "operation": "Apply",
        "apiVersion": "v1",
        "time": "2020-01-01T00:00:00Z",
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:data": {"f:a": {}}},
    }
    document = {"metadata": {"name": "m", "managedFields": [entry]}, "data": {"a": "1", "b": "2"}}
    made = await api.create(f"{MAPS}?fieldManager=me", document)
    assert owners(made) == {"me": {"f:data": {".": {}, "f:a": {}, "f:b": {}}}}


async def test_a_reset_and_nonsense(api: Client) -> None:
    await api.apply(f"{MAPS}/m", config(a="1"), expect=201)
    reset = await api.patch(f"{MAPS}/m", {"metadata": {"managedFields": [{}]}})
    assert "managedFields" not in reset["metadata"]
    nonsense = [{"manager": "x", "operation": "Nothing", "apiVersion": "v1", "fieldsType": "FieldsV1"}]
    ignored = await api.patch(f"{MAPS}/m", {"metadata": {"managedFields": nonsense}})
    assert ignored == reset
    unfit = await api.apply(f"{MAPS}/m?fieldValidation=Ignore", {**config(), "bogus": 1}, expect=500)
    assert unfit["message"] == (
        "failed to create typed patch object (/m; /v1, Kind=ConfigMap): .bogus: field not declared in schema"
    )


async def test_several_entries_of_a_list(api: Client) -> None:
    await api.apply(f"{PODS}/p", pod(tolerations=[{"key": "a", "operator": "Exists"}]), expect=201)
    read = await api.get(f"{PODS}/p")
    assert read["spec"]["tolerations"][0] == {"key": "a", "operator": "Exists"}
    await api.create(
        DEPLOYMENTS,
        {
            "metadata": {"name": "d"},
            "spec": {
                "selector": {"matchLabels": {"a": "b"}},
                "template": {
                    "metadata": {"labels": {"a": "b"}},
                    "spec": {"containers": [{"name": "main", "image": "nginx", "env": [{"name": "A", "value": "1"}]}]},
                },
            },
        },
    )
    container = {"name": "main", "env": [{"name": "B", "value": "2"}]}
    body = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d"},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }
    applied = await api.apply(f"{DEPLOYMENTS}/d", body)
    (found,) = applied["spec"]["template"]["spec"]["containers"]
    assert [one["name"] for one in found["env"]] == ["A", "B"]
