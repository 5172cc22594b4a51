import pytest

from orch.errors import StoreError, TooLargeError
from orch.store.keys import ObjectKey
from orch.store.places import with_index
from orch.store.protocol import version_of
from orch_api.storage.objects import MAX_OBJECT, StateReader, deleted_state, encode, to_document, with_version
from orch_pb.v1.object_pb2 import StoredObject, TraceContext

DOCUMENT = {
    "metadata": {"name": "a", "uid": "u", "labels": {"x": "y"}, "resourceVersion": "99"},
    "spec": {"nodeName": "n"},
    "apiVersion": "v1",
    "kind": "Pod",
}
KEY = ObjectKey("", "pods", "default", "a")


def test_the_version_comes_first_in_the_metadata_and_is_empty_in_the_store():
    encoded = encode(DOCUMENT)
    assert encoded.json.startswith(b'{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"","name":"a"')
    assert to_document(encoded.complete(1234))["metadata"]["resourceVersion"] == "1234"
    assert DOCUMENT["metadata"]["resourceVersion"] == "99"


def test_a_stored_value_is_read_with_its_version_spliced_in():
    encoded = encode(DOCUMENT, TraceContext(traceparent="00-a-b-01"))
    state = StateReader().read(KEY, with_index(encoded.value, 300), 7)
    assert state.version == version_of(7, 300)
    assert state.revision == 7
    assert state.json == encoded.complete(state.version)
    assert (state.uid, state.labels, state.node) == ("u", {"x": "y"}, "n")
    assert TraceContext.FromString(state.trace).traceparent == "00-a-b-01"


def test_only_pods_have_a_node():
    state = StateReader().read(ObjectKey("", "configmaps", "default", "a"), encode(DOCUMENT).value, 7)
    assert state.node == ""


@pytest.mark.parametrize("labels", [None, {}, {"a": "b"}])
def test_labels_may_be_null_or_absent(labels):
    document = {**DOCUMENT, "metadata": {"name": "a", "labels": labels}}
    assert StateReader().read(KEY, encode(document).value, 7).labels == (labels or {})


def test_equal_labels_are_held_once():
    reader = StateReader()
    value = encode(DOCUMENT).value
    assert reader.read(KEY, value, 7).labels is reader.read(KEY, value, 8).labels


def test_a_deletion_reports_the_last_state_under_its_own_version():
    last = StateReader().read(KEY, encode(DOCUMENT).value, 7)
    gone = deleted_state(last, 123456789)
    assert gone.deleted
    assert to_document(gone.json)["metadata"]["resourceVersion"] == "123456789"
    assert with_version(gone.json, last.version) == last.json


def test_an_object_larger_than_the_store_takes_is_refused():
    with pytest.raises(TooLargeError):
        encode({**DOCUMENT, "data": "x" * MAX_OBJECT})


@pytest.mark.parametrize("value", [b"\xff\xff", StoredObject(json=b"nonsense").SerializeToString()])
def test_a_value_that_is_no_object_is_named(value):
    with pytest.raises(StoreError, match="is no stored object"):
        StateReader().read(KEY, value, 7)
