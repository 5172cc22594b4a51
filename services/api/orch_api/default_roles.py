"""Makes the default roles and bindings, and at the api's start mends what was taken from them.

Follows k8s.io/kubernetes' pkg/registry/rbac/rest and rbac/reconciliation: rules, labels and subjects that are missing
are added, nothing is taken away, and an object annotated with autoupdate "false" is left alone. Unlike there, one that
is deleted comes back within a minute: orch's own services have their rights from these roles.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from orch.errors import AlreadyExistsError, ConflictError, NotFoundError
from orch.objects.rbac import PolicyRule
from orch.store.keys import ObjectKey
from orch_api.auth.identity import APISERVER
from orch_api.auth.rbac import system_roles, user_roles
from orch_api.auth.rbac.coverage import missing
from orch_api.auth.rbac.definitions import (
    AUTOUPDATE,
    GROUP,
    Binding,
    Role,
    aggregated,
    binding_document,
    role_document,
)
from orch_api.pipeline import Pipeline, WriteOptions
from orch_api.registry import Registry
from orch_api.storage.cache import Cached, ObjectCache
from orch_api.storage.objects import to_document, to_json

log = logging.getLogger(__name__)

ROLES: Final[tuple[Role, ...]] = (*user_roles.ROLES, *system_roles.ROLES)
BINDINGS: Final[tuple[Binding, ...]] = (*user_roles.BINDINGS, *system_roles.BINDINGS)

Document = dict[str, Any]


class _Default(msgspec.Struct, frozen=True):
    """An object as it should at least be."""

    plural: str
    namespace: str
    name: str
    document: Document

    @property
    def key(self) -> ObjectKey:
        return ObjectKey(GROUP, self.plural, self.namespace, self.name)


def _defaults() -> Iterator[_Default]:
    for role in ROLES:
        rules = aggregated(role, ROLES) if role.aggregates else role.rules
        plural = "roles" if role.namespace else "clusterroles"
        yield _Default(plural, role.namespace, role.name, role_document(role, rules))
    for binding in BINDINGS:
        plural = "rolebindings" if binding.namespace else "clusterrolebindings"
        yield _Default(plural, binding.namespace, binding.name, binding_document(binding))


DEFAULTS: Final = tuple(_defaults())


class DefaultRoles:
    """Looks after the default roles and bindings."""

    def __init__(self, pipeline: Pipeline, cache: ObjectCache, registry: Registry) -> None:
        self._pipeline = pipeline
        self._cache = cache
        self._registry = registry

    async def create(self) -> None:
        """Create what is missing. Raises ApiError or UnavailableError; it may be called again."""
        await asyncio.gather(*(self._create(one) for one in DEFAULTS if self._cache.get(one.key) is None))

    async def begin(self) -> None:
        """Create what is missing, and give back what is missing of those that exist. Raises as `create`."""
        there = [(one, item) for one in DEFAULTS if (item := self._cache.get(one.key)) is not None]
        await self.create()
        for default, item in there:
            await self._mend(default, item)

    async def _create(self, default: _Default) -> None:
        resource = self._registry.stored(GROUP, default.plural)
        if resource is not None:
            with contextlib.suppress(AlreadyExistsError):  # another process was faster
                body = to_json(default.document)
                await self._pipeline.create(APISERVER, resource, default.namespace, body, WriteOptions())

    async def _mend(self, default: _Default, item: Cached) -> None:
        current = to_document(item.json)
        changed = mended(current, default.document)
        resource = self._registry.stored(GROUP, default.plural)
        if changed is None or resource is None:
            return
        where = (APISERVER, resource, default.namespace)
        try:
            if changed.get("roleRef") != current.get("roleRef"):  # which no update can change
                await self._pipeline.delete(*where, default.name, b"", WriteOptions())
                await self._create(default)
            else:
                await self._pipeline.update(*where, default.name, to_json(changed), WriteOptions())
        except (ConflictError, NotFoundError) as error:
            log.info("%s changed while it was mended, another start mends it: %s", default.key, error)
        else:
            log.info("%s was given back what it lacked", default.key)


def mended(current: Document, default: Document) -> Document | None:
    """Return an object with all that it should have, None when it lacks nothing or is to be left alone."""
    annotations: Mapping[str, str] = current["metadata"].get("annotations") or {}
    if annotations.get(AUTOUPDATE) == "false":
        return None
    wanted = {**current, "metadata": dict(current["metadata"])}
    for field in ("labels", "annotations"):
        wanted["metadata"][field] = {**default["metadata"][field], **(current["metadata"].get(field) or {})}
    if "roleRef" in default:
        wanted["roleRef"] = default["roleRef"]
        wanted["subjects"] = _with(current.get("subjects"), default["subjects"])
    elif "aggregationRule" in default:
        selectors = "clusterRoleSelectors"
        aggregation: Document = current.get("aggregationRule") or {}
        known: list[Any] | None = aggregation.get(selectors)
        wanted["aggregationRule"] = {selectors: _with(known, default["aggregationRule"][selectors])}
    else:
        wanted["rules"] = _with_rules(current.get("rules") or [], default["rules"])
    same = all(wanted.get(field) == current.get(field) or _empty(wanted, current, field) for field in wanted)
    return None if same else wanted


def _empty(wanted: Document, current: Document, field: str) -> bool:
    return not wanted.get(field) and not current.get(field)


def _with(known: list[Any] | None, needed: list[Any]) -> list[Any]:
    found = list(known or ())
    return [*found, *(one for one in needed if one not in found)]


def _with_rules(known: list[Any], needed: list[Any]) -> list[Any]:
    if known == needed:
        return known
    lacking = missing(_rules_of(known), _rules_of(needed))
    return [*known, *(msgspec.to_builtins(rule) for rule in lacking)]


def _rules_of(documents: list[Any]) -> tuple[PolicyRule, ...]:
    return msgspec.convert(documents, tuple[PolicyRule, ...])
