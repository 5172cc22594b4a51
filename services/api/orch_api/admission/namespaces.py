"""Namespaces hold objects only while they exist and are not being deleted (Kubernetes' NamespaceLifecycle)."""

from __future__ import annotations

from typing import ClassVar, Final

import msgspec

from orch.errors import Cause, ForbiddenError, NotFoundError, StatusDetails
from orch.store.keys import ObjectKey
from orch_api.admission.chain import CREATE, DELETE, Plugin, Request, Rule
from orch_api.storage.cache import Cached, ObjectCache

SYSTEM_NAMESPACES: Final = ("default", "kube-system", "kube-public", "kube-node-lease")
"""Created at the start of the api."""

_IMMORTAL: Final = frozenset({"default", "kube-system", "kube-public"})


class _Metadata(msgspec.Struct, gc=False):
    deletionTimestamp: str | None = None  # noqa: N815 - the field's own name


class _Namespace(msgspec.Struct, gc=False):
    metadata: _Metadata


_decode = msgspec.json.Decoder(_Namespace).decode


class NamespaceLifecycle(Plugin):
    """Refuses creations in namespaces that are absent or going, and the deletion of those that must stay."""

    name: ClassVar = "NamespaceLifecycle"
    mutates: ClassVar = (Rule((CREATE,), ("*",)), Rule((DELETE,), ("namespaces",)))

    def __init__(self, cache: ObjectCache) -> None:
        self._cache = cache
        self._known: tuple[Cached, bool] | None = None

    async def mutate(self, request: Request) -> None:
        """Refuse before anything else is done. Raises NotFoundError or ForbiddenError."""
        resource = request.resource
        if request.operation == DELETE:
            if request.name in _IMMORTAL:
                raise ForbiddenError.of("namespaces", "", request.name, "this namespace may not be deleted")
            return
        if not resource.namespaced:
            return
        if not resource.stored:  # a question leaves nothing behind, and must not tell what exists
            return
        namespace = await self._namespace(request.namespace)
        if namespace is None:
            raise NotFoundError.of("namespaces", "", request.namespace)
        if self._terminating(namespace):
            raise _terminating(request)

    async def _namespace(self, name: str) -> Cached | None:
        key = ObjectKey("", "namespaces", "", name)
        found = self._cache.get(key)
        if found is None:  # it may have been created a moment ago, through another process
            await self._cache.catch_up()
            found = self._cache.get(key)
        return found

    def _terminating(self, namespace: Cached) -> bool:
        known = self._known
        if known is None or known[0] is not namespace:
            known = self._known = (namespace, bool(_decode(namespace.json).metadata.deletionTimestamp))
        return known[1]


def _terminating(request: Request) -> ForbiddenError:
    resource = request.resource
    problem = f"unable to create new content in namespace {request.namespace} because it is being terminated"
    message = f'{resource.qualified} "{request.name}" is forbidden: {problem}'
    cause = Cause("NamespaceTerminating", f"namespace {request.namespace} is being terminated", "metadata.namespace")
    details = StatusDetails(name=request.name, group=resource.group, kind=resource.plural, causes=(cause,))
    return ForbiddenError(message, details)
