"""What objects hold of a pool that their kind shares, such as the services' addresses: one key in the store a claim.

A claim's key is created before the object and removed after it, so that two objects never hold the same; what a crash
leaves in between is put right by `repair`.
"""

from __future__ import annotations

import copy
import logging
import random
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from orch.clock import Clock
from orch.errors import Cause, InvalidError, ServiceUnavailableError
from orch.store import keys
from orch.store.protocol import KeyValue, Store, Write
from orch_api.registry import Resource
from orch_api.storage.cache import ObjectCache
from orch_api.storage.objects import to_document
from orch_api.strategy import section
from orch_pb.v1.object_pb2 import StoredObject

log = logging.getLogger(__name__)

_ATTEMPTS: Final = 16
_ORPHAN_AGE: Final = 60.0


class Holding(msgspec.Struct, frozen=True):
    """What a write took for its object, and what the object will no longer hold when the write succeeds."""

    taken: tuple[str, ...] = ()
    given_up: tuple[str, ...] = ()


class _Owner(msgspec.Struct, frozen=True):
    uid: str
    at: float


NOTHING: Final = Holding()


class Claims:
    """Takes and releases claims."""

    def __init__(self, store: Store, cache: ObjectCache, clock: Clock) -> None:
        self._store = store
        self._cache = cache
        self._clock = clock

    async def hold(
        self, resource: Resource, document: dict[str, Any], old: dict[str, Any] | None, *, dry_run: bool
    ) -> Holding:
        """Allocate what the document needs and claim it. Raises InvalidError for something that is taken."""
        strategy = resource.strategy
        before = frozenset(strategy.claims(old)) if old else frozenset[str]()
        asked = frozenset(strategy.claims(document)) - before
        lost: set[str] = set()
        for _ in range(_ATTEMPTS):
            used = (self._cache.claims(resource.group, resource.plural) | lost) - before
            attempt = copy.deepcopy(document)
            strategy.allocate(attempt, used, f"{random.getrandbits(64):x}")
            wanted = frozenset(strategy.claims(attempt))
            refused = frozenset[str]() if dry_run else await self._take(resource, attempt, wanted - before)
            if not refused:
                document.update(attempt)
                if dry_run:
                    return NOTHING
                return Holding(tuple(wanted - before), tuple(before - wanted))
            if refused & asked:
                raise _taken(resource, document, min(refused & asked))
            lost |= refused
        raise ServiceUnavailableError(f"no free claim was found for {resource.plural}")

    async def settle(self, resource: Resource, holding: Holding, *, committed: bool) -> None:
        """Release what is no longer held, now that the write's outcome is known."""
        await self.release(resource, holding.given_up if committed else holding.taken)

    async def release(self, resource: Resource, claims: Iterable[str]) -> None:
        """Remove claims."""
        for claim in claims:
            await self._store.write(Write(keys.claim_key(resource.group, resource.plural, claim), None, None))

    async def repair(self, resource: Resource) -> None:
        """Claim what objects hold without a claim, and release old claims that no object holds."""
        prefix = keys.claims_prefix(resource.group, resource.plural)
        found = await self._store.range(prefix, keys.prefix_end(prefix))
        await self._cache.catch_up()
        held: dict[str, str] = {}
        for item in self._cache.select(resource.group, resource.plural):
            for claim in resource.strategy.claims(to_document(item.json)):
                held[claim] = item.uid
        known: set[str] = set()
        for item in found.items:
            _, _, claim = keys.parse_claim_key(item.key) or ("", "", "")
            known.add(claim)
            if claim not in held and self._is_old(item):
                log.warning("releasing %s, which no object of %s holds", claim, resource.plural)
                await self._store.write(Write(item.key, None, item.mod_revision))
        for claim in held.keys() - known:
            log.warning("claiming %s for the object of %s that holds it", claim, resource.plural)
            await self._store.write(self._write(resource, claim, held[claim]))

    async def _take(self, resource: Resource, document: dict[str, Any], claims: frozenset[str]) -> frozenset[str]:
        """Claim all or nothing; return what was refused."""
        wanted = sorted(claims)
        uid: str = document["metadata"]["uid"]
        results = await self._store.write_all([self._write(resource, claim, uid) for claim in wanted])
        refused = frozenset(claim for claim, written in zip(wanted, results, strict=True) if not written.succeeded)
        if refused:
            await self.release(resource, claims - refused)
        return refused

    def _write(self, resource: Resource, claim: str, uid: str) -> Write:
        owner = msgspec.json.encode(_Owner(uid, self._clock.now().timestamp()))
        value = StoredObject(json=owner).SerializeToString()
        return Write(keys.claim_key(resource.group, resource.plural, claim), value, 0)

    def _is_old(self, item: KeyValue) -> bool:
        owner = msgspec.json.decode(StoredObject.FromString(item.value).json, type=_Owner)
        return self._clock.now().timestamp() - owner.at > _ORPHAN_AGE


def _taken(resource: Resource, document: dict[str, Any], claim: str) -> InvalidError:
    """Return the refusal of a claim that the user chose: an address, or a port written "<what>-<number>"."""
    number = claim.rpartition("-")[2]
    if number.isdigit():
        ports: list[dict[str, Any]] = section(document, "spec").get("ports") or []
        index = next((place for place, port in enumerate(ports) if str(port.get("nodePort")) == number), 0)
        field = f"spec.ports[{index}].nodePort"
        message = f"Invalid value: {number}: provided port is already allocated"
    else:
        field = "spec.clusterIPs"
        message = f'Invalid value: ["{claim}"]: failed to allocate IP {claim}: provided IP is already allocated'
    cause = Cause("FieldValueInvalid", message, field)
    return InvalidError.of(resource.kind, resource.group, document["metadata"].get("name", ""), [cause])
