"""ResourceQuota: what all objects of a namespace use together stays within the namespace's quotas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec

from orch.clock import Clock
from orch.objects.quota import ResourceQuota as QuotaView
from orch.objects.quota import ScopeRequirement
from orch.quantity import Quantity
from orch.quotas.amounts import Amounts, add
from orch_api.admission.chain import CREATE, UPDATE, Plugin, Request, Rule
from orch_api.admission.configuration import Given
from orch_api.admission.quota_ledger import Ledger, Wish
from orch_api.admission.quota_objects import all_scopes, is_about, scopes_that_match, unsaid, usage
from orch_api.admission.refusals import refused
from orch_api.registry import Registry
from orch_api.storage.cache import Cached, ObjectCache
from orch_api.storage.commit import Committer
from orch_api.storage.objects import to_document
from orch_api.strategy import Document

_REMEMBERED: Final = 1024
_CHANGEABLE: Final = ("pods", "pods/resize", "services", "persistentvolumeclaims")

_decode = msgspec.json.Decoder(QuotaView).decode


class LimitedScope(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Objects that nobody may have without a quota that is about them."""

    scope_name: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: tuple[str, ...] = ()


class LimitedResource(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A kind, and what of it is limited to nothing where no quota says otherwise."""

    api_group: str = ""
    resource: Annotated[str, msgspec.Meta(min_length=1)]
    match_contains: tuple[str, ...] = ()
    match_scopes: tuple[LimitedScope, ...] = ()

    @property
    def qualified(self) -> str:
        """The kind as "plural.group"."""
        return f"{self.resource}.{self.api_group}" if self.api_group else self.resource


class QuotaConfiguration(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The configuration: Kubernetes' ResourceQuotaConfiguration."""

    api_version: Literal["apiserver.config.k8s.io/v1"]
    kind: Literal["ResourceQuotaConfiguration"]
    limited_resources: tuple[LimitedResource, ...] = ()


class ResourceQuota(Plugin):
    """Charges the quotas of the namespace, and refuses what is beyond them."""

    name: ClassVar = "ResourceQuota"
    validates: ClassVar = (Rule((CREATE,), ("*",)), Rule((UPDATE,), _CHANGEABLE))

    def __init__(
        self, cache: ObjectCache, committer: Committer, registry: Registry, clock: Clock, given: Given
    ) -> None:
        self._cache = cache
        self._clock = clock
        quotas = registry.stored("", "resourcequotas")
        if quotas is None:
            raise LookupError("the registry has no resourcequotas")
        self._ledger = Ledger(committer, quotas, clock)
        self._limited: dict[str, list[LimitedResource]] = {}
        for one in given.read(QuotaConfiguration).limited_resources if given.present else ():
            self._limited.setdefault(one.qualified, []).append(one)
        self._known: dict[tuple[str, str], tuple[Cached, QuotaView]] = {}

    async def validate(self, request: Request) -> None:
        """Charge what the write uses more than before. Raises ForbiddenError."""
        if not request.namespace or request.document is None or not request.resource.stored:
            return
        items = self._cache.select("", "resourcequotas", request.namespace)
        limited = self._limited.get(request.resource.storage.qualified) if self._limited else None
        if items or limited:
            await self._charge(request, items, limited or ())

    async def _charge(self, request: Request, items: Sequence[Cached], limited: Sequence[LimitedResource]) -> None:
        document, kind = request.document or {}, request.resource.storage.qualified
        if request.old is not None and document.get("spec") == request.old.get("spec"):
            return
        more = self._used_more(request, kind)
        matched: list[ScopeRequirement] = []
        wanted: dict[str, Amounts] = {}
        for item in items:
            quota = self._view(item)
            scopes = all_scopes(quota.spec)
            met = scopes_that_match(kind, document, scopes) if scopes else ()
            matched += met
            names = [name for name in quota.spec.hard if is_about(kind, name)]
            if not names or len(met) != len(scopes):
                continue
            if kind == "pods" and (missing := unsaid(document, names)):
                raise refused(request, f"failed quota: {item.key.name}: must specify {missing}")
            wanted[item.key.name] = {name: more[name] for name in names if name in more}
        if not more:
            return
        _check_coverage(request, kind, limited, more, wanted, matched)
        charged = {name: amounts for name, amounts in wanted.items() if amounts}
        if charged:
            await self._settle(request, kind, charged)

    async def _settle(self, request: Request, kind: str, charged: dict[str, Amounts]) -> None:
        metadata: Document = (request.document or {})["metadata"]
        resource = request.resource
        if request.old is None and self._cache.get(resource.key(request.namespace, request.name)) is not None:
            return  # it is there already, which the store will say

        async def count(quota: Document, names: frozenset[str]) -> Amounts:
            return await self._count(request.namespace, kind, quota, names)

        after = int((request.old or {}).get("metadata", {}).get("resourceVersion") or 0)
        wish = Wish(kind, metadata, after, charged, count, dry_run=request.dry_run)
        if problem := await self._ledger.charge(request.namespace, wish):
            raise refused(request, problem)

    def _used_more(self, request: Request, kind: str) -> Amounts:
        """Return what the object uses more than before; what it uses less is given back later."""
        now = self._clock.now()
        new = usage(kind, request.document or {}, now)
        if request.old is None:
            return {name: amount for name, amount in new.items() if amount.nanos > 0}
        old = usage(kind, request.old, now)
        more: Amounts = {}
        for name, amount in new.items():
            before = old.get(name)
            nanos = amount.nanos - (before.nanos if before is not None else 0)
            if nanos > 0:
                more[name] = Quantity(nanos, amount.notation)
        return more

    async def _count(self, namespace: str, kind: str, quota: Document, names: frozenset[str]) -> Amounts:
        """Count what a quota's controller has not counted yet: a quota that is a moment old."""
        await self._cache.catch_up()
        scopes = all_scopes(msgspec.convert(quota, QuotaView).spec)
        plural, _, group = kind.partition(".")
        now = self._clock.now()
        total: Amounts = {}
        for item in self._cache.select(group, plural, namespace):
            document = to_document(item.json)
            if len(scopes_that_match(kind, document, scopes)) == len(scopes):
                used = usage(kind, document, now)
                add(total, {name: amount for name, amount in used.items() if name in names})
        return total

    def _view(self, item: Cached) -> QuotaView:
        key = (item.key.namespace, item.key.name)
        known = self._known.get(key)
        if known is None or known[0] is not item:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[key] = (item, _decode(item.json))
        return known[1]


def _check_coverage(
    request: Request,
    kind: str,
    limited: Sequence[LimitedResource],
    more: Amounts,
    wanted: dict[str, Amounts],
    matched: Sequence[ScopeRequirement],
) -> None:
    """Refuse what the configuration limits and no quota of the namespace is about. Raises ForbiddenError."""
    covered = {name for amounts in wanted.values() for name in amounts}
    named = {name for name in more for one in limited if any(part in name for part in one.match_contains)}
    if lacking := sorted(named - covered):
        raise refused(request, f"insufficient quota to consume: {','.join(lacking)}")
    asked = [_requirement(scope) for one in limited for scope in one.match_scopes]
    scopes = {scope.scope_name for scope in matched}
    bare = [one for one in scopes_that_match(kind, _document(request), asked) if one.scope_name not in scopes]
    if bare:
        shown = " ".join(f"{{{one.scope_name} {one.operator} [{' '.join(one.values)}]}}" for one in bare)
        raise refused(request, f"insufficient quota to match these scopes: [{shown}]")


def _document(request: Request) -> dict[str, Any]:
    return request.document or {}


def _requirement(scope: LimitedScope) -> ScopeRequirement:
    return ScopeRequirement(scope_name=scope.scope_name, operator=scope.operator, values=scope.values)
