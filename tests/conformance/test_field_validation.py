"""Unknown and repeated fields (sig-api-machinery: FieldValidation)."""

from __future__ import annotations

from typing import Any

from definitions import GROUP, custom, definition, version
from expecting_client import PATCHES, Client

MAPS = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
TABS = f"/apis/{GROUP}/v1/namespaces/default/crontabs"
TYPED = """{
  "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "test-deployment", "labels": {"app": "a"}},
  "spec": {
    "unknown1": "val1", "unknownDupe": "valDupe", "unknownDupe": "valDupe2",
    "paused": true, "paused": false,
    "selector": {"matchLabels": {"app": "nginx"}},
    "template": {"metadata": {"labels": {"app": "nginx"}},
      "spec": {"containers": [{"name": "nginx", "image": "nginx:latest", "unknownNested": "val1",
        "imagePullPolicy": "Always", "imagePullPolicy": "Never"}]}}
  }
}"""
PLAIN = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "test-deployment", "labels": {"app": "a"}},
    "spec": {
        "selector": {"matchLabels": {"app": "nginx"}},
        "template": {
            "metadata": {"labels": {"app": "nginx"}},
            "spec": {"containers": [{"name": "nginx", "image": "nginx:latest"}]},
        },
    },
}
REPEATED = TYPED.replace('"unknown1": "val1", "unknownDupe": "valDupe", "unknownDupe": "valDupe2",', "").replace(
    '"unknownNested": "val1",', ""
)
PROBLEMS = (
    'unknown field "spec.template.spec.containers[0].unknownNested"',
    'duplicate field "spec.template.spec.containers[0].imagePullPolicy"',
    'unknown field "spec.unknown1"',
    'unknown field "spec.unknownDupe"',
    'duplicate field "spec.paused"',
)


def warned(answer: Any) -> str:
    return answer.headers.get("warning", "").replace('\\"', '"')


async def test_a_typed_document(api: Client) -> None:
    strict = await api("POST", f"{DEPLOYMENTS}?fieldValidation=Strict", TYPED.encode(), expect=400)
    assert "strict decoding error" in strict["message"]
    for problem in PROBLEMS:
        assert problem in strict["message"]
    answer = await api.http("POST", f"{DEPLOYMENTS}?fieldValidation=Warn&dryRun=All", TYPED.encode())
    assert answer.status == 201
    last = warned(answer)  # a header of several lines; the client of these tests keeps one
    assert any(problem in last for problem in PROBLEMS)
    silent = await api.http("POST", f"{DEPLOYMENTS}?fieldValidation=Ignore&dryRun=All", TYPED.encode())
    assert (silent.status, "warning" in silent.headers) == (201, False)
    odd = {"metadata": {"name": "odd", "unknownMeta": "x"}, "data": {"a": "b"}}
    strict = await api.create("/api/v1/namespaces/default/configmaps?fieldValidation=Strict", odd, expect=400)
    assert strict["message"].endswith('strict decoding error: unknown field "metadata.unknownMeta"')


async def test_a_typed_patch(api: Client) -> None:
    await api.create(DEPLOYMENTS, PLAIN)
    path = f"{DEPLOYMENTS}/test-deployment"
    body = b'{"spec": {"unknown1": "val1", "unknownDupe": "a", "unknownDupe": "b", "paused": true, "paused": false}}'
    strict = await api("PATCH", f"{path}?fieldValidation=Strict", body, content_type=PATCHES["merge"], expect=422)
    for problem in (
        'unknown field "spec.unknown1"',
        'duplicate field "spec.unknownDupe"',
        'duplicate field "spec.paused"',
    ):
        assert problem in strict["message"], strict["message"]
    relaxed = await api.http("PATCH", f"{path}?fieldValidation=Warn", body, content_type=PATCHES["merge"])
    assert relaxed.status == 200
    assert 'duplicate field "spec.paused"' in warned(relaxed) or "unknown field" in warned(relaxed)
    json_patch = (
        b'[{"op": "add", "path": "/spec/unknown1", "value": "v", "foo": "bar"},'
        b' {"op": "add", "path": "/spec/paused", "value": true, "value": false}]'
    )
    strict = await api("PATCH", f"{path}?fieldValidation=Strict", json_patch, content_type=PATCHES["json"], expect=422)
    assert 'json patch unknown field "[0].foo"' in strict["message"]
    assert 'json patch duplicate field "[1].value"' in strict["message"]
    assert 'unknown field "spec.unknown1"' in strict["message"]


async def test_an_applied_configuration(api: Client) -> None:
    body = REPEATED.encode()
    path = f"{DEPLOYMENTS}/test-deployment?fieldManager=me"
    strict = await api("PATCH", f"{path}&fieldValidation=Strict", body, content_type=PATCHES["apply"], expect=400)
    assert 'key "paused" already set in map' in strict["message"]
    assert 'key "imagePullPolicy" already set in map' in strict["message"]
    unknown = {**PLAIN, "spec": {**PLAIN["spec"], "unknown1": "v"}}
    refused = await api("PATCH", path, unknown, content_type=PATCHES["apply"], expect=500)
    assert ".spec.unknown1: field not declared in schema" in refused["message"]


async def test_a_document_in_yaml(api: Client) -> None:
    body = (
        b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  name: yaml\n"
        b"data:\n  one: '1'\n  one: '2'\nunknown: 1\n"
    )
    lines = ('line 5: key "name" already set in map', 'line 8: key "one" already set in map')
    for method, path in (("POST", MAPS), ("PUT", f"{MAPS}/yaml")):
        strict = await api(method, f"{path}?fieldValidation=Strict", body, content_type="application/yaml", expect=400)
        assert strict["message"] == (
            'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: yaml: unmarshal '
            f'errors:\n  {lines[0]}\n  {lines[1]}, unknown field "unknown"'
        )
        answer = await api.http(method, f"{path}?fieldValidation=Warn", body, content_type="application/yaml")
        assert (answer.status, answer.json["data"]) == (201 if method == "POST" else 200, {"one": "2"})
        assert any(told in warned(answer) for told in (*lines, 'unknown field "unknown"'))
        ignoring = f"{path}?fieldValidation=Ignore&dryRun=All"
        assert "warning" not in (await api.http(method, ignoring, body, content_type="application/yaml")).headers
    path = f"{MAPS}/yaml?fieldManager=me"
    applied = await api.http(
        "PATCH",
        path,
        b"apiVersion: v1\nkind: ConfigMap\nmetadata: {}\ndata: {b: x, b: y}\n",
        content_type=PATCHES["apply"],
    )
    assert (applied.status, warned(applied)) == (200, '299 - "line 4: key "b" already set in map"')


async def test_an_object_of_ones_own(api: Client) -> None:
    port = {"type": "object", "properties": {"port": {"type": "integer"}}}
    await api.define(definition(version(properties={"cron": {"type": "string"}, "ports": port})))
    body = (
        b'{"apiVersion": "%s/v1", "kind": "CronTab", "metadata": {"name": "a", "unknownMeta": "x"}, '
        b'"spec": {"cron": "a", "cron": "b", "extra": 1, "ports": {"port": 1, "hostPort": 2}}}' % GROUP.encode()
    )
    strict = await api("POST", f"{TABS}?fieldValidation=Strict", body, expect=400)
    for problem in (
        'duplicate field "spec.cron"',
        'unknown field "metadata.unknownMeta"',
        'unknown field "spec.extra"',
        'unknown field "spec.ports.hostPort"',
    ):
        assert problem in strict["message"]
    made = await api.create(f"{TABS}?fieldValidation=Ignore", custom("b", {"cron": "c", "extra": 1}))
    assert made["spec"] == {"cron": "c"}
    applied = await api.http(
        "PATCH",
        f"{TABS}/b?fieldManager=m&fieldValidation=Strict",
        custom("b", {"cron": "c", "extra": 1}),
        content_type=PATCHES["apply"],
    )
    assert applied.status in {400, 500}
    assert ".spec.extra: field not declared in schema" in applied.json["message"]


async def test_repeated_fields_where_anything_may_be(api: Client) -> None:
    made = version()
    made["schema"] = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    await api.define(definition(made))
    body = b'{"apiVersion": "%s/v1", "kind": "CronTab", "metadata": {"name": "a"}, "knownField": 1, "knownField": 2}'
    strict = await api("POST", f"{TABS}?fieldValidation=Strict", body % GROUP.encode(), expect=400)
    assert 'duplicate field "knownField"' in strict["message"]
    applied = (
        b"\napiVersion: %s/v1\nkind: CronTab\nmetadata:\n  name: c\nspec:\n  unknown: uk1\n  foo: foo1\n  foo: foo2\n"
    )
    where = f"{TABS}/c?fieldManager=m&fieldValidation=Strict"
    refused = await api("PATCH", where, applied % GROUP.encode(), expect=400, content_type=PATCHES["apply"])
    assert 'line 9: key "foo" already set in map' in refused["message"]
    await api.apply(f"{TABS}/d?fieldValidation=Strict", custom("d", {"unknown": "uk1"}), expect=201)
    free = custom("b", {"anything": {"goes": [1]}})
    assert (await api.create(f"{TABS}?fieldValidation=Strict", free))["spec"] == free["spec"]


async def test_unknown_metadata_of_embedded_objects(api: Client) -> None:
    embedded = {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True}
    await api.define(definition(version(properties={"template": embedded})))
    inner = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "n", "unknownEmbedded": "x"}}
    strict = await api.create(f"{TABS}?fieldValidation=Strict", custom("a", {"template": inner}), expect=400)
    assert 'unknown field "spec.template.metadata.unknownEmbedded"' in strict["message"]
    for document, field in (
        (custom("a", {"template": inner}), ".spec.template.metadata.unknownEmbedded"),
        ({**custom("a", {}), "metadata": {"name": "a", "unknownMeta": "x"}}, ".metadata.unknownMeta"),
    ):
        where = f"{TABS}/a?fieldManager=m&fieldValidation=Strict"
        refused = await api.http("PATCH", where, document, content_type=PATCHES["apply"])
        assert f"{field}: field not declared in schema" in refused.json["message"]


async def test_unknown_fields_beside_those_of_a_schema(api: Client) -> None:
    """Where they are to be preserved they may be created and applied, and are owned like others."""
    properties = {"cron": {"type": "string"}}
    made = version()
    spec = {"type": "object", "properties": properties, "x-kubernetes-preserve-unknown-fields": True}
    made["schema"] = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
    await api.define(definition(made))
    body = custom("a", {"cron": "* *", "unknown": "uk1", "more": {"a": 1}})
    applied = await api.apply(f"{TABS}/a?fieldValidation=Strict", body, expect=201)
    assert applied["spec"] == body["spec"]
    await api.apply(f"{TABS}/a", custom("a", {"unknown": "uk2"}), "other", expect=409)
    owned = applied["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]
    assert owned == {"f:cron": {}, "f:unknown": {}, "f:more": {".": {}, "f:a": {}}}
    less = await api.apply(f"{TABS}/a", custom("a", {"cron": "* *", "more": {"b": 2}}))
    assert less["spec"] == {"cron": "* *", "more": {"b": 2}}
