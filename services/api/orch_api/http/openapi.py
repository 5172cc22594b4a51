"""The OpenAPI documents: v3, one for each group and version with an index, and v2, one for all.

kubectl reads field types, merge keys and the parameters of patch out of them; code generators and Argo CD read all.
So no reference may dangle: a document holds every definition that can be reached from its operations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from orch_api.extensions import published
from orch_api.extensions.documents import CustomSchema
from orch_api.extensions.remote_documents import RemoteDocuments
from orch_api.http import openapi_protobuf
from orch_api.http.discovery import Kinds, server_version
from orch_api.http.document import JSON, Document, digest
from orch_api.http.operations import Model, Operation, Parameter, operations
from orch_api.resource import Resource
from orch_api.schema import Schemas

_QUANTITY: Final = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_INT_OR_STRING: Final = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
_YAML: Final = "application/yaml"
_WATCH: Final = "application/json;stream=watch"
_PATCHES: Final = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)
_SECURITY: Final = {
    "BearerToken": {
        "description": "Bearer Token authentication",
        "in": "header",
        "name": "authorization",
        "type": "apiKey",
    }
}
_REQUIRED: Final[list[dict[str, list[str]]]] = [{"BearerToken": []}]

Schema = dict[str, Any]


class OpenApiDocuments:
    """The documents of what the registry serves now. It may be asked from several threads."""

    def __init__(self, registry: Kinds, schemas: Schemas, remote: RemoteDocuments | None = None) -> None:
        self._registry = registry
        self._schemas = schemas
        self._remote = remote or RemoteDocuments()
        self._edition: tuple[tuple[int, int], _Edition] | None = None

    def index(self) -> Document:
        """Return the document at /openapi/v3: where each group and version's document is, with its hash."""
        return self._current().index()

    def v3(self, place: str) -> Document | None:
        """Return the document at /openapi/v3/<place> ("api/v1", "apis/apps/v1"), None when nothing is there."""
        return self._current().v3(place)

    def v2(self) -> Document:
        """Return the document at /openapi/v2 in JSON."""
        return self._current().v2()

    def v2_protobuf(self) -> Document:
        """Return the document at /openapi/v2 in protobuf."""
        return self._current().v2_protobuf()

    def hash_of(self, place: str) -> str:
        """Return the hash in the address of a document."""
        return self._current().hash_of(place)

    def _current(self) -> _Edition:
        generation = (self._registry.generation, self._remote.edition)
        if self._edition is None or self._edition[0] != generation:
            self._edition = (generation, _Edition(self._registry.resources, self._schemas, self._remote))
        return self._edition[1]


class _Edition:
    """Builds the documents when they are first asked for; the index needs none of them to be built."""

    def __init__(self, resources: Iterable[Resource], schemas: Schemas, remote: RemoteDocuments) -> None:
        self._schemas = schemas
        self._remote = remote
        self._told = {place: Document(body) for place, body in remote.v3().items()}
        self._custom = {
            (one.group, one.version, kind): one.schema
            for one in resources
            if isinstance(one.schema, CustomSchema)
            for kind in (one.kind, one.list_kind)
        }
        self._resources: dict[str, list[Resource]] = {}  # by place in the index: "api/v1", "apis/apps/v1"
        for resource in sorted(resources, key=lambda each: (each.group, each.version, each.plural)):
            place = f"apis/{resource.group}/{resource.version}" if resource.group else f"api/{resource.version}"
            self._resources.setdefault(place, []).append(resource)
        self._built: dict[str, Document] = {}

    def index(self) -> Document:
        """Return the document at /openapi/v3: where each group and version's document is, with its hash."""
        return self._once("/openapi/v3", self._index)

    def v3(self, place: str) -> Document | None:
        """Return the document at /openapi/v3/<place> ("api/v1", "apis/apps/v1"), None when nothing is there."""
        if place in self._told:
            return self._told[place]
        resources = self._resources.get(place)
        return None if resources is None else self._once(place, lambda: self._v3(place, resources))

    def v2(self) -> Document:
        """Return the document at /openapi/v2 in JSON."""
        return self._once("/openapi/v2", lambda: Document.of(self._v2()))

    def v2_protobuf(self) -> Document:
        """Return the document at /openapi/v2 in protobuf."""
        return self._once(
            "/openapi/v2 in protobuf",
            lambda: Document(openapi_protobuf.encode(self._v2()), openapi_protobuf.MEDIA_TYPE),
        )

    def hash_of(self, place: str) -> str:
        """Return the hash in the address of a document: of what it is made from, so that nothing need be built."""
        if place in self._told:
            return self._told[place].hash
        resources = self._resources[place]
        offered = [list(operations(resource)) for resource in resources]
        schemas = [one.schema for one in resources if isinstance(one.schema, CustomSchema)]
        custom = [(schema.published, schema.selectable) for schema in schemas]
        content = (self._schemas.fingerprint, server_version()["gitVersion"], offered, custom)
        return digest(msgspec.json.encode(content))

    def _once(self, key: str, build: Callable[[], Document]) -> Document:
        document = self._built.get(key)
        if document is None:
            document = self._built[key] = build()
        return document

    def _index(self) -> Document:
        places = sorted({*self._resources, *self._told})
        paths = {place: {"serverRelativeURL": f"/openapi/v3/{place}?hash={self.hash_of(place)}"} for place in places}
        return Document.of({"paths": paths})

    def _v3(self, place: str, resources: Iterable[Resource]) -> Document:
        definitions = self._definitions(published.definitions)
        names: set[str] = set()
        paths: dict[str, dict[str, Any]] = {}
        for resource in resources:
            for operation in operations(resource):
                names.update(self._named(operation))
                paths.setdefault(operation.path, {})[operation.method] = self._v3_operation(operation)
        content = {
            "openapi": "3.0.0",
            "info": _info(),
            "paths": dict(sorted(paths.items())),
            "components": {
                "schemas": {name: v3_schema(name, definitions[name]) for name in closure(names, definitions)},
                "securitySchemes": _SECURITY,
            },
        }
        return Document.of(content, JSON, self.hash_of(place))

    def _v2(self) -> dict[str, Any]:
        definitions = self._definitions(published.definitions_v2)
        names: set[str] = set()
        paths: dict[str, dict[str, Any]] = {}
        for resources in self._resources.values():
            for resource in resources:
                for operation in operations(resource):
                    names.update(self._named(operation))
                    paths.setdefault(operation.path, {})[operation.method] = self._v2_operation(operation)
        content = {
            "swagger": "2.0",
            "info": _info(),
            "paths": dict(sorted(paths.items())),
            "definitions": {name: v2_schema(name, definitions[name]) for name in closure(names, definitions)},
            "securityDefinitions": _SECURITY,
            "security": _REQUIRED,
        }
        return self._remote.merge_v2(content)

    def _definitions(
        self, custom: Callable[[CustomSchema, Mapping[str, Schema]], dict[str, Schema]]
    ) -> dict[str, Schema]:
        """Return Kubernetes' own definitions, and those of user-defined kinds."""
        made = self._schemas.full_definitions()
        for schema in self._custom.values():
            made.update(custom(schema, made))
        return made

    def _named(self, operation: Operation) -> Iterator[str]:
        for model in (operation.body, operation.answer):
            name = self._name(model)
            if name:
                yield name

    def _name(self, model: Model | None) -> str:
        """Return the definition that a model names, "" when there is none: for a text or a kind not in the schema."""
        if model is None or model.kind is None:
            return model.name if model is not None else ""
        custom = self._custom.get((model.kind.group, model.kind.version, model.kind.kind))
        if custom is not None:
            return custom.name if model.kind.kind == custom.kind else custom.list_name
        try:
            return self._schemas.of(model.kind.group, model.kind.version, model.kind.kind).definition
        except LookupError:
            return ""

    def _v3_operation(self, operation: Operation) -> dict[str, Any]:
        content = _common(operation)
        content["parameters"] = [_v3_parameter(parameter) for parameter in operation.parameters]
        if operation.body is not None:
            schema = self._v3_reference(operation.body)
            types = self._patches(operation) if operation.patch else ("*/*",)
            body: dict[str, Any] = {"content": {each: {"schema": schema} for each in types}}
            if operation.method != "delete":
                body["required"] = True
            content["requestBody"] = body
        schema = self._v3_reference(operation.answer)
        answers = {each: {"schema": schema} for each in _produced(operation)}
        content["responses"] = _responses(operation, {"content": answers})
        return content

    def _v2_operation(self, operation: Operation) -> dict[str, Any]:
        content = _common(operation)
        parameters = [_v2_parameter(parameter) for parameter in operation.parameters]
        if operation.body is not None:
            body: dict[str, Any] = {"name": "body", "in": "body", "schema": self._v2_reference(operation.body)}
            if operation.method != "delete":
                body["required"] = True
            parameters.append(body)
        content["parameters"] = parameters
        content["consumes"] = self._patches(operation) if operation.patch else ["*/*"]
        content["produces"] = list(_produced(operation))
        content["schemes"] = ["https"]
        content["responses"] = _responses(operation, {"schema": self._v2_reference(operation.answer)})
        return content

    def _patches(self, operation: Operation) -> list[str]:
        """Return the kinds of patch: strategic ones only where Kubernetes' own schema says how to merge."""
        about = operation.about
        strategic = (about.group, about.version, about.kind) not in self._custom
        return [each for each in _PATCHES if strategic or not each.startswith("application/strategic")]

    def _v3_reference(self, model: Model | None) -> Schema:
        return self._reference(model, "#/components/schemas/")

    def _v2_reference(self, model: Model | None) -> Schema:
        return self._reference(model, "#/definitions/")

    def _reference(self, model: Model | None, prefix: str) -> Schema:
        name = self._name(model)
        if name:
            return {"$ref": prefix + name}
        return {"type": "string"} if model is None else {"type": "object"}


def closure(names: Iterable[str], definitions: Mapping[str, Schema]) -> list[str]:
    """Return `names` and all that they refer to, sorted."""
    found: set[str] = set()
    queue = list(names)
    while queue:
        name = queue.pop()
        if name not in found:
            found.add(name)
            queue.extend(_references(definitions[name]))
    return sorted(found)


def _references(schema: Schema) -> Iterator[str]:
    if "$ref" in schema:
        yield schema["$ref"]
    for inner in _nested(schema):
        yield from _references(inner)


def _nested(schema: Schema) -> Iterator[Schema]:
    yield from schema.get("properties", {}).values()
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield schema[key]
    yield from schema.get("oneOf", ())


def v3_schema(name: str, schema: Schema) -> Schema:
    """Return a definition as OpenAPI v3 has it."""
    result = _rewritten(schema, _v3_pointer)
    if name == _INT_OR_STRING:
        result["format"] = "int-or-string"
    return result


def v2_schema(name: str, schema: Schema) -> Schema:
    """Return a definition as OpenAPI v2 has it, which knows no alternatives."""
    result = _rewritten(schema, _v2_pointer)
    if result.pop("oneOf", None) is not None:
        result["type"] = "string"
        if name == _INT_OR_STRING:
            result["format"] = "int-or-string"
    return result


def _v3_pointer(name: str, schema: Schema) -> Schema:
    """Return a reference. Version 3.0 ignores what stands beside `$ref`, hence allOf where something does."""
    pointer = {"$ref": f"#/components/schemas/{name}"}
    return {"allOf": [pointer], **schema} if schema else pointer


def _v2_pointer(name: str, schema: Schema) -> Schema:
    return {"$ref": f"#/definitions/{name}", **schema}


def _rewritten(schema: Schema, pointer: Callable[[str, Schema], Schema]) -> Schema:
    result: Schema = {}
    for key, value in schema.items():
        match key:
            case "$ref":
                continue
            case "properties":
                result[key] = {name: _rewritten(inner, pointer) for name, inner in value.items()}
            case "items" | "additionalProperties":
                result[key] = value if isinstance(value, bool) else _rewritten(value, pointer)
            case "oneOf":
                result[key] = [_rewritten(inner, pointer) for inner in value]
            case _:
                result[key] = value
    return pointer(schema["$ref"], result) if "$ref" in schema else result


def _info() -> dict[str, str]:
    return {"title": "Kubernetes", "version": server_version()["gitVersion"]}


def _common(operation: Operation) -> dict[str, Any]:
    about = operation.about
    return {
        "description": operation.description,
        "operationId": operation.id,
        "tags": [operation.tag],
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": {"group": about.group, "version": about.version, "kind": about.kind},
    }


def _produced(operation: Operation) -> tuple[str, ...]:
    if operation.answer is None:
        return ("*/*",) if operation.action == "connect" else ("text/plain",)
    return (JSON, _YAML, _WATCH) if operation.watchable else (JSON, _YAML)


def _responses(operation: Operation, answer: dict[str, Any]) -> dict[str, Any]:
    responses: dict[str, Any] = {"200": {"description": "OK", **answer}}
    if operation.created:
        responses["201"] = {"description": "Created", **answer}
    if operation.accepted:
        responses["202"] = {"description": "Accepted", **answer}
    responses["401"] = {"description": "Unauthorized"}
    return responses


def _v3_parameter(parameter: Parameter) -> dict[str, Any]:
    content: dict[str, Any] = {
        "name": parameter.name,
        "in": parameter.where,
        "description": parameter.description,
        "schema": {"type": parameter.type, "uniqueItems": True},
    }
    if parameter.where == "path":
        content["required"] = True
    return content


def _v2_parameter(parameter: Parameter) -> dict[str, Any]:
    content: dict[str, Any] = {
        "name": parameter.name,
        "in": parameter.where,
        "description": parameter.description,
        "type": parameter.type,
        "uniqueItems": True,
    }
    if parameter.where == "path":
        content["required"] = True
    return content
