"""The content of the ConfigMaps and Secrets that pods' volumes show, asked of the api.

What is read is held as long as a pod of the node refers to it and nothing says that it changed.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping

import msgspec

from orch.errors import NotFoundError
from orch.objects.cluster import ConfigMap, Secret
from orch.objects.scheme import CONFIG_MAPS, SECRETS
from orch_agent.objects import ObjectReader, read_secret
from orch_agent.volumes.protocol import Reference, VolumeError


class Content(msgspec.Struct, frozen=True):
    """What an object holds, decoded. An immutable one is never asked for again."""

    version: int
    values: Mapping[str, bytes]
    immutable: bool = False


class ReferredObjects:
    """ConfigMaps and Secrets by reference, each asked for once for all of the node's pods."""

    def __init__(self, reader: ObjectReader) -> None:
        self.reader = reader
        self._held: dict[Reference, Content] = {}

    async def content(self, reference: Reference, *, optional: bool) -> Content | None:
        """Return what the object holds, None when it may be absent and is.

        Raises VolumeError when it must not be absent, ApiError and UnavailableError when the api does not tell.
        """
        held = self._held.get(reference)
        if held is not None:
            return held
        try:
            found = await self._read(reference)
        except NotFoundError as error:
            if optional:
                return None
            kind = "configmap" if reference.resource == CONFIG_MAPS.resource else "secret"
            raise VolumeError(f'{kind} "{reference.name}" not found') from error
        self._held[reference] = found
        return found

    def versions(self) -> Mapping[Reference, int]:
        """Return the version of each object that is held."""
        return {reference: held.version for reference, held in self._held.items()}

    def is_fixed(self, reference: Reference) -> bool:
        """Return whether an object's content cannot change any more."""
        held = self._held.get(reference)
        return held is not None and held.immutable

    def doubt(self, reference: Reference, version: int = 0) -> bool:
        """Forget an object that has changed since `version`; return whether what was held is older than that.

        0 is later than all that is held; immutable content is forgotten then alone, as its name may be another's now.
        """
        held = self._held.get(reference)
        if held is not None and version and (held.immutable or held.version >= version):
            return False
        self._held.pop(reference, None)
        return True

    def keep_only(self, references: Iterable[Reference]) -> None:
        """Forget what no pod refers to any more."""
        wanted = set(references)
        for reference in [each for each in self._held if each not in wanted]:
            del self._held[reference]

    async def _read(self, reference: Reference) -> Content:
        namespace, name = reference.namespace, reference.name
        if reference.resource == SECRETS.resource:
            return await _secret(self.reader, namespace, name)
        found: ConfigMap = await self.reader.get(CONFIG_MAPS, namespace, name)
        values = {key: text.encode() for key, text in found.data.items()}
        values |= {key: _decoded(text, reference, key) for key, text in found.binary_data.items()}
        return Content(_version(found), values, found.immutable)


async def _secret(reader: ObjectReader, namespace: str, name: str) -> Content:
    found = await read_secret(reader, namespace, name)
    reference = Reference(SECRETS.resource, namespace, name)
    values = {key: _decoded(text, reference, key) for key, text in found.data.items()}
    return Content(_version(found), values, found.immutable)


def _version(found: ConfigMap | Secret) -> int:
    text = found.metadata.resource_version
    return int(text) if text.isdecimal() else 0


def _decoded(text: str, reference: Reference, key: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise VolumeError(f"key {key} of {reference.resource} {reference.name} is not base64: {error}") from error
