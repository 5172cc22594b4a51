"""What seals the content of objects with keys that are in a file: AES-GCM in envelopes, secretbox, and nothing at all.

AES-GCM with random nonces must not seal more than 2^32 values with one key. Here the key of the file seals data keys
alone, and each data key a bounded number of values; so a key of the file lasts for as long as anybody likes.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from orch.errors import StoreError
from orch_pb.v1.object_pb2 import SealedContent

DATA_KEY_USES: Final = 1 << 20
"""Values that are sealed with one data key."""
_OPENED: Final = 1024
_NONCE: Final = 12


class Provider(Protocol):
    """One way to seal. `place` is authenticated with the content: what is moved to another key opens no more."""

    async def current(self) -> str:
        """Return the id that is stored with what is sealed now; "" when that is left plain. Raises UnavailableError."""
        ...

    def owns(self, key_id: str) -> bool:
        """Return whether what has this id is this one's to open."""
        ...

    async def seal(self, plain: bytes, place: bytes) -> tuple[str, SealedContent]:
        """Return the id of the key, and the sealed content. Raises UnavailableError."""
        ...

    async def open(self, key_id: str, sealed: SealedContent, place: bytes) -> bytes:
        """Return the content. Raises StoreError when it cannot be opened, UnavailableError when it cannot be now."""
        ...


class Key(msgspec.Struct, frozen=True):
    """A key of the file."""

    name: str
    secret: bytes


class DataKey:
    """A key that seals objects, and what is stored of it."""

    __slots__ = ("cipher", "key_id", "sealed", "uses")

    def __init__(self, key_id: str, secret: bytes, sealed: SealedContent) -> None:
        self.key_id = key_id
        self.cipher = AESGCM(secret)
        self.sealed = sealed
        """The key itself, sealed: what is copied into each SealedContent."""
        self.uses = 0

    def seal(self, plain: bytes, place: bytes) -> SealedContent:
        """Return the content sealed with this key."""
        self.uses += 1
        made = SealedContent()
        made.CopyFrom(self.sealed)
        made.content = seal(self.cipher, plain, place)
        return made


class DataKeys:
    """Data keys that were opened before, a bounded number: the least lately used goes first."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, bytes], AESGCM] = OrderedDict()

    def get(self, key_id: str, sealed: bytes) -> AESGCM | None:
        """Return the cipher of a sealed data key."""
        found = self._known.get((key_id, sealed))
        if found is not None:
            self._known.move_to_end((key_id, sealed))
        return found

    def put(self, key_id: str, sealed: bytes, cipher: AESGCM) -> None:
        """Keep what was opened."""
        self._known[key_id, sealed] = cipher
        if len(self._known) > _OPENED:
            self._known.popitem(last=False)


def seal(cipher: AESGCM, plain: bytes, place: bytes) -> bytes:
    """Return a nonce and what it seals."""
    nonce = os.urandom(_NONCE)
    return nonce + cipher.encrypt(nonce, plain, place)


def unseal(cipher: AESGCM, sealed: bytes, place: bytes, key_id: str) -> bytes:
    """Return what was sealed. Raises StoreError when it was not sealed so."""
    try:
        return cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], place)
    except (InvalidTag, ValueError) as error:
        raise StoreError(
            f"the key {key_id!r} does not open it: it was changed, moved, or the key is another"
        ) from error


class EnvelopeProvider:
    """Seals objects with data keys of this process, and these with a key of the file. The first of its keys seals."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys: Final = {f"aesgcm:{key.name}": AESGCM(key.secret) for key in keys}
        self._first: Final = next(iter(self._keys))
        self._current: DataKey | None = None
        self._opened = DataKeys()

    async def current(self) -> str:
        """Return the id of the first key."""
        return self._first

    def owns(self, key_id: str) -> bool:
        """Return whether this is one of the keys."""
        return key_id in self._keys

    async def seal(self, plain: bytes, place: bytes) -> tuple[str, SealedContent]:
        """Seal with the data key in use; after many values that is a new one."""
        current = self._current
        if current is None or current.uses >= DATA_KEY_USES:
            secret = os.urandom(32)
            wrapped = seal(self._keys[self._first], secret, self._first.encode())
            current = self._current = DataKey(self._first, secret, SealedContent(data_key=wrapped))
            self._opened.put(self._first, wrapped, current.cipher)
        return self._first, current.seal(plain, place)

    async def open(self, key_id: str, sealed: SealedContent, place: bytes) -> bytes:
        """Open with the data key that was stored with it."""
        cipher = self._opened.get(key_id, sealed.data_key)
        if cipher is None:
            cipher = AESGCM(unseal(self._keys[key_id], sealed.data_key, key_id.encode(), key_id))
            self._opened.put(key_id, sealed.data_key, cipher)
        return unseal(cipher, sealed.content, place, key_id)


class SecretBoxProvider:
    """Seals with XSalsa20 and Poly1305, whose nonces are long enough to be random for ever.

    The construction authenticates nothing beside its content; the place is put in front of it, and compared.
    """

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys: Final = {f"secretbox:{key.name}": SecretBox(key.secret) for key in keys}
        self._first: Final = next(iter(self._keys))

    async def current(self) -> str:
        """Return the id of the first key."""
        return self._first

    def owns(self, key_id: str) -> bool:
        """Return whether this is one of the keys."""
        return key_id in self._keys

    async def seal(self, plain: bytes, place: bytes) -> tuple[str, SealedContent]:
        """Seal with the first key."""
        box = self._keys[self._first]
        return self._first, SealedContent(content=bytes(box.encrypt(_bound(place) + plain)))

    async def open(self, key_id: str, sealed: SealedContent, place: bytes) -> bytes:
        """Open with the key that is named."""
        try:
            content = self._keys[key_id].decrypt(sealed.content)
        except (CryptoError, ValueError) as error:
            raise StoreError(f"the key {key_id!r} does not open it: it was changed, or the key is another") from error
        bound = _bound(place)
        if not content.startswith(bound):
            raise StoreError(f"what the key {key_id!r} sealed was moved here from another place")
        return content[len(bound) :]


def _bound(place: bytes) -> bytes:
    return len(place).to_bytes(4, "big") + place


class IdentityProvider:
    """Leaves everything as it is."""

    async def current(self) -> str:
        """Return that it stays plain."""
        return ""

    def owns(self, key_id: str) -> bool:
        """Return whether it was left plain."""
        return not key_id

    async def seal(self, plain: bytes, place: bytes) -> tuple[str, SealedContent]:
        """Seal nothing; nobody asks for that."""
        raise StoreError(
            f"identity seals nothing, and the {len(plain)} bytes of {place!r} are to be stored as they are"
        )

    async def open(self, key_id: str, sealed: SealedContent, place: bytes) -> bytes:
        """Open nothing; nobody asks for that."""
        size = sealed.ByteSize()
        raise StoreError(f"identity opens nothing, and the {size} bytes of {place!r} are sealed with {key_id!r}")
