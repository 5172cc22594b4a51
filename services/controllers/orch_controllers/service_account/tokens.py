"""Fills Secrets of the type kubernetes.io/service-account-token (k8s.io/kubernetes pkg/controller/serviceaccount).

A token of such a Secret does not end by itself: it counts for as long as the Secret and its account are there. What
informers show of a Secret has no content, so the api is asked for those that name an account.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterable
from typing import Any, Final

from orch.errors import NotFoundError
from orch.objects.cluster import Secret, ServiceAccount
from orch.objects.meta import Object, View
from orch.objects.scheme import SECRETS, SERVICE_ACCOUNTS
from orch.runtime.informer import Change, Item
from orch.runtime.reconcile import DONE, Key, Result
from orch_controllers.context import Context
from orch_controllers.root_ca.reconciler import root_certificate

log = logging.getLogger(__name__)

TYPE: Final = "kubernetes.io/service-account-token"
ACCOUNT: Final = "kubernetes.io/service-account.name"
ACCOUNT_UID: Final = "kubernetes.io/service-account.uid"
BY_ACCOUNT: Final = "service-account/secret"

_LONGEST: Final = 2**32
"""Seconds of the longest token that can be asked for: more than a hundred years."""


class _TokenStatus(View, frozen=True):
    token: str = ""


class _TokenRequest(Object, frozen=True):
    status: _TokenStatus = _TokenStatus()


class TokenReconciler:
    """Reconciles Secrets that name a service account."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._secrets = context.informers.of(SECRETS)
        self._accounts = context.informers.of(SERVICE_ACCOUNTS)
        context.informers.index(SECRETS, BY_ACCOUNT, _account_of)
        self._certificate = root_certificate(context)

    def keys_of_secret(self, change: Change[Secret]) -> Iterable[Key]:
        """Return the Secret when it names an account."""
        new = change.new
        return (Key(new.namespace, new.name),) if new is not None and _account_of(new) else ()

    def keys_of_account(self, change: Change[ServiceAccount]) -> Iterable[Key]:
        """Return the Secrets of an account that comes or goes."""
        if change.old is not None and change.new is not None and change.old is not change.new:
            return ()
        item = change.item
        named = self._secrets.indexed(BY_ACCOUNT, f"{item.namespace}/{item.name}")
        return [Key(each.namespace, each.name) for each in named]

    async def reconcile(self, key: Key) -> Result:
        """Fill one Secret with a token, or remove it when its account is gone."""
        item = self._secrets.get(key.namespace, key.name)
        if item is None or not _account_of(item) or item.object.metadata.deletion_timestamp:
            return DONE
        try:
            secret = await self._client.get(SECRETS, key.namespace, key.name)
            if secret.type == TYPE and not secret.metadata.deletion_timestamp:
                await self._fill(secret)
        except NotFoundError:
            log.debug("secret %s was gone already", key)
        return DONE

    async def _fill(self, secret: Secret) -> None:
        meta = secret.metadata
        name, uid = meta.annotations.get(ACCOUNT, ""), meta.annotations.get(ACCOUNT_UID, "")
        account = await self._account(meta.namespace, name)
        if account is None or (uid and account.metadata.uid != uid):
            await self._client.delete(SECRETS, meta.namespace, meta.name, uid=meta.uid)
            return
        data: dict[str, Any] = {"namespace": _encoded(meta.namespace)}
        if self._certificate:
            data["ca.crt"] = _encoded(self._certificate)
        if not secret.data.get("token"):
            data["token"] = _encoded(await self._token(secret, name))
        annotations = {ACCOUNT_UID: account.metadata.uid}
        if data.items() <= secret.data.items() and annotations.items() <= meta.annotations.items():
            return
        version = {"uid": meta.uid, "resourceVersion": meta.resource_version}
        patch = {"metadata": {**version, "annotations": annotations}, "data": data}
        await self._client.patch(SECRETS, meta.namespace, meta.name, patch)

    async def _account(self, namespace: str, name: str) -> ServiceAccount | None:
        """Return the account; that it is gone counts only when the api says so."""
        known = self._accounts.get(namespace, name)
        if known is not None:
            return known.object
        try:
            return await self._client.get(SERVICE_ACCOUNTS, namespace, name)
        except NotFoundError:
            return None

    async def _token(self, secret: Secret, account: str) -> str:
        meta = secret.metadata
        bound = {"apiVersion": "v1", "kind": "Secret", "name": meta.name, "uid": meta.uid}
        spec: dict[str, Any] = {"boundObjectRef": bound, "expirationSeconds": _LONGEST, "audiences": []}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {}, "spec": spec}
        kind = SERVICE_ACCOUNTS.with_view(_TokenRequest)
        made = await self._client.create(kind, meta.namespace, body, name=account, subresource="token")
        assert isinstance(made, _TokenRequest)  # noqa: S101 - what the kind's view was set to
        return made.status.token


def _account_of(item: Item[Secret]) -> tuple[str, ...]:
    name = item.object.metadata.annotations.get(ACCOUNT, "")
    return (f"{item.namespace}/{name}",) if name else ()


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
