"""Keeps a controller from acting twice on what its informer has not shown it yet.

An informer lags behind the controller's own writes. Creations are expected by version: the pods' events arrive in
order, so once the informer has reached a version, it has seen all before. Deletions are expected by object.
"""

from __future__ import annotations

from typing import Final

import msgspec

from orch.clock import Clock
from orch.objects.pods import Pod
from orch.runtime.informer import Informer
from orch.runtime.reconcile import Key

PATIENCE: Final = 300.0
"""Seconds after which an expectation is given up (client-go's ExpectationsTimeout)."""


class _Expected(msgspec.Struct):
    since: float
    version: int = 0
    leaving: dict[str, tuple[str, str]] = msgspec.field(default_factory=dict[str, tuple[str, str]])


class Expectations:
    """What each key's last reconciliation wrote and the informer of pods has to show."""

    def __init__(self, pods: Informer[Pod], clock: Clock) -> None:
        self._pods = pods
        self._clock = clock
        self._expected: dict[Key, _Expected] = {}

    def created(self, key: Key, pod: Pod) -> None:
        """Expect to see a pod that was created."""
        expected = self._of(key)
        expected.version = max(expected.version, int(pod.metadata.resource_version))

    def deleted(self, key: Key, pod: Pod) -> None:
        """Expect to see a pod being deleted."""
        meta = pod.metadata
        self._of(key).leaving[meta.uid] = (meta.namespace, meta.name)

    def satisfied(self, key: Key) -> bool:
        """Return whether the informer has shown all that was expected, or too long ago."""
        expected = self._expected.get(key)
        if expected is None:
            return True
        if self._clock.monotonic() - expected.since < PATIENCE:
            if expected.version > self._pods.revision:
                return False
            if any(self._is_there(uid, *where) for uid, where in expected.leaving.items()):
                return False
        del self._expected[key]
        return True

    def forget(self, key: Key) -> None:
        """Drop what was expected of a key that is gone."""
        self._expected.pop(key, None)

    def _is_there(self, uid: str, namespace: str, name: str) -> bool:
        item = self._pods.get(namespace, name)
        return item is not None and item.uid == uid and not item.object.metadata.deletion_timestamp

    def _of(self, key: Key) -> _Expected:
        expected = self._expected.get(key)
        if expected is None:
            expected = self._expected[key] = _Expected(self._clock.monotonic())
        return expected
