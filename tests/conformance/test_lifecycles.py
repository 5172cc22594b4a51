"""Lifecycles with what is particular to a kind: of sig-apps, -auth, -instrumentation, -network, -node and -storage."""

from __future__ import annotations

import base64
from typing import Any

from expecting_client import Client

CORE = "/api/v1/namespaces/default"
CONTAINER = {"name": "main", "image": "nginx"}
TEMPLATE = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [CONTAINER]}}


async def test_pod_templates(api: Client) -> None:
    path = f"{CORE}/podtemplates"
    await api.create(
        path,
        {"metadata": {"name": "nginx-pod-template", "labels": {"podtemplate-static": "true"}}, "template": TEMPLATE},
    )
    listed = await api.items("/api/v1/podtemplates?labelSelector=podtemplate-static=true")
    assert len(listed) == 1
    patched = await api.patch(
        f"{path}/nginx-pod-template", {"metadata": {"labels": {"podtemplate": "patched"}}}, "strategic"
    )
    assert patched["metadata"]["labels"] == {"podtemplate-static": "true", "podtemplate": "patched"}
    patched["metadata"]["annotations"] = {"updated": "true"}
    assert (await api.put(f"{path}/nginx-pod-template", patched))["metadata"]["annotations"] == {"updated": "true"}
    await api.delete(f"{path}?labelSelector=podtemplate-static=true")
    assert await api.items(path) == []


async def test_events_of_the_core(api: Client) -> None:
    path = f"{CORE}/events"
    event = {
        "metadata": {"name": "event-test", "labels": {"testevent-constant": "true"}},
        "message": "This is a test event",
        "reason": "Test",
        "type": "Normal",
        "count": 1,
        "involvedObject": {"namespace": "default"},
    }
    await api.create(path, event)
    patch = {"message": "This is a test event - patched"}
    await api.patch(f"{path}/event-test", patch, "strategic")
    read = await api.get(f"{path}/event-test")
    assert read["message"] == "This is a test event - patched"
    read["series"] = {"count": 100, "lastObservedTime": "2023-01-01T00:00:00.000001Z"}
    updated = await api.put(f"{path}/event-test", read)
    assert updated["series"] == {"count": 100, "lastObservedTime": "2023-01-01T00:00:00.000001Z"}
    selected = "involvedObject.namespace=default,reason=Test,type=Normal"
    assert await api.names(f"{path}?fieldSelector={selected}") == ["event-test"]
    await api.delete(f"{path}/event-test")
    for number in range(3):
        await api.create(path, {**event, "metadata": {"name": f"e{number}", "labels": {"testevent-set": "true"}}})
    await api.delete(f"{path}?labelSelector=testevent-set=true")
    assert await api.items(f"{path}?labelSelector=testevent-set=true") == []


async def test_events_of_their_own_group(api: Client) -> None:
    path = "/apis/events.k8s.io/v1/namespaces/default/events"
    event = {
        "metadata": {"name": "e"},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "test-controller",
        "reportingInstance": "test-node",
        "action": "Do",
        "reason": "Test",
        "note": "This is e",
        "type": "Normal",
        "regarding": {"namespace": "default"},
    }
    await api.create(path, event)
    series = {"series": {"count": 2, "lastObservedTime": "2026-01-01T00:05:00.000000Z"}}
    patched = await api.patch(f"{path}/e", series, "strategic")
    assert patched["series"]["count"] == 2
    patched["series"]["count"] = 100
    assert (await api.put(f"{path}/e", patched))["series"]["count"] == 100
    core = await api.get(f"{CORE}/events/e")
    assert (core["message"], core["reportingComponent"]) == ("This is e", "test-controller")
    unnamed = await api.create(path, {**event, "metadata": {"name": "x"}, "reportingController": ""}, expect=422)
    assert "reportingController" in unnamed["message"]


async def test_leases(api: Client) -> None:
    path = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
    spec = {
        "holderIdentity": "holder",
        "leaseDurationSeconds": 30,
        "acquireTime": "2026-01-01T00:00:10.123456Z",
        "renewTime": "2026-01-01T00:00:20.654321Z",
        "leaseTransitions": 0,
    }
    made = await api.create(path, {"metadata": {"name": "lease"}, "spec": spec})
    assert made["spec"] == spec
    changed = {**spec, "holderIdentity": "holder2", "leaseDurationSeconds": 60, "leaseTransitions": 1}
    assert (await api.put(f"{path}/lease", {**made, "spec": changed}))["spec"] == changed
    patched = await api.patch(f"{path}/lease", {"spec": {"leaseDurationSeconds": 20}}, "strategic")
    assert patched["spec"] == {**changed, "leaseDurationSeconds": 20}
    await api.create(path, {"metadata": {"name": "lease2", "labels": {"deletecollection": "true"}}, "spec": spec})
    await api.delete(f"{path}?labelSelector=deletecollection=true")
    assert await api.names(path) == ["lease"]
    refused = await api.patch(f"{path}/lease", {"spec": {"leaseDurationSeconds": 0}}, expect=422)
    assert "spec.leaseDurationSeconds" in refused["message"]


async def test_replication_controllers(api: Client) -> None:
    path = f"{CORE}/replicationcontrollers"
    body = {
        "metadata": {"name": "rc", "labels": {"test-rc-static": "true"}},
        "spec": {"replicas": 1, "template": TEMPLATE},
    }
    async with api.watch(f"{path}?watch=1&labelSelector=test-rc-static=true") as watch:
        made = await api.create(path, body)
        assert made["spec"]["selector"] == {"app": "a"}
        await api.patch(f"{path}/rc", {"metadata": {"labels": {"test-rc": "patched"}}}, "strategic")
        await api.patch(f"{path}/rc/status", {"status": {"readyReplicas": 0, "availableReplicas": 0}})
        scale = await api.patch(f"{path}/rc/scale", {"spec": {"replicas": 2}})
        assert (scale["kind"], scale["spec"]["replicas"]) == ("Scale", 2)
        read = await api.get(f"{path}/rc")
        assert read["spec"]["replicas"] == 2
        read["spec"]["replicas"] = 1
        await api.put(f"{path}/rc", read)
        assert len(await api.items("/api/v1/replicationcontrollers?labelSelector=test-rc-static=true")) == 1
        await api.delete(f"{path}?labelSelector=test-rc-static=true", {"propagationPolicy": "Background"})
        await watch.until("ADDED", *["MODIFIED"] * 4, "DELETED") if len(watch.events) > 5 else None
    assert await api.items(path) == []


async def test_service_accounts(api: Client) -> None:
    path = f"{CORE}/serviceaccounts"
    await api.create(path, {"metadata": {"name": "sa", "labels": {"test-static": "true"}}})
    patched = await api.patch(f"{path}/sa", {"automountServiceAccountToken": False}, "strategic")
    assert patched["automountServiceAccountToken"] is False
    patched["automountServiceAccountToken"] = True
    assert (await api.put(f"{path}/sa", patched))["automountServiceAccountToken"] is True
    token = await api.create(f"{path}/sa/token", {"spec": {"expirationSeconds": 600}})
    review = await api.create(
        "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": token["status"]["token"]}}
    )
    assert review["status"]["user"]["username"] == "system:serviceaccount:default:sa"
    await api.delete(f"{path}?labelSelector=test-static=true")
    assert await api.items(f"{path}?labelSelector=test-static=true") == []


async def test_config_maps_and_secrets_that_may_not_change(api: Client) -> None:
    for plural, data in (("configmaps", {"a": "1"}), ("secrets", {"a": base64.b64encode(b"1").decode()})):
        path = f"{CORE}/{plural}"
        await api.create(path, {"metadata": {"name": "immutable"}, "data": data})
        await api.patch(f"{path}/immutable", {"data": {"b": data["a"]}})
        await api.patch(f"{path}/immutable", {"immutable": True})
        refused = await api.patch(f"{path}/immutable", {"data": {"a": "Mg=="}}, expect=422)
        assert "data: Forbidden: field is immutable when `immutable` is set" in refused["message"]
        refused = await api.patch(f"{path}/immutable", {"immutable": False}, expect=422)
        assert "immutable: Forbidden: field is immutable when `immutable` is set" in refused["message"]
        await api.patch(f"{path}/immutable", {"metadata": {"labels": {"may": "change"}}})
        await api.delete(f"{path}/immutable")
        refused = await api.create(path, {"metadata": {"name": "empty-key"}, "data": {"": data["a"]}}, expect=422)
        assert "a valid config key must consist of alphanumeric characters" in refused["message"]


async def test_limit_ranges(api: Client) -> None:
    path = f"{CORE}/limitranges"
    limits = {"type": "Container", "default": {"cpu": "500m"}, "defaultRequest": {"cpu": "50m"}, "max": {"cpu": "500m"}}
    body = {"metadata": {"name": "limits", "labels": {"e2e": "created"}}, "spec": {"limits": [limits]}}
    await api.create(path, body)
    patch = {"metadata": {"labels": {"limits": "patched"}}, "spec": {"limits": [{**limits, "min": {"cpu": "49m"}}]}}
    patched = await api.patch(f"{path}/limits", patch, "strategic")
    assert patched["spec"]["limits"][0]["min"] == {"cpu": "49m"}
    assert len(await api.items("/api/v1/limitranges?labelSelector=limits=patched")) == 1
    await api.delete(f"{path}?labelSelector=limits=patched")
    assert await api.items(path) == []


async def test_resource_quotas(api: Client) -> None:
    path = f"{CORE}/resourcequotas"
    spec = {"hard": {"services": "10", "cpu": "1", "memory": "500Mi"}}
    made = await api.create(path, {"metadata": {"name": "q", "labels": {"e2e": "rq"}}, "spec": spec})
    made["spec"]["hard"]["cpu"] = "750m"
    assert (await api.put(f"{path}/q", made))["spec"]["hard"]["cpu"] == "750m"
    patched = await api.patch(
        f"{path}/q", {"metadata": {"labels": {"q": "patched"}}, "spec": {"hard": {"memory": "750Mi"}}}
    )
    assert patched["spec"]["hard"] == {"services": "10", "cpu": "750m", "memory": "750Mi"}
    await api.delete(f"{path}?labelSelector=q=patched")
    assert await api.items(path) == []


async def test_priority_classes(api: Client) -> None:
    path = "/apis/scheduling.k8s.io/v1/priorityclasses"
    made = await api.create(path, {"metadata": {"name": "p1"}, "value": 10, "preemptionPolicy": "PreemptLowerPriority"})
    made["description"] = "changed"
    assert (await api.put(f"{path}/p1", made))["description"] == "changed"
    refused = await api.put(f"{path}/p1", {**made, "value": 20, "metadata": {"name": "p1"}}, expect=422)
    assert "may not be changed in an update." in refused["message"]
    refused = await api.patch(f"{path}/p1", {"value": 30}, "strategic", expect=422)
    assert refused["details"]["causes"][0]["field"] == "value"
    again = await api.create(path, {"metadata": {"name": "p1"}, "value": 5}, expect=409)
    assert again["reason"] == "AlreadyExists"


async def test_controller_revisions(api: Client) -> None:
    path = "/apis/apps/v1/namespaces/default/controllerrevisions"
    made = await api.create(
        path, {"metadata": {"name": "r1", "labels": {"app": "a"}}, "data": {"spec": {"a": 1}}, "revision": 1}
    )
    patched = await api.patch(f"{path}/r1", {"metadata": {"labels": {"r1": "patched"}}}, "strategic")
    assert patched["metadata"]["labels"] == {"app": "a", "r1": "patched"}
    patched["revision"] = 3
    assert (await api.put(f"{path}/r1", patched))["revision"] == 3
    refused = await api.patch(f"{path}/r1", {"data": {"spec": {"a": 2}}}, expect=422)
    assert "field is immutable" in refused["message"]
    assert made["data"] == {"spec": {"a": 1}}
    await api.delete(f"{path}?labelSelector=r1=patched")
    assert await api.items("/apis/apps/v1/controllerrevisions") == []


async def test_volumes_and_their_claims(api: Client) -> None:
    volumes, claims = "/api/v1/persistentvolumes", f"{CORE}/persistentvolumeclaims"
    volume = {
        "metadata": {"name": "pv", "labels": {"e2e": "pv"}},
        "spec": {
            "capacity": {"storage": "2Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "slow",
            "nfs": {"server": "1.2.3.4", "path": "/"},
        },
    }
    claim = {
        "metadata": {"name": "pvc", "labels": {"e2e": "pvc"}},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "slow",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    made = await api.create(volumes, volume)
    assert made["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
    made_claim = await api.create(claims, claim)
    assert made_claim["status"] == {"phase": "Pending"}
    await api.patch(f"{volumes}/pv", {"metadata": {"labels": {"pv": "patched"}}}, "strategic")
    await api.patch(f"{claims}/pvc", {"metadata": {"labels": {"pvc": "patched"}}}, "strategic")
    assert len(await api.items("/api/v1/persistentvolumeclaims?labelSelector=pvc=patched")) == 1
    refused = await api.patch(f"{claims}/pvc", {"spec": {"storageClassName": "fast"}}, expect=422)
    assert "spec is immutable after creation" in refused["message"]
    for path in (f"{volumes}/pv", f"{claims}/pvc"):
        await api.patch(path, {"metadata": {"finalizers": ["example.com/hold"]}})
        deleted = await api.delete(path)
        assert deleted["metadata"]["deletionTimestamp"]
        await api.patch(path, {"metadata": {"finalizers": []}})
        await api.get(path, expect=404)


async def test_storage_classes_and_attachments(api: Client) -> None:
    classes = "/apis/storage.k8s.io/v1/storageclasses"
    made = await api.create(
        classes, {"metadata": {"name": "sc", "labels": {"e2e": "sc"}}, "provisioner": "e2e.example.com"}
    )
    assert (made["reclaimPolicy"], made["volumeBindingMode"]) == ("Delete", "Immediate")
    refused = await api.patch(f"{classes}/sc", {"provisioner": "other"}, expect=422)
    assert "updates to provisioner are forbidden" in refused["message"]
    deleted = await api.delete(f"{classes}/sc")
    assert deleted["kind"] in {"StorageClass", "Status"}
    attachments = "/apis/storage.k8s.io/v1/volumeattachments"
    body = {
        "metadata": {"name": "va"},
        "spec": {"attacher": "e2e.example.com", "nodeName": "n", "source": {"persistentVolumeName": "pv"}},
    }
    await api.create(attachments, body)
    refused = await api.patch(f"{attachments}/va", {"spec": {"attacher": "other.example.com"}}, expect=422)
    assert "field is immutable" in refused["message"]


async def test_services_and_endpoints(api: Client) -> None:
    services, endpoints = f"{CORE}/services", f"{CORE}/endpoints"
    for name in ("a", "b", "c"):
        body = {
            "metadata": {"name": name, "labels": {"e2e": "x" if name != "c" else "y"}},
            "spec": {"ports": [{"port": 80}]},
        }
        await api.create(services, body)
    assert "a" in await api.names("/api/v1/services?labelSelector=e2e=x")
    await api.delete(f"{services}?labelSelector=e2e=x")
    assert await api.names(f"{services}?labelSelector=e2e") == ["c"]
    status = {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}
    refused = await api.patch(f"{services}/c/status", {"status": status}, "merge", expect=422)
    assert "may only be used when `spec.type` is 'LoadBalancer'" in refused["message"]
    await api.patch(f"{services}/c", {"spec": {"type": "LoadBalancer"}})
    patched = await api.patch(f"{services}/c/status", {"status": status}, "merge")
    assert patched["status"]["loadBalancer"]["ingress"] == [{"ip": "203.0.113.1", "ipMode": "VIP"}]
    subsets = [{"addresses": [{"ip": "10.0.0.24"}], "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}]
    made = await api.create(endpoints, {"metadata": {"name": "e", "labels": {"t": "s"}}, "subsets": subsets})
    assert made["subsets"] == subsets
    made["metadata"]["labels"]["t"] = "updated"
    await api.put(f"{endpoints}/e", made)
    patched = await api.patch(
        f"{endpoints}/e", {"subsets": [{**subsets[0], "addresses": [{"ip": "10.0.0.25"}]}]}, "strategic"
    )
    assert patched["subsets"][0]["addresses"] == [{"ip": "10.0.0.25"}]
    await api.delete(f"{endpoints}?labelSelector=t=updated")
    await api.get(f"{endpoints}/e", expect=404)


async def test_certificate_requests(api: Client, csr: str) -> None:
    path = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
    spec = {
        "request": csr,
        "signerName": "example.com/e2e",
        "expirationSeconds": 3600,
        "usages": ["client auth", "digital signature"],
    }
    made = await api.create(path, {"metadata": {"generateName": "e2e-"}, "spec": spec})
    at = f"{path}/{made['metadata']['name']}"
    assert made["spec"]["username"] == "orch:admin"
    read = await api.get(f"{at}/approval")
    condition: dict[str, Any] = {"type": "Approved", "status": "True", "reason": "E2E", "message": "m"}
    read["status"] = {"conditions": [condition]}
    approved = await api.put(f"{at}/approval", read)
    assert approved["status"]["conditions"][0]["lastUpdateTime"]
    patched = await api.patch(f"{at}/approval", {"metadata": {"annotations": {"patchedapproval": "true"}}})
    assert patched["metadata"]["annotations"] == {"patchedapproval": "true"}
    status = await api.patch(f"{at}/status", {"metadata": {"annotations": {"patchedstatus": "true"}}})
    assert status["metadata"]["annotations"]["patchedstatus"] == "true"
    refused = await api.patch(at, {"spec": {"username": "someone"}})
    assert refused["spec"]["username"] == "orch:admin"


async def test_pods(api: Client) -> None:
    path = f"{CORE}/pods"
    body = {
        "metadata": {"name": "p", "labels": {"type": "Testing"}},
        "spec": {"containers": [CONTAINER], "activeDeadlineSeconds": 30},
    }
    made = await api.create(path, body)
    made["metadata"]["labels"]["time"] = "value"
    updated = await api.put(f"{path}/p", made)
    updated["spec"]["activeDeadlineSeconds"] = 5
    updated = await api.put(f"{path}/p", updated)
    refused = await api.patch(f"{path}/p", {"spec": {"activeDeadlineSeconds": 10}}, expect=422)
    assert "must be less than or equal to previous value" in refused["message"]
    refused = await api.patch(f"{path}/p", {"spec": {"terminationGracePeriodSeconds": 3}}, expect=422)
    assert "pod updates may not change fields other than" in refused["message"]
    await api.delete(f"{path}?labelSelector=type=Testing", {"gracePeriodSeconds": 0})
    assert await api.items(path) == []
    sysctls = {
        "sysctls": [
            {"name": "foo-", "value": "bar"},
            {"name": "kernel.shmmax", "value": "1"},
            {"name": "bar..", "value": "42"},
        ]
    }
    refused = await api.create(
        path, {"metadata": {"name": "s"}, "spec": {"containers": [CONTAINER], "securityContext": sysctls}}, expect=422
    )
    assert [one["field"] for one in refused["details"]["causes"]] == [
        "spec.securityContext.sysctls[0].name",
        "spec.securityContext.sysctls[2].name",
    ]


async def test_access_reviews(api: Client) -> None:
    root = "/apis/authorization.k8s.io/v1"
    spec = {
        "user": "e2e",
        "resourceAttributes": {"verb": "list", "resource": "configmaps", "version": "v1", "namespace": "default"},
    }
    review = await api.create(f"{root}/subjectaccessreviews", {"spec": spec})
    assert review["status"]["allowed"] is False
    local = await api.create(
        f"{root}/namespaces/default/localsubjectaccessreviews", {"metadata": {"namespace": "default"}, "spec": spec}
    )
    assert local["status"] == review["status"]
    wrong = await api.create(
        f"{root}/namespaces/default/localsubjectaccessreviews",
        {"spec": {**spec, "resourceAttributes": {**spec["resourceAttributes"], "namespace": "other"}}},
        expect=422,
    )
    assert "must match metadata.namespace" in wrong["message"]


async def test_address_ranges(api: Client) -> None:
    root = "/apis/networking.k8s.io/v1"
    assert await api.names(f"{root}/servicecidrs") == ["kubernetes"]
    made = await api.create(
        f"{root}/servicecidrs", {"metadata": {"name": "more"}, "spec": {"cidrs": ["192.168.240.0/24"]}}
    )
    assert made["spec"]["cidrs"] == ["192.168.240.0/24"]
    parent = {"resource": "services", "namespace": "default", "name": "kubernetes"}
    await api.create(f"{root}/ipaddresses", {"metadata": {"name": "192.168.240.5"}, "spec": {"parentRef": parent}})
    refused = await api.create(
        f"{root}/ipaddresses", {"metadata": {"name": "192.168.240.006"}, "spec": {"parentRef": parent}}, expect=422
    )
    assert refused["details"]["causes"][0]["field"] == "metadata.name"


async def test_running_pods_are_resized(api: Client) -> None:
    """Kubernetes asks whether the node reports the containers' resources, once they run."""
    resources = {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "200m", "memory": "64Mi"}}
    body = {"metadata": {"name": "p"}, "spec": {"containers": [{**CONTAINER, "resources": resources}]}}
    await api.create(f"{CORE}/pods", body)
    patch = {"spec": {"containers": [{"name": "main", "resources": {"requests": {"cpu": "150m"}}}]}}
    resized = await api.patch(f"{CORE}/pods/p/resize", patch, "strategic")
    assert resized["spec"]["containers"][0]["resources"]["requests"]["cpu"] == "150m"
    again = {"spec": {"containers": [{"name": "main", "resources": {"requests": {"cpu": "160m"}}}]}}
    running = {
        "name": "main",
        "image": "nginx",
        "imageID": "",
        "ready": True,
        "restartCount": 0,
        "state": {"running": {}},
    }
    await api.patch(f"{CORE}/pods/p/status", {"status": {"containerStatuses": [running]}}, "strategic")
    refused = await api.patch(f"{CORE}/pods/p/resize", again, "strategic", expect=422)
    assert "Pod running on node without support for resize" in refused["message"]
    await api.patch(
        f"{CORE}/pods/p/status", {"status": {"containerStatuses": [{**running, "resources": resources}]}}, "strategic"
    )
    resized = await api.patch(f"{CORE}/pods/p/resize", again, "strategic")
    assert resized["metadata"]["generation"] == 3
