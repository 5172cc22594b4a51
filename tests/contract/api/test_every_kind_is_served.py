"""What clients may expect of every kind: each verb, each form of an answer, the same rules for all."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from orch_api import wire

TABLE = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
PARTIAL = {"accept": "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"}
PARTIAL_LIST = {"accept": "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"}
PROTOBUF = "application/vnd.kubernetes.protobuf"
MERGE = {"content_type": "application/merge-patch+json"}
JSON_PATCH = {"content_type": "application/json-patch+json"}
STRATEGIC = {"content_type": "application/strategic-merge-patch+json"}
APPLY = {"content_type": "application/apply-patch+yaml"}
LABELS = {"metadata": {"labels": {"changed": "yes"}}}


def without_version(document: dict[str, Any]) -> dict[str, Any]:
    metadata = {
        name: value for name, value in document["metadata"].items() if name not in {"resourceVersion", "managedFields"}
    }
    return {**document, "metadata": metadata}


async def test_what_is_created_is_read_back(kind: Any) -> None:
    made = await kind.make()
    assert (made["apiVersion"], made["kind"]) == (kind.resource.api_version, kind.resource.kind)
    for field in ("uid", "creationTimestamp", "resourceVersion"):
        assert made["metadata"][field]
    assert made["metadata"]["managedFields"]
    # Typed clients take a status, and the numbers that it must have, for granted.
    assert "status" in made or "status" not in kind.resource.subresources
    read = await kind.http("GET", kind.at(made))
    assert read.json == made
    again = await kind.http("POST", kind.path, kind.sample())
    assert (again.status, again.json["reason"]) == (409, "AlreadyExists")


async def test_lists_hold_it_in_every_form(kind: Any) -> None:
    made = await kind.make()
    name = made["metadata"]["name"]
    for path in {kind.path, kind.everywhere}:
        listed = (await kind.http("GET", path)).json
        assert (listed["kind"], listed["apiVersion"]) == (f"{kind.resource.kind}List", kind.resource.api_version)
        assert made in listed["items"]
        assert listed["metadata"]["resourceVersion"]
    chosen = (await kind.http("GET", f"{kind.path}?fieldSelector=metadata.name={name}")).json
    assert chosen["items"] == [made]
    assert not (await kind.http("GET", f"{kind.path}?labelSelector=no=such")).json["items"]
    table = (await kind.http("GET", f"{kind.path}?fieldSelector=metadata.name={name}", **TABLE)).json
    (row,) = table["rows"]
    assert len(row["cells"]) == len(table["columnDefinitions"])
    assert table["columnDefinitions"][0]["name"] == "Name" or kind.resource.kind == "Event"
    assert row["object"]["metadata"]["name"] == name
    partial = (await kind.http("GET", f"{kind.path}?fieldSelector=metadata.name={name}", **PARTIAL_LIST)).json
    assert partial["kind"] == "PartialObjectMetadataList"
    assert [one["metadata"] for one in partial["items"]] == [made["metadata"]]
    alone = (await kind.http("GET", kind.at(made), **PARTIAL)).json
    assert alone == {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": made["metadata"]}
    everything = await kind.http("GET", kind.path, accept="application/yaml")
    assert everything.status == 200


async def test_protobuf_says_the_same_as_json(kind: Any) -> None:
    made = await kind.make()
    read = await kind.http("GET", kind.at(made), accept=PROTOBUF)
    assert read.headers["content-type"] == PROTOBUF
    body = wire.json_of(read.body)
    assert await _same_after_reading(kind, body, made)
    listed = await kind.http("GET", kind.path, accept=PROTOBUF)
    assert listed.body.startswith(b"k8s\x00")
    await kind.http("DELETE", f"{kind.at(made)}?gracePeriodSeconds=0")
    sent = kind.sample()
    again = await kind.http("POST", kind.path, wire.message_of(json.dumps(sent).encode()), content_type=PROTOBUF)
    assert again.status in {201, 409}, again.body


async def _same_after_reading(kind: Any, body: bytes, made: dict[str, Any]) -> bool:
    """Return whether the JSON that a protobuf answer stands for is the object: an update with it changes nothing."""
    updated = await kind.http("PUT", f"{kind.at(made)}?dryRun=All", body)
    assert updated.status == 200, updated.body
    return without_version(updated.json) == without_version(made)


async def test_updates_count_versions_and_refuse_old_ones(kind: Any) -> None:
    made = await kind.make()
    same = await kind.http("PUT", kind.at(made), made)
    assert same.status == 200, same.body
    assert same.json == made, "an update that changes nothing is none"
    labels = {**made["metadata"]["labels"], "changed": "yes"}
    changed = {**made, "metadata": {**made["metadata"], "labels": labels}}
    updated = await kind.http("PUT", kind.at(made), changed)
    assert updated.status == 200, updated.body
    assert updated.json["metadata"]["labels"]["changed"] == "yes"
    assert int(updated.json["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])
    if kind.resource.kind != "EndpointSlice":  # whose labels are part of what it says
        assert updated.json["metadata"].get("generation") == made["metadata"].get("generation")
    stale = await kind.http("PUT", kind.at(made), changed)
    assert (stale.status, stale.json["reason"]) == (409, "Conflict")
    missing = await kind.http("PUT", f"{kind.path}/nothing-here", kind.sample("nothing-here"))
    assert missing.status == (201 if kind.resource.storage.strategy.made_by_update else 404), missing.body
    misnamed = await kind.http("PUT", f"{kind.path}/another-name", made)
    assert misnamed.status == 400


async def test_every_kind_of_patch_is_taken(kind: Any) -> None:
    made = await kind.make()
    path = kind.at(made)
    for patch, headers in (
        (LABELS, MERGE),
        ({"metadata": {"labels": {"again": "yes"}}}, STRATEGIC),
        ([{"op": "add", "path": "/metadata/labels/third", "value": "yes"}], JSON_PATCH),
    ):
        patched = await kind.http("PATCH", path, patch, **headers)
        assert patched.status == 200, patched.body
    assert patched.json["metadata"]["labels"].keys() >= {"changed", "again", "third"}
    unknown = await kind.http("PATCH", path, LABELS, content_type="application/json")
    assert (unknown.status, unknown.json["reason"]) == (415, "UnsupportedMediaType")


async def test_configurations_are_applied(kind: Any) -> None:
    sample = kind.sample()
    path = f"{kind.path}/{sample['metadata']['name']}?fieldManager=contract"
    made = await kind.http("PATCH", path, sample, **APPLY)
    assert made.status == 201, made.body
    again = await kind.http("PATCH", path, sample, **APPLY)
    assert (again.status, again.json) == (200, made.json)
    labels = {**sample["metadata"]["labels"], "changed": "yes"}
    labelled = {**sample, "metadata": {**sample["metadata"], "labels": labels}}
    changed = await kind.http("PATCH", path, labelled, **APPLY)
    assert changed.json["metadata"]["labels"]["changed"] == "yes"
    back = await kind.http("PATCH", path, sample, **APPLY)
    assert "changed" not in back.json["metadata"].get("labels", {})


async def test_a_dry_run_stores_nothing(kind: Any) -> None:
    tried = await kind.http("POST", f"{kind.path}?dryRun=All", kind.sample())
    assert tried.status == 201, tried.body
    name = tried.json["metadata"]["name"]
    assert (await kind.http("GET", f"{kind.path}/{name}")).status == 404
    made = await kind.make()
    await kind.http("PATCH", f"{kind.at(made)}?dryRun=All", LABELS, **MERGE)
    await kind.http("DELETE", f"{kind.at(made)}?dryRun=All")
    assert (await kind.http("GET", kind.at(made))).json == made


async def test_unknown_fields_are_pointed_out_or_refused(kind: Any) -> None:
    wrong = {**kind.sample(), "noSuchField": 1}
    strict = await kind.http("POST", f"{kind.path}?fieldValidation=Strict", wrong)
    assert strict.status == 400
    assert 'strict decoding error: unknown field "noSuchField"' in strict.json["message"]
    warned = await kind.http("POST", f"{kind.path}?fieldValidation=Warn&dryRun=All", wrong)
    assert warned.status == 201
    assert 'unknown field \\"noSuchField\\"' in warned.headers["warning"]
    mistyped = await kind.http("POST", kind.path, {**kind.sample(), "metadata": {"name": 5}})
    assert mistyped.status == 400
    assert "json: cannot unmarshal number into Go struct field" in mistyped.json["message"]


async def test_names_may_be_generated(kind: Any) -> None:
    sample = kind.sample()
    sample["metadata"] = {**sample["metadata"], "generateName": "made-"}
    del sample["metadata"]["name"]
    made = await kind.http("POST", kind.path, sample)
    if made.status == 422:  # kinds whose names say what they are
        assert "metadata.name" in made.json["message"]
        return
    assert made.status == 201, made.body
    assert made.json["metadata"]["name"].startswith("made-")


async def test_deletion_ends_it_and_finalizers_hold_it(kind: Any) -> None:
    sample = kind.sample()
    sample["metadata"]["finalizers"] = ["example.com/hold"]
    made = await kind.http("POST", kind.path, sample)
    assert made.status == 201, made.body
    path = kind.at(made.json)
    wrong = await kind.http("DELETE", path, {"preconditions": {"uid": "of-another"}})
    assert (wrong.status, wrong.json["reason"]) == (409, "Conflict")
    marked = await kind.http("DELETE", path, {"propagationPolicy": "Background", "gracePeriodSeconds": 0})
    assert marked.status == 200, marked.body
    assert marked.json["metadata"]["deletionTimestamp"]
    released = await kind.http("PATCH", path, {"metadata": {"finalizers": None}}, **MERGE)
    assert released.status == 200, released.body
    gone = await kind.http("GET", path)
    if kind.resource.kind == "Namespace":
        assert gone.json["status"]["phase"] == "Terminating"
        return
    assert (gone.status, gone.json["reason"]) == (404, "NotFound")


async def test_collections_are_deleted_by_selector(kind: Any) -> None:
    if "deletecollection" not in kind.resource.verbs:
        assert (await kind.http("DELETE", kind.path)).status == 405
        return
    sample = kind.sample()
    sample["metadata"]["labels"]["take"] = "me"
    made = await kind.http("POST", kind.path, sample)
    body = {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}
    none = await kind.http("DELETE", f"{kind.path}?labelSelector=take=you", body)
    assert none.json["items"] == []
    gone = await kind.http("DELETE", f"{kind.path}?labelSelector=take=me", body)
    assert [one["metadata"]["name"] for one in gone.json["items"]] == [made.json["metadata"]["name"]]
    if kind.resource.kind != "CustomResourceDefinition":  # which waits for the objects that it defines
        assert (await kind.http("GET", kind.at(made.json))).status == 404


async def test_watches_tell_of_its_life(kind: Any, eventually: Any) -> None:
    version = (await kind.http("GET", kind.path)).json["metadata"]["resourceVersion"]
    answer, watching, leave = kind.http.begin("GET", f"{kind.path}?watch=true&resourceVersion={version}")
    metadata, partial_watch, leave_partial = kind.http.begin(
        "GET", f"{kind.path}?watch=true&resourceVersion={version}", **PARTIAL
    )
    made = await kind.make()
    await kind.http("PATCH", kind.at(made), LABELS, **MERGE)
    await kind.http("DELETE", kind.at(made), {"gracePeriodSeconds": 0, "propagationPolicy": "Background"})
    own = made["metadata"]["name"]

    def seen(found: Any) -> list[str]:
        return [event["type"] for event in found.events if event["object"]["metadata"].get("name") == own]

    last = "MODIFIED" if kind.resource.kind == "Namespace" else "DELETED"
    expected = list(dict.fromkeys(("ADDED", "MODIFIED", last)))
    for found in (answer, metadata):
        await eventually(lambda found=found: list(dict.fromkeys(seen(found))) == expected)
    assert all(event["object"]["apiVersion"] == kind.resource.api_version for event in answer.events)
    assert all(event["object"]["kind"] == "PartialObjectMetadata" for event in metadata.events)
    leave.set()
    leave_partial.set()
    await asyncio.gather(watching, partial_watch)


async def test_the_status_is_written_apart(kind: Any) -> None:
    if "status" not in kind.resource.subresources:
        made = await kind.make()
        assert (await kind.http("GET", f"{kind.at(made)}/status")).status == 404
        return
    made = await kind.make()
    path = f"{kind.at(made)}/status"
    read = await kind.http("GET", path)
    assert read.json == made
    labelled = {**made, "metadata": {**made["metadata"], "annotations": {"by": "status"}}}
    written = await kind.http("PUT", path, labelled)
    assert written.status == 200, written.body
    assert written.json.get("spec") == made.get("spec")
    assert written.json["metadata"].get("generation") == made["metadata"].get("generation")


async def test_the_scale_is_read_and_written(kind: Any) -> None:
    if "scale" not in kind.resource.subresources:
        return
    made = await kind.make()
    path = f"{kind.at(made)}/scale"
    read = (await kind.http("GET", path)).json
    assert (read["kind"], read["apiVersion"]) == ("Scale", "autoscaling/v1")
    read["spec"]["replicas"] = 7
    written = await kind.http("PUT", path, read)
    assert written.json["spec"]["replicas"] == 7
    assert (await kind.http("GET", kind.at(made))).json["spec"]["replicas"] == 7
    applied = {"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": {"replicas": 3}}
    scaled = await kind.http("PATCH", f"{path}?fieldManager=me&force=true", applied, **APPLY)
    assert scaled.json["spec"]["replicas"] == 3


async def test_a_page_at_a_time(kind: Any) -> None:
    sample = kind.sample()
    own = sample["metadata"]["name"]
    for name in (own, f"{own}-2", f"{own}-3"):
        made = await kind.http("POST", kind.path, {**sample, "metadata": {"name": name}})
        if made.status == 422:  # a kind whose names or claims are not free to choose
            return
    names: list[str] = []
    token = ""
    while True:
        page = (await kind.http("GET", f"{kind.path}?limit=1&continue={token}")).json
        names += [item["metadata"]["name"] for item in page["items"]]
        token = page["metadata"].get("continue", "")
        if not token:
            break
    everything = (await kind.http("GET", kind.path)).json
    assert names == [item["metadata"]["name"] for item in everything["items"]]
