"""Signs the ConfigMap cluster-info of kube-public with every token that may (pkg/controller/bootstrap/bootstrapsigner).

A node that knows nothing but a token reads it anonymously, and believes it by the signature under that token: a JWS
whose payload is left out, since it stands beside it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
from collections.abc import Iterable
from typing import Final

from orch.errors import NotFoundError
from orch.objects.cluster import ConfigMap, Secret
from orch.objects.scheme import CONFIG_MAPS, SECRETS
from orch.runtime.informer import Change
from orch.runtime.reconcile import DONE, Key, Result
from orch_controllers.bootstrap_tokens.secrets import NAMESPACE, is_named_so, read
from orch_controllers.context import Context

log = logging.getLogger(__name__)

PUBLIC: Final = "kube-public"
NAME: Final = "cluster-info"
KUBECONFIG: Final = "kubeconfig"
SIGNATURE_PREFIX: Final = "jws-kubeconfig-"

_INFO: Final = Key(PUBLIC, NAME)


def signature(content: str, token: str, secret: str) -> str:
    """Return the detached JWS of a text under a token, byte for byte as Kubernetes' own library writes it."""
    header = _encoded(json.dumps({"alg": "HS256", "kid": token}, separators=(",", ":")).encode())
    signed = hmac.digest(secret.encode(), f"{header}.{_encoded(content.encode())}".encode(), hashlib.sha256)
    return f"{header}..{_encoded(signed)}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class BootstrapSigner:
    """Reconciles cluster-info; without it there is nothing to sign."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._secrets = context.informers.of(SECRETS)
        self._config_maps = context.informers.of(CONFIG_MAPS)

    def keys_of_secret(self, change: Change[Secret]) -> Iterable[Key]:
        """Return cluster-info when a token came, changed or went."""
        return (_INFO,) if is_named_so(change.item.namespace, change.item.name) else ()

    def keys_of_config_map(self, change: Change[ConfigMap]) -> Iterable[Key]:
        """Return cluster-info when it changed."""
        new = change.new
        return (_INFO,) if new is not None and (new.namespace, new.name) == (PUBLIC, NAME) else ()

    async def reconcile(self, key: Key) -> Result:
        """Bring the signatures to what the tokens say."""
        item = self._config_maps.get(PUBLIC, NAME)
        if key != _INFO or item is None or item.object.metadata.deletion_timestamp:
            return DONE
        data = item.object.data
        wanted = await self._signatures(data.get(KUBECONFIG, ""))
        present = {name: value for name, value in data.items() if name.startswith(SIGNATURE_PREFIX)}
        if present == wanted:
            return DONE
        gone = {name: None for name in present if name not in wanted}
        body = {"metadata": {"resourceVersion": str(item.revision)}, "data": {**wanted, **gone}}
        try:
            await self._client.patch(CONFIG_MAPS, PUBLIC, NAME, body)
        except NotFoundError as error:
            log.debug("nothing to sign any more: %s", error)
        return DONE

    async def _signatures(self, content: str) -> dict[str, str]:
        found: dict[str, str] = {}
        if not content:
            return found
        for item in self._secrets.items(NAMESPACE):
            if not is_named_so(item.namespace, item.name):
                continue
            try:
                token = read(await self._client.get(SECRETS, NAMESPACE, item.name))
            except NotFoundError:
                continue
            if token is None or not token.signs or not token.well_formed:
                continue
            left = token.left(self._clock.now())
            if left is None or left > 0:
                found[f"{SIGNATURE_PREFIX}{token.id}"] = signature(content, token.id, token.secret)
        return found
