"""Tells whoever configures the NATS server which nodes may connect: those whose Node says a key.

Every api process keeps the same file, and every one writes what its own cache says, so that the file is right as soon
as one of them knows. A key that a Node has taken from another one does not count: who had it first keeps it.
"""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Final

import msgspec
from prometheus_client import Counter

from orch.bus.node_users import ANNOTATION, encode_keys, read_keys
from orch.bus.user_keys import is_public
from orch.clock import Clock
from orch.errors import ConfigError
from orch_api.storage.cache import CacheEvent, ObjectCache

log = logging.getLogger(__name__)

_FAILURES: Final = Counter("orch_api_bus_keys_failures", "Times that the file of the nodes' keys could not be written")
_MARK: Final = ANNOTATION.encode()
_FIRST_BACKOFF: Final = 0.1
_MAX_BACKOFF: Final = 5.0
_PAUSE: Final = 0.02
"""Seconds in which changes gather: many nodes that join together are one file, and one reload of the server."""


class _Metadata(msgspec.Struct):
    annotations: dict[str, str] | None = None


class _Node(msgspec.Struct):
    metadata: _Metadata


_node = msgspec.json.Decoder(_Node).decode


class BusAccess:
    """Keeps a file of the nodes' keys for the bus. Without a file there is nothing to do."""

    def __init__(self, cache: ObjectCache, file: str, clock: Clock) -> None:
        self._cache = cache
        self._file = Path(file) if file else None
        self._clock = clock
        self._said: dict[str, str] = {}
        self._changed = asyncio.Event()
        if file:
            cache.observe("", "nodes", self._note)

    async def run(self) -> None:
        """Write the file whenever the nodes say something else than it, for ever."""
        if self._file is None:
            return
        await self._cache.wait_ready(timeout=300)
        self._changed.set()
        backoff = _FIRST_BACKOFF
        while True:
            await self._changed.wait()
            await self._clock.sleep(_PAUSE)
            self._changed.clear()
            try:
                await asyncio.to_thread(_update, self._file, dict(self._said))
            except OSError as error:
                _FAILURES.inc()
                log.warning("the nodes' keys cannot be written, next try in %.1f s: %s", backoff, error)
                await self._clock.sleep(backoff)
                backoff = min(backoff * 2, _MAX_BACKOFF)
                self._changed.set()
            else:
                backoff = _FIRST_BACKOFF

    def _note(self, event: CacheEvent) -> None:
        name, key = event.item.key.name, "" if event.item.deleted else key_of(event.item.json)
        if key == self._said.get(name, ""):
            return
        if key:
            self._said[name] = key
        else:
            del self._said[name]
        self._changed.set()


def key_of(document: bytes) -> str:
    """Return the key that a Node says, "" when it says none that can be one."""
    if _MARK not in document:
        return ""
    key = (_node(document).metadata.annotations or {}).get(ANNOTATION, "")
    return key if is_public(key) else ""


def admitted(said: dict[str, str], before: dict[str, str]) -> dict[str, str]:
    """Return each node's key. A key that several nodes say is his who had it `before`, or else the first by name's."""
    owners = {key: node for node, key in before.items() if said.get(node) == key}
    for node, key in sorted(said.items()):
        if owners.setdefault(key, node) != node:
            log.warning("node %s says the key of node %s for the bus; it does not count", node, owners[key])
    return {node: key for key, node in owners.items()}


def _update(file: Path, said: dict[str, str]) -> None:
    try:
        before = read_keys(file)
    except ConfigError as error:
        log.warning("the nodes' keys are written anew: %s", error)
        before = {}
    keys = admitted(said, before)
    if keys == before:
        return
    scratch = file.with_name(f"{file.name}.{os.getpid()}")
    scratch.write_bytes(encode_keys(keys))
    scratch.replace(file)
    log.info("%d nodes have keys of their own for the bus", len(keys))
