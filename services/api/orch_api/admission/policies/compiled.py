"""Policies as they are put to use: expressions compiled once for each state of a policy, bindings beside it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeVar

import msgspec

from orch.objects.admissionregistration import Policy, PolicyBinding
from orch_api.admission.matching import GROUP, Hooks, Matcher
from orch_api.extensions.expressions.admission import ExpressionError, Program, Variable, Words, program
from orch_api.registry import Registry
from orch_api.storage.cache import Cached, ObjectCache

log = logging.getLogger(__name__)

_ViewT = TypeVar("_ViewT", bound=msgspec.Struct)

EXEMPT: Final = (
    *(("authentication.k8s.io", plural) for plural in ("selfsubjectreviews", "tokenreviews")),
    *(
        ("authorization.k8s.io", plural)
        for plural in (
            "localsubjectaccessreviews",
            "selfsubjectaccessreviews",
            "selfsubjectrulesreviews",
            "subjectaccessreviews",
        )
    ),
)
"""What no policy is asked about: whom somebody is and what he may do is not theirs to say."""


class Bound(msgspec.Struct, frozen=True):
    """A binding, ready for use."""

    view: PolicyBinding
    matcher: Matcher

    @property
    def name(self) -> str:
        """The binding's name."""
        return self.view.metadata.name


class Check(msgspec.Struct, frozen=True):
    """A validation: what must hold, and what is said when it does not."""

    expression: Program
    message: str
    message_expression: Program | None
    reason: str


class Compiled(msgspec.Struct, frozen=True):
    """A policy with its expressions. `problem` is why it cannot be used, when it cannot."""

    view: Policy
    matcher: Matcher
    conditions: tuple[Program, ...] = ()
    checks: tuple[Check, ...] = ()
    annotations: tuple[tuple[str, Program], ...] = ()
    mutations: tuple[tuple[str, Program], ...] = ()
    problem: str = ""


class PolicyHook(msgspec.Struct, frozen=True):
    """A policy and the bindings that put it to use, in order of their names."""

    policy: Compiled
    bindings: tuple[Bound, ...]

    @property
    def matcher(self) -> Matcher:
        """What the policy is about."""
        return self.policy.matcher

    @property
    def name(self) -> str:
        """The policy's name."""
        return self.policy.view.metadata.name

    @property
    def fails_closed(self) -> bool:
        """Whether a failure of the policy refuses the request."""
        return self.policy.view.spec.failure_policy != "Ignore"


class PolicySource:
    """Reads the policies of one kind, anew only those that changed."""

    def __init__(self, cache: ObjectCache, policies: str, bindings: str) -> None:
        self._cache = cache
        self._policies = policies
        self._bindings = bindings
        self._known: dict[str, tuple[Cached, Compiled]] = {}

    def hooks(self, registry: Registry) -> Hooks[PolicyHook]:
        """Return the table of the policies that are bound."""
        return Hooks(self._cache, registry, (self._policies, self._bindings), self._read, EXEMPT)

    def _read(self) -> Iterable[PolicyHook]:
        bindings: dict[str, list[Bound]] = {}
        for bound in self._bound():
            bindings.setdefault(bound.view.spec.policy_name, []).append(bound)
        known: dict[str, tuple[Cached, Compiled]] = {}
        for item in self._cache.select(GROUP, self._policies):
            name = item.key.name
            before = self._known.get(name)
            if before is not None and before[0].version == item.version:
                known[name] = before
            elif (policy := _decoded(item, Policy)) is not None:
                known[name] = (item, compiled(policy))
        self._known = known
        return [PolicyHook(policy, tuple(bindings[name])) for name, (_, policy) in known.items() if name in bindings]

    def _bound(self) -> Iterator[Bound]:
        for item in self._cache.select(GROUP, self._bindings):
            view = _decoded(item, PolicyBinding)
            if view is None:
                continue
            resources = view.spec.match_resources
            try:
                matcher = ANYTHING if resources is None else Matcher.of(resources)
            except ValueError as error:
                log.error("the binding %s cannot be used: %s", item.key.name, error)
                continue
            yield Bound(view, matcher)


ANYTHING: Final = Matcher.of(msgspec.convert({}, type=Policy).spec.match_constraints)
"""What a binding is about that does not say it."""


def compiled(policy: Policy) -> Compiled:
    """Return a policy ready for use, or with the reason why it is not."""
    spec = policy.spec
    matcher = ANYTHING
    variables = tuple(Variable(one.name, one.expression) for one in spec.variables)
    has_params = spec.param_kind is not None
    conditions = Words(params=has_params)
    words = Words(variables, params=has_params)
    quiet = Words(variables, params=has_params, authorizer=False)
    try:
        matcher = Matcher.of(spec.match_constraints)
        return Compiled(
            policy,
            matcher,
            tuple(program(one.expression, conditions) for one in spec.match_conditions),
            tuple(
                Check(
                    program(one.expression, words),
                    one.message.strip(),
                    program(one.message_expression, quiet) if one.message_expression.strip() else None,
                    one.reason,
                )
                for one in spec.validations
            ),
            tuple((one.key, program(one.value_expression, quiet)) for one in spec.audit_annotations),
            tuple(
                (one.patch_type, program(patch.expression, words))
                for one in spec.mutations
                if (patch := one.apply_configuration or one.json_patch) is not None
            ),
        )
    except (ExpressionError, ValueError) as error:
        return Compiled(policy, matcher, problem=str(error))


def _decoded(item: Cached, kind: type[_ViewT]) -> _ViewT | None:
    try:
        return msgspec.json.decode(item.json, type=kind)
    except msgspec.MsgspecError as error:
        log.error("the stored object %s cannot be read: %s", item.key, error)
        return None


def is_true(value: Any) -> bool:
    """Return whether an expression's result is the truth value true, and not just like it."""
    return value is True
