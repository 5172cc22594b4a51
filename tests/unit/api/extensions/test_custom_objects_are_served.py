"""Objects of a user-defined kind, from the definition to its end, over HTTP."""

import asyncio
import json
from typing import Any

import pytest
from definitions import DEFINITIONS, GROUP, Extended, custom, definition, version

APPLY = {"content_type": "application/apply-patch+yaml"}
MERGE = {"content_type": "application/merge-patch+json"}
TABLE = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
FIELDS: dict[str, Any] = {
    "schedule": {"type": "string"},
    "image": {"type": "string", "default": "busybox"},
    "replicas": {"type": "integer", "minimum": 0, "default": 1},
    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    "port": {"x-kubernetes-int-or-string": True},
    "note": {"type": "string", "nullable": True},
    "parts": {
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
        "items": {
            "type": "object",
            "required": ["name"],
            "properties": {"name": {"type": "string"}, "size": {"type": "integer", "default": 7}},
        },
    },
}


def usual(**more: Any) -> dict[str, Any]:
    found = version(properties=FIELDS, subresources={"status": {}}, **more)
    status = {
        "replicas": {"type": "integer"},
        "selector": {"type": "string"},
        "phase": {"type": "string", "default": "New"},
    }
    found["schema"]["openAPIV3Schema"]["properties"]["status"] = {"type": "object", "properties": status}
    return found


@pytest.fixture
async def crons(api: Extended) -> Extended:
    await api.define(definition(usual()))
    return api


async def test_a_definition_is_established_and_served(api: Extended) -> None:
    assert (await api.http("GET", api.path())).status == 404
    made = await api.define(definition(usual()))
    assert made["status"]["acceptedNames"] == {
        "kind": "CronTab",
        "listKind": "CronTabList",
        "plural": "crontabs",
        "singular": "crontab",
    }
    conditions = {one["type"]: (one["status"], one["reason"]) for one in made["status"]["conditions"]}
    assert conditions == {"NamesAccepted": ("True", "NoConflicts"), "Established": ("True", "InitialNamesAccepted")}
    assert made["status"]["storedVersions"] == ["v1"]
    listed = await api.http("GET", api.path())
    assert (listed.status, listed.json["kind"], listed.json["items"]) == (200, "CronTabList", [])


async def test_unknown_fields_are_pruned_and_defaults_filled_in(crons: Extended) -> None:
    spec = {
        "free": {"any": {"thing": [1]}},
        "port": "http",
        "note": None,
        "image": None,
        "junk": 1,
        "parts": [{"name": "a"}],
    }
    answer = await crons.create(custom("a", spec, other=1))
    made = answer.json
    assert made["spec"] == {
        "free": {"any": {"thing": [1]}},
        "port": "http",
        "note": None,
        "image": "busybox",
        "replicas": 1,
        "parts": [{"name": "a", "size": 7}],
    }
    assert "other" not in made
    assert "status" not in made
    assert made["metadata"]["generation"] == 1
    assert 'unknown field \\"spec.junk\\"' in answer.headers["warning"]
    read = await crons.http("GET", crons.path("a"))
    assert read.json == made


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (custom("a", {"junk": 1}), 'unknown field "spec.junk"'),
        (custom("a", {"parts": [{"name": "x", "junk": 1}]}), 'unknown field "spec.parts[0].junk"'),
        ({**custom("a", {}), "metadata": {"name": "a", "junk": 1}}, 'unknown field "metadata.junk"'),
        (
            json.dumps(custom("a", {"image": "x"})).replace('"image": "x"', '"image": "x", "image": "y"').encode(),
            'duplicate field "spec.image"',
        ),
    ],
)
async def test_strict_writes_refuse_what_others_drop(crons: Extended, body: Any, problem: str) -> None:
    answer = await crons.http("POST", f"{crons.path()}?fieldValidation=Strict", body)
    assert answer.status == 400
    assert answer.json["message"] == (
        f'CronTab in version "v1" cannot be handled as a CronTab: strict decoding error: {problem}'
    )
    dropped = await crons.http("POST", f"{crons.path()}?fieldValidation=Ignore", body)
    assert (dropped.status, "warning" in dropped.headers) == (201, False)


async def test_metadata_is_typed(crons: Extended) -> None:
    wrong = {**custom("a", {}), "metadata": {"name": "a", "labels": {"x": 1}}}
    answer = await crons.create(wrong)
    assert answer.status == 400
    assert (
        "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string"
        in (answer.json["message"])
    )
    assert (await crons.http("POST", crons.path(), b"{nope")).status == 400


async def test_refusals_name_the_kind_and_all_fields(crons: Extended) -> None:
    message = await crons.message(custom("a", {"schedule": 1, "replicas": -1}))
    assert message == (
        'CronTab.stable.example.com "a" is invalid: [spec.schedule: Invalid value: "integer": spec.schedule in body '
        'must be of type string: "integer", spec.replicas: Invalid value: -1: spec.replicas in body should be greater '
        "than or equal to 0]"
    )


async def test_generation_counts_what_is_asked_for(crons: Extended) -> None:
    made = await crons.made(custom("a", {}))
    labelled = await crons.http("PATCH", crons.path("a"), {"metadata": {"labels": {"a": "b"}}}, **MERGE)
    assert labelled.json["metadata"]["generation"] == 1
    changed = await crons.http("PATCH", crons.path("a"), {"spec": {"replicas": 2}, "status": {"replicas": 9}}, **MERGE)
    assert changed.json["metadata"]["generation"] == 2
    assert "status" not in changed.json
    assert changed.json["metadata"]["uid"] == made["metadata"]["uid"]


async def test_the_status_is_written_apart(crons: Extended) -> None:
    await crons.made(custom("a", {}))
    patch = {"metadata": {"labels": {"x": "y"}}, "spec": {"replicas": 5}, "status": {"replicas": 3, "junk": 1}}
    written = (await crons.http("PATCH", f"{crons.path('a')}/status", patch, **MERGE)).json
    assert written["status"] == {"replicas": 3, "phase": "New"}
    assert written["spec"]["replicas"] == 1
    assert "labels" not in written["metadata"]
    assert written["metadata"]["generation"] == 1
    wrong = await crons.http("PATCH", f"{crons.path('a')}/status", {"status": {"replicas": "x"}}, **MERGE)
    assert wrong.status == 422


async def test_without_a_status_subresource_there_is_none(api: Extended) -> None:
    await api.define(definition(version(properties=FIELDS)))
    document = {**custom("a", {}), "status": {}}
    assert (await api.create(document)).json["status"] == {}
    assert (await api.http("GET", f"{api.path('a')}/status")).status == 404


async def test_the_scale_by_paths(api: Extended) -> None:
    scale = {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    scaled = usual()
    scaled["subresources"]["scale"] = scale
    await api.define(definition(scaled))
    await api.made(custom("a", {"replicas": 2}))
    status = {"status": {"replicas": 1, "selector": "app=a"}}
    await api.http("PATCH", f"{api.path('a')}/status", status, **MERGE)
    read = (await api.http("GET", f"{api.path('a')}/scale")).json
    assert (read["kind"], read["spec"], read["status"]) == (
        "Scale",
        {"replicas": 2},
        {"replicas": 1, "selector": "app=a"},
    )
    read["spec"]["replicas"] = 4
    assert (await api.http("PUT", f"{api.path('a')}/scale", read)).json["spec"] == {"replicas": 4}
    assert (await api.http("GET", api.path("a"))).json["spec"]["replicas"] == 4
    read["spec"]["replicas"] = -1
    read["metadata"].pop("resourceVersion")
    assert (await api.http("PUT", f"{api.path('a')}/scale", read)).status == 422


async def test_columns_are_read_by_paths(api: Extended) -> None:
    columns = [
        {"name": "Schedule", "type": "string", "jsonPath": ".spec.schedule", "description": "when"},
        {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas", "priority": 1},
        {"name": "First", "type": "string", "jsonPath": ".spec.parts[0].name"},
        {"name": "Sized", "type": "string", "jsonPath": '.spec.parts[?(@.name=="b")].size'},
        {"name": "Parts", "type": "string", "jsonPath": ".spec.free"},
        {"name": "Wrong", "type": "integer", "jsonPath": ".spec.schedule"},
        {"name": "Since", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]
    await api.define(definition(usual(additionalPrinterColumns=columns)))
    spec = {"schedule": "* *", "parts": [{"name": "a"}, {"name": "b", "size": 9}], "free": {"x": [1]}}
    await api.made(custom("a", spec))
    table = (await api.http("GET", api.path(), **TABLE)).json
    assert [(one["name"], one["type"], one["priority"]) for one in table["columnDefinitions"]] == [
        ("Name", "string", 0),
        *((one["name"], one["type"], one.get("priority", 0)) for one in columns),
    ]
    assert table["rows"][0]["cells"] == ["a", "* *", 1, "a", "9", '{"x":[1]}', None, "0s"]


async def test_by_default_the_age_is_shown(crons: Extended) -> None:
    await crons.made(custom("a", {}))
    table = (await crons.http("GET", crons.path("a"), **TABLE)).json
    assert [one["name"] for one in table["columnDefinitions"]] == ["Name", "Age"]


async def test_fields_that_selectors_may_name(api: Extended) -> None:
    fields = [{"jsonPath": ".spec.image"}, {"jsonPath": ".spec.replicas"}]
    await api.define(definition(usual(selectableFields=fields)))
    for name, image, replicas in (("a", "x", 1), ("b", "y", 2), ("c", "x", 3)):
        await api.made(custom(name, {"image": image, "replicas": replicas}))

    async def chosen(selector: str) -> list[str]:
        listed = (await api.http("GET", f"{api.path()}?fieldSelector={selector}")).json
        return [one["metadata"]["name"] for one in listed["items"]]

    assert await chosen("spec.image=x") == ["a", "c"]
    assert await chosen("spec.image=x,spec.replicas!=1") == ["c"]
    refused = await api.http("GET", f"{api.path()}?fieldSelector=spec.schedule=x")
    assert refused.status == 400
    assert "field label not supported: spec.schedule" in refused.json["message"]


async def test_configurations_are_merged_by_the_schema(crons: Extended) -> None:
    one = custom("a", {"parts": [{"name": "a", "size": 1}]})
    two = custom("a", {"parts": [{"name": "b", "size": 2}]})
    await crons.http("PATCH", f"{crons.path('a')}?fieldManager=one", one, **APPLY)
    merged = (await crons.http("PATCH", f"{crons.path('a')}?fieldManager=two", two, **APPLY)).json
    assert {part["name"]: part["size"] for part in merged["spec"]["parts"]} == {"a": 1, "b": 2}
    conflict = await crons.http(
        "PATCH", f"{crons.path('a')}?fieldManager=two", custom("a", {"parts": [{"name": "a", "size": 5}]}), **APPLY
    )
    assert conflict.status == 409
    assert '.spec.parts[name="a"].size' in conflict.json["message"]
    gone = (await crons.http("PATCH", f"{crons.path('a')}?fieldManager=two", custom("a", {}), **APPLY)).json
    assert gone["spec"]["parts"] == [{"name": "a", "size": 1}]


async def test_rules_refuse_writes(api: Extended) -> None:
    ruled = usual()
    ruled["schema"]["openAPIV3Schema"]["properties"]["spec"]["x-kubernetes-validations"] = [
        {"rule": "self.replicas <= 5 || self.image != 'busybox'", "message": "too many"},
        {"rule": "self.schedule == oldSelf.schedule", "message": "schedules are for ever"},
    ]
    await api.define(definition(ruled))
    assert await api.message(custom("a", {"schedule": "x", "replicas": 6})) == (
        'CronTab.stable.example.com "a" is invalid: spec: Invalid value: too many'
    )
    await api.made(custom("a", {"schedule": "x"}))
    refused = await api.http("PATCH", api.path("a"), {"spec": {"schedule": "y"}}, **MERGE)
    assert (refused.status, "schedules are for ever" in refused.json["message"]) == (422, True)


async def test_a_rule_that_cannot_be_compiled_refuses_the_definition(api: Extended) -> None:
    ruled = usual()
    ruled["schema"]["openAPIV3Schema"]["properties"]["spec"]["x-kubernetes-validations"] = [{"rule": "self.nope == 1"}]
    message = await api.refused(definition(ruled))
    where = "spec.versions[0].schema.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule"
    assert f"{where}: Invalid value:" in message
    assert "compilation failed: ERROR: <input>:1:5: undefined field 'nope'" in message


async def test_watches_follow(crons: Extended) -> None:
    answer, watching, leave = crons.http.begin("GET", f"{crons.path()}?watch=true")
    await crons.made(custom("a", {}))
    await crons.http("DELETE", crons.path("a"))
    async with asyncio.timeout(10):
        while len(answer.events) < 2:  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)
    assert [event["type"] for event in answer.events] == ["ADDED", "DELETED"]
    leave.set()
    await watching


async def test_a_changed_definition_is_followed(crons: Extended) -> None:
    await crons.made(custom("old", {}))
    name = f"crontabs.{GROUP}"
    changed = definition(usual())
    spec = changed["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["properties"]["colour"] = {"type": "string", "default": "red"}
    del spec["properties"]["image"]
    updated = await crons.http("PATCH", f"{DEFINITIONS}/{name}", {"spec": changed["spec"]}, **MERGE)
    assert updated.json["metadata"]["generation"] == 2
    async with asyncio.timeout(10):
        while True:
            read = (await crons.http("GET", crons.path("old"))).json
            if "colour" in read["spec"]:
                break
            await asyncio.sleep(0.005)
    assert read["spec"] == {"colour": "red", "replicas": 1}
    listed = (await crons.http("GET", crons.path())).json
    assert listed["items"] == [read]


async def test_the_kind_goes_with_its_definition(crons: Extended) -> None:
    held = custom("held", {})
    held["metadata"]["finalizers"] = ["example.com/hold"]
    await crons.made(held)
    await crons.made(custom("free", {}))
    name = f"crontabs.{GROUP}"
    marked = (await crons.http("DELETE", f"{DEFINITIONS}/{name}")).json
    assert marked["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
    await crons.until(name, "Terminating")
    async with asyncio.timeout(10):
        while (await crons.http("GET", crons.path("free"))).status != 404:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    refused = await crons.create(custom("late", {}))
    assert refused.status == 405
    assert (await crons.http("GET", crons.path("held"))).json["metadata"]["deletionTimestamp"]
    await crons.http("PATCH", crons.path("held"), {"metadata": {"finalizers": None}}, **MERGE)
    await crons.gone(name)
    async with asyncio.timeout(10):
        while (await crons.http("GET", crons.path())).status != 404:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    again = await crons.define(definition(usual()))
    assert again["metadata"]["uid"] != marked["metadata"]["uid"]
    assert (await crons.http("GET", crons.path())).json["items"] == []


async def test_names_are_taken_once(crons: Extended) -> None:
    second = definition(usual(), kind="CronTab", plural="others")
    second["spec"]["names"]["shortNames"] = ["crontab"]
    made = await crons.http("POST", DEFINITIONS, second)
    assert made.status == 201
    found = await crons.until(f"others.{GROUP}", "NamesAccepted", "False")
    conditions = {one["type"]: one for one in found["status"]["conditions"]}
    assert conditions["NamesAccepted"]["reason"] == "ShortNamesConflict"
    assert conditions["NamesAccepted"]["message"] == '"crontab" is already in use'
    assert conditions["Established"]["reason"] == "NotAccepted"
    assert (await crons.http("GET", crons.path(plural="others"))).status == 404
    await crons.http("DELETE", f"{DEFINITIONS}/crontabs.{GROUP}")
    await crons.until(f"others.{GROUP}", "Established")
    assert (await crons.http("GET", crons.path(plural="others"))).status == 200


async def test_finalizers_need_no_domain(crons: Extended) -> None:
    document = custom("a", {})
    document["metadata"]["finalizers"] = ["hold"]
    answer = await crons.create(document)
    assert answer.status == 201
    assert "prefer a domain-qualified finalizer name" in answer.headers["warning"]


async def test_cluster_scoped_kinds(api: Extended) -> None:
    await api.define(definition(usual(), scope="Cluster"))
    path = f"/apis/{GROUP}/v1/crontabs"
    made = await api.http("POST", path, custom("a", {}))
    assert made.status == 201
    assert "namespace" not in made.json["metadata"]
    assert (await api.http("GET", api.path())).status == 404


async def test_a_deprecated_version_warns(api: Extended) -> None:
    await api.define(definition(usual(deprecated=True)))
    answer = await api.create(custom("a", {}))
    assert f"{GROUP}/v1 CronTab is deprecated" in answer.headers["warning"]


async def test_strategic_patches_have_no_strategy_here(crons: Extended) -> None:
    await crons.made(custom("a", {}))
    strategic = {"content_type": "application/strategic-merge-patch+json"}
    refused = await crons.http("PATCH", crons.path("a"), {"spec": {"replicas": 2}}, **strategic)
    assert refused.status == 415
    assert refused.json["message"].endswith(
        "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml, "
        "application/apply-patch+cbor"
    )


async def test_resources_within_resources_have_metadata(api: Extended) -> None:
    within = {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True}
    listed = {"type": "array", "items": {**within, "x-kubernetes-preserve-unknown-fields": None}}
    listed["items"]["properties"] = {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    await api.define(definition(version(properties={"one": within, "many": listed})))
    inner = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "junk": 1}, "spec": {"any": 1}, "more": 1}
    made = await api.made(custom("a", {"one": inner, "many": [inner]}))
    kept = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"any": 1}}
    assert made["spec"] == {"one": {**kept, "more": 1}, "many": [kept]}
    wrong = await api.create(custom("b", {"one": {**inner, "metadata": {"labels": {"x": 1}}}}))
    assert wrong.status == 400
    assert await api.message(custom("b", {"one": {"kind": "Pod"}})) == (
        'CronTab.stable.example.com "b" is invalid: spec.one.apiVersion: Required value: must not be empty'
    )
