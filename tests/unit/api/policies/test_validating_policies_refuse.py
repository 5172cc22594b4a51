"""ValidatingAdmissionPolicies over HTTP: whom they are about, what they say, what becomes of it."""

from typing import Any

from definitions import DEFINITIONS, definition, version
from policies import MAPS, MERGE, ROOT, Governed, binding, rule, validating

PODS = "/api/v1/namespaces/default/pods"
BY = "ValidatingAdmissionPolicy 'p' with binding 'p' denied request: "


async def test_a_request_that_breaks_a_policy_is_refused_in_its_words(api: Governed) -> None:
    policy = validating("p", "object.data.size() <= 1")
    await api.bound(policy)
    refused = await api.make("many", data={"a": "1", "b": "2"})
    assert refused.status == 422
    message = f"{BY}failed expression: object.data.size() <= 1"
    assert refused.json == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": f'configmaps "many" is forbidden: {message}',
        "reason": "Invalid",
        "details": {"name": "many", "kind": "configmaps", "causes": [{"message": message}]},
        "code": 422,
    }
    assert (await api.make("few", data={"a": "1"})).status == 201
    assert (await api.http("PATCH", f"{MAPS}/few", {"data": {"b": "2"}}, **MERGE)).status == 422
    assert (await api.http("DELETE", f"{MAPS}/few")).status == 200, "the rule names no DELETE"


SAID: Any = [
    ({"message": " too many "}, "too many", 422, "Invalid"),
    ({"reason": "Forbidden", "message": "no"}, "no", 403, "Forbidden"),
    ({"reason": "RequestEntityTooLarge", "message": "no"}, "no", 413, "RequestEntityTooLarge"),
    ({"reason": "Unauthorized", "message": "no"}, "no", 401, "Unauthorized"),
    ({"messageExpression": "'not ' + request.name", "message": "x"}, "not a", 422, "Invalid"),
    ({"messageExpression": "'two\\nlines'", "message": "plain"}, "plain", 422, "Invalid"),
    ({"messageExpression": "'x' + object.nothing", "message": "plain"}, "plain", 422, "Invalid"),
    ({"messageExpression": "'  '"}, "failed expression: false", 422, "Invalid"),
]


async def test_what_is_said(api: Governed) -> None:
    for index, (validation, message, code, reason) in enumerate(SAID):
        name = f"p{index}"
        await api.bound(validating(name, validations=[{"expression": "false", **validation}]))
        answer = await api.make()
        assert (answer.status, answer.json["reason"]) == (code, reason)
        by = f"ValidatingAdmissionPolicy '{name}' with binding '{name}' denied request: "
        assert answer.json["message"] == f'configmaps "a" is forbidden: {by}{message}'
        await api.unbind("validating", name)


async def test_a_policy_without_binding_does_nothing_and_one_without_policy_neither(api: Governed) -> None:
    policy = validating("p", "false")
    await api.put(policy)
    assert (await api.make()).status == 201
    await api.put(binding(validating("other", "false")))
    assert (await api.make("b")).status == 201
    await api.put(binding(policy))
    assert (await api.make("c")).status == 422
    await api.unbind("validating", "p")
    assert (await api.make("c")).status == 201


async def test_what_changes_in_a_policy_counts_at_once(api: Governed) -> None:
    await api.bound(validating("p", "false"))
    assert (await api.make()).status == 422
    path = f"{ROOT}/validatingadmissionpolicies/p"
    await api.http("PATCH", path, {"spec": {"validations": [{"expression": "true"}]}}, **MERGE)
    await api.memory.core.cache.catch_up()
    assert (await api.make()).status == 201


async def test_variables_are_evaluated_when_they_are_needed(api: Governed) -> None:
    variables = [
        {"name": "size", "expression": "object.data.size() // of all keys"},
        {"name": "broken", "expression": "object.data['no such key'] == ''"},
        {"name": "twice", "expression": "variables.size * 2"},
    ]
    policy = validating("p", "variables.twice <= 2 || variables.broken", "variables.size > 0", variables=variables)
    await api.bound(policy)
    assert (await api.make("one", data={"a": ""})).status == 201
    answer = await api.make("two", data={"a": "", "b": ""})
    assert "resulted in error: no such key: no such key" in answer.json["message"]


async def test_expressions_that_fail_do_what_the_failure_policy_says(api: Governed) -> None:
    await api.bound(validating("p", "object.data.nothing == 'x'"))
    answer = await api.make(data={"a": ""})
    problem = "expression 'object.data.nothing == 'x'' resulted in error: no such key: nothing"
    assert answer.json["message"].endswith(f"denied request: {problem}")
    await api.http("PATCH", f"{ROOT}/validatingadmissionpolicies/p", {"spec": {"failurePolicy": "Ignore"}}, **MERGE)
    await api.memory.core.cache.catch_up()
    assert (await api.make(data={"a": ""})).status == 201


async def test_conditions_say_whom_a_policy_is_about(api: Governed) -> None:
    conditions = [
        {"name": "not-system", "expression": "!request.userInfo.username.startsWith('system:')"},
        {"name": "labelled", "expression": "has(object.metadata.labels) && 'strict' in object.metadata.labels"},
    ]
    await api.bound(validating("p", "false", matchConditions=conditions))
    assert (await api.make("free")).status == 201
    assert (await api.make("strict", metadata={"labels": {"strict": ""}})).status == 422
    await api.http(
        "PATCH",
        f"{ROOT}/validatingadmissionpolicies/p",
        {"spec": {"matchConditions": [{"name": "odd", "expression": "object.nothing == 1"}]}},
        **MERGE,
    )
    await api.memory.core.cache.catch_up()
    assert "no such key: nothing" in (await api.make("b")).json["message"]


async def test_selectors_rules_and_exclusions(api: Governed) -> None:
    constraints = {
        "resourceRules": [rule("*", "*", "*", "*")],
        "excludeResourceRules": [rule("secrets"), rule("configmaps", resourceNames=["spared"])],
        "namespaceSelector": {"matchLabels": {"guarded": "yes"}},
        "objectSelector": {"matchExpressions": [{"key": "skip", "operator": "DoesNotExist"}]},
    }
    await api.bound(validating("p", "false", matchConstraints=constraints))
    namespaces = "/api/v1/namespaces"
    free = await api.http("POST", namespaces, {"metadata": {"name": "free"}})
    assert free.status == 201
    labels = {"labels": {"guarded": "yes"}}
    assert (await api.http("PATCH", f"{namespaces}/default", {"metadata": labels}, **MERGE)).status == 422, "itself"
    await api.unbind("validating", "p")
    assert (await api.http("PATCH", f"{namespaces}/default", {"metadata": labels}, **MERGE)).status == 200
    await api.put(binding(validating("p")))
    assert (await api.make()).status == 422
    assert (await api.make("spared")).status == 201
    assert (await api.make("b", metadata={"labels": {"skip": ""}})).status == 201
    assert (await api.make("c", f"{namespaces}/free/configmaps")).status == 201
    assert (await api.make("s", f"{namespaces}/default/secrets")).status == 201
    assert (await api.make("pc", "/apis/scheduling.k8s.io/v1/priorityclasses", value=1)).status == 422, (
        "in no namespace"
    )


async def test_a_binding_narrows_what_its_policy_is_about(api: Governed) -> None:
    policy = validating("p", "false", rules=[rule("*")])
    only = {"matchResources": {"resourceRules": [rule("secrets")]}}
    await api.put(policy, binding(policy, **only))
    assert (await api.make()).status == 201
    assert (await api.make("s", "/api/v1/namespaces/default/secrets")).status == 422


async def test_requests_for_an_equivalent_resource(api: Governed) -> None:
    scale = {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}, "maxReplicas": 3}
    path = "/apis/autoscaling/{}/namespaces/default/horizontalpodautoscalers"
    rules = [rule("horizontalpodautoscalers", "autoscaling", "v1")]
    seen = "request.kind.version == 'v1' && request.requestKind.version == 'v2' && !has(object.spec.metrics)"
    await api.bound(validating("p", f"!({seen})", rules=rules))
    metrics = {"metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization"}}}]}
    metrics["metrics"][0]["resource"]["target"]["averageUtilization"] = 50
    assert (await api.make("h", path.format("v2"), spec=scale | metrics)).status == 422
    exact = {"matchConstraints": {"resourceRules": rules, "matchPolicy": "Exact"}}
    await api.http("PATCH", f"{ROOT}/validatingadmissionpolicies/p", {"spec": exact}, **MERGE)
    await api.memory.core.cache.catch_up()
    answer = await api.make("h", path.format("v2"), spec=scale | metrics)
    assert answer.status == 201, answer.json["message"]


async def test_audit_and_warn(api: Governed) -> None:
    await api.bound(validating("p", "false", "object.x == 1"), "Audit", "Warn")
    answer = await api.make()
    assert answer.status == 201
    told = "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'p': "
    assert told in answer.headers["warning"]


async def test_who_asks_and_what_they_may(api: Governed) -> None:
    checks = (
        "authorizer.group('').resource('secrets').namespace('default').check('list').allowed()",
        "authorizer.requestResource.check('create').allowed()",
        "!authorizer.serviceAccount('default', 'nobody').path('/metrics').check('get').allowed()",
        "!authorizer.serviceAccount('default', 'nobody').group('').resource('pods').check('get').errored()",
        "request.userInfo.username == 'orch:admin' && 'system:masters' in request.userInfo.groups",
        "request.operation == 'CREATE' && request.name == 'a' && request.namespace == 'default' && !request.dryRun",
        "request.resource.resource == 'configmaps' && request.kind.kind == 'ConfigMap' && request.subResource == ''",
        "request.options.kind == 'CreateOptions' && oldObject == null",
        "namespaceObject.metadata.name == 'default' && !has(namespaceObject.metadata.managedFields)",
    )
    await api.bound(validating("p", *checks))
    answer = await api.make()
    assert answer.status == 201, answer.json["message"]


async def test_deletions_connections_and_subresources(api: Governed) -> None:
    rules = [rule("configmaps", "", "v1", "DELETE"), rule("pods/*", "", "v1", "*"), rule("namespaces", "", "v1", "*")]
    spec = "object == null && oldObject.metadata.name == 'kept'"
    await api.bound(validating("p", f"request.operation != 'DELETE' || !({spec})", rules=rules))
    assert (await api.make("kept")).status == 201
    assert (await api.http("DELETE", f"{MAPS}/kept")).status == 422
    assert (await api.http("DELETE", f"{MAPS}?labelSelector=a")).status == 200
    named = validating("n", "request.namespace == request.name && namespaceObject == null", rules=rules[2:])
    await api.bound(named)
    assert (await api.http("POST", "/api/v1/namespaces", {"metadata": {"name": "n"}})).status == 201
    evicting = validating("e", "object.kind != 'Eviction'", rules=[rule("pods/eviction")])
    await api.bound(evicting)
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    assert (await api.http("POST", PODS, pod)).status == 201
    eviction = {"metadata": {"name": "p"}}
    assert "denied request" in (await api.http("POST", f"{PODS}/p/eviction", eviction)).json["message"]


async def test_a_scale_is_shown_as_a_scale(api: Governed) -> None:
    few = validating("p", "object.kind == 'Scale' && object.spec.replicas <= 2", rules=[rule("*/scale", "*", "*")])
    await api.bound(few)
    path = "/apis/apps/v1/namespaces/default/deployments"
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": 5, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    assert (await api.make("d", path, spec=spec)).status == 201
    assert (await api.http("PATCH", f"{path}/d/scale", {"spec": {"replicas": 3}}, **MERGE)).status == 422
    assert (await api.http("PATCH", f"{path}/d/scale", {"spec": {"replicas": 2}}, **MERGE)).status == 200


async def test_policies_are_never_asked_about_policies(api: Governed) -> None:
    await api.bound(validating("p", "false", rules=[rule("*", "*", "*", "*")]))
    review = {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}}
    answer = await api.http("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
    assert answer.status == 201
    assert (await api.http("DELETE", f"{ROOT}/validatingadmissionpolicies/p")).status == 200


async def test_dry_runs_are_judged_too(api: Governed) -> None:
    await api.bound(validating("p", "!request.dryRun"))
    assert (await api.http("POST", f"{MAPS}?dryRun=All", {"metadata": {"name": "a"}})).status == 422
    assert (await api.make()).status == 201


async def test_an_expression_that_takes_too_many_steps_ends(api: Governed) -> None:
    ten = "[0,1,2,3,4,5,6,7,8,9]"
    loop = "1"
    for name in "abcde":
        loop = f"{ten}.map({name}, {loop})"
    await api.bound(validating("p", f"{loop}.size() == 0"))
    assert "operation cancelled: actual cost limit exceeded" in (await api.make()).json["message"]


async def test_objects_of_users_kinds(api: Governed) -> None:
    await api.http("POST", DEFINITIONS, definition(version("v1", {"n": {"type": "integer"}})))
    path = "/apis/stable.example.com/v1/namespaces/default/crontabs"
    await api.bound(validating("p", "object.spec.n < 5", rules=[rule("crontabs", "stable.example.com")]))
    body = {"apiVersion": "stable.example.com/v1", "kind": "CronTab", "metadata": {"name": "a"}, "spec": {"n": 7}}
    answer = await api.http("POST", path, body)
    while answer.status == 404:
        answer = await api.http("POST", path, body)
    assert answer.status == 422, answer.body
    assert (await api.http("POST", path, body | {"spec": {"n": 1}})).status == 201
