"""Admission webhooks over HTTP: what they are sent, what they may answer, whom they are asked about."""

import asyncio
from typing import Any

import pytest
from policies import MAPS, MERGE, ROOT, Governed, rule
from webhook_server import AdmissionServer, add, configuration, patch

OPEN = {"failurePolicy": "Ignore"}
MUTATING = f"{ROOT}/mutatingwebhookconfigurations/mutating"


async def test_a_webhook_is_sent_a_review(api: Governed, server: AdmissionServer) -> None:
    await api.put(configuration("Validating", server.hook("/look")))
    made = await api.make(data={"a": "1"})
    assert made.status == 201, made.json
    (asked,) = server.asked
    assert (asked.method, asked.target) == ("POST", "/look?timeout=10s")
    assert asked.all("host") == [f"127.0.0.1:{server.port}"]
    assert asked.all("content-type") == ["application/json"]
    review = asked.json
    assert (review["kind"], review["apiVersion"]) == ("AdmissionReview", "admission.k8s.io/v1")
    request = review["request"]
    shown = request.pop("object")
    assert (shown["kind"], shown["apiVersion"], shown["data"]) == ("ConfigMap", "v1", {"a": "1"})
    assert shown["metadata"]["managedFields"][0]["fieldsV1"]["f:data"]
    assert request == {
        "uid": request["uid"],
        "kind": {"group": "", "version": "v1", "kind": "ConfigMap"},
        "resource": {"group": "", "version": "v1", "resource": "configmaps"},
        "requestKind": {"group": "", "version": "v1", "kind": "ConfigMap"},
        "requestResource": {"group": "", "version": "v1", "resource": "configmaps"},
        "name": "a",
        "namespace": "default",
        "operation": "CREATE",
        "userInfo": {"username": "orch:admin", "groups": ["system:masters", "system:authenticated"]},
        "oldObject": None,
        "dryRun": False,
        "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
    }


async def test_a_refusal_is_told_in_the_webhooks_words(api: Governed, server: AdmissionServer) -> None:
    await api.put(configuration("Validating", server.hook("/")))
    await api.make("kept")
    by = 'admission webhook "hook.example.com" denied the request'
    for status, message, code, reason in (
        (None, f"{by} without explanation", 400, ""),
        ({"message": "not today"}, f"{by}: not today", 400, ""),
        ({"reason": "Teapot", "code": 418}, f"{by}: Teapot", 418, "Teapot"),
        ({"message": "no", "reason": "Forbidden", "code": 403, "status": "Success"}, f"{by}: no", 403, "Forbidden"),
        ({"message": "no", "code": 200}, f"{by}: no", 400, ""),
    ):
        server.answers["/"] = {"allowed": False, "status": status}
        answer = await api.make()
        assert (answer.status, answer.json["code"], answer.json["reason"]) == (code, code, reason)
        assert answer.json["message"] == message
    before = len(server.asked)
    assert (await api.http("PATCH", f"{MAPS}/kept", {"data": {"a": "1"}}, **MERGE)).status == 400
    assert len(server.asked) == before + 1, "what was decided on the newest state is not decided again"


async def test_what_passes_may_be_warned_of(api: Governed, server: AdmissionServer) -> None:
    server.answers["/"] = {"allowed": True, "warnings": ["old\r\nX-Evil: 1", "worn"]}
    await api.put(configuration("Validating", server.hook()))
    answer = await api.make()
    assert answer.status == 201
    assert "x-evil" not in answer.headers
    assert answer.headers["warning"] in {'299 - "worn"', '299 - "old  X-Evil: 1"'}


async def test_a_mutating_webhook_changes_what_is_stored(api: Governed, server: AdmissionServer) -> None:
    server.answers["/"] = patch(add("/data", {"b": "2"}), add("/metadata/labels", {"by": "hook"}))
    server.answers["/then"] = lambda request: {"allowed": request["object"]["data"] == {"b": "2"}}
    await api.put(configuration("Mutating", server.hook()), configuration("Validating", server.hook("/then")))
    made = (await api.make(data={"a": "1"})).json
    assert (made["data"], made["metadata"]["labels"]) == ({"b": "2"}, {"by": "hook"})
    stored = await api.http("GET", f"{MAPS}/a")
    assert stored.json == made
    assert server.paths == ["/", "/then"]


async def test_webhooks_are_asked_in_order_and_again_when_they_wish_it(api: Governed, server: AdmissionServer) -> None:
    def count(request: Any) -> Any:
        return patch(add("/data", {"n": request["object"]["data"]["n"] + "x"}))

    server.answers = dict.fromkeys(("/a", "/b", "/c"), count)
    again = {"reinvocationPolicy": "IfNeeded"}
    await api.put(
        configuration("Mutating", server.hook("/b", "b.example.com"), server.hook("/c", "c.example.com"), name="two"),
        configuration("Mutating", server.hook("/a", "a.example.com", **again), name="one"),
    )
    assert (await api.make(data={"n": ""})).json["data"] == {"n": "xxxx"}
    assert server.paths == ["/a", "/b", "/c", "/a"]


async def test_webhooks_that_change_each_others_work_come_to_an_end(api: Governed, server: AdmissionServer) -> None:
    server.answers["/on"] = lambda _: patch(add("/data", {"light": "on"}))
    server.answers["/off"] = lambda _: patch(add("/data", {"light": "off"}))
    again = {"reinvocationPolicy": "IfNeeded"}
    hooks = [server.hook(f"/{name}", f"{name}.example.com", **again) for name in ("on", "off")]
    await api.put(configuration("Mutating", *hooks))
    assert (await api.make(data={"a": ""})).status == 201
    assert len(server.asked) == 4, "each twice at most"


async def test_what_a_webhook_may_not_change(api: Governed, server: AdmissionServer) -> None:
    await api.put(configuration("Mutating", server.hook()))
    for operations, problem in (
        ([add("/metadata/name", "other")], "made a change that is not allowed: metadata.name may not be changed"),
        ([add("/metadata/namespace", "kube-system")], "metadata.namespace may not be changed"),
        ([{"op": "remove", "path": "/data/nothing"}], "Unable to remove nonexistent key"),
        ([add("/data", 5)], "cannot unmarshal"),
        ([{"op": "replace", "path": "", "value": []}], "not an object"),
    ):
        server.answers["/"] = patch(*operations)
        answer = await api.make(data={"a": "1"})
        assert (answer.status, answer.json["reason"]) == (500, "InternalError")
        assert problem in answer.json["message"]
    server.answers["/"] = patch(add("/metadata/uid", "mine"), add("/metadata/creationTimestamp", None))
    made = (await api.make()).json
    assert made["metadata"]["uid"] != "mine"
    assert made["metadata"]["creationTimestamp"]


@pytest.mark.parametrize("kind", ["Validating", "Mutating"])
async def test_answers_that_are_none(api: Governed, server: AdmissionServer, kind: str) -> None:
    await api.put(configuration(kind, server.hook()))
    failed = 'failed calling webhook "hook.example.com": '
    invalid = f"{failed}received invalid webhook response: "
    wrong = [
        (lambda review: {**review, "response": None}, f"{invalid}webhook response was absent"),
        (
            lambda review: {**review, "response": {**review["response"], "uid": "x"}},
            f'{invalid}expected response.uid="',
        ),
        (
            lambda review: {**review, "kind": "Pod"},
            (
                f"{invalid}expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, "
                "got admission.k8s.io/v1, Kind=Pod"
            ),
        ),
        (lambda _: "text", f"{invalid}the answer cannot be read"),
        (
            lambda review: {**review, "response": {**review["response"], "patch": "W10="}},
            f"{invalid}validating webhook may not return response.patch"
            if kind == "Validating"
            else f"{invalid}webhook returned response.patch but not response.patchType",
        ),
    ]
    for change, problem in wrong:
        server.change = change
        answer = await api.make()
        assert (answer.status, answer.json["reason"]) == (500, "InternalError")
        assert answer.json["message"].startswith(f"Internal error occurred: {problem}")
    server.change = lambda review: review
    for status, said in (
        (500, 'an error on the server ("{'),
        (404, "the server could not find the requested resource"),
        (302, "the server redirects with the status code 302, which is not followed"),
    ):
        server.status = status
        message = (await api.make()).json["message"]
        assert message.startswith(f"Internal error occurred: {failed}failed to call webhook: {said}")
    path = f"{ROOT}/{kind.lower()}webhookconfigurations/{kind.lower()}"
    await api.http("PATCH", path, {"webhooks": [{"name": "hook.example.com", **server.hook(**OPEN)}]}, **MERGE)
    await api.memory.core.cache.catch_up()
    assert (await api.make()).status == 201, "it does not matter"


async def test_a_server_that_is_not_there_or_not_trusted(api: Governed, server: AdmissionServer) -> None:
    url = {"clientConfig": {"url": f"https://127.0.0.1:{server.port}/"}}
    await api.put(configuration("Validating", server.hook(**url)))
    message = (await api.make()).json["message"]
    post = f'failed to call webhook: Post "https://127.0.0.1:{server.port}/?timeout=10s": '
    assert f'Internal error occurred: failed calling webhook "hook.example.com": {post}' in message
    assert "certificate verify failed" in message
    closed = {"clientConfig": server.client(url="https://127.0.0.1:9/")}
    await api.http(
        "PATCH", f"{ROOT}/validatingwebhookconfigurations/validating", {"webhooks": [server.hook(**closed)]}, **MERGE
    )
    await api.memory.core.cache.catch_up()
    assert "127.0.0.1" in (await api.make()).json["message"]


async def test_a_webhook_that_takes_too_long(api: Governed, server: AdmissionServer) -> None:
    forever = asyncio.Event()

    async def wait() -> Any:
        await forever.wait()

    server.answers["/"] = lambda _: wait()
    await api.put(configuration("Validating", server.hook(timeoutSeconds=1)))
    answer = await api.make()
    assert answer.status == 500
    post = f'Post "https://127.0.0.1:{server.port}/?timeout=1s": context deadline exceeded'
    assert answer.json["message"].endswith(f"failed to call webhook: {post}")


async def test_validating_webhooks_are_asked_at_the_same_time(api: Governed, server: AdmissionServer) -> None:
    both = asyncio.Barrier(2)

    async def meet() -> Any:
        async with asyncio.timeout(5):
            await both.wait()
        return {"allowed": True}

    server.answers = dict.fromkeys(("/a", "/b"), lambda _: meet())
    hooks = [server.hook(f"/{name}", f"{name}.example.com") for name in "ab"]
    await api.put(configuration("Validating", *hooks))
    assert (await api.make()).status == 201


async def test_dry_runs(api: Governed, server: AdmissionServer) -> None:
    await api.put(configuration("Validating", server.hook()))
    body = {"metadata": {"name": "a"}}
    assert (await api.http("POST", f"{MAPS}?dryRun=All&fieldManager=me", body)).status == 201
    (request,) = server.requests
    assert request["dryRun"] is True
    assert request["options"]["dryRun"] == ["All"]
    assert request["options"]["fieldManager"] == "me"


async def test_conditions_and_selectors_spare_a_question(api: Governed, server: AdmissionServer) -> None:
    conditions = [{"name": "named", "expression": "object.metadata.name.startsWith('x')"}]
    hook = server.hook(matchConditions=conditions, objectSelector={"matchLabels": {"ask": "yes"}})
    await api.put(configuration("Validating", hook))
    await api.make("x")
    await api.make("a", metadata={"labels": {"ask": "yes"}})
    assert server.asked == []
    assert (await api.make("xy", metadata={"labels": {"ask": "yes"}})).status == 201
    assert len(server.asked) == 1


async def test_conditions_that_fail(api: Governed, server: AdmissionServer) -> None:
    conditions = [{"name": "odd", "expression": "object.nothing == 1"}]
    await api.put(configuration("Mutating", server.hook(matchConditions=conditions)))
    answer = await api.make()
    assert (answer.status, answer.json["reason"]) == (403, "Forbidden")
    problem = "expression 'object.nothing == 1' resulted in error: no such key: nothing"
    assert answer.json["message"] == f'configmaps "a" is forbidden: {problem}'
    hook = server.hook(matchConditions=conditions, **OPEN)
    await api.http("PATCH", MUTATING, {"webhooks": [hook]}, **MERGE)
    await api.memory.core.cache.catch_up()
    assert (await api.make()).status == 201
    assert server.asked == []


async def test_requests_for_equivalent_resources_are_converted(api: Governed, server: AdmissionServer) -> None:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}
    scalers = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers"
    rules = [rule("horizontalpodautoscalers", "autoscaling", "v1")]
    server.answers["/"] = patch(add("/spec/targetCPUUtilizationPercentage", 42))
    await api.put(configuration("Mutating", server.hook(rules=rules)))
    made = (await api.make("h", scalers, spec={"scaleTargetRef": target, "maxReplicas": 3})).json
    (request,) = server.requests
    assert request["object"]["apiVersion"] == "autoscaling/v1"
    assert (request["kind"]["version"], request["requestKind"]["version"]) == ("v1", "v2")
    assert made["apiVersion"] == "autoscaling/v2"
    assert made["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 42


async def test_updates_deletions_and_subresources(api: Governed, server: AdmissionServer) -> None:
    rules = [rule("configmaps", "", "v1", "*"), rule("pods/*", "", "v1", "*")]
    await api.put(configuration("Validating", server.hook(rules=rules)))
    await api.make(data={"a": "1"})
    await api.http("PATCH", f"{MAPS}/a", {"data": {"a": "2"}}, **MERGE)
    await api.http("DELETE", f"{MAPS}/a")
    created, updated, deleted = server.requests
    assert (created["operation"], updated["operation"], deleted["operation"]) == ("CREATE", "UPDATE", "DELETE")
    assert (updated["oldObject"]["data"], updated["object"]["data"]) == ({"a": "1"}, {"a": "2"})
    assert (deleted["object"], deleted["oldObject"]["data"]) == (None, {"a": "2"})
    server.answers["/"] = {"allowed": False}
    pods = "/api/v1/namespaces/default/pods"
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    await api.http("POST", pods, pod)
    refused = await api.http("POST", f"{pods}/p/binding", {"metadata": {"name": "p"}, "target": {"name": "n"}})
    assert "denied the request" in refused.json["message"]
    assert server.requests[-1]["subResource"] == "binding"
    assert server.requests[-1]["object"]["kind"] == "Binding"


async def test_an_older_review(api: Governed, server: AdmissionServer) -> None:
    await api.put(configuration("Validating", server.hook(admissionReviewVersions=["v2", "v1beta1"])))
    assert (await api.make()).status == 201
    assert server.asked[0].json["apiVersion"] == "admission.k8s.io/v1beta1"


async def test_no_webhook_is_asked_about_webhooks_or_policies(api: Governed, server: AdmissionServer) -> None:
    server.answers["/"] = {"allowed": False}
    everything = server.hook(rules=[rule("*", "*", "*", "*")])
    await api.put(configuration("Validating", everything))
    assert (await api.http("PATCH", f"{ROOT}/validatingwebhookconfigurations/validating", {}, **MERGE)).status == 200
    assert (await api.http("DELETE", f"{ROOT}/validatingwebhookconfigurations/validating")).status == 200
    assert server.asked == []


async def test_a_webhook_behind_a_service(api: Governed, server: AdmissionServer) -> None:
    service = {"metadata": {"name": "hook"}, "spec": {"type": "ExternalName", "externalName": "localhost"}}
    await api.http("POST", "/api/v1/namespaces/default/services", service)
    reference = {"name": "hook", "namespace": "default", "path": "/look", "port": server.port}
    config = {"clientConfig": {**server.client(url=None), "service": reference}}
    await api.put(configuration("Validating", server.hook(**config)))
    answer = await api.make()
    assert answer.status == 201, answer.json["message"]
    assert server.asked[0].all("host") == [f"hook.default.svc:{server.port}"]
    gone = {**config["clientConfig"], "service": {**reference, "name": "gone"}}
    hook = server.hook(clientConfig=gone)
    await api.http("PATCH", f"{ROOT}/validatingwebhookconfigurations/validating", {"webhooks": [hook]}, **MERGE)
    await api.memory.core.cache.catch_up()
    post = f'Post "https://gone.default.svc:{server.port}/look?timeout=10s": service "gone" not found'
    assert (await api.make()).json["message"].endswith(post)
