"""Server-side apply and managedFields as clients see them."""

from __future__ import annotations

import json
from typing import Any

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
WEB = f"{DEPLOYMENTS}/web"
APPLY = {"content_type": "application/apply-patch+yaml"}
STRATEGIC = {"content_type": "application/strategic-merge-patch+json"}


def deployment(**spec: Any) -> dict[str, Any]:
    template = {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": "nginx:1"}]},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template, **spec},
    }


def entries(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(one["manager"], one["operation"]): one for one in document["metadata"].get("managedFields", ())}


async def test_a_creation_is_owned_by_who_made_it(http: Any) -> None:
    made = await http("POST", DEPLOYMENTS, deployment(replicas=2), user_agent="kubectl/v1.37.0 (linux)")
    assert made.status == 201
    (entry,) = made.json["metadata"]["managedFields"]
    assert (entry["manager"], entry["operation"], entry["apiVersion"]) == ("kubectl", "Update", "apps/v1")
    assert entry["fieldsType"] == "FieldsV1"
    fields = entry["fieldsV1"]
    assert fields["f:metadata"] == {"f:labels": {".": {}, "f:app": {}}}
    spec = fields["f:spec"]
    assert "." not in spec
    assert spec["f:replicas"] == {}
    assert spec["f:selector"] == {}, "a label selector is one value"
    assert spec["f:strategy"]["f:rollingUpdate"] == {".": {}, "f:maxSurge": {}, "f:maxUnavailable": {}}
    assert "." not in spec["f:strategy"]
    container = spec["f:template"]["f:spec"]["f:containers"]['k:{"name":"web"}']
    assert container["."] == container["f:image"] == container["f:resources"] == {}
    assert "f:status" not in fields


async def test_an_application_makes_what_is_not_there(http: Any) -> None:
    made = await http("PATCH", f"{WEB}?fieldManager=me", deployment(replicas=2), **APPLY)
    assert made.status == 201
    (entry,) = made.json["metadata"]["managedFields"]
    assert (entry["manager"], entry["operation"]) == ("me", "Apply")
    assert entry["fieldsV1"]["f:metadata"] == {"f:labels": {"f:app": {}}}
    containers = entry["fieldsV1"]["f:spec"]["f:template"]["f:spec"]["f:containers"]
    assert containers == {'k:{"name":"web"}': {".": {}, "f:image": {}, "f:name": {}}}
    again = await http("PATCH", f"{WEB}?fieldManager=me", deployment(replicas=2), **APPLY)
    assert again.status == 200
    assert again.json == made.json, "applying the same again changes nothing"


async def test_what_others_own_is_not_taken_without_force(http: Any) -> None:
    await http("PATCH", f"{WEB}?fieldManager=me", deployment(replicas=2), **APPLY)
    await http(
        "PATCH",
        f"{WEB}/scale?fieldManager=scaler",
        {"spec": {"replicas": 5}},
        content_type="application/merge-patch+json",
    )
    refused = await http("PATCH", f"{WEB}?fieldManager=me", deployment(replicas=3), **APPLY)
    assert refused.status == 409
    told = 'conflict with "scaler" with subresource "scale" using apps/v1'
    assert refused.json["message"] == f"Apply failed with 1 conflict: {told}: .spec.replicas"
    (cause,) = refused.json["details"]["causes"]
    assert cause == {"reason": "FieldManagerConflict", "message": told, "field": ".spec.replicas"}
    forced = await http("PATCH", f"{WEB}?fieldManager=me&force=true", deployment(replicas=3), **APPLY)
    assert forced.json["spec"]["replicas"] == 3
    assert ("scaler", "Update") not in entries(forced.json)


async def test_several_conflicts_are_listed_by_manager(http: Any) -> None:
    await http("PATCH", f"{WEB}?fieldManager=one", deployment(replicas=2, paused=True), **APPLY)
    other = deployment(replicas=3, paused=False)
    refused = await http("PATCH", f"{WEB}?fieldManager=two", other, **APPLY)
    assert refused.json["message"] == (
        'Apply failed with 2 conflicts: conflicts with "one":\n- .spec.paused\n- .spec.replicas'
    )


async def test_the_same_value_is_owned_by_both(http: Any) -> None:
    await http("PATCH", f"{WEB}?fieldManager=one", deployment(replicas=2), **APPLY)
    both = await http("PATCH", f"{WEB}?fieldManager=two", deployment(replicas=2), **APPLY)
    assert both.status == 200
    assert {("one", "Apply"), ("two", "Apply")} == entries(both.json).keys()
    left = await http("PATCH", f"{WEB}?fieldManager=one", deployment(), **APPLY)
    assert left.json["spec"]["replicas"] == 2, "the other still wants it"
    gone = await http("PATCH", f"{WEB}?fieldManager=two", deployment(), **APPLY)
    assert gone.json["spec"]["replicas"] == 1, "nobody wants it: the default comes back"


async def test_what_is_no_longer_applied_goes(http: Any) -> None:
    first = deployment()
    first["metadata"]["annotations"] = {"a": "1", "b": "2"}
    first["spec"]["template"]["spec"]["containers"].append({"name": "side", "image": "side:1"})
    await http("PATCH", f"{WEB}?fieldManager=me", first, **APPLY)
    await http("PATCH", WEB, {"metadata": {"annotations": {"mine": "x"}}}, **STRATEGIC)
    second = deployment()
    second["metadata"]["annotations"] = {"b": "2"}
    after = await http("PATCH", f"{WEB}?fieldManager=me", second, **APPLY)
    assert after.json["metadata"]["annotations"] == {"b": "2", "mine": "x"}
    assert [one["name"] for one in after.json["spec"]["template"]["spec"]["containers"]] == ["web"]


async def test_ports_are_told_apart_by_number_and_protocol(http: Any) -> None:
    first = deployment()
    first["spec"]["template"]["spec"]["containers"][0]["ports"] = [{"containerPort": 80}]
    await http("PATCH", f"{WEB}?fieldManager=one", first, **APPLY)
    second = deployment()
    second["spec"]["template"]["spec"]["containers"][0]["ports"] = [{"containerPort": 80, "protocol": "UDP"}]
    after = await http("PATCH", f"{WEB}?fieldManager=two", second, **APPLY)
    ports = after.json["spec"]["template"]["spec"]["containers"][0]["ports"]
    assert {(port["containerPort"], port["protocol"]) for port in ports} == {(80, "TCP"), (80, "UDP")}


async def test_bad_configurations_are_refused(http: Any) -> None:
    unmanaged = await http("PATCH", WEB, deployment(), **APPLY)
    assert unmanaged.status == 422
    assert unmanaged.json["message"] == (
        'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch'
    )
    unknown = await http("PATCH", f"{WEB}?fieldManager=me", deployment(replica=1), **APPLY)
    assert unknown.status == 500
    assert unknown.json["message"] == (
        "failed to create typed patch object (/web; apps/v1, Kind=Deployment): .spec.replica: "
        "field not declared in schema"
    )
    owned = deployment()
    owned["metadata"]["managedFields"] = [{"manager": "x"}]
    refused = await http("PATCH", f"{WEB}?fieldManager=me", owned, **APPLY)
    assert refused.json["message"] == "metadata.managedFields must be nil"
    gone = deployment()
    gone["metadata"]["uid"] = "of-another"
    refused = await http("PATCH", f"{WEB}?fieldManager=me", gone, **APPLY)
    assert refused.status == 409
    assert "uid mismatch" in refused.json["message"]
    forced = await http("PATCH", f"{WEB}?force=true", {}, **STRATEGIC)
    assert "may not be specified for non-apply patch" in forced.json["message"]
    status = await http("PATCH", f"{WEB}/status?fieldManager=me", deployment(), **APPLY)
    assert status.status == 404, "a subresource makes nothing"


async def test_yaml_is_what_the_content_type_says(http: Any) -> None:
    text = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: it}\ndata:\n  a: '1'\n"
    made = await http("PATCH", "/api/v1/namespaces/default/configmaps/it?fieldManager=me", text, **APPLY)
    assert made.status == 201
    assert made.json["data"] == {"a": "1"}
    bad = await http("PATCH", "/api/v1/namespaces/default/configmaps/it?fieldManager=me", b"{", **APPLY)
    assert bad.status == 400


async def test_the_status_belongs_to_its_own_manager(http: Any) -> None:
    await http("PATCH", f"{WEB}?fieldManager=me", {**deployment(), "status": {"replicas": 9}}, **APPLY)
    before = await http("GET", WEB)
    assert "status" not in before.json or not before.json["status"].get("replicas")
    status = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "status": {"observedGeneration": 1},
        "spec": {"replicas": 7},
    }
    after = await http("PATCH", f"{WEB}/status?fieldManager=controller", status, **APPLY)
    assert after.json["status"]["observedGeneration"] == 1
    assert after.json["spec"]["replicas"] == 1
    entry = entries(after.json)["controller", "Apply"]
    assert entry["subresource"] == "status"
    assert entry["fieldsV1"] == {"f:status": {"f:observedGeneration": {}}}


async def test_kubectl_takes_over_what_it_applied_from_the_client_side(http: Any) -> None:
    first = deployment(replicas=2)
    last = '{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"replicas":2}}'
    first["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": last}
    await http("POST", f"{DEPLOYMENTS}?fieldManager=kubectl-client-side-apply", first)
    refused = await http("PATCH", f"{WEB}?fieldManager=other", deployment(replicas=4), **APPLY)
    assert refused.status == 409
    taken = await http("PATCH", f"{WEB}?fieldManager=kubectl", deployment(replicas=4), **APPLY)
    assert taken.status == 200
    assert taken.json["spec"]["replicas"] == 4
    annotation = taken.json["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"]
    assert '"replicas":4' in annotation
    # Written as Go writes it, so that a second apply, from the client's side, finds what it would have written itself.
    assert annotation == json.dumps(deployment(replicas=4), sort_keys=True, separators=(",", ":")) + "\n"


async def test_the_note_of_what_was_applied_escapes_html_and_is_never_too_long(http: Any) -> None:
    name = "kubectl.kubernetes.io/last-applied-configuration"
    noted = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "noted", "annotations": {name: "{}"}}}
    await http("POST", "/api/v1/namespaces/default/configmaps", noted)
    one = "/api/v1/namespaces/default/configmaps/noted?fieldManager=kubectl&force=true"
    configuration = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "noted"}, "data": {"a": "<b> & c"}}
    applied = await http("PATCH", one, configuration, **APPLY)
    assert r'"data":{"a":"\u003cb\u003e \u0026 c"}' in applied.json["metadata"]["annotations"][name]
    applied = await http("PATCH", one, configuration | {"data": {"a": "x" * (256 << 10)}}, **APPLY)
    assert applied.status == 200
    assert name not in applied.json["metadata"].get("annotations", {})


async def test_entries_can_be_written_and_reset(http: Any) -> None:
    await http("POST", DEPLOYMENTS, deployment(), user_agent="maker/1")
    patch = [{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}]
    json_patch = {"content_type": "application/json-patch+json"}
    reset = await http("PATCH", WEB, patch, **json_patch)
    assert "managedFields" not in reset.json["metadata"]
    still = await http("PATCH", WEB, {"spec": {"replicas": 3}}, **STRATEGIC)
    assert "managedFields" not in still.json["metadata"], "what has no owners at all gets none by an update"
    applied = await http("PATCH", f"{WEB}?fieldManager=me", deployment(replicas=3), **APPLY)
    assert {("before-first-apply", "Update"), ("me", "Apply")} == entries(applied.json).keys()
    kept = entries(applied.json)["me", "Apply"]
    patch = [{"op": "replace", "path": "/metadata/managedFields", "value": [kept]}]
    written = await http("PATCH", WEB, patch, **json_patch)
    assert written.json["metadata"]["managedFields"] == [kept]


async def test_many_updaters_become_one(http: Any) -> None:
    await http("POST", DEPLOYMENTS, deployment(), user_agent="maker/1")
    for number in range(12):
        annotations = {f"from-{number}": "x"}
        after = await http(
            "PATCH", f"{WEB}?fieldManager=m{number}", {"metadata": {"annotations": annotations}}, **STRATEGIC
        )
    found = entries(after.json)
    assert len(found) == 10
    ancient = found["ancient-changes", "Update"]["fieldsV1"]
    assert {"f:from-0", "f:from-1"} <= ancient["f:metadata"]["f:annotations"].keys()


async def test_a_dry_run_changes_nothing(http: Any) -> None:
    made = await http("PATCH", f"{WEB}?fieldManager=me&dryRun=All", deployment(), **APPLY)
    assert made.status == 201
    assert (await http("GET", WEB)).status == 404
