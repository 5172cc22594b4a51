import pytest

POLICIES = "validatingadmissionpolicies"
BINDINGS = "validatingadmissionpolicybindings"


def policy(**spec):
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    body = {"matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": "true"}], **spec}
    return {"metadata": {"name": "p"}, "spec": body}


def mutating(**spec):
    made = policy(reinvocationPolicy="Never", mutations=[{"patchType": "JSONPatch", "jsonPatch": {"expression": "[]"}}])
    del made["spec"]["validations"]
    made["spec"].update(spec)
    return made


def binding(**spec):
    return {"metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Deny"], **spec}}


def test_defaults(created):
    spec = created(POLICIES, policy())["spec"]
    assert spec["failurePolicy"] == "Fail"
    constraints = spec["matchConstraints"]
    assert constraints["matchPolicy"] == "Equivalent"
    assert (constraints["namespaceSelector"], constraints["objectSelector"]) == ({}, {})
    assert constraints["resourceRules"][0]["scope"] == "*"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, []),
        ({"matchConstraints": None}, ["matchConstraints: Required value"]),
        ({"matchConstraints": {}}, ["matchConstraints.resourceRules: Required value"]),
        (
            {"validations": []},
            [
                "validations: Required value: validations or auditAnnotations must be non-empty",
                "auditAnnotations: Required value: validations or auditAnnotations must be non-empty",
            ],
        ),
        ({"validations": [{}]}, ["validations[0].expression: Required value: expression is not specified"]),
        (
            {"validations": [{"expression": "true", "message": "a\nb"}]},
            ['validations[0].message: Invalid value: "a\\nb": message must not contain line breaks'],
        ),
        (
            {"validations": [{"expression": "true", "reason": "X"}]},
            [
                (
                    'validations[0].reason: Unsupported value: "X": supported values: "Forbidden", "Invalid", '
                    '"RequestEntityTooLarge", "Unauthorized"'
                )
            ],
        ),
        (
            {"paramKind": {"apiVersion": "a/b/c", "kind": "K"}},
            ['paramKind.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c'],
        ),
        ({"paramKind": {"apiVersion": "v1"}}, ["paramKind.kind: Required value"]),
        (
            {"variables": [{"name": "in", "expression": "true"}]},
            ['variables[0].name: Invalid value: "in": name is not a valid CEL identifier'],
        ),
        (
            {"auditAnnotations": [{"key": "k", "valueExpression": "null"}] * 2},
            ['auditAnnotations[1].key: Duplicate value: "k"'],
        ),
    ],
)
def test_policies_that_validate(problems, spec, expected):
    assert problems(POLICIES, policy(**spec)) == [f"spec.{problem}" for problem in expected]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, []),
        ({"mutations": []}, ["mutations: Required value: mutations must contain at least one item"]),
        ({"reinvocationPolicy": ""}, ["reinvocationPolicy: Required value"]),
        (
            {"mutations": [{"patchType": "JSONPatch"}]},
            ["mutations[0].jsonPatch: Required value: must be specified when patchType is JSONPatch"],
        ),
        (
            {"mutations": [{"patchType": "X"}]},
            [
                'mutations[0].patchType: Unsupported value: "X": supported values: "ApplyConfiguration", "JSONPatch"',
            ],
        ),
    ],
)
def test_policies_that_mutate(problems, spec, expected):
    assert problems("mutatingadmissionpolicies", mutating(**spec)) == [f"spec.{problem}" for problem in expected]


def test_deletions_are_not_mutated(problems):
    given = mutating()
    given["spec"]["matchConstraints"]["resourceRules"][0]["operations"] = ["DELETE"]
    (problem,) = problems("mutatingadmissionpolicies", given)
    assert problem.startswith("spec.matchConstraints.resourceRules[0].operations: Unsupported value")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, []),
        ({"policyName": ""}, ["policyName: Required value"]),
        ({"validationActions": []}, ["validationActions: Required value"]),
        (
            {"validationActions": ["Deny", "Warn"]},
            [
                (
                    'validationActions: Invalid value: ["Deny","Warn"]: must not contain both Deny and Warn (repeating '
                    "the same validation failure information in the API response and headers serves no purpose)"
                )
            ],
        ),
        (
            {"paramRef": {"parameterNotFoundAction": "Deny"}},
            ["paramRef: Required value: one of name or selector must be specified"],
        ),
        ({"paramRef": {"name": "a"}}, ["paramRef.parameterNotFoundAction: Required value"]),
        (
            {"paramRef": {"name": "a", "selector": {}, "parameterNotFoundAction": "Deny"}},
            [
                "paramRef.name: Forbidden: name and selector are mutually exclusive",
                "paramRef.selector: Forbidden: name and selector are mutually exclusive",
            ],
        ),
        (
            {"matchResources": {"resourceRules": [{"resourceNames": ["a", "a"]}]}},
            [
                'matchResouces.resourceRules[0].resourceNames[1]: Duplicate value: "a"',
                "matchResouces.resourceRules[0].operations: Required value",
                "matchResouces.resourceRules[0].apiGroups: Required value",
                "matchResouces.resourceRules[0].apiVersions: Required value",
                "matchResouces.resourceRules[0].resources: Required value",
            ],
        ),
    ],
)
def test_bindings_of_policies(problems, spec, expected):
    assert problems(BINDINGS, binding(**spec)) == [f"spec.{problem}" for problem in expected]


def test_parameters_are_shown(cells):
    assert cells(POLICIES, policy(paramKind={"apiVersion": "v1", "kind": "ConfigMap"}))["ParamKind"] == "v1/ConfigMap"
    assert cells(BINDINGS, binding())["ParamRef"] == "<unset>"
    assert cells(BINDINGS, binding(paramRef={"name": "a", "namespace": "n"}))["ParamRef"] == "n/a"
    selector = {"matchLabels": {"a": "b"}}
    assert cells(BINDINGS, binding(paramRef={"selector": selector}))["ParamRef"] == (
        "&LabelSelector{MatchLabels:map[string]string{a: b,},MatchExpressions:[]LabelSelectorRequirement{},}"
    )
