import copy
from datetime import UTC, datetime

import pytest

from orch_api.kinds.resource_claims import RESOURCES, ResourceClaimStrategy

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GPU = {"deviceClassName": "gpu.example.com"}
RESULT = {"request": "gpu", "driver": "gpu.example.com", "pool": "node-1", "device": "gpu-0"}
POD = {"resource": "pods", "name": "web", "uid": "1"}


def claim(*requests, **devices):
    asked = [{"name": "gpu", "exactly": dict(GPU)}] if not requests else list(requests)
    return {
        "metadata": {"name": "gpus", "namespace": "default"},
        "spec": {"devices": {"requests": asked, **devices}},
    }


def exact(**fields):
    return {"name": "gpu", "exactly": GPU | fields}


def test_a_claim_asks_for_one_device_of_each(created):
    made = created("resourceclaims", claim(exact(), {"name": "any", "firstAvailable": [{"name": "a", **GPU}]}))
    exactly, any_ = made["spec"]["devices"]["requests"]
    assert exactly["exactly"] == GPU | {"allocationMode": "ExactCount", "count": 1}
    assert any_["firstAvailable"][0]["count"] == 1


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (claim(), []),
        (
            claim({"name": "gpu"}),
            ["spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required"],
        ),
        (claim(exact(), exact()), ['spec.devices.requests[1]: Duplicate value: "gpu"']),
        (
            claim(exact(deviceClassName="")),
            ["spec.devices.requests[0].exactly.deviceClassName: Required value"],
        ),
        (
            claim(exact(allocationMode="All", count=2)),
            [
                (
                    "spec.devices.requests[0].exactly.count: Invalid value: 2: must not be specified when "
                    "allocationMode is 'All'"
                )
            ],
        ),
        (
            claim(exact(allocationMode="Some")),
            [
                (
                    'spec.devices.requests[0].exactly.allocationMode: Unsupported value: "Some": '
                    'supported values: "All", '
                    '"ExactCount"'
                )
            ],
        ),
        (claim(exact(selectors=[{}])), ["spec.devices.requests[0].exactly.selectors[0].cel: Required value"]),
        (
            claim(exact(tolerations=[{"operator": "Exists", "value": "a"}])),
            [
                (
                    'spec.devices.requests[0].exactly.tolerations[0].value: Invalid value: "a": must be '
                    "empty for operator "
                    "`Exists`"
                )
            ],
        ),
        (
            claim(constraints=[{"requests": ["other"], "matchAttribute": "example.com/model"}]),
            [
                (
                    'spec.devices.constraints[0].requests[0]: Invalid value: "other": must be the name '
                    "of a request in the "
                    "claim or the name of a request and a subrequest separated by '/'"
                )
            ],
        ),
        (
            claim(constraints=[{"matchAttribute": "model"}]),
            [
                (
                    'spec.devices.constraints[0].matchAttribute: Invalid value: "model": a fully '
                    "qualified name must be a "
                    "domain and a name separated by a slash"
                )
            ],
        ),
        (claim(config=[{}]), ["spec.devices.config[0].opaque: Required value"]),
        (
            claim(config=[{"opaque": {"driver": "example.com", "parameters": "a"}}]),
            ['spec.devices.config[0].opaque.parameters: Invalid value: "<value omitted>": must be a valid JSON object'],
        ),
        (
            claim(*({"name": f"r{number}", "exactly": GPU} for number in range(33))),
            ["spec.devices.requests: Too many: 33: must have at most 32 items"],
        ),
    ],
)
def test_claim_rules(problems, document, expected):
    assert problems("resourceclaims", document) == expected


def test_a_claim_and_its_template_stay_as_they_are(update_problems, problems):
    (problem,) = update_problems("resourceclaims", claim(exact(count=2)), claim())
    assert problem.endswith("field is immutable")
    template = {"metadata": {"name": "a", "namespace": "default"}, "spec": {"spec": claim()["spec"]}}
    assert problems("resourceclaimtemplates", copy.deepcopy(template)) == []
    named = copy.deepcopy(template)
    named["spec"]["metadata"] = {"name": "a", "labels": {"b": "c"}}
    assert problems("resourceclaimtemplates", named) == ["spec.metadata.name: Forbidden: cannot be set"]


def status_problems(new, old=None):
    strategy = ResourceClaimStrategy()
    document, before = claim() | {"status": new}, claim() | {"status": old or {}}
    strategy.prepare_subresource("status", document, before)
    return [f"{cause.field}: {cause.message}" for cause in strategy.validate_subresource("status", document, before)]


def allocation(**result):
    return {"devices": {"results": [RESULT | result]}}


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        ({"allocation": allocation(), "reservedFor": [POD]}, []),
        (
            {"reservedFor": [POD]},
            ["status.reservedFor: Forbidden: may not be specified when `allocated` is not set"],
        ),
        (
            {"allocation": allocation(), "reservedFor": [POD, POD]},
            ['status.reservedFor[1]: Duplicate value: "1"'],
        ),
        (
            {"allocation": allocation(pool="")},
            ["status.allocation.devices.results[0].pool: Required value"],
        ),
        (
            {
                "allocation": allocation(),
                "devices": [{"driver": "gpu.example.com", "pool": "node-1", "device": "gpu-1"}],
            },
            [
                (
                    'status.devices[0]: Invalid value: "gpu.example.com/node-1/gpu-1": must be an allocated '
                    "device in the claim"
                )
            ],
        ),
        (
            {
                "allocation": allocation(),
                "devices": [
                    {
                        "driver": "gpu.example.com",
                        "pool": "node-1",
                        "device": "gpu-0",
                        "networkData": {"ips": ["10.0.0.1"]},
                    }
                ],
            },
            [
                (
                    'status.devices[0].networkData.ips[0]: Invalid value: "10.0.0.1": must be a valid '
                    "address in CIDR form, "
                    "(e.g. 10.9.8.7/24 or 2001:db8::1/64)"
                )
            ],
        ),
    ],
)
def test_what_a_claim_got(new, expected):
    assert status_problems(new) == expected


def test_what_a_claim_got_is_not_exchanged():
    (problem,) = status_problems({"allocation": allocation(device="gpu-1")}, {"allocation": allocation()})
    assert problem.startswith("status.allocation: Invalid value:")
    assert problem.endswith("field is immutable")


def test_what_is_said_of_a_device_goes_with_it():
    device = {"driver": "gpu.example.com", "pool": "node-1", "device": "gpu-0"}
    old = claim() | {"status": {"allocation": allocation(), "devices": [device]}}
    new = claim() | {"status": {"devices": [device]}}
    ResourceClaimStrategy().prepare_status(new, old)
    assert new["status"]["devices"] == []


@pytest.mark.parametrize(
    ("status", "deleted", "state"),
    [
        ({}, False, "pending"),
        ({"allocation": allocation()}, False, "allocated"),
        ({"allocation": allocation(), "reservedFor": [POD]}, True, "deleted,allocated,reserved"),
    ],
)
def test_the_state_is_shown(status, deleted, state):
    document = claim() | {"status": status}
    if deleted:
        document["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert RESOURCES[0].columns[1].value(document, NOW) == state


def test_device_class_rules(problems):
    document = {"metadata": {"name": "gpu"}, "spec": {"extendedResourceName": "cpu", "selectors": [{"cel": {}}]}}
    assert problems("deviceclasses", document) == [
        "spec.selectors[0].cel.expression: Required value",
        'spec.extendedResourceName: Invalid value: "cpu": must be a valid extended resource name',
    ]
