"""All roles and bindings of the cluster, by subject and namespace, kept in step with the cache.

A decision looks only at the bindings of the caller's own names, and looks each up in its role's table. A subject with
many bindings in one place gets one table made of all of them, when it is first asked for after a change.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from prometheus_client import Counter

from orch.objects.rbac import Binding, PolicyRule, RoleRules, Subject
from orch_api.auth.attributes import NO_OPINION, Attributes, Permitted, Verdict
from orch_api.auth.identity import SERVICE_ACCOUNT_PREFIX, Caller
from orch_api.auth.rbac.rules import Key, Table, compiled, keys_of
from orch_api.storage.cache import CacheEvent, ObjectCache

log = logging.getLogger(__name__)

GROUP: Final = "rbac.authorization.k8s.io"
UNREADABLE: Final = Counter("orch_rbac_unreadable", "Roles and bindings that could not be read and permit nothing")

_MANY: Final = 2
"""Bindings of one subject in one place past which they share a table."""

_rules_of = msgspec.json.Decoder(RoleRules).decode
_binding_of = msgspec.json.Decoder(Binding).decode

Place = tuple[str, str]
"""A namespace, "" for the whole cluster, and a name in it."""


class _Role:
    """A role that exists, or that a binding names: then it permits nothing until it comes."""

    __slots__ = ("_table", "exists", "holders", "place", "rules")

    def __init__(self, place: Place) -> None:
        self.place = place
        self.exists = False
        self.rules: tuple[PolicyRule, ...] = ()
        self._table: Table | None = None
        self.holders: dict[_Grants, int] = {}
        """Whose tables its rules are part of, and through how many bindings."""

    def become(self, rules: tuple[PolicyRule, ...] | None) -> None:
        """Have other rules; None when there is no such role any more."""
        self.exists = rules is not None
        self.rules = rules or ()
        self._table = None

    @property
    def table(self) -> Table:
        """Its rules as they are looked up, made when somebody first asks: few of the default roles ever are."""
        table = self._table
        if table is None:
            table = self._table = compiled(self.rules)
        return table

    @property
    def missing(self) -> str:
        """What is said when it does not exist."""
        namespace, name = self.place
        return f'{"role" if namespace else "clusterrole"}.{GROUP} "{name}" not found'


class _Grant(msgspec.Struct, frozen=True, gc=False):
    """One binding's gift to one subject. `origin` is what Kubernetes gives as the reason."""

    role: _Role
    origin: str


class _Grants:
    """What one subject was given in one place, by binding."""

    __slots__ = ("_merged", "_problems", "by_binding")

    def __init__(self) -> None:
        self.by_binding: dict[Place, _Grant] = {}
        self._merged: Table | None = None
        self._problems: tuple[str, ...] | None = None

    def touch(self) -> None:
        """Forget what was made of the bindings and of their roles."""
        self._merged = None
        self._problems = None

    def find(self, keys: Sequence[Key], wanted: Attributes) -> str | None:
        """Return by what the subject is permitted, None when it is not; `keys` are those of what is wanted."""
        if len(self.by_binding) > _MANY:
            merged = self._merged
            if merged is None:
                merged = self._merged = self._merge()
            return _look(merged, keys, wanted)
        for grant in self.by_binding.values():
            if _look(grant.role.table, keys, wanted) is not None:
                return grant.origin
        return None

    def _merge(self) -> Table:
        table = Table()
        for grant in self.by_binding.values():
            table.add(grant.role.rules, grant.origin)
        return table

    @property
    def problems(self) -> tuple[str, ...]:
        """Which of the roles do not exist."""
        if self._problems is None:
            roles = (grant.role for grant in self.by_binding.values())
            self._problems = tuple(dict.fromkeys(role.missing for role in roles if not role.exists))
        return self._problems


class _Scope:
    """The bindings of one namespace, or those of the whole cluster."""

    __slots__ = ("groups", "users")

    def __init__(self) -> None:
        self.users: dict[str, _Grants] = {}
        self.groups: dict[str, _Grants] = {}


class _Held(msgspec.Struct, frozen=True, gc=False):
    """Where a binding stands in the index, so that it can be taken out again."""

    role: _Role
    subjects: tuple[tuple[dict[str, _Grants], str], ...]


class RbacIndex:
    """Decides by roles and bindings. `generation` grows with every change of either."""

    def __init__(self, cache: ObjectCache) -> None:
        self.generation = 0
        self._changed: list[Callable[[], None]] = []
        self._roles: dict[Place, _Role] = {}
        self._absent: set[Place] = set()
        """The roles that do not exist, though bindings name them."""
        self._bindings: dict[tuple[bool, Place], _Held] = {}
        self._cluster = _Scope()
        self._spaces: dict[str, _Scope] = {}
        for resource in ("roles", "clusterroles"):
            cache.observe(GROUP, resource, self._role_changed)
        for resource in ("rolebindings", "clusterrolebindings"):
            cache.observe(GROUP, resource, self._binding_changed)

    def on_change(self, told: Callable[[], None]) -> None:
        """Have `told` called after every change."""
        self._changed.append(told)

    # Deciding ---------------------------------------------------------------------------------------------------

    def decide(self, caller: Caller, wanted: Attributes) -> Verdict:
        """Return whether the roles that the caller was given permit what is wanted."""
        keys = keys_of(wanted.group, wanted.resource, wanted.subresource)
        for grants in self._grants(caller, wanted.namespace):
            origin = grants.find(keys, wanted)
            if origin is not None:
                return Verdict("allow", f"RBAC: allowed by {origin}")
        problems = self._problems(caller, wanted.namespace) if self._absent else ""
        return Verdict("none", f"RBAC: {problems}") if problems else NO_OPINION

    def permitted(self, caller: Caller, namespace: str) -> Permitted:
        """Return the rules that count for the caller in a namespace, "" for those of the whole cluster."""
        rules = dict.fromkeys(
            rule
            for grants in self._grants(caller, namespace)
            for grant in grants.by_binding.values()
            for rule in grant.role.rules
        )
        return Permitted(tuple(rules), self._problems(caller, namespace))

    def rules_of(self, namespace: str, name: str) -> tuple[PolicyRule, ...] | None:
        """Return the rules of a Role, or without a namespace of a ClusterRole; None when there is none."""
        role = self._roles.get((namespace, name))
        return role.rules if role is not None and role.exists else None

    def _grants(self, caller: Caller, namespace: str) -> list[_Grants]:
        """Return what the caller's own names were given, for the whole cluster first."""
        found: list[_Grants | None] = []
        for scope in (self._cluster, self._spaces.get(namespace) if namespace else None):
            if scope is not None:
                found.append(scope.users.get(caller.user))
                found += [scope.groups.get(group) for group in caller.groups]
        return [one for one in found if one is not None]

    def _problems(self, caller: Caller, namespace: str) -> str:
        found: dict[str, None] = {}
        for grants in self._grants(caller, namespace):
            if grants.problems:
                found.update(dict.fromkeys(grants.problems))
        if len(found) > 1:
            return f"[{', '.join(found)}]"
        return next(iter(found), "")

    # Following --------------------------------------------------------------------------------------------------

    def _role_changed(self, event: CacheEvent) -> None:
        key = event.item.key
        place = (key.namespace, key.name)
        role = self._role(place)
        if event.item.deleted:
            role.become(None)
            self._absent.add(place)
        else:
            role.become(_rules(event))
            self._absent.discard(place)
        for grants in role.holders:
            grants.touch()
        self._let_go(role)
        self._tell()

    def _binding_changed(self, event: CacheEvent) -> None:
        key = event.item.key
        place = (key.namespace, key.name)
        self._remove(place)
        if not event.item.deleted:
            try:
                self._add(place, _binding_of(event.item.json))
            except msgspec.MsgspecError as error:
                _unreadable(event, error)
        self._tell()

    def _add(self, place: Place, binding: Binding) -> None:
        namespace, name = place
        reference = binding.role_ref
        role = self._role((namespace if reference.kind == "Role" else "", reference.name))
        scope = self._cluster if not namespace else self._spaces.setdefault(namespace, _Scope())
        kind, written = ("RoleBinding", f"{name}/{namespace}") if namespace else ("ClusterRoleBinding", name)
        given = f'{kind} "{written}" of {reference.kind} "{reference.name}" to'
        taken: list[tuple[dict[str, _Grants], str]] = []
        for subject in binding.subjects or ():
            where, who = _who(scope, subject, namespace)
            if not who:
                continue
            grants = where.get(who)
            if grants is None:
                grants = where[who] = _Grants()
            if place in grants.by_binding:
                continue
            grants.by_binding[place] = _Grant(role, f"{given} {_described(subject, namespace)}")
            grants.touch()
            role.holders[grants] = role.holders.get(grants, 0) + 1
            taken.append((where, who))
        self._bindings[bool(namespace), place] = _Held(role, tuple(taken))

    def _remove(self, place: Place) -> None:
        namespace, _ = place
        held = self._bindings.pop((bool(namespace), place), None)
        if held is None:
            return
        for where, who in held.subjects:
            grants = where[who]
            del grants.by_binding[place]
            grants.touch()
            held.role.holders[grants] -= 1
            if not held.role.holders[grants]:
                del held.role.holders[grants]
            if not grants.by_binding:
                del where[who]
        scope = self._spaces.get(namespace)
        if scope is not None and not (scope.users or scope.groups):
            del self._spaces[namespace]
        self._let_go(held.role)

    def _role(self, place: Place) -> _Role:
        role = self._roles.get(place)
        if role is None:
            role = self._roles[place] = _Role(place)
            self._absent.add(place)
        return role

    def _let_go(self, role: _Role) -> None:
        """Forget a role that neither exists nor is named."""
        if not role.exists and not role.holders:
            self._roles.pop(role.place, None)
            self._absent.discard(role.place)

    def _tell(self) -> None:
        self.generation += 1
        for told in self._changed:
            told()


def _look(table: Table, keys: Sequence[Key], wanted: Attributes) -> str | None:
    """Return the origin of a permission."""
    if wanted.path is not None:
        return table.find_path(wanted.verb, wanted.path)
    return table.find(keys, wanted.verb, wanted.name)


def _who(scope: _Scope, subject: Subject, namespace: str) -> tuple[dict[str, _Grants], str]:
    """Return where a subject stands, and its name there; "" for one that nobody can be."""
    match subject.kind:
        case "User":
            return scope.users, subject.name
        case "Group":
            return scope.groups, subject.name
        case "ServiceAccount":
            space = subject.namespace or namespace
            return scope.users, f"{SERVICE_ACCOUNT_PREFIX}{space}:{subject.name}" if space else ""
        case _:
            return scope.users, ""


def _described(subject: Subject, namespace: str) -> str:
    if subject.kind == "ServiceAccount":
        return f'{subject.kind} "{subject.name}/{subject.namespace or namespace}"'
    return f'{subject.kind} "{subject.name}"'


def _unreadable(event: CacheEvent, error: Exception) -> None:
    UNREADABLE.inc()
    log.error("%s permits nothing, as it cannot be read: %s", event.item.key, error)


def _rules(event: CacheEvent) -> tuple[PolicyRule, ...]:
    try:
        return _rules_of(event.item.json).rules or ()
    except msgspec.MsgspecError as error:
        _unreadable(event, error)
        return ()
