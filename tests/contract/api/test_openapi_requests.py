"""Schemathesis sends what the OpenAPI documents allow, and what they do not, to every operation that they tell of.

Half of the requests are for objects that exist, with bodies that are samples with odd parts: what is drawn from the
schema alone is hardly ever accepted. Answers must be as documented: of the statuses, content types and schemas. Like
Kubernetes' own, the documents tell of successes only, so that each refusal must be a Status that says what it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import schemathesis
from asgi import Answer
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schema_documents import kinds, odd
from schemathesis.core.failures import FailureGroup
from schemathesis.core.transport import Response
from schemathesis.generation.modes import GenerationMode
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance
from served_api import NAMESPACE, ServedApi, collection, sample_of, served_api

from orch_api.registry import REGISTRY, Resource

HONEST = frozenset({501, 503, 504})
PLACES = sorted(
    {f"apis/{each.group}/{each.version}" if each.group else f"api/{each.version}" for each in REGISTRY.resources}
)
CHECKS: list[Any] = [content_type_conformance, response_schema_conformance]
SHARE = 20
"""Of the operations of version 2, which are those of version 3 again, every so many is tried."""

STATUS = "io.k8s.apimachinery.pkg.apis.meta.v1.Status"
EITHER = (
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
    "io.k8s.apimachinery.pkg.api.resource.Quantity",
)

Operation = Any
Case = Any


@pytest.fixture(scope="module")
def served() -> Iterator[ServedApi]:
    with served_api() as api:
        yield api


@pytest.mark.parametrize("place", PLACES)
def test_every_operation_answers_as_documented(served: ServedApi, place: str, examples: int) -> None:
    document = served("GET", f"/openapi/v3/{place}").json
    try_out(served, [one.ok() for one in without_bodies(document).get_all_operations()], examples)


def test_operations_of_version_2_answer_as_documented(served: ServedApi, examples: int) -> None:
    document = served("GET", "/openapi/v2").json
    found = [one.ok() for one in without_bodies(document).get_all_operations()]
    try_out(served, found[::SHARE], examples)


def test_it_has_come_through_all_this(served: ServedApi) -> None:
    assert served("GET", "/readyz").body == b"ok"
    for resource in REGISTRY.resources:
        if "list" in resource.verbs:
            assert served("GET", collection(resource)).status == 200, resource.qualified


def without_bodies(document: dict[str, Any]) -> Any:
    """Return the document for schemathesis, without the bodies of objects: drawing a whole pod takes it seconds.

    In some places no answer of Kubernetes is as its document says, and neither is ours: lists and times that are
    required may be missing where Go would write null, what is deleted but still there is shown where a Status is
    announced, and version 2 calls texts what may be numbers.
    """
    schemas = document.get("definitions") or document["components"]["schemas"]
    for name, schema in schemas.items():
        if "required" in schema:
            schema["required"] = [one for one in schema["required"] if not may_be_null(schema["properties"][one])]
        if name in EITHER:
            schema.pop("type", None)
        if name == STATUS:
            del schema["properties"]["status"]
    for methods in document["paths"].values():
        for method in ("post", "put"):
            written = methods.get(method, {})
            written.pop("requestBody", None)
            if "parameters" in written:
                written["parameters"] = [one for one in written["parameters"] if one["in"] != "body"]
    return schemathesis.openapi.from_dict(document)


def may_be_null(field: dict[str, Any]) -> bool:
    """Return whether Go would write null for a field that has no value."""
    return field.get("type") in {"array", "object"} or "Time" in str(field.get("$ref") or field.get("allOf"))


def try_out(served: ServedApi, operations: list[Operation], examples: int) -> None:
    """Send requests to each operation; all that fails is told at the end."""
    failures = [
        f"{operation.label}: {problem}"
        for operation in operations
        for problem in sorted(tried(served, operation, examples))
    ]
    assert not failures, "\n\n".join(failures)


def tried(served: ServedApi, operation: Operation, examples: int) -> set[str]:
    """Send so many requests to an operation, always the same, and return what was wrong with the answers."""
    resource = resource_of(operation)
    found = set[str]()

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(cases(operation), st.data())
    def run(case: Case, data: st.DataObject) -> None:
        if resource is not None:
            complete(served, case, resource, data.draw)
        found.update(problems(served, case))

    run()
    return found


def cases(operation: Operation) -> st.SearchStrategy[Case]:
    """Return what draws requests to an operation, right ones and wrong ones."""
    return st.one_of(operation.as_strategy(generation_mode=mode) for mode in GenerationMode)


def resource_of(operation: Operation) -> Resource | None:
    """Return the resource whose objects an operation is about."""
    parts = [part for part in operation.path.strip("/").split("/") if part not in {"namespaces", "{namespace}"}]
    group, version, rest = ("", parts[1], parts[2:]) if parts[0] == "api" else (parts[1], parts[2], parts[3:])
    return REGISTRY.find(group, version, rest[0] if rest and rest[0] != "{name}" else "namespaces")


def complete(served: ServedApi, case: Case, resource: Resource, draw: Callable[..., Any]) -> None:
    """Aim a request at an object that exists, or that may, and give it a body."""
    sample = sample_of(resource)
    if sample is None:
        return
    name = sample.get("metadata", {}).get("name", "")
    if "namespace" in case.path_parameters and draw(st.integers(0, 5)):
        case.path_parameters["namespace"] = NAMESPACE
    if "name" in case.path_parameters and draw(st.booleans()):
        case.path_parameters["name"] = name
        served("POST", collection(resource), json.dumps(sample).encode(), {"content-type": "application/json"})
    definition = kinds()[resource.api_version, resource.kind]
    if case.method in {"POST", "PUT"}:
        case.body = draw(odd(sample, definition)) if draw(st.booleans()) else sample
        case.media_type = "application/json"


def problems(served: ServedApi, case: Case) -> Iterator[str]:
    """Send a request and yield what is wrong with the answer."""
    prepared = prepare(case)
    answer = served(prepared.method or "", prepared.path_url, _bytes(prepared.body), dict(prepared.headers))
    told = (
        f"{prepared.method} {prepared.path_url} {_bytes(prepared.body)[:300]!r} → {answer.status} {answer.body[:500]!r}"
    )
    if answer.status >= 400:
        if (answer.status >= 500 and answer.status not in HONEST) or not is_status(answer):
            yield told
        return
    if answer.status == 301 and prepared.path_url.partition("?")[0].endswith("/proxy"):
        return  # to the address that ends in a slash
    if str(answer.status) not in case.operation.responses.status_codes:
        yield f"status {answer.status} is not documented\n{told}"
    if not answer.ended or "watch" in prepared.path_url:  # a stream of events, which no schema describes
        return
    headers = {name: [value] for name, value in answer.headers.items()}
    try:
        response = Response(answer.status, headers, answer.body, prepared, 0.0, verify=True)
        case.validate_response(response, checks=CHECKS)
    except FailureGroup as group:
        for failure in group.exceptions:
            yield f"{failure}\n{told}"


def prepare(case: Case) -> requests.PreparedRequest:
    given = case.as_transport_kwargs(base_url="https://cluster")
    known = ("method", "url", "headers", "params", "data", "json")
    return requests.Request(**{name: given[name] for name in known if name in given}).prepare()


def is_status(answer: Answer) -> bool:
    """Return whether a refusal is a Status that says what went wrong."""
    said = answer.json
    return (said["kind"], said["status"], said["code"]) == ("Status", "Failure", answer.status) and bool(
        said["message"]
    )


def _bytes(body: Any) -> bytes:
    return body.encode() if isinstance(body, str) else body or b""
