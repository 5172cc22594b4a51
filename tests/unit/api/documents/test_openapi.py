from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from orch_api.http.discovery import Kinds
from orch_api.http.document import Document
from orch_api.http.openapi import OpenApiDocuments
from orch_api.http.operations import operations
from orch_api.registry import REGISTRY, Registry
from orch_api.schema import Schemas

Read = Callable[[Document | None], dict[str, Any]]
PLACES = sorted(
    {f"apis/{each.group}/{each.version}" if each.group else f"api/{each.version}" for each in REGISTRY.resources}
)
DEPLOYMENT = "/apis/apps/v1/namespaces/{namespace}/deployments/{name}"


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "$ref" and isinstance(inner, str):
                yield inner
            else:
                yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def resolve(document: dict[str, Any], reference: str) -> Any:
    found: Any = document
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    return found


def check_operations(document: dict[str, Any], registry: Kinds) -> None:
    """Path parameters are those of the path, and operation ids are unique."""
    ids: list[str] = []
    for path, methods in document["paths"].items():
        for operation in methods.values():
            ids.append(operation["operationId"])
            named = {each["name"] for each in operation["parameters"] if each["in"] == "path"}
            assert named == {part[1:-1] for part in path.split("/") if part.startswith("{")}
            assert len({(each["name"], each["in"]) for each in operation["parameters"]}) == len(operation["parameters"])
            assert "200" in operation["responses"]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("place", PLACES)
def test_no_reference_dangles_in_version_3(documents: OpenApiDocuments, read: Read, place: str) -> None:
    document = read(documents.v3(place))
    assert document["openapi"] == "3.0.0"
    for reference in references(document):
        assert resolve(document, reference) is not None
    assert all(path.startswith(f"/{place}/") for path in document["paths"])
    check_operations(document, REGISTRY)


def test_no_reference_dangles_in_version_2(documents: OpenApiDocuments, read: Read) -> None:
    document = read(documents.v2())
    assert document["swagger"] == "2.0"
    for reference in references(document):
        assert resolve(document, reference) is not None
    assert {path for place in PLACES for path in read(documents.v3(place))["paths"]} == set(document["paths"])
    check_operations(document, REGISTRY)


def test_every_definition_is_reached_from_an_operation(documents: OpenApiDocuments, read: Read) -> None:
    document = read(documents.v2())
    reached: set[str] = set()
    queue = list(references(document["paths"]))
    while queue:
        reference = queue.pop()
        if reference not in reached:
            reached.add(reference)
            queue.extend(references(resolve(document, reference)))
    assert reached == {f"#/definitions/{name}" for name in document["definitions"]}


def test_kubectl_finds_field_validation_on_the_patch_of_every_kind(documents: OpenApiDocuments, read: Read) -> None:
    patched: set[tuple[str, str, str]] = set()
    for place in PLACES:
        for methods in read(documents.v3(place))["paths"].values():
            if "patch" in methods and methods["patch"]["x-kubernetes-action"] != "connect":
                about = methods["patch"]["x-kubernetes-group-version-kind"]
                names = {each["name"] for each in methods["patch"]["parameters"]}
                assert {"fieldValidation", "dryRun", "fieldManager", "force"} <= names
                patched.add((about["group"], about["version"], about["kind"]))
    assert patched >= {(each.group, each.version, each.kind) for each in REGISTRY.resources if "patch" in each.verbs}


def test_an_object_has_its_methods(documents: OpenApiDocuments, read: Read) -> None:
    methods = read(documents.v3("apis/apps/v1"))["paths"][DEPLOYMENT]
    assert {method: operation["operationId"] for method, operation in methods.items()} == {
        "get": "readAppsV1NamespacedDeployment",
        "put": "replaceAppsV1NamespacedDeployment",
        "patch": "patchAppsV1NamespacedDeployment",
        "delete": "deleteAppsV1NamespacedDeployment",
    }
    assert methods["patch"]["x-kubernetes-action"] == "patch"
    assert set(methods["patch"]["requestBody"]["content"]) == {
        "application/json-patch+json",
        "application/merge-patch+json",
        "application/strategic-merge-patch+json",
    }
    assert methods["put"]["requestBody"]["required"] is True


def test_a_collection_is_listed_watched_created_in_and_emptied(documents: OpenApiDocuments, read: Read) -> None:
    paths = read(documents.v3("api/v1"))["paths"]
    pods = paths["/api/v1/namespaces/{namespace}/pods"]
    assert {method: each["operationId"] for method, each in pods.items()} == {
        "get": "listCoreV1NamespacedPod",
        "post": "createCoreV1NamespacedPod",
        "delete": "deleteCoreV1CollectionNamespacedPod",
    }
    names = {each["name"] for each in pods["get"]["parameters"]}
    assert {"watch", "allowWatchBookmarks", "sendInitialEvents", "limit", "continue", "labelSelector"} <= names
    assert "application/json;stream=watch" in pods["get"]["responses"]["200"]["content"]
    assert paths["/api/v1/pods"]["get"]["operationId"] == "listCoreV1PodForAllNamespaces"
    assert paths["/api/v1/nodes/{name}"]["get"]["operationId"] == "readCoreV1Node"


def test_subresources_are_described_by_their_own_kinds(documents: OpenApiDocuments, read: Read) -> None:
    paths = read(documents.v3("apis/apps/v1"))["paths"]
    scale = paths[f"{DEPLOYMENT}/scale"]["patch"]
    assert scale["x-kubernetes-group-version-kind"] == {"group": "autoscaling", "version": "v1", "kind": "Scale"}
    answer = scale["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer == {"$ref": "#/components/schemas/io.k8s.api.autoscaling.v1.Scale"}
    core = read(documents.v3("api/v1"))["paths"]
    log = core["/api/v1/namespaces/{namespace}/pods/{name}/log"]["get"]
    assert {"follow", "tailLines", "container"} <= {each["name"] for each in log["parameters"]}
    assert log["responses"]["200"]["content"] == {"text/plain": {"schema": {"type": "string"}}}
    execute = core["/api/v1/namespaces/{namespace}/pods/{name}/exec"]
    assert execute["post"]["operationId"] == "connectCoreV1PostNamespacedPodExec"
    assert {"command", "stdin", "tty"} <= {each["name"] for each in execute["get"]["parameters"]}


def test_merge_keys_and_kinds_are_kept(documents: OpenApiDocuments, read: Read) -> None:
    schemas = read(documents.v3("apis/apps/v1"))["components"]["schemas"]
    containers = schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]
    assert containers["x-kubernetes-patch-merge-key"] == "name"
    assert containers["x-kubernetes-patch-strategy"] == "merge"
    assert containers["description"]
    kinds = schemas["io.k8s.api.apps.v1.Deployment"]["x-kubernetes-group-version-kind"]
    assert kinds == [{"group": "apps", "version": "v1", "kind": "Deployment"}]
    template = schemas["io.k8s.api.apps.v1.DeploymentSpec"]["properties"]["template"]
    assert template["allOf"] == [{"$ref": "#/components/schemas/io.k8s.api.core.v1.PodTemplateSpec"}]
    assert "$ref" not in template


def test_what_may_be_of_two_types_is_told_as_each_version_can(documents: OpenApiDocuments, read: Read) -> None:
    new = read(documents.v3("apis/apps/v1"))["components"]["schemas"]
    old = read(documents.v2())["definitions"]
    either, quantity = (
        "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
        "io.k8s.apimachinery.pkg.api.resource.Quantity",
    )
    assert new[either]["format"] == old[either]["format"] == "int-or-string"
    assert {each["type"] for each in new[either]["oneOf"]} == {"integer", "string"}
    assert {each["type"] for each in new[quantity]["oneOf"]} == {"number", "string"}
    assert old[either]["type"] == old[quantity]["type"] == "string"
    assert "oneOf" not in old[either]
    assert "oneOf" not in old[quantity]


def test_the_index_leads_to_every_document_by_its_hash(documents: OpenApiDocuments, read: Read) -> None:
    paths = read(documents.index())["paths"]
    assert set(paths) == set(PLACES)
    for place in PLACES:
        document = documents.v3(place)
        assert document is not None
        assert documents.v3(place) is document
        assert paths[place]["serverRelativeURL"] == f"/openapi/v3/{place}?hash={document.hash}"
    assert documents.v3("apis/nothing/v1") is None
    assert len({paths[place]["serverRelativeURL"] for place in PLACES}) == len(PLACES)


def test_the_hash_changes_with_what_is_served(documents: OpenApiDocuments) -> None:
    fewer = Registry([each for each in REGISTRY.resources if each.plural != "deployments"])
    changed = OpenApiDocuments(fewer, Schemas.load())
    assert changed.hash_of("apis/apps/v1") != documents.hash_of("apis/apps/v1")
    assert changed.hash_of("api/v1") == documents.hash_of("api/v1")
    assert OpenApiDocuments(REGISTRY, Schemas.load()).hash_of("apis/apps/v1") == documents.hash_of("apis/apps/v1")


def test_a_kind_without_a_schema_is_some_object(unusual: Registry, read: Read) -> None:
    documents = OpenApiDocuments(unusual, Schemas.load())
    wishes = read(documents.v3("apis/autoscaling/v2beta1"))["paths"]
    answer = wishes["/apis/autoscaling/v2beta1/wishes"]["get"]["responses"]["200"]["content"]["application/json"]
    assert answer == {"schema": {"type": "object"}}
    for document in (
        read(documents.v2()),
        read(documents.v3("api/v1")),
        read(documents.v3("apis/autoscaling/v2beta1")),
    ):
        for reference in references(document):
            assert resolve(document, reference) is not None
        check_operations(document, unusual)
    eviction = read(documents.v3("api/v1"))["paths"]["/api/v1/namespaces/{namespace}/pods/{name}/eviction"]
    assert set(eviction) == {"post"}
    assert eviction["post"]["x-kubernetes-group-version-kind"]["group"] == "policy"


def test_every_verb_of_every_resource_is_an_operation() -> None:
    for resource in REGISTRY.resources:
        actions = {each.action for each in operations(resource) if each.path.count("{name}/") == 0}
        expected = {
            "create": "post",
            "update": "put",
            "delete": "delete",
            "get": "get",
            "list": "list",
            "patch": "patch",
        }
        expected["deletecollection"] = "deletecollection"
        assert actions == {expected[verb] for verb in resource.verbs if verb != "watch"}
