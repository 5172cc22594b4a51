"""Bodies that make no sense are refused as Kubernetes refuses them; none of them stops the server."""

import asyncio
import json
import time

import pytest

from orch_api.http.yaml_documents import MAX_DEPTH, yaml_to_json

NS = "/api/v1/namespaces/default"
MAPS = f"{NS}/configmaps"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
PATCH = "application/{}-patch+json"


def config_map(name="c", **fields):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **fields}


def nested(depth, opening=b'{"a":', closing=b"}"):
    return opening * depth + b"1" + closing * depth


def refused(answer, code, reason, *said):
    status = answer.json
    assert (answer.status, status["kind"], status["status"]) == (code, "Status", "Failure"), status
    assert (status["code"], status["reason"]) == (code, reason)
    for words in said:
        assert words in status["message"]


@pytest.fixture
async def made(http):
    return (await http("POST", MAPS, config_map(data={"a": "1"}))).json


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"apiVersion":', "unexpected end of JSON input"),
        (b"[]", "cannot unmarshal array"),
        (b'"text"', "cannot unmarshal string"),
        (b"\xff\xfe{}", "invalid character"),
        (b'{"metadata":{"name":"c"}}\x00', "after top-level value"),
        (b'{"metadata":{"name":NaN}}', "looking for beginning of value"),
        (b'{"metadata":{"name":"c","generation":%s}}' % (b"9" * 5000), "cannot unmarshal number"),
        (b'{"metadata":{"name":"c"},"data":' + nested(100_000) + b"}", "exceeded max depth"),
        (b"[" * 200_000, "exceeded max depth"),
        (b'{"metadata":{"name":"c"},"unknown":' + nested(100_000, b"[", b"]") + b"}", "exceeded max depth"),
    ],
)
async def test_what_is_no_document(http, body, said):
    refused(await http("POST", MAPS, body), 400, "BadRequest", said)
    assert (await http("GET", f"{MAPS}/c")).status == 404


@pytest.mark.parametrize("kind", ["merge", "strategic-merge", "json", "apply"])
async def test_patches_nested_too_deeply(http, made, kind):
    patch = b'{"metadata":' + nested(100_000) + b"}"
    if kind == "json":
        patch = b'[{"op":"add","path":"/data","value":' + patch + b"}]"
    query, media_type = (
        ("?fieldManager=x", "application/apply-patch+yaml") if kind == "apply" else ("", PATCH.format(kind))
    )
    answer = await http("PATCH", f"{MAPS}/c{query}", patch, content_type=media_type)
    refused(answer, 400, "BadRequest")
    assert (await http("GET", f"{MAPS}/c")).json == made


async def test_a_patch_that_nests_an_object_too_deeply_is_refused_or_pruned(http, made):
    for depth in (400, 900, 990):
        patch = b'{"metadata":{"annotations":' + nested(depth) + b"}}"
        answer = await http("PATCH", f"{MAPS}/c", patch, content_type=PATCH.format("merge"))
        assert answer.status in {400, 422}, answer.body
    assert (await http("GET", f"{MAPS}/c")).json == made


async def test_patches_that_are_none(http, made):
    merge, json_patch = PATCH.format("merge"), PATCH.format("json")
    bodies = {merge: (b"{", b"5"), json_patch: (b"{}", b"5", b'["x"]')}
    for media_type, body in ((kind, body) for kind, several in bodies.items() for body in several):
        refused(await http("PATCH", f"{MAPS}/c", body, content_type=media_type), 400, "BadRequest")
    many = [{"op": "test", "path": "/kind", "value": "ConfigMap"}] * 10_001
    answer = await http("PATCH", f"{MAPS}/c", many, content_type=json_patch)
    refused(answer, 413, "RequestEntityTooLarge", "The allowed maximum operations in a JSON patch is 10000, got 10001")
    assert (await http("GET", f"{MAPS}/c")).json == made


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"a: [", "did not find expected node content"),
        (b"a: 1\n\tb: 2\n", "yaml: "),
        (b"\xff\xfe\x00", "unacceptable character"),
        (b"a: 1\n---\nb: 1", "another document"),
        (b"a: !!python/object:os.system x", "could not determine a constructor"),
        (b"- " * 400_000, f"exceeded max depth of {MAX_DEPTH}"),
        (b"? " * 400_000, f"exceeded max depth of {MAX_DEPTH}"),
        (b"[" * 400_000, f"exceeded max depth of {MAX_DEPTH}"),
        (b"{a: " * 400_000, f"exceeded max depth of {MAX_DEPTH}"),
        (b"a: &a [*a]", "contains itself"),
    ],
)
async def test_what_is_no_yaml(http, body, said):
    started = time.process_time()
    answer = await http("POST", MAPS, body, content_type=YAML)
    refused(answer, 400, "BadRequest", "error converting YAML to JSON: yaml: ", said)
    assert time.process_time() - started < 2


async def test_a_few_lines_of_yaml_do_not_become_gigabytes(http):
    lines = [b"a: &a [" + b"x," * 9 + b"]"]
    lines += [b"%c: &%c [%s]" % (letter, letter, b",".join([b"*%c" % (letter - 1)] * 9)) for letter in b"bcdefghijk"]
    started = time.process_time()
    answer = await http("POST", MAPS, b"\n".join(lines), content_type=YAML)
    refused(answer, 400, "BadRequest", "yaml: document contains excessive aliasing")
    assert time.process_time() - started < 2


def test_sensible_yaml_is_read():
    document = b"metadata: &m {name: c}\ndata:\n  a: '1'\nagain: *m\nday: 2026-01-02\n1: on\n"
    assert json.loads(yaml_to_json(document)) == {
        "metadata": {"name": "c"},
        "data": {"a": "1"},
        "again": {"name": "c"},
        "day": "2026-01-02",
        "1": True,
    }
    assert yaml_to_json(b' {"a": 1}') == b' {"a": 1}'  # JSON is YAML, and stays what it is
    assert yaml_to_json(b"{a: 1}") == b'{"a":1}'


@pytest.mark.parametrize("body", [b"", b"k8s", b"k8s\x00", b"k8s\x00" + b"\x0a" * 1000, b"\x00" * 5000, b"{}"])
async def test_what_is_no_protobuf(http, body):
    refused(await http("POST", MAPS, body or b"\x00", content_type=PROTOBUF), 400, "BadRequest")


async def test_bodies_that_are_too_large(http):
    declared = await http("POST", MAPS, config_map(data={"a": "x" * 10_000_000}), content_length="10000000")
    refused(declared, 413, "RequestEntityTooLarge", "Request entity too large: limit is 3145728")
    refused(await http("PUT", f"{MAPS}/c", b" " * 3_145_729), 413, "RequestEntityTooLarge")
    refused(await http("DELETE", f"{MAPS}/c", b" " * 3_145_729), 413, "RequestEntityTooLarge")


async def test_text_that_is_no_unicode_is_stored_as_go_reads_it(http):
    body = b'{"metadata":{"name":"u"},"data":{"a":"x\xff\xfey","b":"\\ud800","c":"\\u0000"}}'
    answer = await http("POST", MAPS, body)
    assert answer.status == 201
    data = (await http("GET", f"{MAPS}/u")).json["data"]
    assert data == {"a": "x\ufffd\ufffdy", "b": "\ufffd", "c": "\x00"}


async def test_keys_given_twice(http):
    twice = b'{"metadata":{"name":"a","name":"b"},"data":{"a":"1","a":"2"}}'
    strict = await http("POST", f"{MAPS}?fieldValidation=Strict", twice)
    refused(strict, 400, "BadRequest", 'duplicate field "metadata.name"', 'duplicate field "data.a"')
    lenient = await http("POST", f"{MAPS}?fieldValidation=Warn", twice)
    assert lenient.status == 201
    assert "duplicate field" in lenient.headers["warning"]
    assert (await http("GET", f"{MAPS}/b")).json["data"] == {"a": "2"}  # the last one counts, as in Go


@pytest.mark.parametrize("media_type", ["text/plain", "application/xml", "garbage", "multipart/form-data; boundary=x"])
async def test_media_types_that_are_not_spoken(http, made, media_type):
    accepted = "accepted media types include: application/json, application/yaml"
    for method, path in (("POST", MAPS), ("PUT", f"{MAPS}/c"), ("DELETE", f"{MAPS}/c")):
        refused(await http(method, path, b"{}", content_type=media_type), 415, "UnsupportedMediaType", accepted)
    patched = await http("PATCH", f"{MAPS}/c", b"{}", content_type=media_type)
    refused(patched, 415, "UnsupportedMediaType", "application/merge-patch+json")
    assert (await http("GET", f"{MAPS}/c")).json == made


async def test_a_body_that_never_ends(app):
    """The client leaves in the middle: nothing is stored, and no answer is tried."""
    scope = {
        "type": "http",
        "method": "POST",
        "path": MAPS,
        "raw_path": MAPS.encode(),
        "query_string": b"",
        "headers": [(b"content-type", b"application/json"), (b"content-length", b"1000")],
        "orch.peer": {"subject": ((("commonName", "orch:admin"),), (("organizationName", "system:masters"),))},
    }
    messages = [{"type": "http.disconnect"}, {"type": "http.request", "body": b'{"metadata":', "more_body": True}]
    sent = []

    async def receive():
        return messages.pop()

    async def send(message):
        sent.append(message)

    async with asyncio.timeout(10):
        await app(scope, receive, send)
    assert sent == []
