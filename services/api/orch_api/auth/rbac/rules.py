"""Rules of roles, compiled: a request is looked up instead of compared with each rule.

Follows k8s.io/kubernetes' pkg/apis/rbac/v1 evaluation helpers: "*" stands for every verb, group and resource (with its
subresources), "*/scale" for that subresource of every resource, a path ending in "*" for all that begin with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from orch.objects.rbac import PolicyRule

ALL: Final = "*"
_KNOWN_KEYS: Final = 4096

Key = tuple[str, str]
"""An API group and a resource as a rule names them."""


@lru_cache(_KNOWN_KEYS)
def keys_of(group: str, resource: str, subresource: str) -> tuple[Key, ...]:
    """Return under which keys rules stand that are for a resource."""
    named = (f"{resource}/{subresource}", f"{ALL}/{subresource}", ALL) if subresource else (resource, ALL)
    return tuple((one, name) for one in (group, ALL) for name in named)


class _Cell:
    """Who permits one verb on one resource: on all objects, or on those of some names."""

    __slots__ = ("named", "whole")

    def __init__(self) -> None:
        self.whole: str | None = None
        self.named: dict[str, str] = {}


class Table:
    """The rules of one role, or of many; each permission carries its origin, of which the first that came counts.

    A role's own table needs no origins: there they are "".
    """

    __slots__ = ("_paths", "_prefixes", "_resources")

    def __init__(self) -> None:
        self._resources: dict[Key, dict[str, _Cell]] = {}
        self._paths: dict[tuple[str, str], str] = {}
        self._prefixes: dict[tuple[str, str], str] = {}

    def add(self, rules: Iterable[PolicyRule], origin: str) -> None:
        """Take rules in."""
        for rule in rules:
            for group in rule.api_groups:
                for resource in rule.resources:
                    self._add(self._resources.setdefault((group, resource), {}), rule, origin)
            for url in rule.non_resource_urls:
                for verb in rule.verbs:
                    if url.endswith(ALL):
                        self._prefixes.setdefault((verb, url.rstrip(ALL)), origin)
                    else:
                        self._paths.setdefault((verb, url), origin)

    def _add(self, cells: dict[str, _Cell], rule: PolicyRule, origin: str) -> None:
        for verb in rule.verbs:
            cell = cells.get(verb)
            if cell is None:
                cell = cells[verb] = _Cell()
            if not rule.resource_names:
                cell.whole = origin if cell.whole is None else cell.whole
            for name in rule.resource_names:
                cell.named.setdefault(name, origin)

    def find(self, keys: Iterable[Key], verb: str, name: str) -> str | None:
        """Return the origin of the permission, None when there is none; `keys` are those of `keys_of`."""
        resources = self._resources
        for key in keys:
            cells = resources.get(key)
            if cells is None:
                continue
            for one in (verb, ALL):
                cell = cells.get(one)
                if cell is not None:
                    found = cell.whole
                    if found is None and cell.named:
                        found = cell.named.get(name)
                    if found is not None:
                        return found
        return None

    def find_path(self, verb: str, path: str) -> str | None:
        """Return the origin of the permission for a path that is no resource's."""
        for one in (verb, ALL):
            found = self._paths.get((one, path))
            if found is not None:
                return found
        for (one, prefix), origin in self._prefixes.items():
            if one in (verb, ALL) and path.startswith(prefix):
                return origin
        return None


def compiled(rules: Iterable[PolicyRule]) -> Table:
    """Return the rules of one role."""
    table = Table()
    table.add(rules, "")
    return table
