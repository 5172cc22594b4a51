"""What the api itself makes of pods and services (sig-node, -auth, -network, -scheduling, -storage)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import product
from typing import Any

import pytest
from expecting_client import Client

from orch_api.config import ApiConfig
from orch_api.memory import in_memory_api

CORE = "/api/v1/namespaces/default"
PODS, SERVICES = f"{CORE}/pods", f"{CORE}/services"
NAMED = {"name": "main", "image": "nginx"}


def pod(name: str = "p", *, metadata: Any = None, resources: Any = None, **spec: Any) -> dict[str, Any]:
    container = {**NAMED, **({"resources": resources} if resources else {})}
    return {"metadata": {"name": name, **(metadata or {})}, "spec": {"containers": [container], **spec}}


@pytest.fixture
async def strict() -> AsyncIterator[Client]:
    """An api that mounts tokens into pods, as clusters do and other tests do without."""
    async with in_memory_api(config=ApiConfig(enable_admission_plugins=("ServiceAccount",))) as memory:
        yield Client(memory)


async def test_tokens_are_mounted_unless_pod_or_account_say_otherwise(strict: Client) -> None:
    """The pod's word counts, then its account's; both may be silent."""
    for number, (account, own) in enumerate(product((None, True, False), repeat=2)):
        name = f"n{number}"
        said = {} if account is None else {"automountServiceAccountToken": account}
        await strict.create(f"{CORE}/serviceaccounts", {"metadata": {"name": name}, **said})
        wished = {} if own is None else {"automountServiceAccountToken": own}
        made = await strict.create(PODS, pod(name, serviceAccountName=name, **wished))
        mounts = [one["mountPath"] for one in made["spec"]["containers"][0].get("volumeMounts", ())]
        mounted = account is not False if own is None else own
        assert mounts == (["/var/run/secrets/kubernetes.io/serviceaccount"] if mounted else [])


async def test_what_a_review_says_of_an_account_is_what_it_may_do(api: Client) -> None:
    """Of a SubjectAccessReview, a LocalSubjectAccessReview, and a request as that account."""
    await api.create(f"{CORE}/serviceaccounts", {"metadata": {"name": "e2e"}})
    user = "system:serviceaccount:default:e2e"
    root, rbac = "/apis/authorization.k8s.io/v1", "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
    asked = {"verb": "list", "resource": "configmaps", "version": "v1", "namespace": "default"}
    spec = {"user": user, "resourceAttributes": asked}

    async def told() -> list[bool]:
        review = await api.create(f"{root}/subjectaccessreviews", {"spec": spec})
        local = {"metadata": {"namespace": "default"}, "spec": spec}
        here = await api.create(f"{root}/namespaces/default/localsubjectaccessreviews", local)
        answer = await api.http("GET", f"{CORE}/configmaps", impersonate_user=user)
        return [review["status"]["allowed"], here["status"]["allowed"], answer.status == 200]

    assert await told() == [False] * 3
    await api.create(
        f"{rbac}/roles",
        {"metadata": {"name": "r"}, "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]},
    )
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}
    subjects = [{"kind": "ServiceAccount", "name": "e2e", "namespace": "default"}]
    await api.create(f"{rbac}/rolebindings", {"metadata": {"name": "r"}, "roleRef": reference, "subjects": subjects})
    await api.memory.core.cache.catch_up()
    assert await told() == [True] * 3


@pytest.mark.parametrize(
    ("resources", "wanted"),
    [
        (None, "BestEffort"),
        ({"requests": {"cpu": "100m"}}, "Burstable"),
        ({"limits": {"cpu": "100m", "memory": "100Mi"}}, "Guaranteed"),
    ],
)
async def test_quality_of_service(api: Client, resources: Any, wanted: str) -> None:
    made = await api.create(PODS, pod(resources=resources))
    assert made["status"]["qosClass"] == wanted


async def test_generations_of_a_pod(api: Client) -> None:
    """They begin at one whatever was asked for; each change of the spec counts, and so does a graceful deletion."""
    made = await api.create(PODS, pod(metadata={"generation": 100}, activeDeadlineSeconds=900))
    assert made["metadata"]["generation"] == 1
    toleration = {"key": "woah", "operator": "Exists", "effect": "NoSchedule"}
    ephemeral = {"spec": {"ephemeralContainers": [{"name": "debug", "image": "busybox"}]}}
    tolerated = {"spec": {"tolerations": [*made["spec"].get("tolerations", ()), toleration]}}
    changes: list[tuple[str, Any, int]] = [
        ("", {"metadata": {"labels": {"a": "b"}}}, 1),
        ("", {"spec": {"containers": [{"name": "main", "image": "nginx:2"}]}}, 2),
        ("", {"spec": {"activeDeadlineSeconds": 800}}, 3),
        ("", {"metadata": {"annotations": {"a": "b"}}}, 3),
        ("", tolerated, 4),
        ("/ephemeralcontainers", ephemeral, 5),
        ("/status", {"status": {"message": "m"}}, 5),
    ]
    for place, change, generation in changes:
        changed = await api.patch(f"{PODS}/p{place}", change, "strategic")
        assert changed["metadata"]["generation"] == generation, change
    await api.create(f"{PODS}/p/binding", {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}})
    bound = (await api.get(f"{PODS}/p"))["metadata"]["generation"]
    deleted = await api.delete(f"{PODS}/p", {"gracePeriodSeconds": 30})
    assert deleted["metadata"]["generation"] == bound + 1


async def test_a_resize_by_replacement_shows_in_the_pod(api: Client) -> None:
    await api.create(PODS, pod(resources={"requests": {"cpu": "100m"}}))
    read = await api.get(f"{PODS}/p/resize")
    read["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "200m"
    resized = await api.put(f"{PODS}/p/resize", read)
    assert resized["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "200m"}
    assert await api.get(f"{PODS}/p") == await api.get(f"{PODS}/p/resize") == resized


async def test_classes_of_runtimes(api: Client) -> None:
    """A pod of a class that is not there, or no longer, is refused; of one that costs, it carries the cost."""
    classes = "/apis/node.k8s.io/v1/runtimeclasses"
    for name, more in (("plain", {}), ("costly", {"overhead": {"podFixed": {"cpu": "10m", "memory": "1Mi"}}})):
        await api.create(classes, {"metadata": {"name": name}, "handler": "runc", **more})
    await api.memory.core.cache.catch_up()
    assert "overhead" not in (await api.create(PODS, pod("a", runtimeClassName="plain")))["spec"]
    made = await api.create(PODS, pod("b", runtimeClassName="costly"))
    assert made["spec"]["overhead"] == {"cpu": "10m", "memory": "1Mi"}
    await api.delete(f"{classes}/plain")
    await api.memory.core.cache.catch_up()
    for name in ("plain", "nobody"):
        refused = await api.create(PODS, pod("c", runtimeClassName=name), expect=403)
        assert f'RuntimeClass "{name}" not found' in refused["message"]


async def test_what_a_limit_range_gives_to_pods(api: Client) -> None:
    """Defaults where a pod says nothing, its own words where it speaks, and refusals beyond the bounds."""

    def all_of(**values: str) -> dict[str, str]:
        return {"cpu": values["cpu"], "memory": values["memory"], "ephemeral-storage": values["memory"]}

    limits = {
        "type": "Container",
        "min": all_of(cpu="50m", memory="100Mi"),
        "max": all_of(cpu="500m", memory="500Mi"),
        "default": all_of(cpu="500m", memory="500Mi"),
        "defaultRequest": all_of(cpu="100m", memory="200Mi"),
    }
    await api.create(f"{CORE}/limitranges", {"metadata": {"name": "l"}, "spec": {"limits": [limits]}})
    await api.memory.core.cache.catch_up()
    plain = (await api.create(PODS, pod("a")))["spec"]["containers"][0]["resources"]
    assert plain == {"requests": limits["defaultRequest"], "limits": limits["default"]}
    own = {"requests": {"cpu": "300m"}, "limits": {"memory": "400Mi"}}
    merged = (await api.create(PODS, pod("b", resources=own)))["spec"]["containers"][0]["resources"]
    assert merged["requests"]["cpu"] == "300m"
    assert merged["limits"] == {**limits["default"], "memory": "400Mi"}
    for refused in ({"requests": {"cpu": "10m"}}, {"limits": {"cpu": "600m"}}):
        await api.create(PODS, pod("c", resources=refused), expect=403)


async def test_volumes_of_drivers_and_certificates(api: Client) -> None:
    """Inline CSI volumes are taken as they are; certificates are asked for between an hour and 91 days."""
    inline = {"name": "v", "csi": {"driver": "e2e.example.com", "readOnly": True}}
    made = await api.create(PODS, pod("a", volumes=[inline]))
    assert made["spec"]["volumes"] == [inline]
    assert await api.names(f"{PODS}?fieldSelector=metadata.name=a") == ["a"]
    for number, (seconds, status) in enumerate(((None, 201), (3600, 201), (3599, 422), (7862400, 201), (7862401, 422))):
        asked = {"signerName": "example.com/s", "keyType": "ED25519", "credentialBundlePath": "x"}
        source = {"podCertificate": {**asked, **({"maxExpirationSeconds": seconds} if seconds else {})}}
        volumes = [{"name": "v", "projected": {"sources": [source]}}]
        answer = await api.create(PODS, pod(f"c{number}", volumes=volumes), expect=status)
        if status == 422:
            bound = ">= 3600" if seconds == 3599 else "<= 7862400"
            assert f"if provided, maxExpirationSeconds must be {bound}" in answer["message"]


async def test_the_apis_own_service_is_found(api: Client) -> None:
    found = [one for one in await api.items("/api/v1/services") if one["metadata"]["name"] == "kubernetes"]
    assert [one["metadata"]["namespace"] for one in found] == ["default"]
    (port,) = found[0]["spec"]["ports"]
    assert (port["name"], port["port"]) == ("https", 443)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("ExternalName", "ClusterIP"),
        ("ExternalName", "NodePort"),
        ("ClusterIP", "ExternalName"),
        ("NodePort", "ExternalName"),
    ],
)
async def test_services_change_their_type(api: Client, before: str, after: str) -> None:
    def spec(kind: str) -> dict[str, Any]:
        port = {"port": 80, "name": "http", "protocol": "TCP"}
        return {"type": kind, **({"externalName": "example.com"} if kind == "ExternalName" else {"ports": [port]})}

    made = await api.create(SERVICES, {"metadata": {"name": "s"}, "spec": spec(before)})
    assert ("clusterIP" in made["spec"]) == (before != "ExternalName")
    made["spec"] |= spec(after)
    if after == "ExternalName":
        made["spec"]["clusterIP"] = ""
    else:
        del made["spec"]["externalName"]
    changed = (await api.put(f"{SERVICES}/s", made))["spec"]
    assert bool(changed.get("clusterIP")) == (after != "ExternalName")
    assert ("nodePort" in (changed.get("ports") or [{}])[0]) == (after == "NodePort")
    held = await api.items("/apis/networking.k8s.io/v1/ipaddresses")
    mine = [one for one in held if one["spec"]["parentRef"]["name"] == "s"]
    assert len(mine) == (after != "ExternalName"), "an address that was given up is free again"
