"""The scale of what an autoscaler scales, whatever its kind, read and written through the scale subresource.

A scale that was read stays valid while the informer shows no newer version of the object.
"""

from __future__ import annotations

from typing import Any, Final, cast

import msgspec

from orch.errors import ApiError, ServiceUnavailableError
from orch.objects.autoscaling import Scale, TargetReference
from orch.objects.scheme import Kind
from orch.runtime.reconcile import Key
from orch_controllers.context import Context

_SUBRESOURCE: Final = "scale"


class TargetError(Exception):
    """The target cannot be scaled; the message is the api's."""


class Target(msgspec.Struct, frozen=True):
    """A scale and the kind under which it is served."""

    kind: Kind[Scale]
    scale: Scale


class Targets:
    """Reads and writes scales."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._informers = context.informers
        self._kinds = context.kinds
        self._known: dict[Key, Scale] = {}

    async def read(self, namespace: str, reference: TargetReference) -> Target:
        """Return the target. Raises TargetError when there is none that could be scaled, UnavailableError."""
        kind = self._kind(reference)
        scaled = cast("Kind[Scale]", kind.with_view(Scale))
        key = Key(namespace, reference.name, kind.qualified)
        item = self._informers.of(kind).get(namespace, reference.name)
        known = self._known.get(key)
        if item is not None and known is not None and int(known.metadata.resource_version) >= item.revision:
            return Target(scaled, known)
        try:
            scale = await self._client.get(scaled, namespace, reference.name, subresource=_SUBRESOURCE)
        except ServiceUnavailableError:
            raise
        except ApiError as error:
            self._known.pop(key, None)
            raise TargetError(str(error)) from error
        if item is not None:
            self._known[key] = scale
        return Target(scaled, scale)

    async def write(self, target: Target, replicas: int) -> None:
        """Set the number of replicas in the version that was read. Raises what the client raises."""
        meta = target.scale.metadata
        body: dict[str, Any] = {
            "apiVersion": "autoscaling/v1",
            "kind": "Scale",
            "metadata": {
                "name": meta.name,
                "namespace": meta.namespace,
                "uid": meta.uid,
                "resourceVersion": meta.resource_version,
            },
            "spec": {"replicas": replicas},
        }
        key = Key(meta.namespace, meta.name, target.kind.qualified)
        self._known.pop(key, None)
        scale = await self._client.update(target.kind, meta.namespace, meta.name, body, subresource=_SUBRESOURCE)
        self._known[key] = scale

    def forget(self, namespace: str, reference: TargetReference) -> None:
        """Drop what is known of the target of an autoscaler that is gone."""
        for key in [key for key in self._known if (key.namespace, key.name) == (namespace, reference.name)]:
            del self._known[key]

    def _kind(self, reference: TargetReference) -> Kind[Any]:
        group = reference.api_version.rpartition("/")[0]
        if reference.api_version.count("/") > 1:
            raise TargetError(f"unexpected GroupVersion string: {reference.api_version}")
        known = self._kinds.known
        if not known:
            raise ServiceUnavailableError("it is not known yet which kinds are served")
        found = next((kind for kind in known if (kind.group, kind.name) == (group, reference.kind)), None)
        if found is None:
            raise TargetError(f'no matches for kind "{reference.kind}" in group "{group}"')
        return found
