from __future__ import annotations

import json

import pytest

from orch.errors import BadRequestError
from orch_api.schema import FieldIssue, KindSchema

PREFIX = 'Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: '
BODY = (
    b'{"spec":{"foo":1,"replicas":1,"replicas":2,'
    b'"template":{"spec":{"containers":[{"name":"a"},{"name":"b","Image":"x","env":[{"name":"A","nme":"B"}]}]}}}}'
)
ISSUES = [
    'unknown field "spec.foo"',
    'duplicate field "spec.replicas"',
    'unknown field "spec.template.spec.containers[1].Image"',
    'unknown field "spec.template.spec.containers[1].env[0].nme"',
]
PRUNED = {
    "spec": {
        "replicas": 2,
        "template": {"spec": {"containers": [{"name": "a"}, {"name": "b", "env": [{"name": "A"}]}]}},
    }
}


def test_strict_refuses_and_names_each_in_the_order_of_the_document(deployment: KindSchema) -> None:
    with pytest.raises(BadRequestError) as refused:
        deployment.decode(BODY, "Strict")
    assert refused.value.message == PREFIX + ", ".join(ISSUES)


def test_warn_drops_them_and_warns(deployment: KindSchema) -> None:
    assert deployment.decode(BODY, "Warn") == (PRUNED, ISSUES)


def test_ignore_drops_them_in_silence(deployment: KindSchema) -> None:
    assert deployment.decode(BODY, "Ignore") == (PRUNED, [])


def test_a_wrong_type_is_told_rather_than_an_unknown_field(deployment: KindSchema) -> None:
    with pytest.raises(BadRequestError, match="cannot unmarshal string"):
        deployment.decode(b'{"foo":1,"spec":{"replicas":"1"}}', "Strict")


def test_names_are_compared_with_their_case(deployment: KindSchema) -> None:
    assert deployment.decode(b'{"Spec":{"replicas":1}}', "Warn") == ({}, ['unknown field "Spec"'])


def test_an_issue_is_told_once_and_at_most_a_hundred_are(deployment: KindSchema) -> None:
    many = json.dumps({"spec": {f"f{number}": 1 for number in range(150)}})
    assert len(deployment.decode(many.encode(), "Warn")[1]) == 100
    assert deployment.decode(b'{"x":1,"x":2,"x":3}', "Warn")[1] == ['unknown field "x"']
    assert deployment.decode(b'{"kind":"a","kind":"b","kind":"c"}', "Warn")[1] == ['duplicate field "kind"']


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b'{"metadata":{"name":"a"},"metadata":{"name":"b"}}', "metadata"),
        (b'{"metadata" : {"name":"a"} , "metadata"\n:\t{"name":"b"}}', "metadata"),
        (b'{"metadata":{"labels":{"a:b":"1","a:b":"2"}}}', "metadata.labels.a:b"),
        (b'{"spec":{"replicas":null,"replicas":1}}', "spec.replicas"),
        (b'{"spec":{"replicas":1,"replicas":null}}', "spec.replicas"),
        (b'{"spec":{"replicas":1,"repl\\u0069cas":2}}', "spec.replicas"),
        (b'{"metadata":{"name":"a","name":"b","annotations":{"a":"x\\u003ay"}}}', "metadata.name"),
        (b'{"metadata":{"name":"a","name":"b","annotations":{"a":"x\\u003Ay\\"\\":"}}}', "metadata.name"),
        (b'{"metadata":{"creationTimestamp":null,"name":"a","name":"b"}}', "metadata.name"),
    ],
)
def test_a_repeated_field_is_found_however_it_is_written(deployment: KindSchema, body: bytes, path: str) -> None:
    with pytest.raises(BadRequestError) as refused:
        deployment.decode(body, "Strict")
    assert refused.value.message == f'{PREFIX}duplicate field "{path}"'


def test_free_form_fields_are_not_looked_into(secret: KindSchema) -> None:
    body = b'{"metadata":{"managedFields":[{"manager":"m","fieldsV1":{"f:data":{"anything":1,"anything":2}}}]}}'
    document, warnings = secret.decode(body, "Strict")
    assert document["metadata"]["managedFields"][0]["fieldsV1"] == {"f:data": {"anything": 2}}
    assert warnings == []


def test_a_patched_document_is_validated_and_pruned_alike(deployment: KindSchema) -> None:
    patched = {"spec": {"replicas": 1, "foo": {"bar": 1}}}
    assert deployment.convert(patched, "Warn") == ({"spec": {"replicas": 1}}, ['unknown field "spec.foo"'])
    assert deployment.convert(patched) == ({"spec": {"replicas": 1}}, [])
    assert deployment.issues(patched) == [FieldIssue("spec.foo", 'unknown field "spec.foo"')]
    with pytest.raises(BadRequestError, match=r'strict decoding error: unknown field "spec\.foo"'):
        deployment.convert(patched, "Strict")
    assert patched == {"spec": {"replicas": 1, "foo": {"bar": 1}}}
