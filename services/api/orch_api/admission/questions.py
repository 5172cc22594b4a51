"""What webhooks and expressions are told of a request: an AdmissionRequest, and the objects in the version asked."""

from __future__ import annotations

from typing import Any, Final, Protocol

from orch_api.admission.chain import Request
from orch_api.admission.matching import namespace_of
from orch_api.auth.identity import Caller
from orch_api.resource import Resource
from orch_api.storage.versions import as_served, as_stored
from orch_api.strategy import Document

_SCALE: Final = "scale"
_OPTIONS: Final = {"CREATE": "CreateOptions", "UPDATE": "UpdateOptions", "DELETE": "DeleteOptions"}


class ScaleForm(Protocol):
    """Shows objects that have replicas as a Scale, and gives them another (orch_api.pipeline.scale)."""

    def render(self, resource: Resource, document: Document) -> Document:
        """Return the Scale of an object."""
        ...

    def apply(self, resource: Resource, document: Document, scale: Document) -> Document:
        """Return the object with another scale."""
        ...


class Shown:
    """A request's objects as somebody is shown them who asks for a version of the resource.

    What is kept is of the stored version; what is shown is not to be changed.
    """

    def __init__(self, request: Request, scale: ScaleForm) -> None:
        self._request = request
        self._scale = scale
        self._seen: dict[tuple[str, str], tuple[Document | None, Document | None]] = {}

    async def objects(self, target: Resource) -> tuple[Document | None, Document | None]:
        """Return the object and the old object. Raises ApiError when they cannot be converted."""
        found = self._seen.get(target.group_version)
        if found is None:
            request = self._request
            found = (await self._one(target, request.document), await self._one(target, request.old))
            self._seen[target.group_version] = found
        return found

    async def take(self, target: Resource, changed: Document) -> None:
        """Let the request's document be what a shown object was changed to. Raises ApiError."""
        request = self._request
        document = request.document
        if document is None:
            return
        if request.subresource == _SCALE:
            served = await as_served(target, document)
            changed = self._scale.apply(target, served, changed)
        if not self._has_own_kind():
            changed = await as_stored(target, changed)
        document.clear()
        document.update(changed)
        self._seen.clear()

    async def _one(self, target: Resource, document: Document | None) -> Document | None:
        if document is None or self._has_own_kind():
            return document
        served = await as_served(target, document)
        if self._request.subresource != _SCALE:
            return served
        return self._scale.render(target, served)

    def _has_own_kind(self) -> bool:
        """Return whether the document is the subresource's own, such as an Eviction, rather than the object."""
        subresource = self._request.subresource
        if not subresource or subresource == _SCALE:
            return False
        return kind_of(self._request.resource, subresource)[2] != self._request.resource.kind


def kind_of(resource: Resource, subresource: str) -> tuple[str, str, str]:
    """Return group, version and kind of what a request for a resource or subresource carries."""
    below = resource.subresources.get(subresource) if subresource else None
    if below is None or below.kind == resource.kind:
        return resource.group, resource.version, resource.kind
    return below.group, below.version, below.kind


def admission_request(request: Request, target: Resource) -> Document:
    """Return the AdmissionRequest without its objects and uid, as who asks for `target` is told it.

    Every field is there, and texts that Kubernetes leaves out are empty.
    """
    resource, subresource = request.resource, request.subresource
    return {
        "kind": _kind(target, subresource),
        "resource": _resource(target),
        "subResource": subresource,
        "requestKind": _kind(resource, subresource),
        "requestResource": _resource(resource),
        "requestSubResource": subresource,
        "name": request.name,
        "namespace": namespace_of(request),
        "operation": request.operation,
        "userInfo": user_info(request.caller),
        "dryRun": request.dry_run,
        "options": options_of(request),
    }


def user_info(caller: Caller) -> Document:
    """Return who asks."""
    info: Document = {"username": caller.user, "uid": caller.uid, "groups": list(caller.groups)}
    info["extra"] = {key: list(values) for key, values in caller.extra}
    return info


def options_of(request: Request) -> Document | None:
    """Return the options of the operation; connections have none."""
    kind = _OPTIONS.get(request.operation)
    if kind is None:
        return None
    options: dict[str, Any] = {"kind": kind, "apiVersion": "meta.k8s.io/v1"}
    if request.dry_run:
        options["dryRun"] = ["All"]
    return options | dict(request.options or {})


def _kind(resource: Resource, subresource: str) -> Document:
    group, version, kind = kind_of(resource, subresource)
    return {"group": group, "version": version, "kind": kind}


def _resource(resource: Resource) -> Document:
    return {"group": resource.group, "version": resource.version, "resource": resource.plural}
