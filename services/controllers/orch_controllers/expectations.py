"""Keeps a controller from acting twice on what its informer has not shown it yet.

An informer lags behind the controller's own writes. A creation is expected by its version: once the informer has seen
everything up to there, the pod is known, or known to be gone. A deletion is expected by object. A write whose answer
did not come may or may not have happened: it is looked up before anything else is done.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from orch.clock import Clock
from orch.errors import BusError, InternalError, NotFoundError, ServiceUnavailableError, UnavailableError
from orch.errors import TimeoutError as ApiTimeoutError
from orch.objects.meta import Object
from orch.objects.pods import Pod
from orch.objects.scheme import PODS
from orch.runtime.client import Client
from orch.runtime.informer import Informer
from orch.runtime.reconcile import Key

UNANSWERED: Final = (UnavailableError, BusError, ServiceUnavailableError, InternalError, ApiTimeoutError)
"""Errors after which a write may still have happened."""

PATIENCE: Final = 300.0
"""Seconds after which an expectation is given up (client-go's ExpectationsTimeout)."""


class _Expected(msgspec.Struct):
    since: float
    version: int = 0
    leaving: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    """Names of pods by uid."""
    doubtful: set[str] = msgspec.field(default_factory=set[str])
    """Names of pods whose creation or deletion was not answered."""


class Expectations:
    """What each key's last reconciliation wrote and the informer of pods has to show."""

    def __init__(self, pods: Informer[Pod], client: Client, clock: Clock) -> None:
        self._pods = pods
        self._client = client
        self._clock = clock
        self._expected: dict[Key, _Expected] = {}

    def created(self, key: Key, pod: Pod) -> None:
        """Expect to see a pod that was created."""
        expected = self._of(key)
        expected.version = max(expected.version, int(pod.metadata.resource_version))

    def leaves(self, key: Key, pod: Pod) -> None:
        """Expect to see a pod being deleted. Called before the deletion, so that its event cannot come first."""
        self._of(key).leaving[pod.metadata.uid] = pod.metadata.name

    def stays(self, key: Key, pod: Pod) -> None:
        """Take `leaves` back: the deletion was refused."""
        self._of(key).leaving.pop(pod.metadata.uid, None)

    def doubt(self, key: Key, name: str) -> None:
        """Note that the answer about a pod did not come."""
        self._of(key).doubtful.add(name)

    async def settle(self, key: Key) -> None:
        """Find out what became of the writes that were not answered. Raises what the client raises."""
        expected = self._expected.get(key)
        while expected is not None and expected.doubtful:
            name = next(iter(expected.doubtful))
            try:
                pod = await self._client.get(PODS, key.namespace, name)
            except NotFoundError:
                expected.doubtful.discard(name)
                continue
            self.created(key, pod)
            if not pod.metadata.deletion_timestamp:
                self.stays(key, pod)
            expected.doubtful.discard(name)

    def satisfied(self, key: Key) -> bool:
        """Return whether the informer has shown all that was expected, or it was too long ago."""
        expected = self._expected.get(key)
        if expected is None:
            return True
        if self._clock.monotonic() - expected.since < PATIENCE:
            if expected.version > self._pods.revision:
                return False
            if any(self._is_there(key.namespace, name, uid) for uid, name in expected.leaving.items()):
                return False
        del self._expected[key]
        return True

    def forget(self, key: Key) -> None:
        """Drop what was expected of a key that is gone."""
        self._expected.pop(key, None)

    def _is_there(self, namespace: str, name: str, uid: str) -> bool:
        item = self._pods.get(namespace, name)
        return item is not None and item.uid == uid and not item.object.metadata.deletion_timestamp

    def _of(self, key: Key) -> _Expected:
        expected = self._expected.get(key)
        if expected is None:
            expected = self._expected[key] = _Expected(self._clock.monotonic())
        return expected


class Written:
    """The newest version of any of one kind's objects that each key's reconciliations wrote.

    Who has written decides again only when its informer has shown that.
    """

    def __init__(self, informer: Informer[Any]) -> None:
        self._informer = informer
        self._versions: dict[Key, int] = {}

    def note(self, key: Key, written: Object) -> None:
        """Expect to see what was written, as the api answered it."""
        version = int(written.metadata.resource_version)
        if version > self._versions.get(key, 0):
            self._versions[key] = version

    def shown(self, key: Key) -> bool:
        """Return whether the informer has shown everything that was written."""
        version = self._versions.get(key)
        if version is None:
            return True
        if version > self._informer.revision:
            return False
        del self._versions[key]
        return True

    def forget(self, key: Key) -> None:
        """Drop what was written for a key that is gone."""
        self._versions.pop(key, None)
