"""What the server serves, for clients that ask: /api, /apis and below, plain and aggregated, and /version."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from orch_api.group_order import group_order
from orch_api.http.document import Document
from orch_api.resource import Resource, Subresource

KUBERNETES_MINOR: Final = 37
AGGREGATED_VERSIONS: Final = ("v2", "v2beta1")

_ROOTS: Final = ("/api", "/apis")
_ARCHITECTURES: Final[Mapping[str, str]] = {"x86_64": "amd64", "aarch64": "arm64"}
_VERSION = re.compile(r"v(\d+)(?:(alpha|beta)(\d+))?")
_STABILITY: Final = {"alpha": 0, "beta": 1, None: 2}


class Kinds(Protocol):
    """The part of the registry that is read here."""

    @property
    def resources(self) -> Sequence[Resource]:
        """All resources that are served."""
        ...

    @property
    def generation(self) -> int:
        """Counts the changes of what is served."""
        ...


def version_order(version: str) -> tuple[int, int, int]:
    """Return a key that sorts API versions as Kubernetes does: v2, v1, v1beta2, v1alpha1 in descending order."""
    found = _VERSION.fullmatch(version)
    if found is None:
        return (-1, 0, 0)
    return (_STABILITY[found[2]], int(found[1]), int(found[3] or 0))


def aggregated_media_type(version: str) -> str:
    """Return the content type of aggregated discovery in `version` (one of AGGREGATED_VERSIONS)."""
    return f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"


class Discovery:
    """The discovery documents of a registry, each built when it is first asked for."""

    def __init__(self, registry: Kinds, *, server_address: str = "") -> None:
        self._registry = registry
        self._server_address = server_address
        self._served: dict[str, dict[str, list[Resource]]] = {}  # by group, then by version
        self._built: dict[tuple[str, str], Document] = {}
        self._generation = -1

    def _refresh(self) -> None:
        """Begin anew when what is served has changed."""
        if self._generation == self._registry.generation:
            return
        self._generation = self._registry.generation
        self._served, self._built = {}, {}
        for resource in sorted(self._registry.resources, key=lambda each: (*group_order(each.group), each.plural)):
            self._served.setdefault(resource.group, {}).setdefault(resource.version, []).append(resource)

    def find(self, path: str, aggregated: str = "") -> Document | None:
        """Return the document at `path` ("/api", "/apis/apps/v1"), None when nothing is there.

        `aggregated` is the version of the aggregated form that the client accepts, if any. Where there is no such form
        (only /api and /apis have it) or version, the answer is the plain document.
        """
        self._refresh()
        place = path.rstrip("/")
        wanted = aggregated if place in _ROOTS and aggregated in AGGREGATED_VERSIONS else ""
        key = (place, wanted)
        document = self._built.get(key)
        if document is None:
            document = self._build(*key)
            if document is not None:
                self._built[key] = document
        return document

    def paths(self, others: Iterable[str]) -> dict[str, list[str]]:
        """Return the document at /: every path below which something is, `others` being those that are no objects'."""
        self._refresh()
        groups = [group for group in self._served if group]
        found = ["/api", "/apis", "/apis/", *(f"/api/{version}" for version in self._versions(""))]
        found += [f"/apis/{group}" for group in groups]
        found += [f"/apis/{group}/{version}" for group in groups for version in self._versions(group)]
        return {"paths": sorted((*found, *others))}

    def version(self) -> Document:
        """Return the document at /version."""
        document = self._built.get(("/version", ""))
        if document is None:
            document = self._built["/version", ""] = Document.of(server_version())
        return document

    def _build(self, path: str, aggregated: str) -> Document | None:
        if aggregated:
            groups = [group for group in self._served if (group == "") == (path == "/api")]
            return Document.of(self._aggregated(groups, aggregated), aggregated_media_type(aggregated))
        content: dict[str, Any] | None
        match path.split("/")[1:]:
            case ["api"]:
                content = self._core_versions()
            case ["api", version]:
                content = self._resource_list("", version)
            case ["apis"]:
                groups = [self._group(group) for group in self._served if group]
                content = {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
            case ["apis", group] if group and group in self._served:
                content = {"kind": "APIGroup", "apiVersion": "v1", **self._group(group)}
            case ["apis", group, version] if group:
                content = self._resource_list(group, version)
            case _:
                content = None
        return None if content is None else Document.of(content)

    def _versions(self, group: str) -> list[str]:
        """Return the versions of a group, the preferred one first."""
        return sorted(self._served.get(group, ()), key=version_order, reverse=True)

    def _core_versions(self) -> dict[str, Any]:
        addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": self._server_address}] if self._server_address else []
        return {"kind": "APIVersions", "versions": self._versions(""), "serverAddressByClientCIDRs": addresses}

    def _group(self, group: str) -> dict[str, Any]:
        versions = [{"groupVersion": f"{group}/{version}", "version": version} for version in self._versions(group)]
        return {"name": group, "versions": versions, "preferredVersion": versions[0]}

    def _resource_list(self, group: str, version: str) -> dict[str, Any] | None:
        resources = self._served.get(group, {}).get(version)
        if resources is None:
            return None
        rows = [row for resource in resources for row in _rows(resource)]
        group_version = f"{group}/{version}" if group else version
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": rows}

    def _aggregated(self, groups: Iterable[str], version: str) -> dict[str, Any]:
        items = [
            {
                "metadata": {"name": group} if group else {},
                "versions": [
                    {
                        "version": each,
                        "resources": [_aggregated_row(resource) for resource in self._served[group][each]],
                        "freshness": "Current",
                    }
                    for each in self._versions(group)
                ],
            }
            for group in groups
        ]
        api_version = f"apidiscovery.k8s.io/{version}"
        return {"kind": "APIGroupDiscoveryList", "apiVersion": api_version, "metadata": {}, "items": items}


def server_version() -> dict[str, str]:
    """Return what /version tells: the Kubernetes version whose API this is, and orch's own."""
    minor = str(KUBERNETES_MINOR)
    machine = platform.machine()
    return {
        "major": "1",
        "minor": minor,
        "emulationMajor": "1",
        "emulationMinor": minor,
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": str(KUBERNETES_MINOR - 1),
        "gitVersion": f"v1.{minor}.0+orch.{importlib.metadata.version('orch')}",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": f"{platform.system().lower()}/{_ARCHITECTURES.get(machine, machine)}",
    }


def foreign_group_version(resource: Resource, subresource: Subresource) -> tuple[str, str] | None:
    """Return the group and version of a subresource's kind where they are not the resource's own."""
    own = subresource.kind == resource.kind or (subresource.group, subresource.version) == resource.group_version
    # Connect options (PodExecOptions) always belong to the resource that they are served under.
    return None if own or subresource.kind.endswith("Options") else (subresource.group, subresource.version)


def _rows(resource: Resource) -> list[dict[str, Any]]:
    """Return the rows of a resource and its subresources in an APIResourceList."""
    row: dict[str, Any] = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": sorted(resource.verbs),
    }
    if resource.short_names:
        row["shortNames"] = list(resource.short_names)
    if resource.categories:
        row["categories"] = list(resource.categories)
    if "list" in resource.verbs:
        row["storageVersionHash"] = storage_version_hash(resource.storage)
    rows = [row]
    for name, subresource in sorted(resource.subresources.items()):
        inner: dict[str, Any] = {
            "name": f"{resource.plural}/{name}",
            "singularName": "",
            "namespaced": resource.namespaced,
            "kind": subresource.kind,
            "verbs": sorted(subresource.verbs),
        }
        foreign = foreign_group_version(resource, subresource)
        if foreign is not None:
            inner["group"], inner["version"] = foreign
        rows.append(inner)
    return rows


def _aggregated_row(resource: Resource) -> dict[str, Any]:
    own = ("", "") if resource.schema is None else resource.group_version  # user-defined kinds are named in full
    row: dict[str, Any] = {
        "resource": resource.plural,
        "responseKind": {"group": own[0], "version": own[1], "kind": resource.kind},
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": sorted(resource.verbs),
    }
    if resource.short_names:
        row["shortNames"] = list(resource.short_names)
    if resource.categories:
        row["categories"] = list(resource.categories)
    subresources: list[dict[str, Any]] = []
    for name, subresource in sorted(resource.subresources.items()):
        group, version = foreign_group_version(resource, subresource) or own
        subresources.append(
            {
                "subresource": name,
                "responseKind": {"group": group, "version": version, "kind": subresource.kind},
                "verbs": sorted(subresource.verbs),
            }
        )
    if subresources:
        row["subresources"] = subresources
    return row


def storage_version_hash(resource: Resource) -> str:
    """Return what tells clients whether the stored form of a resource changed, computed as Kubernetes does."""
    stored = hashlib.sha256(f"{resource.group}/{resource.version}/{resource.kind}".encode()).digest()
    return base64.b64encode(stored[:8]).decode()
