from __future__ import annotations

import json
from typing import Any

import pytest

from orch_api.schema import KindSchema, Schemas


def created(schema: KindSchema, text: str) -> Any:
    document, _ = schema.decode(json.dumps({"metadata": {"name": "a", "creationTimestamp": text}}).encode())
    return document["metadata"].get("creationTimestamp")


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("2024-05-05T10:00:00Z", "2024-05-05T10:00:00Z"),
        ("2024-02-29T10:00:00Z", "2024-02-29T10:00:00Z"),
        ("2024-05-31T23:30:00-02:00", "2024-06-01T01:30:00Z"),
        ("2024-05-05T10:00:00.999Z", "2024-05-05T10:00:00Z"),
        ("2024-05-05T1:00:00Z", "2024-05-05T01:00:00Z"),
        ("0001-01-01T00:00:00Z", None),
    ],
)
def test_times_are_in_utc_with_seconds(pod: KindSchema, text: str, canonical: str | None) -> None:
    assert created(pod, text) == canonical


def test_micro_times_keep_their_decimals(schemas: Schemas) -> None:
    lease = schemas.of("coordination.k8s.io", "v1", "Lease")
    for text in ("2024-05-31T10:00:00.000001Z", "2024-05-31T12:00:00.000001+02:00"):
        document, _ = lease.decode(json.dumps({"spec": {"renewTime": text}}).encode())
        assert document == {"spec": {"renewTime": "2024-05-31T10:00:00.000001Z"}}


@pytest.mark.parametrize(
    ("given_", "canonical"),
    [
        ("100m", "100m"),
        ("1000m", "1"),
        ("1024Mi", "1Gi"),
        ("0.5", "500m"),
        (" 1 ", "1"),
        (2, "2"),
        (0.5, "500m"),
        (None, "0"),
    ],
)
def test_quantities_are_canonical(pod: KindSchema, given_: object, canonical: str) -> None:
    def spec(value: object) -> dict[str, Any]:
        return {"spec": {"containers": [{"resources": {"limits": {"cpu": value}}}]}}

    assert pod.decode(json.dumps(spec(given_)).encode())[0] == spec(canonical)
    assert pod.convert(spec(given_))[0] == spec(canonical)


def test_null_is_unset(pod: KindSchema) -> None:
    body = b'{"metadata":{"name":"a","labels":null,"creationTimestamp":null},"spec":{"containers":null},"status":null}'
    assert pod.decode(body) == ({"metadata": {"name": "a"}, "spec": {}}, [])


def test_null_among_values_is_their_zero(pod: KindSchema) -> None:
    body = b'{"metadata":{"labels":{"a":null}},"spec":{"containers":[null,{"args":[null,"x"]}]}}'
    expected = {"metadata": {"labels": {"a": ""}}, "spec": {"containers": [{}, {"args": ["", "x"]}]}}
    assert pod.decode(body) == (expected, [])


def test_bytes_are_written_again_without_line_ends(secret: KindSchema) -> None:
    assert secret.decode(b'{"data":{"a":"YWJj\\nZGVm\\r\\n"}}')[0] == {"data": {"a": "YWJjZGVm"}}


def test_an_int_or_string_stays_what_it_was(deployment: KindSchema) -> None:
    document = {"spec": {"strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1}}}}
    assert deployment.decode(json.dumps(document).encode()) == (document, [])


def test_empty_lists_and_maps_are_left_out_unless_they_must_be_there(pod: KindSchema) -> None:
    document = {
        "metadata": {"labels": {}},
        "spec": {"containers": [], "volumes": [{"name": "v", "emptyDir": {}}], "nodeSelector": {}, "tolerations": []},
    }
    written = {"metadata": {}, "spec": {"containers": [], "volumes": [{"name": "v", "emptyDir": {}}]}}
    for indent in (None, 2):
        assert pod.decode(json.dumps(document, indent=indent).encode()) == (written, [])
    assert pod.convert(document) == (written, [])


def test_kinds_that_contain_themselves_are_decoded(schemas: Schemas) -> None:
    crd = schemas.of("apiextensions.k8s.io", "v1", "CustomResourceDefinition")
    inner: dict[str, Any] = {
        "type": "object",
        "properties": {"a": {"type": "object", "properties": {"b": {"$ref": "#"}}}},
    }
    document = {"spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": inner}}]}}
    assert crd.decode(json.dumps(document).encode()) == (document, [])
    inner["properties"]["a"]["properties"]["b"]["typo"] = 1
    path = "spec.versions[0].schema.openAPIV3Schema.properties.a.properties.b.typo"
    assert crd.decode(json.dumps(document).encode(), "Warn")[1] == [f'unknown field "{path}"']


def test_a_kind_that_kubernetes_has_not_is_told(schemas: Schemas) -> None:
    with pytest.raises(LookupError, match='no kind "Depolyment" is registered for version "apps/v1"'):
        schemas.of("apps", "v1", "Depolyment")
