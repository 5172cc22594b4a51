"""The index in front of a stored value is what protobuf reads, and places tell changes of a revision apart."""

from __future__ import annotations

import pytest

from orch.store.places import Places, index_of, with_index
from orch_pb.v1 import object_pb2


@pytest.mark.parametrize("index", [0, 1, 127, 128, 1022])
def test_the_index_is_the_first_field_of_a_stored_object(index: int) -> None:
    body = object_pb2.StoredObject(version_offset=7, json=b"{}").SerializeToString()
    stored = with_index(body, index)
    assert index_of(stored) == index
    assert object_pb2.StoredObject.FromString(stored) == object_pb2.StoredObject(
        index=index, version_offset=7, json=b"{}"
    )


@pytest.mark.parametrize("value", [b"", b"\x08", b"\x08\x80", b"node-1", object_pb2.StoredObject(json=b"{}")])
def test_a_value_without_an_index_counts_as_the_first(value: bytes | object_pb2.StoredObject) -> None:
    assert index_of(value if isinstance(value, bytes) else value.SerializeToString()) == 0


def test_a_deletion_follows_its_predecessor_in_the_revision() -> None:
    places = Places()
    assert places.deletion(5) == 0
    assert places.deletion(5) == 1
    assert places.put(5, 4) == 4
    assert places.deletion(5) == 5
    assert places.deletion(6) == 0
    assert places.put(7, 2) == 2
