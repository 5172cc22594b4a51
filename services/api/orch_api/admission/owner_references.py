"""OwnerReferencesPermissionEnforcement: who has an object deleted with its owner may delete it himself.

And who keeps an owner from going (blockOwnerDeletion) may set that owner's finalizers. Off by default, as in
Kubernetes: what runs as a service account of its own needs the right to update `<owners>/finalizers` then.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

from orch_api.admission.chain import CREATE, UPDATE, Plugin, Request, Rule
from orch_api.admission.refusals import refused
from orch_api.admission.rights import may
from orch_api.auth.authorizer import Attributes, Authorizer
from orch_api.registry import Registry, Resource
from orch_api.strategy import section

_CANNOT_DELETE: Final = "cannot set an ownerRef on a resource you can't delete: {}, <nil>"
_CANNOT_BLOCK: Final = (
    "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: {}, <nil>"
)

_Owner = dict[str, Any]


class OwnerReferencesPermissionEnforcement(Plugin):
    """Refuses references to owners by those who may not do what the reference brings about."""

    name: ClassVar = "OwnerReferencesPermissionEnforcement"
    validates: ClassVar = (Rule((CREATE, UPDATE), ("*", "*/*")),)

    def __init__(self, authorizer: Authorizer, registry: Registry) -> None:
        self._authorizer = authorizer
        self._registry = registry

    async def validate(self, request: Request) -> None:
        """Ask for the rights that changed references need. Raises ForbiddenError."""
        if request.document is None or (request.resource.plural == "pods" and request.subresource == "status"):
            return
        owners, before = _owners(request.document), _owners(request.old)
        if owners == before:
            return
        if request.operation == UPDATE:  # who creates an object could as well have left it away
            await self._check_deletion(request)
        for owner in _newly_blocking(owners, before):
            await self._check_blocking(request, owner)

    async def _check_deletion(self, request: Request) -> None:
        resource = request.resource
        wanted = Attributes(
            verb="delete",
            group=resource.group,
            resource=resource.plural,
            namespace=request.namespace,
            name=request.name,
        )
        allowed, reason = await may(self._authorizer, request.caller, wanted)
        if not allowed:
            raise refused(request, _CANNOT_DELETE.format(reason))

    async def _check_blocking(self, request: Request, owner: _Owner) -> None:
        resource = self._resource_of(owner)
        if resource is None:
            problem = (
                "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion "
                f"{owner.get('apiVersion')} Kind {owner.get('kind')}"
            )
            raise refused(request, problem)
        wanted = Attributes(
            verb="update",
            group=resource.group,
            resource=resource.plural,
            subresource="finalizers",
            namespace=request.namespace if resource.namespaced else "",
            name=owner.get("name") or "",
        )
        allowed, reason = await may(self._authorizer, request.caller, wanted)
        if not allowed:
            raise refused(request, _CANNOT_BLOCK.format(reason))

    def _resource_of(self, owner: _Owner) -> Resource | None:
        group, _, version = (owner.get("apiVersion") or "").rpartition("/")
        return self._registry.of_kind(group, version, owner.get("kind") or "")


def _owners(document: dict[str, Any] | None) -> list[_Owner]:
    return section(document or {}, "metadata").get("ownerReferences") or []


def _newly_blocking(owners: list[_Owner], before: list[_Owner]) -> list[_Owner]:
    """Return the owners that are kept from going and were not before."""
    blocking = {one.get("uid") for one in before if one.get("blockOwnerDeletion")}
    return [one for one in owners if one.get("blockOwnerDeletion") and one.get("uid") not in blocking]
