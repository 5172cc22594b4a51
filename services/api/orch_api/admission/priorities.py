"""Pods get the priority that their class stands for; one class at most is everybody's (the Priority plugin).

Unlike in Kubernetes, a pod that names no class may bring a priority of its own.
"""

from __future__ import annotations

from typing import ClassVar, Final

import msgspec

from orch.errors import ForbiddenError
from orch_api.admission.chain import CREATE, UPDATE, Plugin, Request, Rule
from orch_api.admission.known import Known
from orch_api.kinds.pod_defaults import SYSTEM_PRIORITIES
from orch_api.storage.cache import ObjectCache
from orch_api.strategy import put_section, section

_GROUP: Final = "scheduling.k8s.io"
_CLASSES: Final = "priorityclasses"


class _Class(msgspec.Struct, gc=False):
    value: int = 0
    globalDefault: bool = False  # noqa: N815 - the field's own name
    preemptionPolicy: str = "PreemptLowerPriority"  # noqa: N815 - the field's own name


_decode = msgspec.json.Decoder(_Class).decode


class Priorities(Plugin):
    """Sets the priority of pods, and refuses a second default class."""

    name: ClassVar = "Priority"
    mutates: ClassVar = (Rule((CREATE, UPDATE), ("pods",)),)
    validates: ClassVar = (Rule((CREATE, UPDATE), (f"{_CLASSES}.{_GROUP}",)),)

    def __init__(self, cache: ObjectCache) -> None:
        self._cache = cache
        self._classes = Known(cache, _GROUP, _CLASSES, _decode)

    async def mutate(self, request: Request) -> None:
        """Give a new pod its priority. Raises ForbiddenError for a class that is not there."""
        pod = request.document
        if pod is None:
            return
        spec = put_section(pod, "spec")
        if request.old is not None:
            before = section(request.old, "spec")
            if not spec.get("priority") and spec.get("priorityClassName") == before.get("priorityClassName"):
                spec["priority"] = before.get("priority") or 0
            return
        name: str = spec.get("priorityClassName") or self._default()
        if not name:
            return
        found = await self._find(name)
        if found is None:
            problem = f"no PriorityClass with name {name} was found"
            raise ForbiddenError.of("pods", "", request.name, problem)
        given: int = spec.get("priority") or 0
        if given not in {0, found.value}:
            problem = (
                f"the integer value of priority ({given}) must not be provided in pod spec; priority admission "
                f"controller computed {found.value} from the given PriorityClass name"
            )
            raise ForbiddenError.of("pods", "", request.name, problem)
        spec["priorityClassName"] = name
        spec["priority"] = found.value
        spec["preemptionPolicy"] = found.preemptionPolicy

    async def validate(self, request: Request) -> None:
        """Refuse a second default. Raises ForbiddenError."""
        document = request.document
        if document is None or not document.get("globalDefault"):
            return
        await self._cache.catch_up()
        other = self._default()
        if other and other != section(document, "metadata").get("name"):
            problem = f"PriorityClass {other} is already marked as default. Only one default can exist"
            raise ForbiddenError.of(_CLASSES, _GROUP, request.name, problem)

    def _default(self) -> str:
        """Return the class of pods that name none: of several, which two writers at once can make, the lowest."""
        defaults = [(one.value, name) for name, one in self._classes.all().items() if one.globalDefault]
        return min(defaults)[1] if defaults else ""

    async def _find(self, name: str) -> _Class | None:
        if name in SYSTEM_PRIORITIES and name not in self._classes.all():
            return _Class(SYSTEM_PRIORITIES[name])
        return await self._classes.find(name)
