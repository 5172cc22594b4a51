import copy

import pytest

from orch.clock import ManualClock
from orch_api.kinds.device_taint_rules import DeviceTaintRuleStrategy

DEVICE = {"name": "gpu-0", "attributes": {"model": {"string": "large"}}, "capacity": {"memory": {"value": "16Gi"}}}
NODES = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"


def slice_(**spec):
    body = {
        "driver": "gpu.example.com",
        "nodeName": "node-1",
        "pool": {"name": "node-1", "generation": 1, "resourceSliceCount": 1},
        "devices": [copy.deepcopy(DEVICE)],
        **spec,
    }
    return {"metadata": {"name": "a"}, "spec": body}


def device(**fields):
    return slice_(devices=[DEVICE | fields])


def portions(**policy):
    capacity = {"memory": {"value": "16Gi", "requestPolicy": policy}}
    return device(allowMultipleAllocations=True, capacity=capacity)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (slice_(), []),
        (slice_(nodeName=None), [f"spec: Required value: {NODES}"]),
        (
            slice_(allNodes=True),
            [f'spec: Invalid value: "{{`nodeName`, `allNodes`}}": {NODES}, but multiple fields are set'],
        ),
        (
            slice_(pool={"name": "a", "generation": -1}),
            [
                "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero",
                "spec.pool.generation: Invalid value: -1: must be greater than or equal to zero",
            ],
        ),
        (slice_(devices=[DEVICE, DEVICE]), ['spec.devices[1]: Duplicate value: "gpu-0"']),
        (
            slice_(sharedCounters=[]),
            ['spec: Invalid value: "": only one of `sharedCounters` or `devices` is allowed'],
        ),
        (
            device(attributes={"model": {}}),
            ['spec.devices[0].attributes[model]: Invalid value: "": exactly one value must be specified'],
        ),
        (
            device(attributes={"version": {"version": "1.0"}}),
            [
                (
                    'spec.devices[0].attributes[version].version: Invalid value: "1.0": must be a string '
                    "compatible with "
                    "semver.org spec 2.0.0"
                )
            ],
        ),
        (
            device(attributes={"a/b/c": {"bool": True}}),
            ['spec.devices[0].attributes: Invalid value: "a/b/c": must not contain more than one slash'],
        ),
        (
            device(attributes={f"a{number}": {"int": 1} for number in range(32)}),
            ["spec.devices[0]: Invalid value: 33: the total number of attributes and capacities must not exceed 32"],
        ),
        (device(taints=[{"key": "a"}]), ["spec.devices[0].taints[0].effect: Required value"]),
        (
            device(consumesCounters=[{"counterSet": "a", "counters": {}}]),
            ["spec.devices[0].consumesCounters[0].counters: Required value"],
        ),
        (
            device(bindingConditions=["ready"]),
            [
                (
                    "spec.devices[0].bindingFailureConditions: Invalid value: []: "
                    "bindingFailureConditions are required to "
                    "use bindingConditions"
                )
            ],
        ),
        (
            slice_(skipNodeOperations=["NodePrepareResources"]),
            [
                (
                    'spec.skipNodeOperations: Invalid value: ["NodePrepareResources"]: '
                    "NodePrepareResources cannot be skipped "
                    "unless NodeUnprepareResources is also skipped"
                )
            ],
        ),
    ],
)
def test_slice_rules(problems, document, expected):
    assert problems("resourceslices", document) == expected


AT = "spec.devices[0].capacity[memory].requestPolicy"


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (portions(default="1Gi", validValues=["1Gi", "2Gi"]), []),
        (portions(default="1Gi", validRange={"min": "1Gi", "max": "4Gi", "step": "1Gi"}), []),
        (portions(validValues=["1Gi"]), [f"{AT}.default: Required value: required when validValues is defined"]),
        (
            portions(default="1Gi", validValues=["2Gi", "1Gi"]),
            [f'{AT}.validValues[1]: Invalid value: "1Gi": values must be sorted in ascending order'],
        ),
        (
            portions(default="3Gi", validValues=["1Gi", "32Gi"]),
            [
                f'{AT}.validValues[1]: Invalid value: "32Gi": option is larger than capacity value: 16Gi',
                f'{AT}.validValues: Invalid value: "3Gi": default value is not valid according to the requestPolicy',
            ],
        ),
        (
            portions(default="1536Mi", validRange={"min": "1Gi", "step": "1Gi"}),
            [
                (
                    f'{AT}.validRange.step: Invalid value: "1536Mi": value is not a multiple of a given step '
                    f"(1Gi) from (1Gi)"
                )
            ],
        ),
    ],
)
def test_portions_of_a_device(problems, document, expected):
    assert problems("resourceslices", document) == expected


def test_a_device_is_had_in_portions_only_by_several(problems):
    document = portions(default="1Gi", validValues=["1Gi"])
    del document["spec"]["devices"][0]["allowMultipleAllocations"]
    assert problems("resourceslices", document) == [f"{AT}: Forbidden: allowMultipleAllocations must be true"]


def test_a_slice_stays_its_drivers_and_its_nodes(update_problems):
    new = slice_(driver="other.example.com", nodeName="node-2", pool={"name": "b", "resourceSliceCount": 1})
    assert update_problems("resourceslices", new, slice_()) == [
        'spec.pool.name: Invalid value: "b": field is immutable',
        'spec.driver: Invalid value: "other.example.com": field is immutable',
        'spec.nodeName: Invalid value: "node-2": field is immutable',
    ]


async def test_a_changed_effect_counts_from_its_change():
    clock = ManualClock()
    strategy = DeviceTaintRuleStrategy(clock)
    old = {"metadata": {"name": "a"}, "spec": {"taint": {"key": "a", "effect": "NoSchedule"}}}
    strategy.default(old)
    strategy.prepare_create(old)
    assert old["spec"]["taint"]["timeAdded"] == "2026-01-01T00:00:00Z"
    await clock.advance(60)
    new = copy.deepcopy(old)
    new["spec"]["taint"]["effect"] = "NoExecute"
    strategy.prepare_update(new, old)
    assert new["spec"]["taint"]["timeAdded"] == "2026-01-01T00:01:00Z"
    assert new["metadata"]["generation"] == 2
    assert [cause.field for cause in strategy.validate(new | {"spec": {"taint": {"effect": "Odd"}}})][-1] == (
        "spec.taint.effect"
    )
