"""EventRateLimit: whoever writes events without end does not fill the store. Off by default; it needs limits.

Its configuration is Kubernetes': a Configuration of eventratelimit.admission.k8s.io/v1alpha1.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec

from orch.clock import Clock
from orch.errors import StatusDetails, TooManyRequestsError
from orch_api.admission.chain import CREATE, UPDATE, Plugin, Request, Rule
from orch_api.admission.configuration import Given
from orch_api.strategy import section

LimitType = Literal["Server", "Namespace", "User", "SourceAndObject"]

_CACHE: Final = 4096


class Limit(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """How many events a second, and how many at once, whatever the type tells apart may write."""

    type: LimitType
    qps: Annotated[int, msgspec.Meta(gt=0)]
    burst: Annotated[int, msgspec.Meta(gt=0)]
    cache_size: Annotated[int, msgspec.Meta(ge=0)] = 0
    """For how many of them it is remembered; 0: for 4096."""


class Limits(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The configuration."""

    api_version: Literal["eventratelimit.admission.k8s.io/v1alpha1"]
    kind: Literal["Configuration"]
    limits: tuple[Limit, ...]


class _Buckets:
    """A token bucket for each key of a limit; the one that was used longest ago is forgotten first."""

    def __init__(self, limit: Limit, clock: Clock) -> None:
        self._limit = limit
        self._clock = clock
        self._filled: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._size = limit.cache_size or _CACHE

    def take(self, key: str) -> bool:
        """Take a token; return whether there was one."""
        now = self._clock.monotonic()
        tokens, at = self._filled.get(key, (float(self._limit.burst), now))
        tokens = min(tokens + (now - at) * self._limit.qps, float(self._limit.burst))
        taken = tokens >= 1
        self._filled[key] = (tokens - 1 if taken else tokens, now)
        self._filled.move_to_end(key)
        if len(self._filled) > self._size:
            self._filled.popitem(last=False)
        return taken


class EventRateLimit(Plugin):
    """Refuses events beyond the limits."""

    name: ClassVar = "EventRateLimit"
    validates: ClassVar = (Rule((CREATE, UPDATE), ("events", "events.events.k8s.io")),)

    def __init__(self, given: Given, clock: Clock) -> None:
        if not given.present:
            raise given.missing(self.name)
        limits = given.read(Limits).limits
        if not limits:
            raise given.refuse("limits", "must not be empty")
        self._limits: list[tuple[LimitType, _Buckets]] = [(limit.type, _Buckets(limit, clock)) for limit in limits]

    async def validate(self, request: Request) -> None:
        """Take a token for the event of each limit, and refuse it if one has none. Raises TooManyRequestsError."""
        if request.dry_run or request.document is None:
            return
        beyond: list[tuple[str, str]] = []
        for kind, buckets in self._limits:
            key = _KEYS[kind](request, request.document)
            if not buckets.take(key):
                beyond.append((kind, key))
        if beyond:
            problems = [f"limit reached on type {kind} for key {key}" for kind, key in beyond]
            told = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
            raise TooManyRequestsError(f"Too many requests: {told}", StatusDetails(retry_after_seconds=1))


def _source_and_object(request: Request, event: dict[str, Any]) -> str:
    _ = request
    source = section(event, "source")
    about = section(event, "involvedObject")
    parts = [source.get("component") or event.get("reportingComponent"), source.get("host")]
    parts += [about.get(part) for part in ("kind", "namespace", "name", "uid", "apiVersion")]
    return "".join(part or "" for part in parts)


_KEYS: Final[dict[LimitType, Callable[[Request, dict[str, Any]], str]]] = {
    "Server": lambda _, __: "",
    "Namespace": lambda request, _: request.namespace,
    "User": lambda request, _: request.caller.user,
    "SourceAndObject": _source_and_object,
}
