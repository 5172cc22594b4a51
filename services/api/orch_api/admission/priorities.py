"""Pods get the priority that their class stands for; one class at most is everybody's (the Priority plugin).

A pod brings no priority of its own: who may create pods could otherwise send everybody else's away.
"""

from __future__ import annotations

from typing import ClassVar, Final

import msgspec

from orch.errors import ForbiddenError
from orch_api.admission.chain import CREATE, UPDATE, Plugin, Request, Rule
from orch_api.admission.known import Known
from orch_api.kinds.pod_defaults import SYSTEM_PRIORITIES
from orch_api.storage.cache import ObjectCache
from orch_api.strategy import Document, put_section, section

_GROUP: Final = "scheduling.k8s.io"
_CLASSES: Final = "priorityclasses"
_DEFAULT_POLICY: Final = "PreemptLowerPriority"


class _Class(msgspec.Struct, gc=False):
    value: int = 0
    globalDefault: bool = False  # noqa: N815 - the field's own name
    preemptionPolicy: str = _DEFAULT_POLICY  # noqa: N815 - the field's own name


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
        found = await self._find(name) if name else _Class()
        if found is None:
            problem = f"no PriorityClass with name {name} was found"
            raise ForbiddenError.of("pods", "", request.name, problem)
        if problem := _contradiction(spec, found):
            raise ForbiddenError.of("pods", "", request.name, problem)
        if name:
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


def _contradiction(spec: Document, found: _Class) -> str:
    """Return what a pod says otherwise than its class, which it may only repeat: "" when it does not.

    What pods get by default, 0 and PreemptLowerPriority, is not told from what was written.
    """
    given: int = spec.get("priority") or 0
    policy: str = spec.get("preemptionPolicy") or _DEFAULT_POLICY
    if given not in {0, found.value}:
        what, value, computed = "integer value of priority", str(given), str(found.value)
    elif policy not in {_DEFAULT_POLICY, found.preemptionPolicy}:
        what, value, computed = "string value of PreemptionPolicy", policy, found.preemptionPolicy
    else:
        return ""
    return (
        f"the {what} ({value}) must not be provided in pod spec; priority admission controller computed {computed} "
        "from the given PriorityClass name"
    )
