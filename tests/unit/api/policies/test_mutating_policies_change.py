"""MutatingAdmissionPolicies over HTTP: configurations and patches, their order, their second run, their failures."""

from typing import Any

from policies import MAPS, MERGE, Governed, applied, binding, mutating, patched, rule, validating

PODS = "/api/v1/namespaces/default/pods"


def pod(name: str = "p", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}], **spec}}


async def test_a_configuration_is_merged_into_the_object(api: Governed) -> None:
    expression = """
        Object{
          metadata: Object.metadata{labels: {"team": object.metadata.name}},
          spec: Object.spec{
            initContainers: [Object.spec.initContainers{name: "sidecar", image: "mesh", restartPolicy: "Always"}],
            containers: object.spec.containers.map(c, Object.spec.containers{name: c.name, imagePullPolicy: "Always"})
          }
        }"""
    await api.bound(mutating("p", applied(expression), rules=[rule("pods", "", "v1", "CREATE")]))
    made = (await api.http("POST", PODS, pod())).json
    assert made["metadata"]["labels"] == {"team": "p"}
    (container,) = made["spec"]["containers"]
    assert (container["image"], container["imagePullPolicy"]) == ("i", "Always")
    (sidecar,) = made["spec"]["initContainers"]
    assert sidecar["terminationMessagePath"] == "/dev/termination-log", "what was added has its defaults"


async def test_a_patch_is_applied(api: Governed) -> None:
    operations = """[
        JSONPatch{op: "test", path: "/data/a", value: "1"},
        JSONPatch{op: "add", path: "/metadata/labels", value: {}},
        JSONPatch{op: "add", path: "/metadata/labels/" + jsonpatch.escapeKey("example.com/team"), value: "blue"},
        JSONPatch{op: "copy", from: "/data/a", path: "/data/b"}
    ]"""
    await api.bound(mutating("p", patched(operations)))
    made = (await api.make(data={"a": "1"})).json
    assert made["metadata"]["labels"] == {"example.com/team": "blue"}
    assert made["data"] == {"a": "1", "b": "1"}
    untouched = (await api.make("b", data={"a": "2"})).json
    assert untouched["data"] == {"a": "2"}, "a test that fails is no failure: nothing is changed"


async def test_policies_follow_one_another_and_are_judged_afterwards(api: Governed) -> None:
    for name, then in (("a", "object.data['order'] + 'a'"), ("b", "object.data['order'] + 'b'")):
        await api.bound(mutating(name, applied(f"Object{{data: {{'order': {then}}}}}")))
    await api.bound(validating("v", "object.data.order == 'xab'"))
    assert (await api.make(data={"order": "x"})).json["data"] == {"order": "xab"}


async def test_who_asks_for_it_is_asked_again_once(api: Governed) -> None:
    count = "Object{data: {'n': string(int(object.data.n) + 1)}}"
    await api.bound(mutating("a", applied(count), reinvocationPolicy="IfNeeded"))
    await api.bound(mutating("b", applied(count), reinvocationPolicy="IfNeeded"))
    assert (await api.make(data={"n": "0"})).json["data"] == {"n": "4"}, "each twice: nobody is asked for ever"


async def test_parameters_by_name_and_by_selector(api: Governed) -> None:
    kind = {"apiVersion": "v1", "kind": "ConfigMap"}
    await api.make("one", metadata={"labels": {"of": "p"}}, data={"label": "first"})
    await api.make("two", metadata={"labels": {"of": "p"}}, data={"label": "second"})
    expression = "Object{metadata: Object.metadata{labels: {params.data.label: ''}}}"
    policy = mutating("p", applied(expression), paramKind=kind, rules=[rule("secrets")])
    some = {"paramRef": {"selector": {"matchLabels": {"of": "p"}}, "parameterNotFoundAction": "Deny"}}
    await api.put(policy, binding(policy, **some))
    secrets = "/api/v1/namespaces/default/secrets"
    assert (await api.make("s", secrets)).json["metadata"]["labels"] == {"first": "", "second": ""}


REFERENCES: Any = [
    (
        {"name": "gone", "parameterNotFoundAction": "Deny"},
        "no params found for policy binding with `Deny` parameterNotFoundAction",
    ),
    ({"name": "gone", "parameterNotFoundAction": "Allow"}, ""),
    ({"name": "limit", "namespace": "default", "parameterNotFoundAction": "Deny"}, "failed expression"),
]


async def test_parameters_that_are_not_there(api: Governed) -> None:
    await api.make("limit", data={"most": "0"})
    kind = {"apiVersion": "v1", "kind": "ConfigMap"}
    check = "object.data.size() <= int(params.data.most)"
    policy = validating("p", check, paramKind=kind, rules=[rule("secrets")])
    await api.put(policy)
    for index, (reference, problem) in enumerate(REFERENCES):
        await api.put(binding(policy, name=f"b{index}", paramRef=reference))
        answer = await api.make("s", "/api/v1/namespaces/default/secrets", data={"a": "Yg=="})
        if not problem:
            assert answer.status == 201
        else:
            assert problem in answer.json["message"]
        await api.unbind("validating", f"b{index}")


async def test_an_unknown_kind_of_parameters(api: Governed) -> None:
    policy = validating("p", "params == null", paramKind={"apiVersion": "rules.example.com/v1", "kind": "Limit"})
    reference = {"name": "x", "parameterNotFoundAction": "Allow"}
    await api.put(policy, binding(policy, paramRef=reference))
    shown = "&ParamKind{APIVersion:rules.example.com/v1,Kind:Limit,}"
    message = (await api.make()).json["message"]
    assert message.endswith(f"denied request: failed to configure binding: paramKind kind `{shown}` not known")


FAILING: Any = [
    (applied("Object{spec: Object.spec{nodeSelector: {'a': object.nothing}}}"), "no such key: nothing"),
    (
        applied("Object{spec: Object.spec{activeDeadlineSeconds: 1, containerz: 1}}"),
        "failed to convert patch object to typed object: .spec.containerz: field not declared in schema",
    ),
    (
        applied("Object{spec: Object.spec{containers: [Object.spec.containers{name: 'c', args: ['a']}]}}"),
        "may not mutate atomic arrays, maps or structs: .spec.containers[0].args",
    ),
    (applied("Object{metadata: Object.metadata{name: 'other'}}"), "metadata.name may not be changed"),
    (patched("[JSONPatch{op: 'remove', path: '/spec/nothing'}]"), "JSON Patch: "),
]


async def test_a_mutation_that_fails_refuses_the_request(api: Governed) -> None:
    for index, (mutation, problem) in enumerate(FAILING):
        name = f"p{index}"
        await api.bound(mutating(name, mutation, rules=[rule("pods", "", "v1", "CREATE")]))
        answer = await api.http("POST", PODS, pod())
        assert (answer.status, answer.json["reason"]) == (403, "Invalid")
        assert answer.json["message"].startswith(f"policy '{name}' with binding '{name}' denied request: ")
        assert problem in answer.json["message"]
        path = f"/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies/{name}"
        await api.http("PATCH", path, {"spec": {"failurePolicy": "Ignore"}}, **MERGE)
        await api.memory.core.cache.catch_up()
        assert (await api.http("POST", PODS, pod(f"free{index}"))).status == 201


async def test_updates_and_scales(api: Governed) -> None:
    few = "Object{spec: Object.spec{replicas: 2}}"
    await api.bound(mutating("p", applied(few), rules=[rule("deployments/scale", "apps", "v1", "UPDATE")]))
    path = "/apis/apps/v1/namespaces/default/deployments"
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    assert (await api.make("d", path, spec=spec)).status == 201
    scaled = await api.http("PATCH", f"{path}/d/scale", {"spec": {"replicas": 9}}, **MERGE)
    assert (scaled.status, scaled.json["spec"]) == (200, {"replicas": 2})
    assert (await api.http("GET", f"{path}/d")).json["spec"]["replicas"] == 2
    await api.bound(
        mutating(
            "m", applied("Object{data: {'seen': oldObject.data.a}}"), rules=[rule("configmaps", "", "v1", "UPDATE")]
        )
    )
    await api.make(data={"a": "1"})
    changed = await api.http("PATCH", f"{MAPS}/a", {"data": {"a": "2"}}, **MERGE)
    assert changed.json["data"] == {"a": "2", "seen": "1"}


async def test_connections_are_refused_but_not_changed(api: Governed) -> None:
    assert (await api.http("POST", PODS, pod())).status == 201
    exec_ = f"{PODS}/p/exec?command=id"
    await api.bound(mutating("p", applied("Object{tty: true}"), rules=[rule("pods/exec", "", "v1", "CONNECT")]))
    answer = await api.http("POST", exec_)
    assert (answer.status, answer.json["reason"]) == (403, "Invalid")
    assert answer.json["message"].endswith("a PodExecOptions may not be changed")
    await api.unbind("mutating", "p")
    check = "object.kind == 'PodExecOptions' && object.command == ['ls']"
    await api.bound(validating("v", check, rules=[rule("pods/exec", "", "v1", "CONNECT")]))
    answer = await api.http("POST", exec_)
    assert (answer.status, answer.json["reason"]) == (422, "Invalid")


WRONG = [
    (
        validating("p", "object.spec. > 1"),
        'spec.validations[0].expression: Invalid value: "object.spec. > 1": compilation failed: ERROR: <input>:1:',
    ),
    (
        validating("p", "object.x"),
        'spec.validations[0].expression: Invalid value: "object.x": must evaluate to bool',
    ),
    (validating("p", "params.x == 1"), "undeclared reference to 'params.x'"),
    (validating("p", "request.usr == ''"), "undefined field 'usr'"),
    (validating("p", "variables.x == 1"), "undefined field 'x'"),
    (
        validating(
            "p", "true", variables=[{"name": "a", "expression": "variables.b"}, {"name": "b", "expression": "1"}]
        ),
        "spec.variables[0].expression: Invalid value: \"variables.b\": compilation failed: undefined field 'b'",
    ),
    (
        validating("p", validations=[{"expression": "true", "messageExpression": "1"}]),
        'spec.validations[0].messageExpression: Invalid value: "1": must evaluate to string',
    ),
    (
        validating("p", "true", auditAnnotations=[{"key": "k", "valueExpression": "5"}]),
        'spec.auditAnnotations[0].valueExpression: Invalid value: "5": must evaluate to string or null',
    ),
    (
        validating("p", "true", matchConditions=[{"name": "n", "expression": "'x'"}]),
        "spec.matchConditions[0].expression: Invalid value: \"'x'\": must evaluate to bool",
    ),
    (mutating("p", applied("1")), 'applyConfiguration.expression: Invalid value: "1": must evaluate to Object'),
    (mutating("p", patched("Object{}")), "must evaluate to list(JSONPatch)"),
    (
        mutating("p", applied("Object{spec: Object.metadata{}}")),
        'unexpected type name "Object.metadata", expected "Object.spec"',
    ),
]


async def test_expressions_are_refused_when_they_are_written(api: Governed) -> None:
    for document, problem in WRONG:
        assert problem in await api.refused(document)
