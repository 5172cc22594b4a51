"""Lets a key be written only so often, and only once its own last write has come back.

What follows many pods, as a service's endpoints do, would else be written again for each pod of a rollout; and what is
decided on a copy that lacks the last write would be decided twice.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from orch.clock import Clock
from orch.runtime.informer import Informer
from orch.runtime.reconcile import Key

_AWAIT_INFORMER: Final = 0.02
_LEAST: Final = 0.001
"""Less than this is not waited for: it may be what rounding leaves, and no clock need ever pass it."""
_PATIENCE: Final = 30.0
"""Seconds after which an informer that does not show a write is no longer waited for."""


class _Write(msgspec.Struct, frozen=True):
    at: float
    version: int
    pause: float
    own: frozenset[int]
    """The versions that were written and that the informer had not shown by then."""


class Pacing:
    """Remembers the last write of each key."""

    def __init__(self, informer: Informer[Any], clock: Clock) -> None:
        self._informer = informer
        self._clock = clock
        self._writes: dict[Key, _Write] = {}

    def wait(self, key: Key) -> float:
        """Return for how many seconds the key has to be left alone, 0 when it may be written."""
        last = self._writes.get(key)
        if last is None:
            return 0.0
        passed = self._clock.monotonic() - last.at
        if last.version > self._informer.revision and passed < _PATIENCE:
            return max(last.pause - passed, _AWAIT_INFORMER)
        left = last.pause - passed
        return left if left >= _LEAST else 0.0

    def wrote(self, key: Key, resource_version: str, pause: float = 0.0) -> None:
        """Note a write, by the version that it made; the next one is `pause` seconds later at the earliest."""
        last = self._writes.get(key)
        written = int(resource_version or 0)
        seen = self._informer.revision
        own = {written, *(each for each in last.own if each > seen)} if last is not None else {written}
        version = max(own)
        self._writes[key] = _Write(self._clock.monotonic(), version, pause, frozenset(own))

    def is_own(self, key: Key, version: int) -> bool:
        """Return whether a version was written here: others may have changed the key's objects just before that."""
        last = self._writes.get(key)
        return last is not None and version in last.own

    def forget(self, key: Key) -> None:
        """Drop a key that is gone."""
        self._writes.pop(key, None)
