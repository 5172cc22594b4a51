"""Which webhooks and policies a request is for: rules, equivalent resources, selectors.

Follows k8s.io/apiserver/pkg/admission/plugin/webhook/predicates and plugin/policy/matching. What a rule says of an
operation on a resource never changes, so it is looked up in a table; only names and selectors are compared each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec

from orch.objects.admissionregistration import MatchResources, Rule
from orch.objects.meta import LabelSelector
from orch.selectors import Selector, from_label_selector
from orch.store.keys import ObjectKey
from orch_api.admission.chain import Request
from orch_api.registry import Registry, Resource
from orch_api.storage.cache import CacheEvent, ObjectCache
from orch_api.strategy import section

GROUP: Final = "admissionregistration.k8s.io"
_EXEMPT: Final = frozenset(
    {
        *("validatingwebhookconfigurations", "mutatingwebhookconfigurations"),
        *("validatingadmissionpolicies", "validatingadmissionpolicybindings"),
        *("mutatingadmissionpolicies", "mutatingadmissionpolicybindings"),
    }
)
"""What no webhook or policy is asked about: a wrong one could else not be taken away."""
_NAMESPACES: Final = ("", "namespaces")
_MAX_TABLE: Final = 4096

_Key = tuple[str, str, str, str, str]


class Selection(msgspec.Struct, frozen=True):
    """The selectors of a webhook, policy or binding."""

    namespaces: Selector
    objects: Selector

    @staticmethod
    def of(namespaces: LabelSelector, objects: LabelSelector) -> Selection:
        """Return the selectors, ready for use. Raises ValueError."""
        return Selection(from_label_selector(namespaces), from_label_selector(objects))

    def matches(self, request: Request, cache: ObjectCache) -> bool:
        """Return whether a request's namespace and object are selected; of an update, either object will do."""
        if not self.namespaces.everything and not _namespace_matches(self.namespaces, request, cache):
            return False
        if self.objects.everything:
            return True
        return any(_labels_match(self.objects, one) for one in (request.document, request.old))


class Matcher(msgspec.Struct, frozen=True):
    """What a webhook, policy or binding is about. Without `rules` it is about everything, but for what is excluded."""

    rules: tuple[Rule, ...]
    selection: Selection
    excluded: tuple[Rule, ...] = ()
    exact: bool = False

    @staticmethod
    def of(resources: MatchResources) -> Matcher:
        """Return the matcher of a MatchResources. Raises ValueError."""
        selection = Selection.of(resources.namespace_selector, resources.object_selector)
        exact = resources.match_policy == "Exact"
        return Matcher(resources.resource_rules, selection, resources.exclude_resource_rules, exact)

    @property
    def by_name(self) -> bool:
        """Whether the name of an object decides."""
        return any(rule.resource_names for rule in (*self.rules, *self.excluded))

    def target(
        self, operation: str, resource: Resource, subresource: str, others: Sequence[Resource], name: str | None = None
    ) -> Resource | None:
        """Return in which version of the resource a request is meant, None when it is not.

        Without a `name`, rules with names count as if the name were right when they include, and wrong when they
        exclude.
        """
        among = () if self.exact else others
        if _found(self.excluded, operation, resource, subresource, among, name, when_unknown=False) is not None:
            return None
        if not self.rules:
            return resource
        return _found(self.rules, operation, resource, subresource, among, name, when_unknown=True)


def _found(
    rules: Sequence[Rule],
    operation: str,
    resource: Resource,
    subresource: str,
    others: Sequence[Resource],
    name: str | None,
    *,
    when_unknown: bool,
) -> Resource | None:
    named = [
        rule
        for rule in rules
        if not rule.resource_names or (when_unknown if name is None else name in rule.resource_names)
    ]
    if any(_covers(rule, operation, resource, subresource) for rule in named):
        return resource
    pairs = ((rule, other) for rule in named for other in others)
    return next((other for rule, other in pairs if _covers(rule, operation, other, subresource)), None)


def _covers(rule: Rule, operation: str, resource: Resource, subresource: str) -> bool:
    """Return whether a rule names an operation on a resource, leaving its names of objects aside."""
    if rule.scope != "*" and (rule.scope == "Namespaced") != resource.namespaced:
        return False
    return (
        _listed(operation, rule.operations)
        and _listed(resource.group, rule.api_groups)
        and _listed(resource.version, rule.api_versions)
        and any(_names(one, resource.plural, subresource) for one in rule.resources)
    )


def _listed(value: str, values: Sequence[str]) -> bool:
    return value in values or "*" in values


def _names(written: str, plural: str, subresource: str) -> bool:
    whole, _, part = written.partition("/")
    return whole in {"*", plural} and part in {"*", subresource}


def _namespace_matches(selector: Selector, request: Request, cache: ObjectCache) -> bool:
    resource = request.resource
    if (resource.group, resource.plural) == _NAMESPACES and not request.subresource:
        return _labels_match(selector, request.document or request.old)
    name = namespace_of(request)
    if not name:
        return True  # what is in no namespace is never left out by a selector of namespaces
    found = cache.get(ObjectKey("", "namespaces", "", name))
    return found is not None and selector.matches(found.labels)


def _labels_match(selector: Selector, document: Mapping[str, Any] | None) -> bool:
    return document is not None and selector.matches(section(section(document, "metadata"), "labels"))


def namespace_of(request: Request) -> str:
    """Return the namespace that a request is in; one for a namespace is in that namespace, as in Kubernetes."""
    resource = request.resource
    return request.name if (resource.group, resource.plural) == _NAMESPACES else request.namespace


class Matching(Protocol):
    """What a table holds."""

    @property
    def matcher(self) -> Matcher:
        """What it is about."""
        ...


HookT = TypeVar("HookT", bound=Matching)


class Hooks(Generic[HookT]):
    """The webhooks or policies there are, by what they are about. `read` is called when an object of theirs changed."""

    def __init__(
        self,
        cache: ObjectCache,
        registry: Registry,
        sources: Sequence[str],
        read: Callable[[], Iterable[HookT]],
        exempt: Iterable[tuple[str, str]] = (),
    ) -> None:
        self._cache = cache
        self._registry = registry
        self._read = read
        self._exempt = frozenset(exempt)
        self._stale = True
        self._generation = -1
        self._hooks: tuple[HookT, ...] = ()
        self._table: dict[_Key, tuple[tuple[HookT, Resource], ...]] = {}
        for source in sources:
            cache.observe(GROUP, source, self._note)

    def about(self, operation: str, resource: Resource, subresource: str) -> tuple[tuple[HookT, Resource], ...]:
        """Return what an operation on a resource may be for, each with the version of the resource that it asks for."""
        if self._stale:
            self._read_again()
        if not self._hooks:
            return ()
        if self._registry.generation != self._generation:
            self._table.clear()
            self._generation = self._registry.generation
        key = (operation, resource.group, resource.version, resource.plural, subresource)
        found = self._table.get(key)
        if found is None:
            if len(self._table) >= _MAX_TABLE:
                self._table.clear()
            found = self._table[key] = self._find(operation, resource, subresource)
        return found

    def of(self, request: Request) -> tuple[tuple[HookT, Resource], ...]:
        """Return what a request is for, names and selectors compared."""
        found = self.about(request.operation, request.resource, request.subresource)
        return tuple(
            (hook, target) for hook, meant in found if (target := self.target(hook.matcher, request, meant)) is not None
        )

    def target(self, matcher: Matcher, request: Request, meant: Resource | None = None) -> Resource | None:
        """Return in which version a request is meant by a matcher; `meant` is what it says of all names."""
        if meant is None or matcher.by_name:
            others = self._others(request.resource, request.subresource)
            meant = matcher.target(request.operation, request.resource, request.subresource, others, request.name)
        return meant if meant is not None and matcher.selection.matches(request, self._cache) else None

    def _note(self, event: CacheEvent) -> None:
        _ = event
        self._stale = True

    def _read_again(self) -> None:
        self._stale = False
        self._hooks = tuple(self._read())
        self._table.clear()

    def _find(self, operation: str, resource: Resource, subresource: str) -> tuple[tuple[HookT, Resource], ...]:
        place = (resource.group, resource.plural)
        if place in self._exempt or (resource.group == GROUP and resource.plural in _EXEMPT):
            return ()
        others = self._others(resource, subresource)
        pairs = ((hook, hook.matcher.target(operation, resource, subresource, others)) for hook in self._hooks)
        return tuple((hook, target) for hook, target in pairs if target is not None)

    def _others(self, resource: Resource, subresource: str) -> tuple[Resource, ...]:
        """Return the resources that are the same objects in other versions or groups."""
        stored = (resource.storage.group, resource.storage.plural)
        return tuple(
            one
            for one in self._registry.resources
            if (one.storage.group, one.storage.plural) == stored
            and (one.group, one.version) != (resource.group, resource.version)
            and (not subresource or subresource in one.subresources)
        )
