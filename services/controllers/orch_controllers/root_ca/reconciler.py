"""Keeps the ConfigMap kube-root-ca.crt in every namespace (k8s.io/kubernetes rootcacertpublisher)."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from orch.errors import AlreadyExistsError, ApiError, ConfigError, NotFoundError
from orch.objects.cluster import ConfigMap
from orch.objects.scheme import CONFIG_MAPS, NAMESPACES
from orch.runtime.informer import Change
from orch.runtime.reconcile import DONE, Key, Result
from orch_controllers.context import Context
from orch_controllers.documents import is_namespace_terminating

log = logging.getLogger(__name__)

NAME: Final = "kube-root-ca.crt"
_FIELD: Final = "ca.crt"
_DESCRIPTION: Final = {
    "kubernetes.io/description": (
        "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
        "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of "
        "Kubernetes clusters."
    )
}


def root_certificate(context: Context) -> str:
    """Return the certificate of the cluster's authority, "" when none is known. Raises ConfigError.

    Services know the bus by the same authority, so its file stands in where none is set.
    """
    file = context.config.root_ca_file or context.config.nats.ca_file
    try:
        return Path(file).read_text() if file else ""
    except OSError as error:
        raise ConfigError("root_ca_file", str(error)) from error


class RootCAReconciler:
    """Reconciles namespaces."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._namespaces = context.informers.of(NAMESPACES)
        self._config_maps = context.informers.of(CONFIG_MAPS)
        self._certificate = root_certificate(context)

    def keys_of_config_map(self, change: Change[ConfigMap]) -> Iterable[Key]:
        """Return the namespace whose certificate was changed or removed."""
        return (Key("", change.item.namespace),) if change.item.name == NAME else ()

    async def reconcile(self, key: Key) -> Result:
        """Make sure that one namespace has the certificate."""
        namespace = self._namespaces.get("", key.name)
        if not self._certificate or namespace is None or namespace.object.metadata.deletion_timestamp:
            return DONE
        data = {_FIELD: self._certificate}
        known = self._config_maps.get(key.name, NAME)
        body: dict[str, Any] = {"metadata": {"name": NAME, "annotations": _DESCRIPTION}, "data": data}
        try:
            if known is None:
                await self._client.create(CONFIG_MAPS, key.name, body)
            elif known.object.data != data or not _DESCRIPTION.items() <= known.object.metadata.annotations.items():
                body["metadata"]["resourceVersion"] = str(known.revision)
                cleared = {name: None for name in known.object.data if name != _FIELD}
                await self._client.patch(CONFIG_MAPS, key.name, NAME, {**body, "data": {**data, **cleared}})
        except (AlreadyExistsError, NotFoundError) as error:
            log.debug("namespace %s: %s", key.name, error)
        except ApiError as error:
            if not is_namespace_terminating(error):
                raise
        return DONE
