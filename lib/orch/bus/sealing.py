"""Answers that hold secrets, sealed so that only who asked can read them: the bus and its operators see noise.

Whoever asks makes an X25519 key when its process starts, keeps it in memory alone, and sends the public half with each
request, signed by the key of the certificate with which it is known on the bus (orch.bus.vouching). Each answer is a
box that this key opens (orch.bus.boxes). So what was recorded is read neither with the certificate's key later nor with
the api's, and another key put into a request is not believed.

Sealing hides an answer. That it is the api's, the bus's permissions guarantee. See docs/adr/0017; of requests that hold
secrets, orch.bus.sealed_requests.
"""

from __future__ import annotations

from typing import Final

from orch.bus import boxes
from orch.bus.boxes import BoxKey
from orch.bus.sealed_requests import ApiKeys
from orch.bus.vouching import Purpose, Signatory
from orch.clock import Clock, SystemClock
from orch.config import NatsConfig
from orch.errors import BusError
from orch_pb.v1.rpc_pb2 import Recipient, Sealed, WriteRequest

_LABEL: Final = b"orch: sealed answer, version 1\0"


class SealingKey:
    """What a client of the api has: its own key, to which answers are sealed, and the api's, to which it seals."""

    def __init__(self, identity: NatsConfig | None = None, clock: Clock | None = None) -> None:
        """Make a key. `identity` says whose files vouch for it, and whom to believe; without files nobody does."""
        identity = identity or NatsConfig()
        self._key = BoxKey()
        self._signatory = Signatory(identity, Purpose.ANSWERS)
        self._api = ApiKeys(identity.ca_file, clock or SystemClock())

    def recipient(self) -> Recipient:
        """Return what a request says of the key. Raises BusError when there is no certificate that can vouch for it."""
        return self._signatory.recipient(self._key.public)

    def open(self, user: str, sealed: Sealed) -> bytes:
        """Return what was sealed for `user` to this key. Raises BusError for anything else."""
        try:
            return self._key.open(sealed.key, sealed.content, _LABEL, user.encode())
        except ValueError as error:
            raise BusError("the api's answer is not sealed to the key that the request named") from error

    def seal_body(self, user: str, request: WriteRequest, body: bytes) -> None:
        """Put a body into a request so that only the api reads it: all of its processes whose keys were learnt."""
        self._api.seal(user, request, body)

    def learn(self, key: Recipient) -> None:
        """Remember the key of a process of the api. Raises BusError for one for which the api does not vouch."""
        self._api.learn(key)


def seal(content: bytes, user: str, recipient: bytes) -> Sealed:
    """Return `content` so that only the holder of the key `recipient` reads it. Raises ValueError for a bad key."""
    key, box = boxes.put(content, recipient, _LABEL, user.encode())
    return Sealed(key=key, content=box)
