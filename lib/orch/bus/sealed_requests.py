"""Requests that hold secrets, sealed so that only the api can read them, whichever of its processes takes them.

Each process of the api has an X25519 key, in its memory alone, and another every hour. Who writes a Secret encrypts the
body once, with AES-256-GCM under a key of this one request, and seals that key to each process that it knows. A process
that finds none of its keys there has done nothing, and answers with its key, for which the api's certificate vouches:
so the first request teaches the key, and whoever passes messages on cannot teach another one. See docs/adr/0020.

Bound to the body are who asks, the verb and the object: what was sealed for one request opens in no other.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from prometheus_client import Counter

from orch.bus import boxes
from orch.bus.boxes import BoxKey
from orch.bus.permissions import API
from orch.bus.vouching import Purpose, Signatory, Vouchers
from orch.clock import Clock
from orch.config import NatsConfig
from orch.errors import BusError
from orch_pb.v1.rpc_pb2 import Recipient, SealedBody, SealedKey, WriteRequest

_LEARNT: Final = Counter(
    "orch_bus_api_keys_learnt", "Keys of the api's processes that were learnt; each time a request was sent again"
)

LIFETIME: Final = 3600.0
"""Seconds after which a process of the api makes another key, and after which a client has forgotten one."""

_LABEL: Final = b"orch: sealed request, version 1\0"
_NONCE: Final = bytes(12)
"""The key is of one body alone, so that the nonce need not differ."""
_KNOWN: Final = 64
"""Processes of the api whose keys a client keeps; with more of them it learns some again."""


class _Aging(msgspec.Struct, frozen=True):
    key: BoxKey
    made: float


class RequestKeys:
    """The keys of one process of the api: that which it tells, and the one before, which clients may still know."""

    def __init__(self, identity: NatsConfig, clock: Clock) -> None:
        self._signatory = Signatory(identity, Purpose.REQUESTS)
        self._clock = clock
        self._keys = [self._new()]

    def recipient(self) -> Recipient:
        """Return the key to which requests are sealed, with the api's word for it. Raises BusError without one."""
        self._renew()
        return self._signatory.recipient(self._keys[0].key.public)

    def open(self, user: str, request: WriteRequest) -> bytes | None:
        """Return the body of a user's request, None when it is sealed to none of this process's keys.

        Raises ValueError for a body that is not sealed, or was sealed for another request.
        """
        self._renew()
        if request.body:
            raise ValueError("a request that may hold secrets has to be sealed, and this one's body is not")
        sealed = {key.recipient: key for key in request.sealed_body.keys}
        for each in self._keys:
            found = sealed.get(each.key.public)
            if found is not None:
                return _opened(each.key, found, request.sealed_body.content, _bound(user, request))
        return None

    def _renew(self) -> None:
        if self._clock.monotonic() - self._keys[0].made >= LIFETIME:
            self._keys = [self._new(), self._keys[0]]
        elif len(self._keys) > 1 and self._clock.monotonic() - self._keys[0].made >= LIFETIME / 2:
            # Clients have forgotten it by now, or learn the newer one: what was recorded is read by nobody any more.
            self._keys.pop()

    def _new(self) -> _Aging:
        return _Aging(BoxKey(), self._clock.monotonic())


class ApiKeys:
    """The keys of the api's processes that a client has learnt."""

    def __init__(self, authority_file: str, clock: Clock) -> None:
        self._vouchers = Vouchers(authority_file, Purpose.REQUESTS, clock)
        self._clock = clock
        self._learnt: OrderedDict[bytes, float] = OrderedDict()

    def learn(self, key: Recipient) -> None:
        """Remember a key. Raises BusError for one for which the api does not vouch."""
        try:
            self._vouchers.check(API, key)
        except ValueError as error:
            raise BusError(f"no secrets are sent under the key that was answered: {error}") from error
        _LEARNT.inc()
        self._learnt[key.key] = self._clock.monotonic()
        self._learnt.move_to_end(key.key)
        if len(self._learnt) > _KNOWN:
            self._learnt.popitem(last=False)

    def seal(self, user: str, request: WriteRequest, body: bytes) -> None:
        """Put a body into a request, sealed to every key that is known; to none, when there is none, it stays out."""
        now = self._clock.monotonic()
        while self._learnt and now - next(iter(self._learnt.values())) >= LIFETIME:
            self._learnt.popitem(last=False)
        request.ClearField("body")
        request.sealed_body.CopyFrom(SealedBody())
        if not self._learnt:
            return
        key = AESGCM.generate_key(bit_length=256)
        request.sealed_body.content = AESGCM(key).encrypt(_NONCE, body, _bound(user, request))
        request.sealed_body.keys.extend(_sealed(key, public) for public in self._learnt)


def _bound(user: str, request: WriteRequest) -> bytes:
    """Return what a body is bound to: the same body for another object, or from somebody else, does not open."""
    return b"\0".join((user.encode(), b"%d" % request.verb, request.ref.SerializeToString(deterministic=True)))


def _sealed(key: bytes, recipient: bytes) -> SealedKey:
    ephemeral, box = boxes.put(key, recipient, _LABEL)
    return SealedKey(recipient=recipient, key=ephemeral, content=box)


def _opened(ours: BoxKey, sealed: SealedKey, content: bytes, bound: bytes) -> bytes:
    try:
        return AESGCM(ours.open(sealed.key, sealed.content, _LABEL)).decrypt(_NONCE, content, bound)
    except (ValueError, InvalidTag) as error:
        raise ValueError("the body of the request was not sealed for this request") from error
