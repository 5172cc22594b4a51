"""Tells in the status of validating policies what of them does not fit their kinds; one elected process does it.

Follows k8s.io/kubernetes/pkg/controller/validatingadmissionpolicystatus.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

import msgspec
from prometheus_client import Counter

from orch.clock import Clock
from orch.errors import ConflictError, ExpiredError, NotFoundError, OrchError
from orch.objects.admissionregistration import Policy
from orch.runtime.leader import LeaderElector
from orch.store.protocol import Compare, Store
from orch_api.admission.policies.checking import PolicyChecker
from orch_api.auth.identity import APISERVER
from orch_api.pipeline import Pipeline, WriteOptions
from orch_api.registry import Registry
from orch_api.schema import Schemas
from orch_api.storage.cache import Cached, ObjectCache
from orch_api.storage.objects import to_document, to_json
from orch_api.strategy import Document, section

log = logging.getLogger(__name__)

FAILURES: Final = Counter("orch_policy_status_failures", "Statuses of policies that could not be written")

_GROUP: Final = "admissionregistration.k8s.io"
_PLURAL: Final = "validatingadmissionpolicies"
_FIRST_BACKOFF: Final = 0.1
_MAX_BACKOFF: Final = 5.0


class PolicyStatus:
    """Writes the status of policies."""

    def __init__(
        self,
        store: Store,
        cache: ObjectCache,
        registry: Registry,
        schemas: Schemas,
        pipeline: Pipeline,
        identity: str,
        clock: Clock,
    ) -> None:
        self._cache = cache
        self._registry = registry
        self._pipeline = pipeline
        self._clock = clock
        self._checker = PolicyChecker(registry, schemas)
        self._elector = LeaderElector(store, "policies", identity, clock=clock)

    async def run(self) -> None:
        """Campaign for ever, and look after the policies while elected."""
        await self._elector.run(self._lead)

    async def _lead(self) -> None:
        await self._cache.wait_ready(timeout=300)
        backoff = _FIRST_BACKOFF
        while True:
            subscription = self._cache.subscribe(_GROUP, _PLURAL, since=None)
            try:
                await self._all()
                backoff = _FIRST_BACKOFF
                async for _ in subscription:
                    await self._all()
            except ExpiredError:
                await self._clock.sleep(_FIRST_BACKOFF)
            except OrchError as error:
                FAILURES.inc()
                log.warning("the status of policies cannot be written, next try in %.1f s: %s", backoff, error)
                await self._clock.sleep(backoff)
                backoff = min(backoff * 2, _MAX_BACKOFF)
            finally:
                subscription.close()

    async def _all(self) -> None:
        for item in self._cache.select(_GROUP, _PLURAL):
            try:
                await self._one(item)
            except (ConflictError, NotFoundError):
                continue  # its change comes here again

    async def _one(self, item: Cached) -> None:
        document = to_document(item.json)
        generation = document["metadata"].get("generation")
        if section(document, "status").get("observedGeneration") == generation:
            return
        try:
            policy = msgspec.json.decode(item.json, type=Policy)
        except msgspec.MsgspecError as error:
            log.error("the policy %s cannot be read: %s", item.key.name, error)
            return
        warnings = await asyncio.to_thread(self._checker.warnings, policy)  # many kinds take a tenth of a second
        checked: Document = {"expressionWarnings": warnings} if warnings else {}
        document["status"] = {
            **section(document, "status"),
            "observedGeneration": generation,
            "typeChecking": checked,
        }
        resource = self._registry.stored(_GROUP, _PLURAL)
        if resource is None:
            return
        fence = self._elector.fence()
        compare = None if fence is None else Compare(fence.key.encode(), fence.create_revision)
        options = WriteOptions(field_manager="kube-controller-manager", fence=compare)
        await self._pipeline.update(
            APISERVER, resource, "", item.key.name, to_json(document), options, subresource="status"
        )
