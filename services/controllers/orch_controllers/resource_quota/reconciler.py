"""Writes into each quota's status what it allows and what is used of it.

Requests that would use more are refused when they are made, by admission; here is counted what is there. What admission
has charged for objects that are not seen here yet counts as well (orch.quotas.pending).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, Final

from orch import quantity
from orch.errors import NotFoundError
from orch.objects.pods import Pod
from orch.objects.quota import ResourceQuota
from orch.objects.scheme import EVENTS, PERSISTENT_VOLUME_CLAIMS, PODS, RESOURCE_QUOTAS, SERVICES, Kind
from orch.quotas import pending
from orch.quotas.amounts import COUNT, ONE, ZERO, Amounts, add, of_claim, of_pod, of_service
from orch.quotas.scopes import claim_matches, pod_matches, requirements
from orch.runtime.informer import Change
from orch.runtime.reconcile import DONE, Key, Result
from orch_controllers.context import Context
from orch_controllers.pacing import Pacing
from orch_controllers.pod_state import is_finished

_LEGACY: Final = frozenset({"configmaps", "secrets", "replicationcontrollers", "resourcequotas"})
"""Kinds that are counted by their bare name, too, beside those that have rules of their own."""
_PAUSE: Final = 0.5
_REMEMBERED: Final = 10_000
_NOTES: Final = 100
"""Charges of admission beyond which those that are settled are taken away although others are not."""


class ResourceQuotaReconciler:
    """Reconciles quotas."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._informers = context.informers
        self._kinds = context.kinds
        self._quotas = context.informers.of(RESOURCE_QUOTAS)
        self._pods = context.informers.of(PODS)
        self._services = context.informers.of(SERVICES)
        self._claims = context.informers.of(PERSISTENT_VOLUME_CLAIMS)
        self._pacing = Pacing(self._quotas, context.clock)
        self._gone: OrderedDict[str, None] = OrderedDict()
        """The objects that were deleted of late, by uid: what they were charged with is not awaited any more."""

    def keys_of_object(self, change: Change[Any]) -> Iterable[Key]:
        """Return the quotas of the namespace when an object comes or goes, or uses something else than before."""
        quotas = self._quotas.items(change.item.namespace or "-")
        old, new = change.old, change.new
        if quotas and old is not None and new is None:
            self._gone[old.uid] = None
            if len(self._gone) > _REMEMBERED:
                self._gone.popitem(last=False)
        if quotas and old is not None and new is not None and not _uses_other(old.object, new.object):
            return ()
        return [Key(item.namespace, item.name) for item in quotas]

    async def reconcile(self, key: Key) -> Result:
        """Count what one quota limits."""
        item = self._quotas.get(key.namespace, key.name)
        if item is None:
            self._pacing.forget(key)
            return DONE
        if (wait := self._pacing.wait(key)) > 0:
            return Result(wait)
        quota = item.object
        used = self._used(quota)
        noted = pending.read(quota.metadata.annotations)
        awaited = [charge for charge in noted if self._is_awaited(key.namespace, charge)]
        for charge in awaited:
            add(used, charge.amounts)
        again = self._again(awaited)
        told = {name: str(used.get(name, ZERO)) for name in quota.spec.hard}
        status = quota.status
        counted = _same(status.hard, quota.spec.hard) and _same(status.used, told)
        if counted and (not noted or (awaited and len(noted) < _NOTES)):
            return again
        gone = {name: None for name in (status.hard | status.used) if name not in quota.spec.hard}
        metadata: dict[str, Any] = {"uid": item.uid, "resourceVersion": str(item.revision)}
        if noted:
            metadata["annotations"] = {pending.ANNOTATION: pending.write(awaited)}
        patch = {"metadata": metadata, "status": {"hard": {**gone, **quota.spec.hard}, "used": {**gone, **told}}}
        try:
            written = await self._client.patch(RESOURCE_QUOTAS, key.namespace, key.name, patch, subresource="status")
        except NotFoundError:
            return DONE
        self._pacing.wrote(key, written.metadata.resource_version, _PAUSE)
        return again

    def _is_awaited(self, namespace: str, charge: pending.Charge) -> bool:
        """Return whether what an object was charged with is not counted yet, and may still have to be."""
        kind = self._counted(f"{COUNT}{charge.resource}")
        if kind is None or charge.uid in self._gone or not pending.is_awaited(charge, self._clock.now()):
            return False
        item = self._informers.of(kind).get(namespace, charge.name)
        if item is None:
            return True
        return item.uid == charge.uid and item.revision <= charge.after

    def _again(self, awaited: Sequence[pending.Charge]) -> Result:
        """Return when the first of some charges is not awaited any more."""
        if not awaited:
            return DONE
        oldest = min(charge.at for charge in awaited)
        return Result(max(oldest + pending.PATIENCE - self._clock.now().timestamp(), _PAUSE))

    def _used(self, quota: ResourceQuota) -> Amounts:
        """Return what is used of all that the quota limits, and maybe more."""
        namespace, wanted = quota.metadata.namespace, requirements(quota.spec)
        total: Amounts = {}
        now = self._clock.now()
        for item in self._pods.items(namespace):
            if pod_matches(item.object, wanted):
                add(total, {**of_pod(item.object, now), f"{COUNT}pods": ONE})
        for item in self._claims.items(namespace):
            if claim_matches(item.object, wanted):
                add(total, {**of_claim(item.object), f"{COUNT}persistentvolumeclaims": ONE})
        if wanted:
            return total
        for item in self._services.items(namespace):
            given = b'"allocateLoadBalancerNodePorts":false' not in item.json
            add(total, {**of_service(item.object, has_node_ports=given), f"{COUNT}services": ONE})
        for name in quota.spec.hard.keys() - total.keys():
            if (kind := self._counted(name)) is not None:
                count = len(self._informers.of(kind).items(namespace))
                total[name] = quantity.Quantity(count * 10**9, "DecimalSI")
        return total

    def _counted(self, name: str) -> Kind[Any] | None:
        """Return the kind whose objects a limit counts, None for a limit of another sort."""
        plain = name.removeprefix(COUNT)
        if plain == name and name not in _LEGACY:
            return None
        return next((kind for kind in self._kinds.known if kind.qualified == plain and kind != EVENTS), None)


def _uses_other(old: Any, new: Any) -> bool:
    """Return whether a changed object may use something else."""
    if isinstance(old, Pod) and isinstance(new, Pod):
        return old is new or _weight(old) != _weight(new)
    return bool(
        old.metadata.generation != new.metadata.generation or getattr(old, "spec", 0) != getattr(new, "spec", 0)
    )


def _weight(pod: Pod) -> tuple[object, ...]:
    spec = pod.spec
    resources = tuple(each.resources for each in (*spec.containers, *spec.init_containers))
    ended = is_finished(pod), bool(pod.metadata.deletion_timestamp)
    return *ended, resources, spec.resources, spec.active_deadline_seconds


def _same(one: dict[str, str], other: dict[str, str]) -> bool:
    """Return whether two maps hold the same amounts, however they are written."""
    if one.keys() != other.keys():
        return False
    return all(quantity.parse(one[name]).nanos == quantity.parse(other[name]).nanos for name in one)
