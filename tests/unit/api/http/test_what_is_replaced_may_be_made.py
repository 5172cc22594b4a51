"""PUT of an object that is not there: it is made, of the kinds for which Kubernetes does (AllowCreateOnUpdate)."""

from __future__ import annotations

from typing import Any

import pytest
from asgi import Connection

RBAC = "/apis/rbac.authorization.k8s.io/v1"
HERE = "/namespaces/default"
GIVEN = {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}}
REGARDING = {"involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"}}
MADE = [
    (f"{RBAC}{HERE}/roles", {"rules": []}),
    (f"{RBAC}{HERE}/rolebindings", GIVEN),
    (f"{RBAC}/clusterroles", {"rules": []}),
    (f"{RBAC}/clusterrolebindings", GIVEN),
    (f"/apis/coordination.k8s.io/v1{HERE}/leases", {"spec": {"holderIdentity": "me"}}),
    (f"/api/v1{HERE}/endpoints", {}),
    (f"/api/v1{HERE}/limitranges", {"spec": {"limits": []}}),
    (f"/api/v1{HERE}/services", {"spec": {"ports": [{"port": 80}]}}),
    (f"/api/v1{HERE}/events", REGARDING),
]
REFUSED = [
    (f"/api/v1{HERE}/configmaps", {}),
    (f"/api/v1{HERE}/serviceaccounts", {}),
    ("/api/v1/nodes", {}),
    (f"/apis/discovery.k8s.io/v1{HERE}/endpointslices", {"addressType": "IPv4", "endpoints": []}),
    (f"/apis/policy/v1{HERE}/poddisruptionbudgets", {}),
    ("/apis/storage.k8s.io/v1/storageclasses", {"provisioner": "x"}),
]


async def test_some_kinds_are_made(http: Connection) -> None:
    for url, document in MADE:
        asked = {"metadata": {"name": "n", "resourceVersion": "5"}, **document}
        assert (await http("PUT", f"{url}/n?dryRun=All", asked)).status == 201, url
        assert (await http("GET", f"{url}/n")).status == 404
        made = await http("PUT", f"{url}/n", asked)
        assert made.status == 201, made.body
        assert made.json["metadata"]["uid"]
        found = (await http("GET", f"{url}/n")).json
        found["metadata"]["labels"] = {"a": "b"}
        assert (await http("PUT", f"{url}/n", found)).status == 200
    lease = (await http("GET", f"/apis/coordination.k8s.io/v1{HERE}/leases/n")).json
    assert [one["operation"] for one in lease["metadata"]["managedFields"]] == ["Update"]
    service = (await http("GET", f"/api/v1{HERE}/services/n")).json
    assert service["spec"]["clusterIP"].startswith("10.")


async def test_others_are_not(http: Connection) -> None:
    for url, document in REFUSED:
        refused = await http("PUT", f"{url}/n", {"metadata": {"name": "n"}, **document})
        assert (refused.status, refused.json["reason"]) == (404, "NotFound"), url
    lease = f"/apis/coordination.k8s.io/v1{HERE}/leases/n"
    assert (await http("PUT", f"/api/v1{HERE}/services/n/status", {"metadata": {"name": "n"}})).status == 404
    other = await http("PUT", lease, {"metadata": {"name": "n", "uid": "7"}})
    assert other.status == 409
    assert "Precondition failed: UID in precondition: 7, UID in object meta: " in other.json["message"]
    assert (await http("PUT", lease, {"metadata": {"name": "m"}})).status == 400
    gone = await http("PUT", lease.replace("default", "gone"), {"metadata": {"name": "n"}})
    assert gone.json["message"] == 'namespaces "gone" not found'


@pytest.mark.parametrize(("verbs", "status"), [("update", 403), ("create", 403), ("update create", 201)])
async def test_it_takes_the_right_to_create_as_well(app: Any, http: Connection, verbs: str, status: int) -> None:
    rule = {
        "verbs": verbs.split(),
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "resourceNames": ["n"],
    }
    assert (await http("PUT", f"{RBAC}{HERE}/roles/r", {"metadata": {"name": "r"}, "rules": [rule]})).status == 201
    given = {"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "User", "name": "jane"}]}
    assert (await http("PUT", f"{RBAC}{HERE}/rolebindings/r", {"metadata": {"name": "r"}, **given})).status == 201
    jane = Connection(app, {"subject": ((("commonName", "jane"),),)})
    answer = await jane("PUT", f"/apis/coordination.k8s.io/v1{HERE}/leases/n", {"metadata": {"name": "n"}})
    assert answer.status == status


async def test_nobody_makes_a_role_by_replacing_it_that_he_may_not_create(app: Any, http: Connection) -> None:
    rule = {"verbs": ["create", "update"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"]}
    await http("PUT", f"{RBAC}{HERE}/roles/r", {"metadata": {"name": "r"}, "rules": [rule]})
    given = {"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "User", "name": "jane"}]}
    await http("PUT", f"{RBAC}{HERE}/rolebindings/r", {"metadata": {"name": "r"}, **given})
    everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
    jane = Connection(app, {"subject": ((("commonName", "jane"),),)})
    refused = await jane("PUT", f"{RBAC}{HERE}/roles/n", {"metadata": {"name": "n"}, "rules": [everything]})
    assert refused.status == 403
    assert "attempting to grant RBAC permissions not currently held" in refused.json["message"]
