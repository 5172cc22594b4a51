"""Discovery, the OpenAPI documents and the server tell the same: each path, each verb, and no other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from served_api import ServedApi, collection, sample_of, sampled, served_api

from orch_api.registry import REGISTRY, Resource

OBJECT_METHODS = {"get": "get", "update": "put", "patch": "patch", "delete": "delete", "create": "post"}
COLLECTION_METHODS = {"list": "get", "create": "post", "deletecollection": "delete"}
METHODS = ("get", "put", "patch", "delete", "post")
MEDIA_TYPES = {"patch": "application/merge-patch+json"}
SHOWN_WHEN_GONE = frozenset(
    {
        *("persistentvolumeclaims", "persistentvolumes", "pods", "podtemplates", "resourcequotas", "serviceaccounts"),
        *("services", "deviceclasses", "resourceclaims", "resourceclaimtemplates", "resourceslices", "csidrivers"),
        *("csinodes", "storageclasses", "volumeattachments", "volumeattributesclasses"),
    }
)
"""Of which Kubernetes 1.37 documents, and answers with, the deleted object."""

Rows = dict[str, frozenset[str]]


@pytest.fixture(scope="module")
def served() -> Iterator[ServedApi]:
    with served_api() as api:
        yield api


def places(served: ServedApi) -> list[str]:
    """The paths of all groups and versions that discovery names."""
    groups = served("GET", "/apis").json["groups"]
    versions = [f"/apis/{one['groupVersion']}" for group in groups for one in group["versions"]]
    return [*(f"/api/{version}" for version in served("GET", "/api").json["versions"]), *versions]


def discovered(served: ServedApi) -> dict[str, frozenset[str]]:
    """The methods of every path that discovery tells of, with {namespace} and {name} in it."""
    found: dict[str, frozenset[str]] = {}
    for place in places(served):
        rows = served("GET", place).json["resources"]
        for row in rows:
            plural, _, subresource = row["name"].partition("/")
            inside = f"{place}/namespaces/{{namespace}}" if row["namespaced"] else place
            verbs = frozenset(row["verbs"])
            own = f"{inside}/{plural}/{{name}}"
            if subresource:
                found[f"{own}/{subresource}"] = methods(OBJECT_METHODS, verbs)
                continue
            if row["namespaced"] and "list" in verbs:
                found[f"{place}/{plural}"] = frozenset({"get"})
            found[f"{inside}/{plural}"] = methods(COLLECTION_METHODS, verbs)
            found[own] = methods(OBJECT_METHODS, verbs - {"create"})
    return {path: known for path, known in found.items() if known}


def methods(known: dict[str, str], verbs: frozenset[str]) -> frozenset[str]:
    return frozenset(method for verb, method in known.items() if verb in verbs)


def test_the_documents_tell_what_discovery_tells(served: ServedApi) -> None:
    documented: dict[str, frozenset[str]] = {}
    for place, where in served("GET", "/openapi/v3").json["paths"].items():
        document = served("GET", where["serverRelativeURL"]).json
        for path, operations in document["paths"].items():
            assert path.startswith(f"/{place}/")
            documented[path] = frozenset(operations)
    assert documented == discovered(served)
    old = served("GET", "/openapi/v2").json["paths"]
    assert {path: frozenset(operations) for path, operations in old.items()} == documented


def test_the_aggregated_form_tells_what_the_plain_one_tells(served: ServedApi) -> None:
    plain = {
        (place.split("/", 2)[2], row["name"]): (frozenset(row["verbs"]), row["kind"], row["namespaced"])
        for place in places(served)
        for row in served("GET", place).json["resources"]
    }
    form = {"accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"}
    groups = served("GET", "/apis", b"", form).json["items"] + served("GET", "/api", b"", form).json["items"]
    told: dict[tuple[str, str], Any] = {}
    for group in groups:
        for version in group["versions"]:
            name = group["metadata"].get("name", "")
            place = f"{name}/{version['version']}".removeprefix("/")
            for row in version["resources"]:
                namespaced = row["scope"] == "Namespaced"
                told[place, row["resource"]] = (frozenset(row["verbs"]), row["responseKind"]["kind"], namespaced)
                for below in row.get("subresources", ()):
                    path = f"{row['resource']}/{below['subresource']}"
                    told[place, path] = (frozenset(below["verbs"]), below["responseKind"]["kind"], namespaced)
    assert told == plain


@pytest.mark.parametrize("resource", REGISTRY.resources, ids=lambda one: f"{one.qualified}/{one.version}")
def test_every_verb_is_answered_and_no_other(served: ServedApi, resource: Resource) -> None:
    sample = sample_of(resource)
    path = collection(resource)
    own = f"{path}/{(sample or {}).get('metadata', {}).get('name', 'sample')}"
    tried = {
        path: methods(COLLECTION_METHODS, resource.verbs),
        own: methods(OBJECT_METHODS, resource.verbs - {"create"}),
    }
    for name, below in resource.subresources.items():
        tried[f"{own}/{name}"] = methods(OBJECT_METHODS, below.verbs)
    for url, known in tried.items():
        for method in METHODS:
            if sample is not None and resource.stored:
                send(served, "post", path, sample)
            answer = send(served, method, url, sample if method in {"post", "put"} else {})
            what = (method, url, answer.body[:300])
            if method not in known:
                assert answer.status == 405, what
            else:
                said = answer.json if answer.body and answer.status == 404 else {}
                assert answer.status != 405, what
                assert answer.status != 404 or said.get("details", {}).get("name"), what


def send(served: ServedApi, method: str, url: str, body: Any) -> Any:
    data = b"" if method == "get" else json.dumps(body).encode()
    return served(method.upper(), url, data, {"content-type": MEDIA_TYPES.get(method, "application/json")})


@pytest.mark.parametrize("resource", sampled(), ids=lambda one: f"{one.qualified}/{one.version}")
def test_what_is_gone_is_shown_by_some_kinds_as_documented(served: ServedApi, resource: Resource) -> None:
    if not resource.stored or resource.kind in {"Namespace", "CustomResourceDefinition"}:  # which go by and by
        return
    sample = sample_of(resource) or {}
    url = f"{collection(resource)}/{sample['metadata']['name']}"
    send(served, "post", collection(resource), sample)
    send(served, "patch", url, {"metadata": {"finalizers": None}})
    gone = send(served, "delete", url, {"gracePeriodSeconds": 0, "propagationPolicy": "Background"})
    assert served("GET", url).status == 404, gone.body
    assert gone.json["kind"] == (resource.kind if resource.plural in SHOWN_WHEN_GONE else "Status")
    if resource.plural in SHOWN_WHEN_GONE:
        assert gone.json["metadata"]["name"] == sample["metadata"]["name"]
