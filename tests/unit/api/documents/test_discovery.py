from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from typing import Any

import pytest

from orch_api.http.discovery import Discovery, aggregated_media_type, version_order
from orch_api.http.document import Document
from orch_api.registry import REGISTRY, Registry

Read = Callable[[Document | None], dict[str, Any]]


def row(listed: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = (each for each in listed["resources"] if each["name"] == name)
    return found


def test_the_core_versions_and_the_servers_address(discovery: Discovery, read: Read) -> None:
    assert read(discovery.find("/api")) == {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1:6443"}],
    }


def test_every_group_is_listed_with_its_preferred_version(discovery: Discovery, unusual: Registry, read: Read) -> None:
    listed = read(discovery.find("/apis"))
    assert listed["kind"] == "APIGroupList"
    assert {"apps", "coordination.k8s.io"} <= {group["name"] for group in listed["groups"]}
    (group,) = read(Discovery(unusual).find("/apis/"))["groups"]
    assert group["preferredVersion"] == {"groupVersion": "autoscaling/v2", "version": "v2"}
    assert [each["version"] for each in group["versions"]] == ["v2", "v1", "v2beta1"]
    assert read(Discovery(unusual).find("/apis/autoscaling")) == {"kind": "APIGroup", "apiVersion": "v1", **group}


def test_a_resource_is_listed_with_its_names_and_subresources(discovery: Discovery, read: Read) -> None:
    apps = read(discovery.find("/apis/apps/v1"))
    assert (apps["kind"], apps["apiVersion"], apps["groupVersion"]) == ("APIResourceList", "v1", "apps/v1")
    deployments = row(apps, "deployments")
    assert deployments["shortNames"] == ["deploy"]
    assert deployments["categories"] == ["all"]
    assert deployments["singularName"] == "deployment"
    assert deployments["namespaced"] is True
    assert deployments["verbs"] == ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
    assert deployments["storageVersionHash"] == "8aSe+NMegvE="
    status = row(apps, "deployments/status")
    assert status == {
        "name": "deployments/status",
        "singularName": "",
        "namespaced": True,
        "kind": "Deployment",
        "verbs": ["get", "patch", "update"],
    }
    scale = row(apps, "deployments/scale")
    assert (scale["group"], scale["version"], scale["kind"]) == ("autoscaling", "v1", "Scale")


def test_the_core_group_lists_what_has_no_group(discovery: Discovery, read: Read) -> None:
    core = read(discovery.find("/api/v1"))
    assert core["groupVersion"] == "v1"
    assert row(core, "nodes")["namespaced"] is False
    assert row(core, "pods/log")["verbs"] == ["get"]
    assert row(core, "pods/exec")["kind"] == "PodExecOptions"
    assert "group" not in row(core, "pods/exec")


@pytest.mark.parametrize(
    "path", ["/apis/nothing", "/apis/apps/v2", "/api/v2", "/apis/", "/apis//v1", "/other", "/", ""]
)
def test_what_is_not_served_is_not_found(discovery: Discovery, path: str) -> None:
    found = discovery.find(path)
    assert (found is not None) == (path == "/apis/")


@pytest.mark.parametrize("version", ["v2", "v2beta1"])
def test_the_aggregated_form_holds_every_resource(discovery: Discovery, read: Read, version: str) -> None:
    served: set[tuple[str, str, str]] = set()
    for path in ("/api", "/apis"):
        document = discovery.find(path, version)
        assert document is not None
        assert document.media_type == aggregated_media_type(version)
        assert document.media_type == f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
        listed = read(document)
        assert (listed["kind"], listed["apiVersion"]) == ("APIGroupDiscoveryList", f"apidiscovery.k8s.io/{version}")
        for group in listed["items"]:
            for each in group["versions"]:
                assert each["freshness"] == "Current"
                served |= {
                    (group["metadata"].get("name", ""), each["version"], resource["resource"])
                    for resource in each["resources"]
                }
    assert served == {(each.group, each.version, each.plural) for each in REGISTRY.resources}


def test_an_aggregated_row_names_scope_and_subresources(discovery: Discovery, read: Read) -> None:
    (apps,) = (each for each in read(discovery.find("/apis", "v2"))["items"] if each["metadata"] == {"name": "apps"})
    (deployments,) = (each for each in apps["versions"][0]["resources"] if each["resource"] == "deployments")
    assert deployments["scope"] == "Namespaced"
    assert deployments["responseKind"]["kind"] == "Deployment"
    assert {each["subresource"]: each["responseKind"] for each in deployments["subresources"]} == {
        "scale": {"group": "autoscaling", "version": "v1", "kind": "Scale"},
        "status": {"group": "", "version": "", "kind": "Deployment"},
    }


def test_the_plain_document_answers_where_there_is_no_aggregated_one(discovery: Discovery) -> None:
    assert discovery.find("/apis/apps/v1", "v2") is discovery.find("/apis/apps/v1")
    assert discovery.find("/apis", "v9") is discovery.find("/apis")


def test_a_document_is_built_once_with_its_tag(discovery: Discovery) -> None:
    document = discovery.find("/apis")
    assert document is not None
    assert discovery.find("/apis") is document
    assert re.fullmatch('"[0-9A-F]{128}"', document.etag)
    assert gzip.decompress(document.compressed) == document.body
    again = Discovery(REGISTRY).find("/apis")
    assert again is not None
    assert again.etag == document.etag


def test_the_version_is_kubernetes_with_orchs_own_behind_it(discovery: Discovery, read: Read) -> None:
    version = read(discovery.version())
    assert (version["major"], version["minor"]) == ("1", "37")
    assert re.fullmatch(r"v1\.37\.0\+orch\.\d+\.\d+\.\d+", version["gitVersion"])
    assert re.fullmatch(r"linux/\w+", version["platform"])


def test_versions_are_preferred_by_stability_then_by_number() -> None:
    versions = ["v1alpha2", "v10", "odd", "v2", "v1beta1", "v1beta2", "v1"]
    assert sorted(versions, key=version_order, reverse=True) == [
        "v10",
        "v2",
        "v1",
        "v1beta2",
        "v1beta1",
        "v1alpha2",
        "odd",
    ]
