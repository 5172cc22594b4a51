"""The contract between a reconciler and the runtime."""

from __future__ import annotations

from typing import Protocol

import msgspec


class Key(msgspec.Struct, frozen=True, gc=False, order=True):
    """Names the object to reconcile; the namespace is empty for cluster scope.

    A reconciler of many kinds has the kind in its keys too, as `Kind.qualified` says it.
    """

    namespace: str
    name: str
    kind: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.kind, self.namespace, self.name) if part)


class Result(msgspec.Struct, frozen=True, gc=False):
    """What a reconciliation came to. `requeue_after` seconds from now the key is due again; None: when it changes."""

    requeue_after: float | None = None


DONE = Result()


class Reconciler(Protocol):
    """Brings one object to what it shall be.

    Level-triggered: `key` says only what to look at; the state is read again from informers. It may be called at any
    time, and for an object that is gone. An exception is counted, logged and retried with back-off by the runtime;
    TerminalError is not retried until the object changes.
    """

    async def reconcile(self, key: Key) -> Result:
        """Take the next step for `key`."""
        ...
