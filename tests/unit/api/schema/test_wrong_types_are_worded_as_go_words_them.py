from __future__ import annotations

import json
from typing import Any

import pytest

from orch.errors import BadRequestError
from orch_api.schema import KindSchema, Schemas

PREFIX = 'Deployment in version "v1" cannot be handled as a Deployment: '
SPEC = "spec.template.spec"


def nested(path: str, value: Any) -> dict[str, Any]:
    for name in reversed(path.split(".")):
        value = [{name[:-2]: value}] if name.endswith("[]") else {name: value}
        if isinstance(value, list):
            value = value[0]
    return value


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (
            {"spec": {"replicas": "3"}},
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            {"spec": {"replicas": 3.5}},
            "json: cannot unmarshal number 3.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            {"spec": {"replicas": 2**31}},
            "json: cannot unmarshal number 2147483648 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            {"metadata": {"generation": 2**63}},
            (
                "json: cannot unmarshal number 9223372036854775808 into Go struct field ObjectMeta.metadata.generation "
                "of type int64"
            ),
        ),
        (
            {"spec": {"paused": "yes"}},
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.paused of type bool",
        ),
        (
            {"spec": []},
            "json: cannot unmarshal array into Go struct field Deployment.spec of type v1.DeploymentSpec",
        ),
        (
            nested(SPEC, "x"),
            "json: cannot unmarshal string into Go struct field PodTemplateSpec.spec.template.spec of type v1.PodSpec",
        ),
        (
            nested(f"{SPEC}.containers", {"name": "web"}),
            (
                "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers "
                "of type []v1.Container"
            ),
        ),
        (
            nested(f"{SPEC}.containers", [{"env": [{"name": "PORT", "value": 80}]}]),
            (
                "json: cannot unmarshal number into Go struct field EnvVar.spec.template.spec.containers.env.value "
                "of type string"
            ),
        ),
        (
            nested(f"{SPEC}.containers", [{"args": "run"}]),
            (
                "json: cannot unmarshal string into Go struct field Container.spec.template.spec.containers.args "
                "of type []string"
            ),
        ),
        (
            {"metadata": {"labels": {"tier": 1}}},
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            {"metadata": {"labels": ["tier"]}},
            "json: cannot unmarshal array into Go struct field ObjectMeta.metadata.labels of type map[string]string",
        ),
        (
            nested(f"{SPEC}.containers", [{"resources": {"limits": "many"}}]),
            (
                "json: cannot unmarshal string into Go struct field "
                "ResourceRequirements.spec.template.spec.containers.resources.limits of type v1.ResourceList"
            ),
        ),
        (
            nested("spec.strategy.rollingUpdate.maxSurge", True),
            (
                "json: cannot unmarshal bool into Go struct field "
                "RollingUpdateDeployment.spec.strategy.rollingUpdate.maxSurge of type int32"
            ),
        ),
        (
            {"metadata": {"creationTimestamp": 7}},
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.creationTimestamp of type string",
        ),
    ],
)
def test_the_field_and_both_types_are_named(deployment: KindSchema, document: dict[str, Any], problem: str) -> None:
    with pytest.raises(BadRequestError) as refused:
        deployment.decode(json.dumps(document).encode())
    assert refused.value.message == PREFIX + problem
    with pytest.raises(BadRequestError) as refused:
        deployment.check(document)
    assert refused.value.message == PREFIX + problem


@pytest.mark.parametrize("text", ["1 apple", "", "1..2Gi", "-", "Gi"])
def test_a_bad_quantity_ends_the_decoding(pod: KindSchema, text: str) -> None:
    container = {"name": 5, "resources": {"requests": {"cpu": text}}}
    with pytest.raises(BadRequestError) as refused:
        pod.decode(json.dumps({"spec": {"containers": [container]}}).encode())
    where = "spec.containers[0].resources.requests.cpu: "
    assert refused.value.message.startswith(f'Pod in version "v1" cannot be handled as a Pod: {where}')
    assert "quantities must match the regular expression '^([+-]?[0-9.]+)" in refused.value.message or (
        "unable to parse" in refused.value.message
    )


def test_the_first_wrong_value_of_the_document_is_the_error(deployment: KindSchema) -> None:
    body = b'{"spec":{"unknown":1,"paused":1,"replicas":"2"}}'
    with pytest.raises(BadRequestError, match=r"number into Go struct field DeploymentSpec\.spec\.paused of type bool"):
        deployment.decode(body)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("yesterday", 'parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006"'),
        ("", 'parsing time "" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "2006"'),
        ("2024-13-01T00:00:00Z", 'parsing time "2024-13-01T00:00:00Z": month out of range'),
        ("2023-02-29T00:00:00Z", 'parsing time "2023-02-29T00:00:00Z": day out of range'),
        ("2024-01-01T24:00:00Z", 'parsing time "2024-01-01T24:00:00Z": hour out of range'),
        ("2024-01-01T00:00:60Z", 'parsing time "2024-01-01T00:00:60Z": second out of range'),
        (
            "2024-01-01 00:00:00Z",
            'parsing time "2024-01-01 00:00:00Z" as "2006-01-02T15:04:05Z07:00": cannot parse " 00:00:00Z" as "T"',
        ),
        (
            "2024-01-01T00:00:00",
            'parsing time "2024-01-01T00:00:00" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "Z07:00"',
        ),
        ("2024-01-01T00:00:00Z!", 'parsing time "2024-01-01T00:00:00Z!": extra text: "!"'),
        ("2024-01-01T00:00:00+01:60", 'parsing time "2024-01-01T00:00:00+01:60": time zone offset minute out of range'),
    ],
)
def test_a_bad_time_is_worded_as_by_time_parse(deployment: KindSchema, text: str, problem: str) -> None:
    with pytest.raises(BadRequestError) as refused:
        deployment.decode(json.dumps({"metadata": {"creationTimestamp": text}}).encode())
    assert refused.value.message == f"{PREFIX}metadata.creationTimestamp: {problem}"


def test_a_micro_time_needs_six_decimals(schemas: Schemas) -> None:
    lease = schemas.of("coordination.k8s.io", "v1", "Lease")
    with pytest.raises(BadRequestError) as refused:
        lease.decode(b'{"spec":{"renewTime":"2024-01-01T00:00:00Z"}}')
    assert refused.value.message == (
        'Lease in version "v1" cannot be handled as a Lease: spec.renewTime: parsing time "2024-01-01T00:00:00Z" '
        'as "2006-01-02T15:04:05.000000Z07:00": cannot parse "Z" as ".000000"'
    )


@pytest.mark.parametrize(("text", "place"), [("****", 0), ("YQ", 0), ("YWJjZA", 4), ("YW!j", 2)])
def test_bad_base64_names_the_byte(secret: KindSchema, text: str, place: int) -> None:
    with pytest.raises(BadRequestError) as refused:
        secret.decode(json.dumps({"data": {"key": text}}).encode())
    assert refused.value.message.endswith(f"illegal base64 data at input byte {place}")


def test_the_error_names_the_kind_that_the_document_claims(deployment: KindSchema) -> None:
    with pytest.raises(BadRequestError, match=r'^Job in version "v1" cannot be handled as a Deployment: json: '):
        deployment.decode(b'{"apiVersion":"batch/v1","kind":"Job","spec":{"replicas":"2"}}')
