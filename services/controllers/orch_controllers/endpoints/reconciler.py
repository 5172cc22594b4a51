"""Writes the Endpoints of each service that has a selector, and removes them with the service."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, Final

from orch.errors import AlreadyExistsError, ApiError, ConflictError, NotFoundError
from orch.objects.discovery import HEADLESS_LABEL, TRIGGER_TIME, Endpoints, EndpointSubset
from orch.objects.networking import Service
from orch.objects.scheme import ENDPOINTS, SERVICES
from orch.runtime.events import reference
from orch.runtime.informer import Change
from orch.runtime.reconcile import DONE, Key, Result
from orch_controllers.context import Context
from orch_controllers.documents import is_namespace_terminating
from orch_controllers.endpoints.subsets import subsets_of, truncated
from orch_controllers.pacing import Pacing
from orch_controllers.service_pods import EXTERNAL_NAME, Selections
from orch_controllers.trigger_times import TriggerTimes

log = logging.getLogger(__name__)

OVER_CAPACITY: Final = "endpoints.kubernetes.io/over-capacity"
MANAGED_BY: Final = "endpoints.kubernetes.io/managed-by"
MANAGER: Final = "endpoint-controller"

_SHORTEST_PAUSE: Final = 0.1
_PAUSE_A_POD: Final = 0.002
"""The whole object is written each time: the more there is in it, the less often."""


class EndpointsReconciler:
    """Reconciles services."""

    def __init__(self, context: Context, selections: Selections) -> None:
        self._client = context.client
        self._recorder = context.recorders.of("endpoint-controller")
        self._services = context.informers.of(SERVICES)
        self._endpoints = context.informers.of(ENDPOINTS)
        self._selections = selections
        self._pacing = Pacing(self._endpoints, context.clock)
        self._times = TriggerTimes()

    def keys_of_endpoints(self, change: Change[Endpoints]) -> Iterable[Key]:
        """Return the service of that name, unless the change is this controller's own."""
        key = Key(change.item.namespace, change.item.name)
        if change.new is not None and self._pacing.is_own(key, change.new.revision):
            return ()
        return (key,)

    async def reconcile(self, key: Key) -> Result:
        """Bring one service's Endpoints to what its pods are."""
        item = self._services.get(key.namespace, key.name)
        if item is None:
            await self._remove(key)
            return DONE
        service = item.object
        if service.spec.type == EXTERNAL_NAME or not service.spec.selector or service.metadata.deletion_timestamp:
            return DONE
        if (wait := self._pacing.wait(key)) > 0:
            return Result(wait)
        pods = self._selections.pods_of(key)
        subsets, cut = truncated(subsets_of(service, pods))
        known = self._endpoints.get(key.namespace, key.name)
        current = known.object if known is not None else None
        labels = _labels(service)
        if current is not None and _is_as_wanted(current, subsets, labels, cut=cut):
            return DONE
        moment = self._times.changed(key, service, pods)
        body = _document(key, current, subsets, labels, _annotations(current, moment, cut=cut))
        await self._write(key, service, current, body, max(_SHORTEST_PAUSE, len(pods) * _PAUSE_A_POD))
        return DONE

    async def _write(
        self, key: Key, service: Service, current: Endpoints | None, body: dict[str, Any], pause: float
    ) -> None:
        verb = "Update" if current is not None else "Create"
        try:
            if current is None:
                written = await self._client.create(ENDPOINTS, key.namespace, body)
            else:
                written = await self._client.update(ENDPOINTS, key.namespace, key.name, body)
        except (ConflictError, AlreadyExistsError):
            raise
        except ApiError as error:
            if is_namespace_terminating(error):
                return
            message = f"Failed to {verb.lower()} endpoint for service {key.namespace}/{key.name}: {error}"
            self._recorder.event(reference(SERVICES, service), "Warning", f"FailedTo{verb}Endpoint", message)
            raise
        self._pacing.wrote(key, written.metadata.resource_version, pause)

    async def _remove(self, key: Key) -> None:
        """Remove the Endpoints of a service that is gone; those that others made are theirs."""
        self._pacing.forget(key)
        self._times.forget(key)
        known = self._endpoints.get(key.namespace, key.name)
        if known is None or known.object.metadata.labels.get(MANAGED_BY) != MANAGER:
            return
        try:
            await self._client.delete(ENDPOINTS, key.namespace, key.name, uid=known.uid)
        except NotFoundError:
            log.debug("endpoints %s were gone already", key)


def _is_as_wanted(
    current: Endpoints, subsets: tuple[EndpointSubset, ...], labels: dict[str, str], *, cut: bool
) -> bool:
    said = OVER_CAPACITY in current.metadata.annotations
    return current.subsets == subsets and current.metadata.labels == labels and said == cut


def _labels(service: Service) -> dict[str, str]:
    labels = {name: value for name, value in service.metadata.labels.items() if name != HEADLESS_LABEL}
    if service.headless:
        labels[HEADLESS_LABEL] = ""
    return {**labels, MANAGED_BY: MANAGER}


def _annotations(current: Endpoints | None, moment: str, *, cut: bool) -> dict[str, str]:
    found = dict(current.metadata.annotations) if current is not None else {}
    for name, value in ((TRIGGER_TIME, moment), (OVER_CAPACITY, "truncated" if cut else "")):
        if value:
            found[name] = value
        else:
            found.pop(name, None)
    return found


def _document(
    key: Key,
    current: Endpoints | None,
    subsets: tuple[EndpointSubset, ...],
    labels: dict[str, str],
    annotations: dict[str, str],
) -> dict[str, Any]:
    meta: dict[str, Any] = {"name": key.name, "namespace": key.namespace, "labels": labels, "annotations": annotations}
    if current is not None:
        before = current.metadata
        meta |= {"uid": before.uid, "resourceVersion": before.resource_version}
        meta |= {"ownerReferences": before.owner_references, "finalizers": before.finalizers}
    return {"apiVersion": ENDPOINTS.api_version, "kind": ENDPOINTS.name, "metadata": meta, "subsets": subsets}
