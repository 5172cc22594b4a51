"""Admission webhooks as clients meet them (sig-api-machinery: AdmissionWebhook): what is denied, changed, let alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import certificates
import pytest
from definitions import DEFINITIONS, GROUP, custom, definition, version
from expecting_client import Client
from https_server import https_server
from policies import MAPS, ROOT, rule
from webhook_server import AdmissionServer, add, configuration, patch

PODS = "/api/v1/namespaces/default/pods"
TABS = f"/apis/{GROUP}/v1/namespaces/default/crontabs"
CONTAINER = {"name": "main", "image": "nginx"}
ALWAYS = [rule("*", "*", "*", "*")]
SPECIAL = {"labels": {"e2e": "special"}}
VALIDATING, MUTATING = f"{ROOT}/validatingwebhookconfigurations", f"{ROOT}/mutatingwebhookconfigurations"
DENIED = 'admission webhook "hook.example.com" denied the request: '


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> certificates.Files:
    return certificates.make(tmp_path_factory.mktemp("webhook"), "hook.default.svc")


@pytest.fixture
async def server(files: certificates.Files) -> AsyncIterator[AdmissionServer]:
    found = AdmissionServer(files)
    async with https_server(found.files, found) as found.port:
        yield found


async def register(api: Client, kind: str, *hooks: dict[str, Any], **metadata: Any) -> str:
    """Create a configuration; return its path once requests meet it."""
    document = configuration(kind, *hooks, name=metadata.pop("name", ""))
    document["metadata"] |= metadata
    path = VALIDATING if kind == "Validating" else MUTATING
    made = await api.create(path, document)
    await api.memory.core.cache.catch_up()
    return f"{path}/{made['metadata']['name']}"


def unwanted(request: dict[str, Any]) -> dict[str, Any]:
    """Deny what has `unwanted` among its data, labels or spec, and every deletion."""
    shown = request["object"] or {}
    metadata = shown.get("metadata", {})
    parts = (shown.get("data"), metadata.get("labels"), shown.get("spec"), {"unwanted": ""} if not shown else None)
    if any("unwanted" in (part or {}) for part in parts):
        return {"allowed": False, "status": {"message": "it contains unwanted data"}}
    return {"allowed": True}


async def test_discovery_lists_webhooks(api: Client) -> None:
    groups = {one["name"]: one for one in (await api.get("/apis"))["groups"]}
    found = groups["admissionregistration.k8s.io"]
    assert {"groupVersion": "admissionregistration.k8s.io/v1", "version": "v1"} in found["versions"]
    names = {one["name"] for one in (await api.get(ROOT))["resources"]}
    assert {"mutatingwebhookconfigurations", "validatingwebhookconfigurations"} <= names


async def test_pods_and_config_maps_are_denied(api: Client, server: AdmissionServer) -> None:
    server.answers["/"] = unwanted
    rules = [rule("configmaps"), rule("pods")]
    exempt = {"matchExpressions": [{"key": "skip", "operator": "NotIn", "values": ["yes"]}]}
    await register(api, "Validating", server.hook(rules=rules, namespaceSelector=exempt))
    spec = {"containers": [CONTAINER]}
    denied = await api.create(PODS, {"metadata": {"name": "p", "labels": {"unwanted": ""}}, "spec": spec}, expect=400)
    assert denied["message"] == f"{DENIED}it contains unwanted data"
    await api.create(MAPS, {"metadata": {"name": "a"}, "data": {"unwanted": "x"}}, expect=400)
    made = await api.create(MAPS, {"metadata": {"name": "a"}, "data": {"wanted": "x"}})
    await api.put(f"{MAPS}/a", {**made, "data": {"unwanted": "x"}}, expect=400)
    await api.patch(f"{MAPS}/a", {"data": {"unwanted": "x"}}, expect=400)
    assert (await api.get(f"{MAPS}/a"))["data"] == {"wanted": "x"}
    await api.create("/api/v1/namespaces", {"metadata": {"name": "spared", "labels": {"skip": "yes"}}})
    spared = MAPS.replace("default", "spared")
    await api.create(spared, {"metadata": {"name": "a"}, "data": {"unwanted": "x"}})


async def test_attaching_is_denied(api: Client, server: AdmissionServer) -> None:
    server.answers["/"] = {"allowed": False, "status": {"message": "attaching to pod is not allowed"}}
    await register(api, "Validating", server.hook(rules=[rule("pods/attach", "", "v1", "CONNECT")]))
    await api.create(PODS, {"metadata": {"name": "p"}, "spec": {"containers": [CONTAINER]}})
    await api.create(f"{PODS}/p/binding", {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}})
    denied = await api("POST", f"{PODS}/p/attach?stdout=1&container=main", expect=400)
    assert "attaching to pod is not allowed" in denied["message"]
    (request,) = server.requests
    assert (request["operation"], request["subResource"]) == ("CONNECT", "attach")
    assert request["object"]["kind"] == "PodAttachOptions"


async def test_custom_objects_and_definitions_are_denied(api: Client, server: AdmissionServer) -> None:
    await api.define(definition(version(properties={"unwanted": {"type": "string"}})))
    server.answers["/"] = unwanted
    rules = [rule("crontabs", GROUP, "v1", "CREATE", "UPDATE", "DELETE")]
    path = await register(api, "Validating", server.hook(rules=rules))
    await api.create(TABS, custom("a", {"unwanted": "x"}), expect=400)
    made = await api.create(TABS, custom("a", {}))
    await api.patch(f"{TABS}/a", {"spec": {"unwanted": "x"}}, expect=400)
    await api.put(f"{TABS}/a", {**made, "spec": {"unwanted": "x"}}, expect=400)
    await api.delete(f"{TABS}/a", expect=400)
    await api.delete(path)
    await api.memory.core.cache.catch_up()
    await api.delete(f"{TABS}/a")
    server.answers["/"] = {"allowed": False, "status": {"message": "no new kinds"}}
    rules = [rule("customresourcedefinitions", "apiextensions.k8s.io", "v1", "CREATE")]
    await register(api, "Validating", server.hook(rules=rules))
    denied = await api.create(DEFINITIONS, definition(version(), kind="Tab", plural="tabs"), expect=400)
    assert denied["message"] == f"{DENIED}no new kinds"


async def test_custom_objects_are_changed_and_pruned(api: Client, server: AdmissionServer) -> None:
    """Of what webhooks add, what the schema does not have goes; a new stored version keeps what was there."""
    text = {"type": "string"}
    made = await api.define(
        definition(version(properties={"first": text}), version("v2", {"first": text, "mine": text}, storage=False))
    )
    server.answers["/"] = patch(add("/spec/first", "hook"), add("/spec/second", "hook"))
    await register(api, "Mutating", server.hook(rules=[rule("crontabs", GROUP, "*")]))
    assert (await api.create(TABS, custom("a", {})))["spec"] == {"first": "hook"}
    for one in made["spec"]["versions"]:
        one["storage"] = one["name"] == "v2"
    await api.patch(f"{DEFINITIONS}/crontabs.{GROUP}", {"spec": {"versions": made["spec"]["versions"]}})
    newer = TABS.replace("/v1/", "/v2/")

    async def stored() -> bool:
        return (await api.patch(f"{newer}/a", {"spec": {"mine": "x"}}))["spec"].get("mine") == "x"

    await api.eventually(stored)
    assert (await api.get(f"{newer}/a"))["spec"] == {"first": "hook", "mine": "x"}


async def test_pods_are_completed_after_they_are_changed(api: Client, server: AdmissionServer) -> None:
    server.answers["/"] = patch(add("/spec/initContainers", [{"name": "webhook-added", "image": "busybox"}]))
    await register(api, "Mutating", server.hook(rules=[rule("pods")]))
    made = await api.create(PODS, {"metadata": {"name": "p"}, "spec": {"containers": [CONTAINER]}})
    (added,) = made["spec"]["initContainers"]
    assert added["name"] == "webhook-added"
    assert added["terminationMessagePolicy"] == "File"


async def test_each_webhook_sees_what_those_before_it_did(api: Client, server: AdmissionServer) -> None:
    def after(key: str, adds: str) -> Any:
        return lambda request: patch(add(f"/data/{adds}", "yes")) if key in request["object"]["data"] else patch()

    server.answers = {"/1": after("start", "stage-1"), "/2": after("stage-1", "stage-2")}
    await register(api, "Mutating", *(server.hook(f"/{n}", f"stage{n}.example.com") for n in "12"))
    made = await api.create(MAPS, {"metadata": {"name": "a"}, "data": {"start": "yes"}})
    assert made["data"] == {"start": "yes", "stage-1": "yes", "stage-2": "yes"}


async def test_conditions_are_kept_changed_and_heeded(api: Client, server: AdmissionServer) -> None:
    skipping = [{"name": "skip-me", "expression": "object.metadata.name != 'skip-me'"}]
    other = [{"name": "all", "expression": "true"}]
    server.answers["/"] = patch(add("/data", {"mutated": "yes"}))
    for kind in ("Validating", "Mutating"):
        path = await register(api, kind, server.hook(matchConditions=skipping))
        read = await api.get(path)
        assert read["webhooks"][0]["matchConditions"] == skipping
        read["webhooks"][0]["matchConditions"] = other
        assert (await api.put(path, read))["webhooks"][0]["matchConditions"] == other
        await api.delete(path)
        broken = [{"name": "broken", "expression": "... [] bad expression"}]
        document = configuration(kind, server.hook(matchConditions=broken))
        refused = await api.create(path.rpartition("/")[0], document, expect=422)
        assert "compilation failed" in refused["message"]
    await register(api, "Mutating", server.hook(matchConditions=skipping))
    assert (await api.create(MAPS, {"metadata": {"name": "a"}}))["data"] == {"mutated": "yes"}
    assert "data" not in await api.create(MAPS, {"metadata": {"name": "skip-me"}})


@pytest.mark.parametrize("kind", ["Validating", "Mutating"])
async def test_webhooks_are_changed_listed_and_deleted(api: Client, server: AdmissionServer, kind: str) -> None:
    """Of several with one label all are listed and deleted; rules that no longer say CREATE ask about none."""
    server.answers["/"] = unwanted if kind == "Validating" else patch(add("/data/mutated", "yes"))
    names = count = 0

    async def asked() -> int:
        nonlocal names, count
        names, before = names + 1, len(server.asked)
        body = {"metadata": {"name": f"map-{names}"}, "data": {"unwanted": "x"}}
        answer = await api.http("POST", MAPS, body)
        count = len(server.asked) - before
        changed = answer.status == 400 if kind == "Validating" else "mutated" in answer.json["data"]
        assert changed == bool(count)
        return count

    path = await register(api, kind, server.hook(), **SPECIAL)
    assert await asked()
    read = await api.get(path)
    read["webhooks"][0]["rules"][0]["operations"] = ["UPDATE"]
    await api.put(path, read)
    await api.memory.core.cache.catch_up()
    assert not await asked()
    await api.patch(path, [{"op": "replace", "path": "/webhooks/0/rules/0/operations", "value": ["CREATE"]}], "json")
    await api.memory.core.cache.catch_up()
    assert await asked()
    await register(api, kind, server.hook(), name="second", **SPECIAL)
    collection = path.rpartition("/")[0]
    assert len(await api.items(f"{collection}?labelSelector=e2e=special")) == 2
    await api.delete(f"{collection}?labelSelector=e2e=special")
    await api.memory.core.cache.catch_up()
    assert not await asked()


async def test_webhooks_do_not_judge_webhooks(api: Client, server: AdmissionServer) -> None:
    server.answers = {"/deny": {"allowed": False}, "/change": patch(add("/metadata/labels", {"changed": "yes"}))}
    await register(api, "Validating", server.hook("/deny", rules=ALWAYS))
    await register(api, "Mutating", server.hook("/change", rules=ALWAYS))
    for kind in ("Validating", "Mutating"):
        path = await register(api, kind, server.hook(rules=[rule("nothing")]), name="judged")
        assert "labels" not in (await api.get(path))["metadata"]
        await api.delete(path)
    assert server.asked == []


async def test_what_cannot_be_asked_denies_unless_it_may_be_ignored(api: Client, server: AdmissionServer) -> None:
    unknown = server.client(caBundle=None)
    await register(api, "Validating", server.hook(clientConfig=unknown))
    failed = await api.create(MAPS, {"metadata": {"name": "a"}}, expect=500)
    assert 'failed calling webhook "hook.example.com"' in failed["message"]
    ignored = server.hook(clientConfig=unknown, failurePolicy="Ignore")
    await api.patch(f"{VALIDATING}/validating", {"webhooks": [ignored]})
    await api.memory.core.cache.catch_up()
    await api.create(MAPS, {"metadata": {"name": "a"}})
