from typing import Any

PODS = "/api/v1/namespaces/default/pods"
BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
EVICTION = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "web"}}


async def make_pod(http: Any) -> None:
    spec = {"nodeName": "n", "containers": [{"name": "c", "image": "nginx"}]}
    pod = {"metadata": {"name": "web", "labels": {"app": "web"}}, "spec": spec}
    assert (await http("POST", PODS, pod)).status == 201
    status = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
    patch = await http("PATCH", f"{PODS}/web/status", status, content_type="application/merge-patch+json")
    assert patch.status == 200


async def test_an_eviction_is_answered_with_a_status(http: Any) -> None:
    await make_pod(http)
    answer = await http("POST", f"{PODS}/web/eviction", EVICTION)
    assert (answer.status, answer.json["kind"], answer.json["status"]) == (201, "Status", "Success")
    assert (await http("GET", f"{PODS}/web")).json["metadata"]["deletionTimestamp"]
    assert (await http("GET", f"{PODS}/web/eviction")).status == 405


async def test_who_is_to_come_back_is_told_when(http: Any) -> None:
    await make_pod(http)
    budget = {"metadata": {"name": "web"}, "spec": {"selector": {}, "minAvailable": 1}}
    assert (await http("POST", BUDGETS, budget)).status == 201
    answer = await http("POST", f"{PODS}/web/eviction", EVICTION)
    assert (answer.status, answer.json["reason"], answer.headers["retry-after"]) == (429, "TooManyRequests", "10")
    assert answer.json["details"]["causes"][0]["reason"] == "DisruptionBudget"


async def test_the_subresource_is_announced_as_clients_look_for_it(http: Any) -> None:
    listed = (await http("GET", "/api/v1")).json["resources"]
    (found,) = [one for one in listed if one["name"] == "pods/eviction"]
    assert (found["kind"], found["group"], found["version"], found["verbs"]) == ("Eviction", "policy", "v1", ["create"])
