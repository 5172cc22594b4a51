"""Documents drawn from the schema of every kind go to protobuf and come back; what Go does not tell apart aside."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schema_documents import definitions, kinds, objects

from orch.errors import BadRequestError
from orch_api import wire
from orch_api.schema import Schemas
from orch_api.schema.definitions import ListOf, MapOf, ObjectOf, Shape

KNOWN = sorted(kind for kind, name in kinds().items() if ".apimachinery." not in name and wire.is_known(*kind))
WITHOUT_NUMBER = frozenset({"derivedAttributes"})  # which came after the definitions from which the table was made
TOO_SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)
ZEROS: tuple[Any, ...] = (None, False, 0, "", "0", {}, [])


def solid(value: Any) -> Any:
    """A value without zeros and what is empty: Go leaves them out, or writes them, as its types have it."""
    if isinstance(value, dict):
        inner = {key: solid(one) for key, one in value.items() if key not in WITHOUT_NUMBER}
        return {key: one for key, one in inner.items() if not any(one is zero or one == zero for zero in ZEROS)}
    return [solid(one) for one in value] if isinstance(value, list) else value


def forget_kinds(value: Any, shape: Shape, *, outermost: bool = True) -> None:
    """Take apiVersion and kind out of the documents in a document: protobuf names the outermost one's alone."""
    match shape:
        case ObjectOf(name) if isinstance(value, dict):
            if definitions()[name].kinds and not outermost:
                value.pop("apiVersion", None)
                value.pop("kind", None)
            for field, inner in value.items():
                forget_kinds(inner, definitions().shape(definitions().fields(name)[field]), outermost=False)
        case ListOf(item) if isinstance(value, list):
            for inner in value:
                forget_kinds(inner, item, outermost=False)
        case MapOf(item) if isinstance(value, dict):
            for inner in value.values():
                forget_kinds(inner, item, outermost=False)
        case _:
            return


@pytest.mark.parametrize("kind", KNOWN, ids=" ".join)
def test_a_document_comes_back_as_it_was(kind: tuple[str, str], examples: int) -> None:
    api_version, name = kind
    group, _, version = api_version.rpartition("/")
    schema = Schemas.load().of(group, version, name)

    @settings(max_examples=4 * examples, derandomize=True, database=None, deadline=None, suppress_health_check=TOO_SLOW)
    @given(objects(kinds()[kind]))
    def run(drawn: dict[str, Any]) -> None:
        document = schema.convert({**drawn, "apiVersion": api_version, "kind": name})[0]
        forget_kinds(document, ObjectOf(kinds()[kind]))
        sent = wire.message_of(msgspec.json.encode(document))
        returned = json.loads(wire.json_of(sent))
        assert solid(returned) == solid(document)
        assert wire.message_of(msgspec.json.encode(returned)) == wire.message_of(wire.json_of(sent))
        again = json.loads(wire.json_of(wire.message_of(msgspec.json.encode(returned))))
        assert again == returned, "what has been on the wire once does not change any more"

    run()


@settings(deadline=None)
@given(st.binary(max_size=80), st.sampled_from(KNOWN))
def test_any_bytes_are_a_document_or_refused(raw: bytes, kind: tuple[str, str]) -> None:
    api_version, name = kind
    names = b"".join(bytes((tag, len(text))) + text.encode() for tag, text in ((10, api_version), (18, name)))
    body = b"k8s\x00" + bytes((10, len(names))) + names + bytes((18, len(raw))) + raw
    try:
        document = json.loads(wire.json_of(body))
    except BadRequestError:
        return
    assert (document["apiVersion"], document["kind"]) == kind


def test_every_kind_of_the_schema_that_is_served_is_among_them() -> None:
    assert len(KNOWN) > 100
    assert {name for _, name in KNOWN} >= {"Pod", "Deployment", "Event", "CustomResourceDefinition", "ResourceClaim"}
