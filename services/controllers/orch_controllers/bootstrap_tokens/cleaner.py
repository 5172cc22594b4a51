"""Deletes bootstrap tokens that have expired (k8s.io/kubernetes pkg/controller/bootstrap/tokencleaner)."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from orch.errors import ConflictError, NotFoundError
from orch.objects.cluster import Secret
from orch.objects.scheme import SECRETS
from orch.runtime.informer import Change
from orch.runtime.reconcile import DONE, Key, Result
from orch_controllers.bootstrap_tokens.secrets import is_named_so, read
from orch_controllers.context import Context

log = logging.getLogger(__name__)


class TokenCleaner:
    """Reconciles the Secrets of bootstrap tokens; their content is the api's to tell."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock

    def keys_of_secret(self, change: Change[Secret]) -> Iterable[Key]:
        """Return the Secret when it is named as a token's."""
        new = change.new
        return (Key(new.namespace, new.name),) if new is not None and is_named_so(new.namespace, new.name) else ()

    async def reconcile(self, key: Key) -> Result:
        """Delete one token's Secret if its time is over."""
        try:
            secret = await self._client.get(SECRETS, key.namespace, key.name)
            token = read(secret)
            left = None if token is None else token.left(self._clock.now())
            if left is None or left > 0:
                return Result(left)
            meta = secret.metadata
            version = meta.resource_version
            await self._client.delete(SECRETS, key.namespace, key.name, uid=meta.uid, resource_version=version)
            log.info("the bootstrap token of %s has expired and is gone", key)
        except (NotFoundError, ConflictError) as error:
            log.debug("secret %s changed meanwhile: %s", key, error)
        return DONE
