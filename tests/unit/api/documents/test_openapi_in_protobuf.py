"""The OpenAPI v2 document in protobuf says what the one in JSON says, to a reader that knows gnostic's messages."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from orch_api.http import openapi_protobuf
from orch_api.http.openapi import OpenApiDocuments

Field = descriptor_pb2.FieldDescriptorProto

# What a reader such as kubectl looks at: names, numbers, and the message or scalar in each field; * is repeated.
MESSAGES = {
    "Document": "swagger 1 string; paths 8 Paths; definitions 9 Definitions; security 12 *Requirement",
    "Requirement": "additional_properties 1 *NamedStrings",
    "NamedStrings": "name 1 string; value 2 Strings",
    "Strings": "value 1 *string",
    "Paths": "path 2 *NamedPathItem",
    "NamedPathItem": "name 1 string; value 2 PathItem",
    "PathItem": "get 2 Operation; put 3 Operation; post 4 Operation; delete 5 Operation; patch 8 Operation",
    "Operation": "operation_id 5 string; consumes 7 *string; parameters 8 *Item; responses 9 Responses; vendor 13 *Ext",
    "Item": "parameter 1 Parameter",
    "Parameter": "body 1 Body; non_body 2 NonBody",
    "Body": "name 2 string; required 4 bool; schema 5 Schema",
    "NonBody": "query 3 Query; path 4 PathParameter",
    "Query": "in 2 string; name 4 string; type 6 string; unique_items 20 bool",
    "PathParameter": "required 1 bool; name 4 string; type 5 string",
    "Responses": "code 1 *NamedResponse",
    "NamedResponse": "name 1 string; value 2 ResponseValue",
    "ResponseValue": "response 1 Response",
    "Response": "description 1 string; schema 2 SchemaItem",
    "SchemaItem": "schema 1 Schema",
    "Ext": "name 1 string; value 2 Any",
    "Any": "yaml 2 string",
    "Definitions": "additional_properties 1 *NamedSchema",
    "NamedSchema": "name 1 string; value 2 Schema",
    "Schema": (
        "ref 1 string; format 2 string; description 4 string; multiple_of 6 double; maximum 7 double; "
        "exclusive_maximum 8 bool; minimum 9 double; exclusive_minimum 10 bool; max_length 11 int64; "
        "min_length 12 int64; pattern 13 string; max_items 14 int64; min_items 15 int64; unique_items 16 bool; "
        "max_properties 17 int64; min_properties 18 int64; required 19 *string; additional 21 Additional; "
        "type 22 Strings; items 23 Items; properties 25 Definitions; docs 29 Docs; example 30 Any; vendor 31 *Ext"
    ),
    "Docs": "description 1 string; url 2 string",
    "Additional": "schema 1 Schema",
    "Items": "schema 1 *Schema",
}
SCALARS = {"string": Field.TYPE_STRING, "bool": Field.TYPE_BOOL, "int64": Field.TYPE_INT64, "double": Field.TYPE_DOUBLE}


def reader() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="openapi.proto", package="t", syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for text in fields.split("; "):
            field, number, kind = text.split()
            label = Field.LABEL_REPEATED if kind.startswith("*") else Field.LABEL_OPTIONAL
            made = message.field.add(name=field, number=int(number), label=label)
            if scalar := SCALARS.get(kind.lstrip("*")):
                made.type = scalar
            else:
                made.type, made.type_name = Field.TYPE_MESSAGE, f".t.{kind.lstrip('*')}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Document"))


@pytest.fixture(scope="module")
def decoded(documents: OpenApiDocuments) -> Any:
    return reader().FromString(documents.v2_protobuf().body)


@pytest.fixture(scope="module")
def plain(documents: OpenApiDocuments) -> Any:
    return json.loads(documents.v2().body)


def test_every_operation_is_there(decoded: Any, plain: Any) -> None:
    found: dict[str, dict[str, Any]] = {}
    for entry in decoded.paths.path:
        found[entry.name] = {
            method.name: operation for method, operation in entry.value.ListFields() if operation.operation_id
        }
    assert {path: sorted(operations) for path, operations in found.items()} == {
        path: sorted(operations) for path, operations in plain["paths"].items()
    }
    for path, operations in plain["paths"].items():
        for method, operation in operations.items():
            same_operation(found[path][method], operation)


def same_operation(message: Any, plain: Any) -> None:
    assert message.operation_id == plain["operationId"]
    assert list(message.consumes) == plain["consumes"]
    extensions = {each.name: json.loads(each.value.yaml) for each in message.vendor}
    assert extensions == {key: value for key, value in plain.items() if key.startswith("x-")}
    parameters = [item.parameter for item in message.parameters]
    names = [(each.body.name or each.non_body.query.name or each.non_body.path.name) for each in parameters]
    assert names == [each["name"] for each in plain["parameters"]]
    responses = {each.name: each.value.response.schema.schema.ref for each in message.responses.code}
    assert responses == {code: each.get("schema", {}).get("$ref", "") for code, each in plain["responses"].items()}


def test_every_definition_is_there(decoded: Any, plain: Any) -> None:
    found = {each.name: each.value for each in decoded.definitions.additional_properties}
    assert found.keys() == plain["definitions"].keys()
    for name, definition in plain["definitions"].items():
        same_schema(found[name], definition)


def same_schema(message: Any, plain: Any) -> None:
    assert (message.ref, message.format) == (plain.get("$ref", ""), plain.get("format", ""))
    assert (list(message.type.value), list(message.required)) == (
        [plain["type"]] if "type" in plain else [],
        plain.get("required", []),
    )
    extensions = {each.name: json.loads(each.value.yaml) for each in message.vendor}
    assert extensions == {key: value for key, value in plain.items() if key.startswith("x-")}
    properties = {each.name: each.value for each in message.properties.additional_properties}
    assert properties.keys() == plain.get("properties", {}).keys()
    for name, inner in properties.items():
        same_schema(inner, plain["properties"][name])
    if "items" in plain:
        same_schema(message.items.schema[0], plain["items"])
    if "additionalProperties" in plain:
        same_schema(message.additional.schema, plain["additionalProperties"])


def test_the_bounds_of_user_defined_kinds() -> None:
    bounds = {
        "multipleOf": 0.5,
        "maximum": 7,
        "exclusiveMaximum": True,
        "minimum": -1.5,
        "exclusiveMinimum": True,
        "maxLength": 300,
        "minLength": 1,
        "pattern": "^a",
        "maxItems": 2**40,
        "minItems": 2,
        "uniqueItems": True,
        "maxProperties": 3,
        "minProperties": 4,
    }
    more = {"externalDocs": {"description": "more", "url": "https://example.org"}, "example": {"a": 1}}
    encoded = openapi_protobuf.encode({"swagger": "2.0", "definitions": {"org.example.v1.Widget": bounds | more}})
    (entry,) = reader().FromString(encoded).definitions.additional_properties
    snake = {re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", name): value for name, value in bounds.items()}
    assert {name: getattr(entry.value, name) for name in snake} == snake
    assert (entry.value.docs.description, entry.value.docs.url) == ("more", "https://example.org")
    assert json.loads(entry.value.example.yaml) == {"a": 1}


def test_who_asks_for_protobuf() -> None:
    assert openapi_protobuf.is_asked_for("application/com.github.proto-openapi.spec.v2@v1.0+protobuf")
    assert openapi_protobuf.is_asked_for("application/com.github.proto-openapi.spec.v2.v1.0+protobuf, */*")
    assert not openapi_protobuf.is_asked_for("application/json")
    assert not openapi_protobuf.is_asked_for("*/*")


def test_a_field_that_the_format_does_not_have_is_an_error() -> None:
    with pytest.raises(KeyError):
        openapi_protobuf.encode({"swagger": "2.0", "components": {}})
