"""Which keys of the store are sealed, and by which providers; follows the file that says so.

The file is looked at every second, and at once when something names a key that nobody knows: another process may have
begun to write with it a moment ago. A file that is wrong changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from google.protobuf.message import DecodeError
from prometheus_client import Counter

from orch.clock import Clock
from orch.errors import ConfigError, StoreError
from orch.store.keys import resource_prefix
from orch_api.encryption.configuration import EncryptionConfiguration, KmsPart, keys_of, read_configuration
from orch_api.encryption.kms import KmsProvider
from orch_api.encryption.providers import EnvelopeProvider, IdentityProvider, Provider, SecretBoxProvider
from orch_pb.v1.object_pb2 import SealedContent, StoredObject

log = logging.getLogger(__name__)

RELOADS: Final = Counter(
    "apiserver_encryption_config_controller_automatic_reloads",
    "Times that the encryption configuration had changed",
    ("status",),
)
PERIOD: Final = 1.0
"""Seconds between two looks at the file."""
_PATIENCE: Final = 0.25


class Rule(msgspec.Struct, frozen=True):
    """What the keys with one prefix are sealed with: the first provider writes, all read."""

    prefix: bytes
    providers: tuple[Provider, ...]


class Vault:
    """Seals and opens stored values."""

    def __init__(self, file: Path, clock: Clock) -> None:
        self._file = file
        self._clock = clock
        self._kms: dict[KmsPart, KmsProvider] = {}
        self._retired: list[KmsProvider] = []
        self._seen = self._state()
        self._looked = clock.monotonic()
        self.changed = asyncio.Event()
        """Set when other keys than before write; whoever waits for it clears it."""
        self.generation = 0
        self.rules: Sequence[Rule] = self._rules(read_configuration(file))
        self.prefixes = tuple(rule.prefix for rule in self.rules)
        """For a quick look at a key; what begins with none of them is stored as it is."""

    @property
    def plugins(self) -> Sequence[KmsProvider]:
        """The key management services that are used."""
        return tuple(self._kms.values())

    async def run(self) -> None:
        """Follow the file, and the key management services, for ever."""
        try:
            while True:
                await self._clock.sleep(PERIOD)
                self._reload()
                while self._retired:
                    await self._retired.pop().close()
                for plugin in self.plugins:
                    if await plugin.look():
                        self._note_change()
        finally:
            await asyncio.gather(*(plugin.close() for plugin in self.plugins))

    def rule_of(self, key: bytes) -> Rule | None:
        """Return the first rule about a key."""
        return next((rule for rule in self.rules if key.startswith(rule.prefix)), None)

    async def seal(self, key: bytes, value: bytes) -> bytes:
        """Return a plain StoredObject as it is to be stored. Raises UnavailableError."""
        rule = self.rule_of(key)
        if rule is None or isinstance(rule.providers[0], IdentityProvider):
            return value
        stored = StoredObject.FromString(value)
        stored.key_id, sealed = await rule.providers[0].seal(stored.json, _place(key, stored))
        stored.json = sealed.SerializeToString()
        return stored.SerializeToString()

    async def open(self, key: bytes, value: bytes) -> bytes:
        """Return a StoredObject as plain as it was written.

        Raises StoreError when nobody opens it, UnavailableError when a key management service does not answer.
        """
        try:
            stored = StoredObject.FromString(value)
            provider = self._opener(key, stored.key_id)
            if not stored.key_id:
                return value
            sealed = SealedContent.FromString(stored.json)
        except DecodeError as error:
            raise StoreError(f"the value of {key!r} is no stored object: {error}") from error
        stored.json = await provider.open(stored.key_id, sealed, _place(key, stored))
        stored.key_id = ""
        return stored.SerializeToString()

    def _opener(self, key: bytes, key_id: str) -> Provider:
        for _ in range(2):
            rule = self.rule_of(key)
            for provider in rule.providers if rule is not None else ():
                if provider.owns(key_id):
                    return provider
            if not self._look():
                break
        what = f"is sealed with the key {key_id!r}" if key_id else "is plain"
        raise StoreError(f"the value of {key.decode(errors='replace')} {what}, which no provider of its resource reads")

    def _look(self) -> bool:
        now = self._clock.monotonic()
        if now - self._looked < _PATIENCE:
            return False
        self._looked = now
        return self._reload()

    def _reload(self) -> bool:
        state = self._state()
        if state == self._seen:
            return False
        self._seen = state
        try:
            self.rules = self._rules(read_configuration(self._file))
        except ConfigError as error:
            RELOADS.labels("failure").inc()
            log.error("what Secrets are encrypted with stays as it was: %s", error)
            return False
        self.prefixes = tuple(rule.prefix for rule in self.rules)
        RELOADS.labels("success").inc()
        log.info("the encryption configuration was read again from %s", self._file)
        self._note_change()
        return True

    def _note_change(self) -> None:
        self.generation += 1
        self.changed.set()

    def _rules(self, found: EncryptionConfiguration) -> Sequence[Rule]:
        rules: list[Rule] = []
        before, self._kms = self._kms, {}
        for entry in found.resources:
            providers: list[Provider] = []
            for part in entry.providers:
                if part.aesgcm is not None:
                    providers.append(EnvelopeProvider(keys_of(part.aesgcm)))
                elif part.secretbox is not None:
                    providers.append(SecretBoxProvider(keys_of(part.secretbox)))
                elif part.kms is not None:
                    self._kms[part.kms] = before.get(part.kms) or KmsProvider(part.kms, self._clock)
                    providers.append(self._kms[part.kms])
                else:
                    providers.append(IdentityProvider())
            rules.extend(Rule(resource_prefix(name), tuple(providers)) for name in entry.resources)
        self._retired.extend(plugin for part, plugin in before.items() if part not in self._kms)
        return tuple(rules)

    def _state(self) -> tuple[int, int, int]:
        """Return what changes when the file does; a file that is gone is one that changed."""
        try:
            found = self._file.stat()
        except OSError:
            return (0, 0, 0)
        return (found.st_ctime_ns, found.st_size, found.st_ino)


def _place(key: bytes, stored: StoredObject) -> bytes:
    """Return what is authenticated with the content: where it is stored, and where its version is put in."""
    return b"%b\x00%d" % (key, stored.version_offset)
