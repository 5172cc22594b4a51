"""What objects hold of a pool that their kind shares, such as services' addresses and node ports.

An address is claimed by its IPAddress object, a node port by a key of its own. Both are created before the object that
holds them and removed after it, so that two objects never hold the same; what a crash leaves in between is put right
by `repair`.
"""

from __future__ import annotations

import copy
import logging
import random
from collections.abc import Container, Iterable
from typing import Any, Final

import msgspec

from orch.clock import Clock, parse_rfc3339, rfc3339
from orch.errors import Cause, InvalidError, ServiceUnavailableError
from orch.store import keys
from orch.store.protocol import KeyValue, Store, Write
from orch_api.addresses import holders
from orch_api.addresses.ranges import NODE_PORT_CLAIM
from orch_api.registry import Resource
from orch_api.storage.cache import ObjectCache
from orch_api.storage.objects import encode, to_document
from orch_api.strategy import section
from orch_pb.v1.object_pb2 import StoredObject

log = logging.getLogger(__name__)

_ATTEMPTS: Final = 16
_ORPHAN_AGE: Final = 60.0


class Holding(msgspec.Struct, frozen=True):
    """What a write took for its object, and what the object will no longer hold when the write succeeds."""

    taken: tuple[str, ...] = ()
    given_up: tuple[str, ...] = ()
    uid: str = ""


class _Owner(msgspec.Struct, frozen=True):
    uid: str
    at: float


NOTHING: Final = Holding()


class _Used(Container[str]):
    """What is taken, as far as the cache knows, but for some that count as free."""

    def __init__(self, cache: ObjectCache, resource: Resource, lost: Iterable[str], free: Container[str]) -> None:
        self._cache = cache
        self._ports = cache.claims(resource.group, resource.plural)
        self._lost = lost
        self._free = free

    def __contains__(self, claim: object) -> bool:
        if not isinstance(claim, str) or claim in self._free:
            return False
        if claim in self._lost or claim in self._ports:
            return True
        return not claim.startswith(NODE_PORT_CLAIM) and self._cache.get(holders.key_of(claim)) is not None


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
            attempt = copy.deepcopy(document)
            used = _Used(self._cache, resource, lost, before)
            strategy.allocate(attempt, used, f"{random.getrandbits(64):x}")
            wanted = frozenset(strategy.claims(attempt))
            refused = frozenset[str]() if dry_run else await self._take(resource, attempt, wanted - before)
            if not refused:
                document.update(attempt)
                if dry_run:
                    return NOTHING
                return Holding(tuple(wanted - before), tuple(before - wanted), document["metadata"]["uid"])
            if refused & asked:
                raise _taken(resource, document, min(refused & asked))
            lost |= refused
        raise ServiceUnavailableError(f"no free claim was found for {resource.plural}")

    async def settle(self, resource: Resource, holding: Holding, *, committed: bool) -> None:
        """Release what is no longer held, now that the write's outcome is known."""
        await self.release(resource, holding.given_up if committed else holding.taken, holding.uid)

    async def release_all(self, resource: Resource, document: dict[str, Any]) -> None:
        """Release all that an object held that is gone."""
        await self.release(resource, resource.strategy.claims(document), document["metadata"]["uid"])

    async def release(self, resource: Resource, claims: Iterable[str], uid: str) -> None:
        """Remove what the object `uid` claimed; what another one has claimed meanwhile stays."""
        for claim in claims:
            found = await self._store.get(_key(resource, claim))
            if found is not None and _owner(claim, found).uid == uid:
                await self._store.write(Write(found.key, None, found.mod_revision))

    async def repair(self, resource: Resource) -> None:
        """Claim what objects hold without a claim, and release old claims that no object holds."""
        ports = keys.claims_prefix(resource.group, resource.plural)
        addresses = keys.objects_prefix(holders.GROUP, holders.PLURAL)
        found: list[KeyValue] = []
        for prefix in (ports, addresses):
            found += (await self._store.range(prefix, keys.prefix_end(prefix))).items
        await self._cache.catch_up()
        held: dict[str, dict[str, Any]] = {}
        for item in self._cache.select(resource.group, resource.plural):
            document = to_document(item.json)
            held |= dict.fromkeys(resource.strategy.claims(document), document)
        known: set[str] = set()
        for item in found:
            claim = item.key.decode().rpartition("/")[2]
            known.add(claim)
            if claim not in held and self._is_forgotten(claim, item):
                log.warning("releasing %s, which no object of %s holds", claim, resource.plural)
                await self._store.write(Write(item.key, None, item.mod_revision))
        for claim in held.keys() - known:
            log.warning("claiming %s for the object of %s that holds it", claim, resource.plural)
            await self._store.write(self._write(resource, claim, held[claim]))

    async def _take(self, resource: Resource, document: dict[str, Any], claims: frozenset[str]) -> frozenset[str]:
        """Claim all or nothing; return what was refused."""
        wanted = sorted(claims)
        results = await self._store.write_all([self._write(resource, claim, document) for claim in wanted])
        refused = frozenset(claim for claim, written in zip(wanted, results, strict=True) if not written.succeeded)
        if refused:
            await self.release(resource, claims - refused, document["metadata"]["uid"])
        return refused

    def _write(self, resource: Resource, claim: str, document: dict[str, Any]) -> Write:
        """Return the write that claims; it fails when there is such a claim."""
        now = self._clock.now()
        if not claim.startswith(NODE_PORT_CLAIM):
            value = encode(holders.held_by(claim, document, rfc3339(now))).value
        else:
            owner = msgspec.json.encode(_Owner(document["metadata"]["uid"], now.timestamp()))
            value = StoredObject(json=owner).SerializeToString()
        return Write(_key(resource, claim), value, 0)

    def _is_forgotten(self, claim: str, item: KeyValue) -> bool:
        """Return whether a claim is older than any write that is under way, and was not made by somebody else."""
        owner = _owner(claim, item)
        return bool(owner.uid) and self._clock.now().timestamp() - owner.at > _ORPHAN_AGE


def _key(resource: Resource, claim: str) -> bytes:
    if claim.startswith(NODE_PORT_CLAIM):
        return keys.claim_key(resource.group, resource.plural, claim)
    return keys.object_key(holders.key_of(claim))


def _owner(claim: str, item: KeyValue) -> _Owner:
    """Return whose a claim is; the uid is empty for an address that somebody keeps from services."""
    json = StoredObject.FromString(item.value).json
    if claim.startswith(NODE_PORT_CLAIM):
        return msgspec.json.decode(json, type=_Owner)
    holder = holders.read_holder(json)
    since = parse_rfc3339(holder.since).timestamp() if holder.since else 0.0
    return _Owner(holder.uid if holder.allocated else "", since)


def _taken(resource: Resource, document: dict[str, Any], claim: str) -> InvalidError:
    """Return the refusal of a claim that the user chose: an address, or a port written "<what>-<number>"."""
    number = claim.removeprefix(NODE_PORT_CLAIM)
    spec = section(document, "spec")
    if number != claim:
        ports: list[dict[str, Any]] = spec.get("ports") or []
        places = [place for place, port in enumerate(ports) if str(port.get("nodePort")) == number]
        field = f"spec.ports[{places[0]}].nodePort" if places else "spec.healthCheckNodePort"
        message = f"Invalid value: {number}: provided port is already allocated"
    else:
        field = "spec.clusterIPs"
        message = f'Invalid value: ["{claim}"]: failed to allocate IP {claim}: provided IP is already allocated'
    cause = Cause("FieldValueInvalid", message, field)
    return InvalidError.of(resource.kind, resource.group, document["metadata"].get("name", ""), [cause])
