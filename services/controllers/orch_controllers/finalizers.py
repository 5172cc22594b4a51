"""Puts a finalizer on an object, and takes it away, by the version that was looked at."""

from __future__ import annotations

import logging
from typing import Any

from orch.errors import NotFoundError
from orch.objects.meta import Object, ObjectMeta
from orch.objects.scheme import Kind
from orch.runtime.client import Client

log = logging.getLogger(__name__)


def is_held(meta: ObjectMeta, finalizer: str) -> bool:
    """Return whether an object is being deleted and waits for the finalizer to be taken away."""
    return bool(meta.deletion_timestamp) and finalizer in meta.finalizers


def is_unprotected(meta: ObjectMeta, finalizer: str) -> bool:
    """Return whether an object that stays lacks the finalizer."""
    return not meta.deletion_timestamp and finalizer not in meta.finalizers


async def put(client: Client, kind: Kind[Any], found: Object, finalizer: str) -> None:
    """Add the finalizer. Raises ApiError, a ConflictError when the object has changed meanwhile."""
    await _write(client, kind, found, [*found.metadata.finalizers, finalizer])


async def take(client: Client, kind: Kind[Any], found: Object, finalizer: str) -> None:
    """Take the finalizer away. Raises as `put`."""
    await _write(client, kind, found, [each for each in found.metadata.finalizers if each != finalizer])


async def _write(client: Client, kind: Kind[Any], found: Object, finalizers: list[str]) -> None:
    meta = found.metadata
    version = {"uid": meta.uid, "resourceVersion": meta.resource_version}
    patch = {"metadata": {**version, "finalizers": finalizers or None}}
    try:
        await client.patch(kind, meta.namespace, meta.name, patch)
    except NotFoundError:
        log.debug("%s %s/%s was gone already", kind.name, meta.namespace, meta.name)
