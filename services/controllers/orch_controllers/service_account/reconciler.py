"""Creates the default service account of a namespace, again when it was deleted."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from orch.errors import AlreadyExistsError, ApiError, NotFoundError
from orch.objects.cluster import ServiceAccount
from orch.objects.scheme import NAMESPACES, SERVICE_ACCOUNTS
from orch.runtime.informer import Change
from orch.runtime.reconcile import DONE, Key, Result
from orch_controllers.context import Context
from orch_controllers.documents import is_namespace_terminating

log = logging.getLogger(__name__)

DEFAULT: Final = "default"


class ServiceAccountReconciler:
    """Reconciles namespaces."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._namespaces = context.informers.of(NAMESPACES)
        self._accounts = context.informers.of(SERVICE_ACCOUNTS)

    def keys_of_account(self, change: Change[ServiceAccount]) -> Iterable[Key]:
        """Return the namespace whose default account was deleted."""
        gone = change.old
        if change.new is None and gone is not None and gone.name == DEFAULT:
            return (Key("", gone.namespace),)
        return ()

    async def reconcile(self, key: Key) -> Result:
        """Make sure that the account exists."""
        namespace = self._namespaces.get("", key.name)
        if namespace is None or namespace.object.metadata.deletion_timestamp:
            return DONE
        if self._accounts.get(key.name, DEFAULT) is not None:
            return DONE
        body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": DEFAULT}}
        try:
            await self._client.create(SERVICE_ACCOUNTS, key.name, body)
        except (AlreadyExistsError, NotFoundError) as error:
            log.debug("namespace %s: %s", key.name, error)
        except ApiError as error:
            if not is_namespace_terminating(error):
                raise
        return DONE
