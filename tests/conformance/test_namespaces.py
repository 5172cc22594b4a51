"""Namespaces (sig-api-machinery: Namespaces, OrderedNamespaceDeletion): patches, status, finalizers, the end."""

from __future__ import annotations

from expecting_client import Client

NAMESPACES = "/api/v1/namespaces"
POD = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "main", "image": "nginx"}]}}


async def test_a_namespace_is_patched_and_updated(api: Client) -> None:
    made = await api.create(NAMESPACES, {"metadata": {"name": "ns"}})
    assert made["status"] == {"phase": "Active"}
    assert made["spec"] == {"finalizers": ["kubernetes"]}
    assert made["metadata"]["labels"] == {"kubernetes.io/metadata.name": "ns"}
    patched = await api.patch(f"{NAMESPACES}/ns", {"metadata": {"labels": {"testLabel": "testValue"}}}, "strategic")
    assert patched["metadata"]["labels"]["testLabel"] == "testValue"
    patched["metadata"]["labels"]["updated"] = "yes"
    assert (await api.put(f"{NAMESPACES}/ns", patched))["metadata"]["labels"]["updated"] == "yes"


async def test_the_label_with_the_name_comes_back(api: Client) -> None:
    await api.create(NAMESPACES, {"metadata": {"name": "ns"}})
    patched = await api.patch(f"{NAMESPACES}/ns", {"metadata": {"labels": {"kubernetes.io/metadata.name": None}}})
    assert patched["metadata"]["labels"] == {"kubernetes.io/metadata.name": "ns"}


async def test_the_status_of_a_namespace(api: Client) -> None:
    await api.create(NAMESPACES, {"metadata": {"name": "ns"}})
    condition = {"type": "StatusPatch", "status": "True", "reason": "E2E", "message": "Patched by an e2e test"}
    patch = {"metadata": {"annotations": {"e2e": "patched"}}, "status": {"conditions": [condition]}}
    patched = await api.patch(f"{NAMESPACES}/ns/status", patch)
    assert patched["metadata"]["annotations"]["e2e"] == "patched"
    assert patched["status"]["conditions"][0]["type"] == "StatusPatch"
    patched["status"]["conditions"].append({**condition, "type": "StatusUpdate"})
    updated = await api.put(f"{NAMESPACES}/ns/status", patched)
    assert [one["type"] for one in updated["status"]["conditions"]] == ["StatusPatch", "StatusUpdate"]


async def test_a_finalizer_of_a_namespace(api: Client) -> None:
    made = await api.create(NAMESPACES, {"metadata": {"name": "ns"}})
    made["spec"]["finalizers"].append("e2e.example.com/fakeFinalizer")
    updated = await api.put(f"{NAMESPACES}/ns/finalize", made)
    assert updated["spec"]["finalizers"] == ["kubernetes", "e2e.example.com/fakeFinalizer"]
    updated["spec"]["finalizers"].pop()
    assert (await api.put(f"{NAMESPACES}/ns/finalize", updated))["spec"]["finalizers"] == ["kubernetes"]
    deleted = await api.delete(f"{NAMESPACES}/ns")
    assert deleted["status"]["phase"] == "Terminating"
    deleted["spec"]["finalizers"] = []
    await api.put(f"{NAMESPACES}/ns/finalize", deleted)
    await api.get(f"{NAMESPACES}/ns", expect=404)


async def test_nothing_is_made_in_a_namespace_that_ends(api: Client) -> None:
    await api.create(NAMESPACES, {"metadata": {"name": "ns"}})
    await api.delete(f"{NAMESPACES}/ns")
    refused = await api.create(f"{NAMESPACES}/ns/pods", POD, expect=403)
    assert refused["message"] == (
        'pods "p" is forbidden: unable to create new content in namespace ns because it is being terminated'
    )
    assert refused["details"]["causes"] == [
        {"reason": "NamespaceTerminating", "message": "namespace ns is being terminated", "field": "metadata.namespace"}
    ]
    missing = await api.create(f"{NAMESPACES}/nowhere/pods", POD, expect=404)
    assert missing["message"] == 'namespaces "nowhere" not found'


async def test_the_systems_namespaces_stay(api: Client) -> None:
    for name in ("default", "kube-system", "kube-public"):
        refused = await api.delete(f"{NAMESPACES}/{name}", expect=403)
        assert refused["message"] == f'namespaces "{name}" is forbidden: this namespace may not be deleted'
