"""How soon a pod that failed on a node is replaced: later each time (client-go util/flowcontrol Backoff).

A node that refuses a daemon set's pod is asked again, but not in a circle as fast as it answers.
"""

from __future__ import annotations

from typing import Final

import msgspec

from orch.clock import Clock

_FIRST: Final = 1.0
_LONGEST: Final = 900.0


class _Entry(msgspec.Struct):
    delay: float
    since: float


class FailedPods:
    """The delays, by daemon set and node."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: dict[str, dict[str, _Entry]] = {}

    def wait(self, uid: str, node: str) -> float:
        """Return in how many seconds a failed pod may be replaced; 0: now."""
        entry = self._entries.get(uid, {}).get(node)
        if entry is None:
            return 0.0
        passed = self._clock.monotonic() - entry.since
        return 0.0 if passed > 2 * _LONGEST else max(entry.delay - passed, 0.0)

    def count(self, uid: str, node: str) -> None:
        """Note that a failed pod is being replaced."""
        entries = self._entries.setdefault(uid, {})
        entry, now = entries.get(node), self._clock.monotonic()
        if entry is None or now - entry.since > 2 * _LONGEST:
            entries[node] = _Entry(_FIRST, now)
        else:
            entry.delay, entry.since = min(entry.delay * 2, _LONGEST), now

    def keep(self, uid: str, nodes: set[str]) -> None:
        """Drop the delays of nodes that are gone, and those that are long over."""
        entries = self._entries.get(uid)
        if not entries:
            return
        now = self._clock.monotonic()
        for node in [each for each, entry in entries.items() if each not in nodes or now - entry.since > 2 * _LONGEST]:
            del entries[node]

    def forget(self, uid: str) -> None:
        """Drop the delays of a daemon set that is gone."""
        self._entries.pop(uid, None)
