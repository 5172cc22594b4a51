"""RuntimeClass: pods of a runtime class cost what their runtime costs, and run on the nodes that have it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import msgspec

from orch import quantity
from orch_api.admission.chain import CREATE, Plugin, Request, Rule
from orch_api.admission.known import Known
from orch_api.admission.refusals import refused
from orch_api.storage.cache import ObjectCache
from orch_api.strategy import put_section, section

_PODS: Final = (Rule((CREATE,), ("pods",)),)
_UNFOUNDED: Final = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
_OTHER: Final = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"


class _Overhead(msgspec.Struct, gc=False, rename="camel"):
    pod_fixed: dict[str, str] | None = None


class _Scheduling(msgspec.Struct, gc=False, rename="camel"):
    node_selector: dict[str, str] | None = None
    tolerations: list[dict[str, Any]] | None = None


class _Class(msgspec.Struct, gc=False):
    overhead: _Overhead | None = None
    scheduling: _Scheduling | None = None


_decode = msgspec.json.Decoder(_Class).decode


class RuntimeClass(Plugin):
    """Gives pods the overhead, the node selector and the tolerations of their runtime class."""

    name: ClassVar = "RuntimeClass"
    mutates: ClassVar = _PODS
    validates: ClassVar = _PODS

    def __init__(self, cache: ObjectCache) -> None:
        self._classes = Known(cache, "node.k8s.io", "runtimeclasses", _decode)

    async def mutate(self, request: Request) -> None:
        """Fill in what the class says. Raises ForbiddenError for a class that is absent or contradicts the pod."""
        if request.document is None:
            return
        spec = put_section(request.document, "spec")
        found = await self._class(request, spec)
        if found is None:
            return
        if found.overhead is not None:
            fixed = found.overhead.pod_fixed or {}
            if spec.get("overhead") and not _same(spec["overhead"], fixed):
                raise refused(request, _OTHER)
            if fixed:
                spec["overhead"] = dict(fixed)
        if found.scheduling is not None:
            _schedule(request, spec, found.scheduling)

    async def validate(self, request: Request) -> None:
        """Refuse an overhead that is not the class's. Raises ForbiddenError."""
        spec = section(request.document or {}, "spec")
        found = await self._class(request, spec)
        overhead = section(spec, "overhead")
        if found is None or found.overhead is None:
            if overhead:
                raise refused(request, _UNFOUNDED)
        elif not _same(overhead, found.overhead.pod_fixed or {}):
            raise refused(request, _OTHER)

    async def _class(self, request: Request, spec: Mapping[str, Any]) -> _Class | None:
        name: str | None = spec.get("runtimeClassName")
        if name is None:
            return None
        found = await self._classes.find(name)
        if found is None:
            raise refused(request, f'pod rejected: RuntimeClass "{name}" not found')
        return found


def _schedule(request: Request, spec: dict[str, Any], scheduling: _Scheduling) -> None:
    """Let the pod run where the class says, beside where it says itself."""
    chosen: dict[str, str] = dict(section(spec, "nodeSelector"))
    for key, value in (scheduling.node_selector or {}).items():
        if chosen.setdefault(key, value) != value:
            where = f"runtimeClass.scheduling.nodeSelector[{key}] = {value}"
            raise refused(request, f"conflict: {where}; pod.spec.nodeSelector[{key}] = {chosen[key]}")
    if chosen:
        spec["nodeSelector"] = chosen
    own: list[dict[str, Any]] = spec.get("tolerations") or []
    if added := [one for one in scheduling.tolerations or () if one not in own]:
        spec["tolerations"] = [*own, *added]


def _same(one: Mapping[str, Any], other: Mapping[str, str]) -> bool:
    """Return whether two lists say the same; what is no quantity is the same as nothing, and validation refuses it."""
    try:
        return one.keys() == other.keys() and all(
            quantity.parse(str(one[name])).nanos == quantity.parse(other[name]).nanos for name in one
        )
    except ValueError:
        return False
