import pytest

VALIDATING = "validatingwebhookconfigurations"
MUTATING = "mutatingwebhookconfigurations"


def hook(**fields):
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    service = {"service": {"name": "s", "namespace": "default"}}
    return {
        "name": "a.example.com",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "clientConfig": service,
        "rules": [{**rule, **fields.pop("rule", {})}],
        **fields,
    }


def configuration(*hooks):
    return {"metadata": {"name": "c"}, "webhooks": list(hooks)}


def test_defaults(created):
    (made,) = created(VALIDATING, configuration(hook()))["webhooks"]
    assert (made["failurePolicy"], made["matchPolicy"], made["timeoutSeconds"]) == ("Fail", "Equivalent", 10)
    assert (made["namespaceSelector"], made["objectSelector"]) == ({}, {})
    assert made["rules"][0]["scope"] == "*"
    assert made["clientConfig"]["service"]["port"] == 443
    assert "reinvocationPolicy" not in made
    (made,) = created(MUTATING, configuration(hook()))["webhooks"]
    assert made["reinvocationPolicy"] == "Never"


def test_changed_webhooks_count_as_a_new_generation(created):
    old = created(VALIDATING, configuration(hook()))
    assert old["metadata"]["generation"] == 1


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"name": ""}, "name: Required value"),
        (
            {"name": "a.b"},
            'name: Invalid value: "a.b": should be a domain with at least three segments separated by dots',
        ),
        ({"sideEffects": None}, "sideEffects: Required value: must specify one of None, NoneOnDryRun"),
        (
            {"sideEffects": "Some"},
            'sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun"',
        ),
        (
            {"timeoutSeconds": 31},
            "timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds",
        ),
        ({"failurePolicy": "X"}, 'failurePolicy: Unsupported value: "X": supported values: "Fail", "Ignore"'),
        ({"matchPolicy": "X"}, 'matchPolicy: Unsupported value: "X": supported values: "Equivalent", "Exact"'),
        ({"clientConfig": {}}, "clientConfig: Required value: exactly one of url or service is required"),
        (
            {"clientConfig": {"url": "http://x/y"}},
            (
                "clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: "
                "https://host[/path]"
            ),
        ),
        (
            {"clientConfig": {"url": "https://me@x/y"}},
            'clientConfig.url: Invalid value: "me": user information is not permitted in the URL',
        ),
        (
            {"clientConfig": {"url": "https://x/y?z"}},
            'clientConfig.url: Invalid value: "z": query parameters are not permitted in the URL',
        ),
        (
            {"clientConfig": {"url": "https://x/y#z"}},
            'clientConfig.url: Invalid value: "z": fragments are not permitted in the URL',
        ),
        (
            {"clientConfig": {"service": {"name": "s", "namespace": "d", "port": 70000}}},
            (
                "clientConfig.service.port: Invalid value: 70000: port is not valid: must be between 1 and 65535, "
                "inclusive"
            ),
        ),
        (
            {"clientConfig": {"service": {"name": "s", "namespace": "d", "path": "//"}}},
            'clientConfig.service.path: Invalid value: "//": segment[0] may not be empty',
        ),
        (
            {"clientConfig": {"service": {"namespace": "d"}}},
            "clientConfig.service.name: Required value: service name is required",
        ),
        (
            {"admissionReviewVersions": []},
            "admissionReviewVersions: Required value: must specify one of v1, v1beta1",
        ),
        (
            {"admissionReviewVersions": ["v2"]},
            'admissionReviewVersions: Invalid value: ["v2"]: must include at least one of v1, v1beta1',
        ),
        (
            {"admissionReviewVersions": ["v1", "v1"]},
            'admissionReviewVersions[1]: Invalid value: "v1": duplicate version',
        ),
        ({"matchConditions": [{"name": "n"}]}, "matchConditions[0].expression: Required value"),
        (
            {"matchConditions": [{"name": "n", "expression": "true"}] * 2},
            'matchConditions[1].name: Duplicate value: "n"',
        ),
    ],
)
def test_webhooks(problems, fields, expected):
    assert problems(VALIDATING, configuration(hook(**fields))) == [f"webhooks[0].{expected}"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"operations": []}, "operations: Required value"),
        (
            {"operations": ["*", "CREATE"]},
            'operations: Invalid value: ["*","CREATE"]: if \'*\' is present, must not specify other operations',
        ),
        (
            {"operations": ["READ"]},
            'operations[0]: Unsupported value: "READ": supported values: "*", "CONNECT", "CREATE", "DELETE", "UPDATE"',
        ),
        ({"apiVersions": [""]}, "apiVersions[0]: Required value"),
        ({"scope": "X"}, 'scope: Unsupported value: "X": supported values: "*", "Cluster", "Namespaced"'),
        ({"resources": []}, "resources: Required value"),
        (
            {"resources": ["pods/*", "pods/log"]},
            "resources[1]: Invalid value: \"pods/log\": if 'pods/*' is present, must not specify pods/log",
        ),
        (
            {"resources": ["*/log", "pods/log"]},
            "resources[1]: Invalid value: \"pods/log\": if '*/log' is present, must not specify pods/log",
        ),
        (
            {"resources": ["*", "pods"]},
            (
                'resources: Invalid value: ["*","pods"]: if \'*\' is present, must not specify other resources without '
                "subresources"
            ),
        ),
        (
            {"resources": ["*/*", "pods"]},
            'resources: Invalid value: ["*/*","pods"]: if \'*/*\' is present, must not specify other resources',
        ),
    ],
)
def test_rules_of_webhooks(problems, fields, expected):
    assert problems(VALIDATING, configuration(hook(rule=fields))) == [f"webhooks[0].rules[0].{expected}"]


def test_names_are_unique(problems):
    assert problems(VALIDATING, configuration(hook(), hook())) == ['webhooks[1].name: Duplicate value: "a.example.com"']


def test_webhooks_that_mutate_may_be_called_again(problems):
    assert problems(MUTATING, configuration(hook(reinvocationPolicy="X"))) == [
        'webhooks[0].reinvocationPolicy: Unsupported value: "X": supported values: "IfNeeded", "Never"'
    ]
