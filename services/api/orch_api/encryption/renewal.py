"""Writes again what is not sealed with the key that writes now: after a rotation, and what was once stored plainly.

One process of the api at a time does it: when it is elected, and whenever the keys change. Each value is replaced by
compare-and-swap, so a write of somebody else is never undone.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter as Tally
from typing import Final

from google.protobuf.message import DecodeError
from prometheus_client import Counter, Gauge

from orch.clock import Clock
from orch.errors import OrchError, StoreError
from orch.runtime.leader import LeaderElector
from orch.store import keys
from orch.store.protocol import Compare, KeyValue, Store, Write
from orch_api.encryption.store import SealedStore
from orch_api.encryption.vault import Rule, Vault
from orch_pb.v1.object_pb2 import StoredObject

log = logging.getLogger(__name__)

RENEWED: Final = Counter("orch_encryption_renewed", "Values that were written again with the key in use")
FAILURES: Final = Counter("orch_encryption_renewal_failures", "Times that stored values could not be looked through")
OBJECTS: Final = Gauge(
    "orch_encryption_objects", "Values of the store by the key that sealed them, when they were last counted", ("key",)
)
_PAGE: Final = 64
_PERIOD: Final = 300.0
_FIRST_BACKOFF: Final = 0.5
_MAX_BACKOFF: Final = 30.0


class Renewal:
    """Looks through the sealed resources, and writes again what is to be."""

    def __init__(self, inner: Store, sealed: SealedStore, vault: Vault, identity: str, clock: Clock) -> None:
        self._inner = inner
        self._sealed = sealed
        self._vault = vault
        self._clock = clock
        self._elector = LeaderElector(inner, "encryption", identity, clock=clock)

    async def run(self) -> None:
        """Campaign for ever, and renew while elected."""
        await self._elector.run(self._lead)

    async def _lead(self) -> None:
        backoff = _FIRST_BACKOFF
        while True:
            self._vault.changed.clear()
            try:
                await self.renew()
            except OrchError as error:
                FAILURES.inc()
                log.warning("stored values cannot be encrypted anew, next try in %.1f s: %s", backoff, error)
                await self._clock.sleep(backoff)
                backoff = min(backoff * 2, _MAX_BACKOFF)
            else:
                backoff = _FIRST_BACKOFF
                await self._wait()

    async def _wait(self) -> None:
        """Wait until keys change; now and then look all the same, for whoever wrote with an older file."""
        change = asyncio.create_task(self._vault.changed.wait())
        pause = asyncio.create_task(self._clock.sleep(_PERIOD))
        try:
            await asyncio.wait((change, pause), return_when=asyncio.FIRST_COMPLETED)
        finally:
            change.cancel()
            pause.cancel()

    async def renew(self) -> int:
        """Write again what is sealed with other keys than that of its resource; return how many there were."""
        tally: Tally[str] = Tally()
        renewed = 0
        for rule in self._vault.rules:
            current = await rule.providers[0].current()
            start, end, more = rule.prefix, keys.prefix_end(rule.prefix), True
            while more:
                page = await self._inner.range(start, end, limit=_PAGE)
                renewed += await self._renew_page(rule, current, page.items, tally)
                more = page.more
                if page.items:
                    start = page.items[-1].key + b"\x00"
        OBJECTS.clear()
        for key_id, count in tally.items():
            OBJECTS.labels(key_id or "identity").set(count)
        if renewed:
            log.info("%d stored values are encrypted with another key than before", renewed)
        return renewed

    async def _renew_page(self, rule: Rule, current: str, items: list[KeyValue], tally: Tally[str]) -> int:
        fence = self._elector.fence()
        compare = None if fence is None else Compare(fence.key.encode(), fence.create_revision)
        writes: list[Write] = []
        for item in items:
            if self._vault.rule_of(item.key) is not rule:
                continue  # an earlier entry of the configuration is about it
            try:
                key_id = StoredObject.FromString(item.value).key_id
                if key_id != current:
                    plain = StoredObject.FromString(await self._vault.open(item.key, item.value))
                    plain.index = 0  # the committer puts in the new one
                    plain.ClearField("trace")  # nobody's request did this
                    writes.append(Write(item.key, plain.SerializeToString(), item.mod_revision, compare))
                tally[current if writes and writes[-1].key == item.key else key_id] += 1
            except (DecodeError, StoreError) as error:
                log.error("a stored value cannot be encrypted anew: %s", error)
                tally["unreadable"] += 1
        outcomes = await self._sealed.write_all(writes) if writes else []
        done = sum(outcome.succeeded for outcome in outcomes)
        RENEWED.inc(done)
        return done
