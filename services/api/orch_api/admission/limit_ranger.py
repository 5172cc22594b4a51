"""LimitRanger: what each container, pod and claim of a namespace gets by default, and may ask for (LimitRange)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Final

import msgspec

from orch.objects.pods import Pod
from orch.quantity import Quantity, parse
from orch.quotas.amounts import Amounts, total_of_pod
from orch_api.admission.chain import CREATE, UPDATE, Plugin, Request, Rule
from orch_api.admission.refusals import refused
from orch_api.storage.cache import Cached, ObjectCache
from orch_api.strategy import Document, put_section, section

_ANNOTATION: Final = "kubernetes.io/limit-ranger"
_CONTAINERS: Final = (("containers", "container"), ("initContainers", "init container"))
_MAX_MILLI: Final = (2**63 - 1) // 1000
_REMEMBERED: Final = 256


class _Limit(msgspec.Struct, gc=False, frozen=True, rename="camel"):
    """What a LimitRange says of one type of object; quantities as text."""

    type: str = ""
    max: dict[str, str] | None = None
    min: dict[str, str] | None = None
    default: dict[str, str] | None = None
    default_request: dict[str, str] | None = None
    max_limit_request_ratio: dict[str, str] | None = None


class _Spec(msgspec.Struct, gc=False, frozen=True):
    limits: tuple[_Limit, ...] | None = None


class _LimitRange(msgspec.Struct, gc=False, frozen=True):
    spec: _Spec | None = None


_decode = msgspec.json.Decoder(_LimitRange).decode


class LimitRanger(Plugin):
    """Fills in defaults, and refuses what is beyond the limits of the namespace."""

    name: ClassVar = "LimitRanger"
    mutates: ClassVar = (Rule((CREATE,), ("pods",)), Rule((UPDATE,), ("pods/resize",)))
    validates: ClassVar = (
        Rule((CREATE,), ("pods",)),
        Rule((UPDATE,), ("pods/resize",)),
        Rule((CREATE, UPDATE), ("persistentvolumeclaims",)),
    )

    def __init__(self, cache: ObjectCache) -> None:
        self._cache = cache
        self._known: dict[tuple[str, str], tuple[Cached, tuple[_Limit, ...]]] = {}

    async def mutate(self, request: Request) -> None:
        """Give containers the requests and limits that they lack."""
        items = self._cache.select("", "limitranges", request.namespace)
        if not items or request.document is None or _is_going(request):
            return
        for item in items:
            if found := [limit for limit in self._limits(item) if limit.type == "Container"]:
                _fill(request.document, found)

    async def validate(self, request: Request) -> None:
        """Compare with the limits. Raises ForbiddenError with all that is beyond them."""
        items = self._cache.select("", "limitranges", request.namespace)
        if not items or request.document is None or _is_going(request):
            return
        check = _pod_problems if request.resource.plural == "pods" else _claim_problems
        for item in items:
            problems = list(dict.fromkeys(check(request.document, self._limits(item))))
            if problems:
                raise refused(request, problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]")

    def _limits(self, item: Cached) -> tuple[_Limit, ...]:
        key = (item.key.namespace, item.key.name)
        known = self._known.get(key)
        if known is None or known[0] is not item:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            spec = _decode(item.json).spec
            known = self._known[key] = (item, (spec.limits or ()) if spec is not None else ())
        return known[1]


def _is_going(request: Request) -> bool:
    """Return whether the object is being deleted: what it asks for does not matter any more."""
    return request.operation == UPDATE and bool(section(request.document or {}, "metadata").get("deletionTimestamp"))


# Defaults -------------------------------------------------------------------------------------------------------


def _fill(pod: Document, limits: Iterable[_Limit]) -> None:
    """Fill in what containers lack, and say so in an annotation."""
    requested: dict[str, str] = {}
    limited: dict[str, str] = {}
    for limit in limits:
        requested |= limit.default_request or {}
        limited |= limit.default or {}
    told: list[str] = []
    spec = put_section(pod, "spec")
    for part, kind in _CONTAINERS:
        for container in spec.get(part) or ():
            told += _fill_container(container, kind, requested, limited)
    if told:
        annotations = put_section(put_section(pod, "metadata"), "annotations")
        annotations[_ANNOTATION] = f"LimitRanger plugin set: {'; '.join(told)}"


def _fill_container(
    container: Document, kind: str, requested: Mapping[str, str], limited: Mapping[str, str]
) -> Iterator[str]:
    resources = put_section(container, "resources")
    for part, word, defaults in (("requests", "request", requested), ("limits", "limit", limited)):
        given: dict[str, Any] = resources.get(part) or {}
        missing = sorted(name for name in defaults if name not in given)
        if missing:
            resources[part] = given | {name: defaults[name] for name in missing}
            yield f"{', '.join(missing)} {word} for {kind} {container.get('name')}"


# Limits ---------------------------------------------------------------------------------------------------------


def _pod_problems(pod: Document, limits: Iterable[_Limit]) -> Iterator[str]:
    spec = section(pod, "spec")
    for limit in limits:
        if limit.type == "Container":
            for part, _ in _CONTAINERS:
                for container in spec.get(part) or ():
                    resources = section(container, "resources")
                    requests, allowed = _amounts(resources.get("requests")), _amounts(resources.get("limits"))
                    yield from _beyond(limit, requests, allowed)
        elif limit.type == "Pod":
            view = msgspec.convert({"spec": spec}, Pod)
            requests = total_of_pod(view, "requests", overhead=False)
            yield from _beyond(limit, requests, total_of_pod(view, "limits", overhead=False))


def _claim_problems(claim: Document, limits: Iterable[_Limit]) -> Iterator[str]:
    requests = _amounts(section(section(claim, "spec"), "resources").get("requests"))
    for limit in limits:
        if limit.type != "PersistentVolumeClaim":
            continue
        for name, least in sorted((limit.min or {}).items()):
            yield from _below(limit.type, name, least, requests, {})
        for name, most in sorted((limit.max or {}).items()):
            start, asked = f"maximum {name} usage per {limit.type} is {most}", requests.get(name)
            if asked is None:
                yield f"{start}.  No request is specified"
            elif asked.nanos > parse(most).nanos:
                yield f"{start}, but request is {asked}"


def _amounts(texts: Mapping[str, Any] | None) -> Amounts:
    return {name: parse(str(text)) for name, text in (texts or {}).items()}


def _beyond(limit: _Limit, requests: Amounts, limits: Amounts) -> Iterator[str]:
    for name, least in sorted((limit.min or {}).items()):
        yield from _below(limit.type, name, least, requests, limits)
    for name, most in sorted((limit.max or {}).items()):
        yield from _above(limit.type, name, most, requests, limits)
    for name, ratio in sorted((limit.max_limit_request_ratio or {}).items()):
        yield from _stretched(limit.type, name, ratio, requests, limits)


def _below(kind: str, name: str, least: str, requests: Amounts, limits: Amounts) -> Iterator[str]:
    start, bound = f"minimum {name} usage per {kind} is {least}", parse(least).nanos
    request, limit = requests.get(name), limits.get(name)
    if request is None:
        yield f"{start}.  No request is specified"
    elif request.nanos < bound:
        yield f"{start}, but request is {request}"
    elif limit is not None and limit.nanos < bound:
        yield f"{start}, but limit is {limit}"


def _above(kind: str, name: str, most: str, requests: Amounts, limits: Amounts) -> Iterator[str]:
    start, bound = f"maximum {name} usage per {kind} is {most}", parse(most).nanos
    request, limit = requests.get(name), limits.get(name)
    if limit is None:
        yield f"{start}.  No limit is specified"
    elif limit.nanos > bound:
        yield f"{start}, but limit is {limit}"
    elif request is not None and request.nanos > bound:
        yield f"{start}, but request is {request}"


def _stretched(kind: str, name: str, most: str, requests: Amounts, limits: Amounts) -> Iterator[str]:
    start = f"{name} max limit to request ratio per {kind} is {most}"
    request, limit = requests.get(name), limits.get(name)
    if request is None or request.nanos == 0:
        yield f"{start}, but no request is specified or request is 0"
    elif limit is None or limit.nanos == 0:
        yield f"{start}, but no limit is specified or limit is 0"
    else:
        ratio = _ratio(limit, request)
        if ratio > parse(most).nanos / 10**9:
            yield f"{start}, but provided ratio is {ratio:f}"


def _ratio(limit: Quantity, request: Quantity) -> float:
    """Return how many times the request the limit is: in thousandths, or in units where those would be too many."""
    if all(one.value < _MAX_MILLI for one in (limit, request)):
        return limit.milli / request.milli
    return limit.value / request.value
