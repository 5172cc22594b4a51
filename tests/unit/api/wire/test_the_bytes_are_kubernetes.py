"""Messages written by hand, as Kubernetes' own code writes and reads them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orch.errors import BadRequestError, ExpiredError
from orch_api import wire
from orch_api.wire.codec import message


def sized(tag: int, content: bytes) -> bytes:
    """A field of a length below 128."""
    assert len(content) < 128
    return bytes((tag, len(content))) + content


def enveloped(api_version: str, kind: str, raw: bytes) -> bytes:
    names = sized(0x0A, api_version.encode()) + sized(0x12, kind.encode())
    return b"k8s\x00" + sized(0x0A, names) + sized(0x12, raw) + b"\x1a\x00\x22\x00"


def encoded(name: str, document: dict[str, Any]) -> bytes:
    return message(name).encode(document)


def test_an_object_in_its_envelope() -> None:
    document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "b"}}
    raw = b"\x0a\x03\x0a\x01c" + b"\x12\x06\x0a\x01a\x12\x01b"
    assert wire.message_of(json.dumps(document).encode()) == enveloped("v1", "ConfigMap", raw)
    assert json.loads(wire.json_of(enveloped("v1", "ConfigMap", raw))) == document


def test_what_go_writes_for_a_new_object() -> None:
    # Go writes every field that is not behind a pointer; the zeros say nothing.
    metadata = b"\x0a\x01n\x12\x00\x1a\x00\x22\x00\x2a\x00\x32\x00\x38\x00\x42\x00"
    raw = sized(0x0A, metadata) + b"\x12\x00" + b"\x1a\x02\x0a\x00"
    assert json.loads(wire.json_of(enveloped("v1", "Namespace", raw))) == {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "n"},
    }


@pytest.mark.parametrize(
    ("name", "document", "expected"),
    [
        ("v1.ContainerPort", {"containerPort": 8080}, b"\x18\x90\x3f"),
        ("v1.ContainerPort", {"containerPort": -1}, b"\x18" + b"\xff" * 9 + b"\x01"),
        ("v1.Volume", {"name": "v", "emptyDir": {}}, b"\x0a\x01v" + b"\x12\x02\x12\x00"),
        ("v1.SecretKeySelector", {"name": "s", "key": "k"}, b"\x0a\x03\x0a\x01s" + b"\x12\x01k"),
        ("v1.TCPSocketAction", {"port": 80}, b"\x0a\x06\x08\x00\x10\x50\x1a\x00"),
        ("v1.TCPSocketAction", {"port": "web"}, b"\x0a\x09\x08\x01\x10\x00\x1a\x03web"),
        ("v1.ResourceRequirements", {"limits": {"cpu": "1"}}, b"\x0a\x0a\x0a\x03cpu\x12\x03\x0a\x011"),
        ("v1.Secret", {"data": {"k": "AP8="}}, b"\x12\x07\x0a\x01k\x12\x02\x00\xff"),
        ("v1.ContainerStateRunning", {"startedAt": "1970-01-01T00:01:00Z"}, b"\x0a\x04\x08\x3c\x10\x00"),
        (
            "coordination.k8s.io/v1.LeaseSpec",
            {"renewTime": "1970-01-01T00:00:00.000001Z"},
            b"\x22\x05\x08\x00\x10\xe8\x07",
        ),
        ("apps/v1.ControllerRevision", {"data": {"a": 1}, "revision": 2}, b'\x12\x09\x0a\x07{"a":1}\x18\x02'),
        ("v1.PodSecurityContext", {"supplementalGroups": [1, 2]}, b"\x20\x01\x20\x02"),
    ],
)
def test_fields_of_each_type(name: str, document: dict[str, Any], expected: bytes) -> None:
    assert encoded(name, json.loads(json.dumps(document))) == expected
    assert message(name).decode(expected) == document


def test_unknown_fields_are_ignored_and_packed_lists_are_read() -> None:
    unknown = b"\xfa\x3f\x03abc" + b"\xf8\x3f\x07"
    context = message("v1.PodSecurityContext")
    assert context.decode(unknown + b"\x22\x02\x01\x02") == {"supplementalGroups": [1, 2]}


def test_times_have_no_fraction_and_may_be_zero() -> None:
    meta = message("meta.k8s.io/v1.ObjectMeta")
    assert meta.decode(b"\x42\x06\x08\x3c\x10\x80\x94\x01") == {"creationTimestamp": "1970-01-01T00:01:00Z"}
    assert meta.decode(b"\x42\x00\x4a\x00") == {}
    go_zero = b"\x08\x80\x92\xb8\xc3\x98\xfe\xff\xff\xff\x01"
    assert meta.decode(sized(0x42, go_zero)) == {}


def test_a_list_holds_bare_messages() -> None:
    items = [
        json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}).encode() for name in "ab"
    ]
    metadata = {"resourceVersion": "7", "continue": "t", "remainingItemCount": 0}
    raw = b"\x0a\x08\x12\x017\x1a\x01t\x20\x00" + b"".join(b"\x12\x05\x0a\x03\x0a\x01" + name for name in (b"a", b"b"))
    assert wire.list_of("ConfigMapList", "v1", metadata, items) == enveloped("v1", "ConfigMapList", raw)


def test_a_watch_event_is_a_frame_with_an_envelope() -> None:
    document = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"}}'
    envelope = enveloped("v1", "ConfigMap", b"\x0a\x03\x0a\x01c")
    event = sized(0x0A, b"ADDED") + sized(0x12, sized(0x0A, envelope))
    assert wire.watch_event("ADDED", document) == len(event).to_bytes(4, "big") + event


def test_a_watch_ends_with_the_status_of_its_error() -> None:
    error = ExpiredError("too old resource version: 1 (2)")
    frame = wire.watch_event("ERROR", error.encode())
    status = json.loads(wire.json_of(frame[frame.index(b"k8s\x00") :]))
    assert (status["kind"], status["reason"], status["code"]) == ("Status", "Expired", 410)
    assert status["message"] == error.message


def test_delete_options_come_in_any_groups_version() -> None:
    raw = b"\x08\x00\x12\x04\x0a\x02id\x22\x0aForeground"
    assert json.loads(wire.json_of(enveloped("apps/v1", "DeleteOptions", raw))) == {
        "apiVersion": "apps/v1",
        "kind": "DeleteOptions",
        "gracePeriodSeconds": 0,
        "preconditions": {"uid": "id"},
        "propagationPolicy": "Foreground",
    }


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"{}", "expected prefix [107 56 115 0]"),
        (b"k8s\x00\x0a\x05", "no protobuf message"),
        (enveloped("v1", "", b""), "Object 'Kind' is missing"),
        (enveloped("", "Pod", b""), "Object 'apiVersion' is missing"),
        (enveloped("v1", "Nothing", b""), 'no kind "Nothing" is registered for version "v1"'),
        (enveloped("v1", "Pod", b"\x0a\x7f"), "no protobuf message of its kind"),
        (enveloped("v1", "ConfigMap", b"\x0a\x03\x0a\x01\xff"), "no protobuf message of its kind"),
        (enveloped("apps/v1", "ControllerRevision", b"\x12\x03\x0a\x01{"), "no protobuf message of its kind"),
        (enveloped("v1", "Pod", sized(0x0A, b"\x42\x0b\x08" + b"\xff" * 8 + b"\x7f\x10")), "no protobuf message"),
        (enveloped("v1", "Pod", sized(0x0A, b"\x42\x0a\x08" + b"\xff" * 8 + b"\x7f")), "beyond the range of times"),
    ],
)
def test_what_is_no_message_is_refused(body: bytes, problem: str) -> None:
    with pytest.raises(BadRequestError) as refused:
        wire.json_of(body)
    assert problem in refused.value.message
