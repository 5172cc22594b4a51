import pytest

from orch_api.kinds import flow_objects


def schema(name="s", subjects=({"kind": "User", "user": {"name": "jo"}},), rule=None, **spec):
    found = rule or {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "namespaces": ["*"]}
    rules = {"subjects": list(subjects), "resourceRules": [found]}
    return {"metadata": {"name": name}, "spec": {"priorityLevelConfiguration": {"name": "l"}, "rules": [rules], **spec}}


def level(name="l", queuing=None, **limited):
    response = {"type": "Reject"} if queuing is None else {"type": "Queue", "queuing": queuing}
    return {
        "metadata": {"name": name},
        "spec": {"type": "Limited", "limited": {"limitResponse": response, **limited}},
    }


def test_defaults(created):
    assert created("flowschemas", schema())["spec"]["matchingPrecedence"] == 1000
    limited = created("prioritylevelconfigurations", level(queuing={}))["spec"]["limited"]
    assert (limited["nominalConcurrencyShares"], limited["lendablePercent"]) == (30, 0)
    assert limited["limitResponse"]["queuing"] == {"handSize": 8, "queues": 64, "queueLengthLimit": 50}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (schema(), []),
        (schema(matchingPrecedence=-1), ["matchingPrecedence: Invalid value: -1: must be a positive value"]),
        (
            schema(matchingPrecedence=10001),
            ["matchingPrecedence: Invalid value: 10001: must not be greater than 10000"],
        ),
        (
            schema(matchingPrecedence=1),
            ["matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1"],
        ),
        (
            schema(priorityLevelConfiguration={}),
            ["priorityLevelConfiguration.name: Required value: must reference a priority level"],
        ),
        (
            schema(distinguisherMethod={"type": "X"}),
            [
                'distinguisherMethod.type: Unsupported value: {"type":"X"}: supported values: "ByNamespace", "ByUser"',
            ],
        ),
        (schema(subjects=()), ["rules[0].subjects: Required value: subjects must contain at least one value"]),
        (
            schema(subjects=({"kind": "User", "group": {"name": "g"}},)),
            [
                "rules[0].subjects[0].group: Forbidden: group is forbidden when subject kind is not 'Group'",
                "rules[0].subjects[0].user: Required value: user is required when subject kind is 'User'",
            ],
        ),
        (
            schema(subjects=({"kind": "ServiceAccount", "serviceAccount": {"name": "*"}},)),
            [
                (
                    "rules[0].subjects[0].serviceAccount.namespace: Required value: must specify namespace for service "
                    "account"
                )
            ],
        ),
        (
            schema(rule={"verbs": ["get"], "apiGroups": ["*", "a"], "resources": ["*"], "clusterScope": True}),
            [
                (
                    'rules[0].resourceRules[0].apiGroups: Invalid value: ["*","a"]: if \'*\' is present, must not '
                    "specify other api groups"
                )
            ],
        ),
        (
            schema(rule={"verbs": ["get"], "apiGroups": ["*"], "resources": ["*"]}),
            [
                (
                    "rules[0].resourceRules[0].namespaces: Required value: resource rules that are not cluster scoped "
                    "must supply at least one namespace"
                )
            ],
        ),
    ],
)
def test_flow_schemas(problems, given, expected):
    assert problems("flowschemas", given) == [f"spec.{problem}" for problem in expected]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (level(), []),
        (level(queuing={}), []),
        (level("exempt"), 2),
        (
            level(lendablePercent=101),
            ["limited.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive"],
        ),
        (
            level(queuing={"queues": 4, "handSize": 8}),
            [
                "limited.limitResponse.queuing.handSize: Invalid value: 8: should not be greater than queues (4)",
            ],
        ),
        (
            level(queuing={"queues": 1024, "handSize": 8}),
            [
                (
                    "limited.limitResponse.queuing.handSize: Invalid value: 8: required entropy bits of deckSize 1024 "
                    "and handSize 8 should not be greater than 60"
                )
            ],
        ),
    ],
)
def test_priority_levels(problems, given, expected):
    found = problems("prioritylevelconfigurations", given)
    if isinstance(expected, int):
        assert len(found) == expected
    else:
        assert found == [f"spec.{problem}" for problem in expected]


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("", "must not be empty"),
        ("x", "must start with slash"),
        ("/a b", "must not contain white-space"),
        ("/a//b", "must not contain double slash"),
        ("/a*", "wildcard can only do suffix matching"),
        ("/a/*", None),
        ("/", None),
    ],
)
def test_paths(problems, path, problem):
    given = schema()
    given["spec"]["rules"][0]["nonResourceRules"] = [{"verbs": ["get"], "nonResourceURLs": [path]}]
    at = "spec.rules[0].nonResourceRules[0].nonResourceURLs[0]"
    assert problems("flowschemas", given) == ([f'{at}: Invalid value: "{path}": {problem}'] if problem else [])


def test_mandatory_objects_are_as_they_are(problems):
    taken = {"metadata": {"name": "catch-all"}, "spec": {**flow_objects.MANDATORY_SCHEMAS["catch-all"]}}
    assert problems("flowschemas", taken) == []
    taken["spec"]["matchingPrecedence"] = 9999
    (problem,) = problems("flowschemas", taken)
    assert problem.endswith(": spec of 'catch-all' must equal the fixed value")


def test_what_exempt_requests_lend_may_change(problems):
    spec = {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 7, "lendablePercent": 50}}
    assert problems("prioritylevelconfigurations", {"metadata": {"name": "exempt"}, "spec": spec}) == []


def test_tables(cells):
    assert cells("flowschemas", schema())["MissingPL"] == "?"
    shown = cells("prioritylevelconfigurations", {"metadata": {"name": "exempt"}, "spec": {"type": "Exempt"}})
    assert [shown[name] for name in ("Type", "NominalConcurrencyShares", "Queues")] == ["Exempt", "<none>", "<none>"]
