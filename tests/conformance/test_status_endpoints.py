"""The status of every kind that has one (sig-apps, sig-node, sig-storage …: "should validate Status endpoints")."""

from __future__ import annotations

from typing import Any

import pytest
from expecting_client import PATCHES, Client, each_patch
from served_api import collection, sample_of

from orch_api.registry import REGISTRY, Resource

CONDITION = {
    "type": "StatusPatched",
    "status": "True",
    "reason": "E2E patch",
    "message": "Set by an e2e test",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}
NUMBERED = {**CONDITION, "reason": "E2EPatch", "observedGeneration": 1}

STATUS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    # by resource: what a first write sets, what a second one adds
    "pods": ({"message": "patched", "reason": "E2E"}, {"phase": "Running"}),
    "nodes": ({"conditions": [{**CONDITION, "lastHeartbeatTime": "2026-01-01T00:00:00Z"}]}, {"phase": "Running"}),
    "services": (
        {"conditions": [NUMBERED]},
        {"conditions": [NUMBERED, {**NUMBERED, "type": "StatusUpdated"}]},
    ),
    "namespaces": ({"conditions": [CONDITION]}, {"conditions": [CONDITION, {**CONDITION, "type": "StatusUpdated"}]}),
    "persistentvolumes": ({"phase": "Failed", "message": "m", "reason": "E2E"}, {"message": "updated"}),
    "persistentvolumeclaims": (
        {"phase": "Bound", "conditions": [CONDITION]},
        {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}},
    ),
    "replicationcontrollers": ({"readyReplicas": 0, "replicas": 1}, {"conditions": [CONDITION]}),
    "resourcequotas": ({"hard": {"pods": "3"}}, {"used": {"pods": "1"}}),
    "deployments.apps": ({"conditions": [CONDITION]}, {"observedGeneration": 1}),
    "replicasets.apps": ({"conditions": [CONDITION]}, {"replicas": 1}),
    "statefulsets.apps": ({"conditions": [CONDITION]}, {"replicas": 1}),
    "daemonsets.apps": ({"conditions": [CONDITION]}, {"desiredNumberScheduled": 1}),
    "jobs.batch": ({"conditions": [{**CONDITION, "type": "CustomConditionType"}]}, {"active": 1}),
    "cronjobs.batch": ({"lastScheduleTime": "2026-01-01T00:00:00Z"}, {"lastSuccessfulTime": "2026-01-01T00:00:00Z"}),
    "horizontalpodautoscalers.autoscaling": (
        {"currentReplicas": 1, "desiredReplicas": 2},
        {"observedGeneration": 1},
    ),
    "poddisruptionbudgets.policy": (
        {"observedGeneration": 1, "disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1},
        {"currentHealthy": 2},
    ),
    "ingresses.networking.k8s.io": (
        {"loadBalancer": {"ingress": [{"ip": "169.1.1.1"}]}},
        {"loadBalancer": {"ingress": [{"ip": "169.1.1.2"}]}},
    ),
    "servicecidrs.networking.k8s.io": ({"conditions": [NUMBERED]}, {}),
    "certificatesigningrequests.certificates.k8s.io": (
        {"conditions": [{**CONDITION, "lastUpdateTime": "2026-01-01T00:00:00Z"}]},
        {},
    ),
    "flowschemas.flowcontrol.apiserver.k8s.io": (
        {"conditions": [{**CONDITION, "type": "Dangling"}]},
        {"conditions": [{**CONDITION, "type": "Dangling", "status": "False"}]},
    ),
    "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io": ({"conditions": [CONDITION]}, {}),
    "volumeattachments.storage.k8s.io": ({"attached": True}, {"attachmentMetadata": {"a": "b"}}),
    "validatingadmissionpolicies.admissionregistration.k8s.io": ({"conditions": [NUMBERED]}, {"observedGeneration": 1}),
    "apiservices.apiregistration.k8s.io": ({"conditions": [CONDITION]}, {}),
    "resourceclaims.resource.k8s.io": (
        {"allocation": {}},
        {"reservedFor": [{"resource": "pods", "name": "p", "uid": "1"}]},
    ),
    "devicetaintrules.resource.k8s.io": ({"conditions": [NUMBERED]}, {}),
    "podcertificaterequests.certificates.k8s.io": ({"conditions": [{**NUMBERED, "type": "Failed"}]}, {}),
    "storageversionmigrations.storagemigration.k8s.io": (
        {"conditions": [{**NUMBERED, "type": "Running"}]},
        {"conditions": [{**NUMBERED, "type": "Running", "status": "False"}, {**NUMBERED, "type": "Succeeded"}]},
    ),
}


BARE = frozenset(
    {
        "devicetaintrules.resource.k8s.io",
        "podcertificaterequests.certificates.k8s.io",
        "resourceclaims.resource.k8s.io",
        "servicecidrs.networking.k8s.io",
        "storageversionmigrations.storagemigration.k8s.io",
        "volumeattachments.storage.k8s.io",
    }
)
"""Kinds of which a write to the status leaves the metadata alone (metav1.ResetObjectMetaForStatus)."""


def with_status() -> list[Resource]:
    return [
        one
        for one in REGISTRY.resources
        if "status" in one.subresources and "create" in one.verbs and one.qualified in STATUS and one.stored_as is None
    ]


@pytest.mark.parametrize("resource", with_status(), ids=lambda one: f"{one.qualified}/{one.version}")
async def test_the_status_is_read_patched_and_updated(api: Client, resource: Resource) -> None:
    first, second = STATUS[resource.qualified]
    sample = sample_of(resource)
    assert sample is not None
    made = await api.create(collection(resource), sample)
    path = f"{collection(resource)}/{made['metadata']['name']}"
    read = await api.get(f"{path}/status")
    assert (read["kind"], read["metadata"]["uid"]) == (resource.kind, made["metadata"]["uid"])
    patch = {"metadata": {"annotations": {"patchedstatus": "true"}}, "status": first}
    patched = await api.patch(f"{path}/status", patch)
    annotations = patched["metadata"].get("annotations", {})
    assert annotations.get("patchedstatus") == (None if resource.qualified in BARE else "true")
    for name, value in first.items():
        assert patched["status"][name] == value
    updated = await api.put(f"{path}/status", {**patched, "status": {**patched["status"], **second}})
    for name, value in second.items():
        assert updated["status"][name] == value
    assert updated.get("spec") == made.get("spec")
    assert updated["metadata"].get("generation") == made["metadata"].get("generation")
    whole = await api.get(path)
    assert whole["status"] == updated["status"]
    if made["metadata"].get("generation") is not None or resource.qualified in {"pods", "nodes", "services"}:
        forged = await api.put(path, {**whole, "status": {}})
        assert forged["status"] == updated["status"]


async def test_every_status_takes_every_patch(api: Client) -> None:
    """In the order of Kubernetes' common test of resources: each patch changes an object as it was created."""
    refused: list[str] = []
    for resource in with_status():
        first, _ = STATUS[resource.qualified]
        sample = sample_of(resource)
        assert sample is not None
        path = collection(resource)
        for kind in PATCHES:
            made = await api.create(path, sample)
            at = f"{path}/{made['metadata']['name']}"
            body = each_patch(made, "status", first)[kind]
            query = "fieldValidation=Strict" + ("&fieldManager=test-apply&force=true" if kind == "apply" else "")
            answer = await api.http("PATCH", f"{at}/status?{query}", body, content_type=PATCHES[kind])
            status = answer.json.get("status", {}) if answer.status == 200 else {}
            if not isinstance(status, dict) or not first.keys() <= status.keys():
                refused.append(f"{kind} of {resource.qualified}: {answer.status} {answer.body[:300]}")
            if resource.kind == "Namespace":
                break
            await api.delete(at, {"gracePeriodSeconds": 0, "propagationPolicy": "Background"})
    assert refused == []


def test_every_kind_with_a_status_is_here() -> None:
    listed = {
        one.qualified
        for one in REGISTRY.resources
        if "status" in one.subresources and "create" in one.verbs and one.stored
    }
    assert listed <= STATUS.keys() | {"customresourcedefinitions.apiextensions.k8s.io"}  # see test_custom_resources.py


async def test_kinds_without_a_status_have_no_such_place(api: Client) -> None:
    """CSINode, Endpoints, Lease and others: nothing is at /status, and discovery does not say so either."""
    for group, plural, name in (("storage.k8s.io", "csinodes", "n"), ("coordination.k8s.io", "leases", "l")):
        resource = next(one for one in REGISTRY.resources if (one.group, one.plural) == (group, plural))
        sample = sample_of(resource)
        assert sample is not None
        sample["metadata"]["name"] = name
        await api.create(collection(resource), sample)
        missing = await api.get(f"{collection(resource)}/{name}/status", expect=404)
        assert missing["message"] == "the server could not find the requested resource"
        listed = (await api.get(f"/apis/{group}/v1"))["resources"]
        assert f"{plural}/status" not in [one["name"] for one in listed]
