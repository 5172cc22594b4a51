"""Documents of every kind go to protobuf and come back as they were; the schema says what a document can hold."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import datetime
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orch_api import wire
from orch_api.kinds import usage
from orch_api.registry import REGISTRY
from orch_api.schema.definitions import (
    Definition,
    Definitions,
    ListOf,
    MapOf,
    ObjectOf,
    Scalar,
    Shape,
    packed_definitions,
    read_definitions,
)
from orch_api.wire.codec import message

UNION = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOr"
# Fields of Kubernetes 1.37 that came after the definitions from which the table was made.
WITHOUT_NUMBER = {"derivedAttributes"}
SAMPLES: dict[Scalar, Any] = {
    Scalar.TEXT: "añ",
    Scalar.INT32: -7,
    Scalar.INT64: 2**53 + 1,
    Scalar.FLOAT: 0.25,
    Scalar.BOOL: True,
    Scalar.BYTES: "AP8Q",
    Scalar.QUANTITY: "128Mi",
    Scalar.TIME: "2024-02-29T23:59:59Z",
    Scalar.MICRO_TIME: "2024-02-29T23:59:59.000123Z",
    Scalar.INT_OR_STRING: "25%",
    Scalar.ANY: {"x": [1, "y", None, {"z": 1.5}]},
}


@cache
def definitions() -> Definitions:
    return read_definitions(packed_definitions())


def kinds() -> list[tuple[str, str]]:
    """Every kind that some definition describes and that protobuf has a message for, with its definition."""
    return sorted(
        (name, f"{kind.group}/{kind.version}".removeprefix("/") + " " + kind.kind)
        for name, definition in definitions().items()
        if ".apimachinery." not in name
        for kind in definition.kinds
    )


def full(name: str, inside: tuple[str, ...] = ()) -> dict[str, Any]:
    """A document with every field that the schema knows, nested once more where it contains itself.

    Protobuf names the kind of the outermost document alone.
    """
    if inside.count(name) > 1:
        return {}
    absent = WITHOUT_NUMBER | ({"apiVersion", "kind"} if definitions()[name].kinds else set())
    return {
        field: sample(definition, (*inside, name))
        for field, definition in definitions().fields(name).items()
        if field not in absent
    }


def sample(definition: Definition, inside: tuple[str, ...]) -> Any:
    if definition.ref.startswith(UNION):
        return True if definition.ref.endswith("OrBool") else {"type": "string"}
    if definition.values is not None and definition.values.ref.startswith(UNION):
        return {"k": ["a", "b"]}
    return of_shape(definitions().shape(definition), inside)


def of_shape(shape: Shape, inside: tuple[str, ...]) -> Any:
    match shape:
        case Scalar():
            return SAMPLES[shape]
        case ListOf(item):
            return [of_shape(item, inside)]
        case MapOf(value):
            return {"k": of_shape(value, inside)}
        case ObjectOf(name):
            return full(name, inside)


def stripped(value: Any) -> Any:
    """A document without empty objects and lists, which Go does not tell from absent ones."""
    if isinstance(value, dict):
        inner = {key: stripped(one) for key, one in value.items()}
        return {key: one for key, one in inner.items() if one not in ({}, [])}
    return [stripped(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("definition", "kind"), kinds(), ids=lambda value: value if " " in value else "")
def test_every_field_of_every_kind_comes_back(definition: str, kind: str) -> None:
    api_version, kind = kind.split(" ")
    document = {**full(definition), "apiVersion": api_version, "kind": kind}
    returned = json.loads(wire.json_of(wire.message_of(json.dumps(document).encode())))
    assert stripped(returned) == stripped(document)


def test_every_served_kind_has_a_message() -> None:
    for resource in REGISTRY.resources:
        if resource.group == usage.GROUP:  # which Kubernetes leaves to an add-on
            continue
        assert wire.is_known(resource.api_version, resource.kind)
        assert wire.is_known(resource.api_version, resource.list_kind) or not resource.stored
        for below in resource.subresources.values():
            assert wire.is_known(f"{below.group}/{below.version}".removeprefix("/"), below.kind)


def test_zero_is_kept_where_it_says_something() -> None:
    # What Go's JSON leaves out when it is zero is left out; what is behind a pointer or always written is not.
    document = {
        "spec": {"replicas": 0, "minReadySeconds": 0, "paused": False, "template": {"spec": {"hostNetwork": False}}},
        "status": {},
    }
    deployment = message("apps/v1.Deployment")
    returned = deployment.decode(deployment.encode(document))
    assert returned == {"spec": {"replicas": 0, "template": {}}}
    pod = message("v1.PodSpec")
    claims = {"automountServiceAccountToken": False, "volumes": [{"name": "v", "emptyDir": {}}], "securityContext": {}}
    assert pod.decode(pod.encode(dict(claims))) == {
        "automountServiceAccountToken": False,
        "volumes": [{"name": "v", "emptyDir": {}}],
        "securityContext": {},
    }


def test_a_claim_templates_kind_is_left_out() -> None:
    kind = message("apps/v1.StatefulSet")
    claim = {"kind": "PersistentVolumeClaim", "apiVersion": "v1", "metadata": {"name": "c"}, "spec": {"x": 1}}
    document = {"spec": {"replicas": 1, "volumeClaimTemplates": [claim]}}
    returned = kind.decode(kind.encode(document))
    assert returned["spec"]["volumeClaimTemplates"] == [{"metadata": {"name": "c"}}]


def test_no_value_is_no_field() -> None:
    pod = message("v1.Pod")
    document = {"metadata": {"creationTimestamp": None, "labels": None}, "spec": None, "status": {"conditions": None}}
    assert pod.decode(pod.encode(document)) == {}


def test_a_schema_or_what_may_stand_for_it() -> None:
    schema = message("apiextensions.k8s.io/v1.JSONSchemaProps")
    document = {
        "items": [{"type": "string"}, {"$ref": "#/x"}],
        "additionalProperties": False,
        "additionalItems": {"type": "integer"},
        "dependencies": {"a": ["b"], "c": {"not": {}}},
        "properties": {"p": {"items": {"nullable": True}, "default": False, "enum": [1, "x", {}]}},
        "x-kubernetes-preserve-unknown-fields": False,
        "maximum": 0,
    }
    assert schema.decode(schema.encode(json.loads(json.dumps(document)))) == document


TEXTS = st.text(st.characters(codec="utf-8"), max_size=200)


@settings(deadline=None)
@given(
    labels=st.dictionaries(TEXTS, TEXTS, max_size=3),
    data=st.dictionaries(TEXTS, st.binary(max_size=300), max_size=3),
    generation=st.integers(1, 2**63 - 1),
)
def test_texts_bytes_and_numbers_of_any_size(labels: dict[str, str], data: dict[str, bytes], generation: int) -> None:
    secret = message("v1.Secret")
    texts = {key: b64encode(value).decode() for key, value in data.items()}
    document = {"metadata": {"labels": labels, "generation": generation}, "data": texts}
    expected = stripped(document)
    assert secret.decode(secret.encode(document)) == expected


@settings(deadline=None)
@given(number=st.integers(-(2**31), 2**31 - 1))
def test_integers_of_32_bits(number: int) -> None:
    port, event = message("v1.TCPSocketAction"), message("v1.Event")
    assert port.decode(port.encode({"port": number})) == {"port": number}
    assert event.decode(event.encode({"count": number})) == ({"count": number} if number else {})


@settings(deadline=None)
@given(instant=st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 31)))  # noqa: DTZ001 - of UTC
def test_instants(instant: datetime) -> None:
    text = instant.isoformat(timespec="microseconds") + "Z"
    lease, meta = message("coordination.k8s.io/v1.LeaseSpec"), message("meta.k8s.io/v1.ObjectMeta")
    assert lease.decode(lease.encode({"renewTime": text})) == {"renewTime": text}
    seconds = instant.isoformat(timespec="seconds") + "Z"
    assert meta.decode(meta.encode({"deletionTimestamp": seconds})) == {"deletionTimestamp": seconds}
