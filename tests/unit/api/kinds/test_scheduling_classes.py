import pytest


def priority(name="high", value=1000, **fields):
    return {"metadata": {"name": name}, "value": value, **fields}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (priority(), []),
        (priority(value=1_000_000_000), []),
        (priority("system-node-critical", 2_000_001_000), []),
        (
            priority(value=1_000_000_001),
            ["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"],
        ),
        (
            priority("system-mine"),
            [
                (
                    "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use "
                    "only. "
                    "error: system-mine is not a known system priority class"
                )
            ],
        ),
        (
            priority(preemptionPolicy="Odd"),
            ['preemptionPolicy: Unsupported value: "Odd": supported values: "PreemptLowerPriority", "Never"'],
        ),
    ],
)
def test_priority_class_rules(problems, document, expected):
    assert problems("priorityclasses", document) == expected


def test_a_priority_stays(update_problems):
    assert update_problems("priorityclasses", priority(value=1, preemptionPolicy="Never"), priority()) == [
        "value: Forbidden: may not be changed in an update.",
        'preemptionPolicy: Invalid value: "Never": field is immutable',
    ]
    assert update_problems("priorityclasses", priority(description="a"), priority()) == []


def runtime(handler="sandboxed", **fields):
    return {"metadata": {"name": "a"}, "handler": handler, **fields}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (runtime(overhead={"podFixed": {"cpu": "0.5"}}), []),
        (
            runtime(overhead={"podFixed": {"cpu": "-1"}}),
            ['overhead.limits[cpu]: Invalid value: "-1": must be greater than or equal to 0'],
        ),
        (
            runtime(scheduling={"tolerations": [{"operator": "Equal"}]}),
            [
                (
                    'scheduling.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` '
                    "is empty, "
                    'which means "match all values and all keys"'
                )
            ],
        ),
    ],
)
def test_runtime_class_rules(problems, document, expected):
    assert problems("runtimeclasses", document) == expected


def test_a_runtime_stays(problems, update_problems):
    assert problems("runtimeclasses", runtime("Not a label"))[0].startswith('handler: Invalid value: "Not a label"')
    assert update_problems("runtimeclasses", runtime("other"), runtime()) == [
        'handler: Invalid value: "other": field is immutable'
    ]
