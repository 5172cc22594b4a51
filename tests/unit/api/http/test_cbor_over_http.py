"""CBOR as Kubernetes speaks it: requests, answers, watches, applied configurations; and what is refused."""

from __future__ import annotations

import json
from typing import Any

import cbor2
import pytest
from expecting_client import Client
from hypothesis import given, settings
from hypothesis import strategies as st

from orch.errors import BadRequestError
from orch_api.http.cbor import cbor_to_json, json_to_cbor
from orch_api.memory import in_memory_api

CBOR = "application/cbor"
MAPS = "/api/v1/namespaces/default/configmaps"
MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": "é", "long": "x" * 300}}
PREFIX = b"\xd9\xd9\xf7"

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=40),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=20,
)


@pytest.fixture
async def api() -> Any:
    async with in_memory_api() as memory:
        yield Client(memory)


def texts(value: Any) -> Any:
    """Return a decoded value with texts for byte strings."""
    match value:
        case bytes():
            return value.decode()
        case list() | tuple():
            return [texts(one) for one in value]
        case None | bool() | int() | float() | str():
            return value
        case _:
            return {texts(name): texts(one) for name, one in value.items()}


def read(body: bytes) -> Any:
    assert body.startswith(PREFIX)
    return texts(cbor2.loads(body))


@settings(deadline=None)
@given(JSON)
def test_any_json_goes_there_and_back(value: Any) -> None:
    document = json.dumps(value).encode()
    encoded = json_to_cbor(document)
    assert json.loads(cbor_to_json(encoded)) == json.loads(document)
    assert json_to_cbor(cbor_to_json(encoded)) == encoded, "equal documents are equal bytes"


def test_the_encoding_is_the_one_of_kubernetes() -> None:
    encoded = json_to_cbor(b'{"b":1.5,"aa":[null,true,-1],"a":"x"}')
    assert encoded == PREFIX + bytes.fromhex("a3 4161 4178 4162 f93e00 426161 83 f6 f5 20")


async def test_an_object_lives_in_cbor(api: Client) -> None:
    made = await api.http("POST", MAPS, json_to_cbor(json.dumps(MAP).encode()), content_type=CBOR, accept=CBOR)
    assert (made.status, made.headers["content-type"]) == (201, CBOR)
    assert read(made.body) == await api.get(f"{MAPS}/m")
    listed = await api.http("GET", MAPS, accept=f"{CBOR}, application/json;q=0.9")
    assert [one["metadata"]["name"] for one in read(listed.body)["items"]] == ["m"]
    options = cbor2.dumps({"preconditions": {"uid": "another"}})
    refused = await api.http("DELETE", f"{MAPS}/m", options, content_type=CBOR)
    assert refused.status == 409
    table = await api.http("GET", MAPS, accept=f"{CBOR};as=Table;v=v1;g=meta.k8s.io")
    assert read(table.body)["kind"] == "Table"


async def test_a_watch_is_a_sequence(api: Client) -> None:
    answer, serving, leave = api.http.begin("GET", f"{MAPS}?watch=1", accept=CBOR)
    await api.create(MAPS, MAP)
    await api.patch(f"{MAPS}/m", {"data": {"a": "b"}})

    async def both() -> bool:
        return answer.body.count(PREFIX) == 2

    await api.eventually(both)
    assert answer.headers["content-type"] == "application/cbor-seq"
    first, second = (read(PREFIX + one) for one in answer.body.split(PREFIX)[1:])
    assert (first["type"], second["type"]) == ("ADDED", "MODIFIED")
    assert second["object"]["data"]["a"] == "b"
    leave.set()
    await serving


async def test_a_configuration_is_applied(api: Client) -> None:
    path = f"{MAPS}/m?fieldManager=me"
    body = json_to_cbor(json.dumps(MAP).encode())
    made = await api.http("PATCH", path, body, content_type="application/apply-patch+cbor")
    assert (made.status, made.json["metadata"]["managedFields"][0]["operation"]) == (201, "Apply")
    other = await api.http("PATCH", path, body, content_type=CBOR)
    assert other.status == 415


def test_bytes_that_are_meant_to_be_shown_as_base64() -> None:
    assert cbor_to_json(cbor2.dumps({"data": cbor2.CBORTag(22, b"\x00\xff")})) == b'{"data":"AP8="}'
    assert cbor_to_json(cbor2.dumps({"data": cbor2.CBORTag(21, b"\x00\xff")})) == b'{"data":"AP8"}'
    assert cbor_to_json(cbor2.dumps({"data": cbor2.CBORTag(23, b"\x00\xff")})) == b'{"data":"00FF"}'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xa1",
        b"\x81" * 100_000,
        cbor2.dumps({1: "a"}),
        cbor2.dumps({"a": float("nan")}),
        cbor2.dumps({"a": float("inf")}),
        cbor2.dumps({"a": b"\xff"}),
        cbor2.dumps({"a": cbor2.CBORTag(4, [1, 2])}),
        cbor2.dumps([0] * 1_000_001),
        bytes.fromhex("d81c81d81d00"),  # a list that is its own item
        bytes.fromhex("82d81c8100d81d00"),  # a reference to another value
        bytes.fromhex("a2416101616102"),  # one name, twice
    ],
)
def test_what_is_no_document(body: bytes) -> None:
    with pytest.raises(BadRequestError, match="error decoding CBOR"):
        cbor_to_json(body)


async def test_nonsense_is_a_bad_request(api: Client) -> None:
    answer = await api.http("POST", MAPS, b"\xff\xff", content_type=CBOR)
    assert answer.status == 400
