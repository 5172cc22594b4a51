"""What of a validating policy does not fit the kinds that it names: warnings in its status (typechecking.go).

A policy works as it did whatever is found here: an expression may be meant for only some of its kinds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from orch.objects.admissionregistration import Policy, Rule
from orch_api.extensions.documents import CustomSchema
from orch_api.extensions.expressions.admission import ExpressionError, TypedChecker, Variable, Words
from orch_api.extensions.expressions.kinds import KindTypes
from orch_api.registry import Registry, Resource
from orch_api.schema import Schemas
from orch_api.strategy import Document

_MOST: Final = 10
"""Kinds that a policy is held against."""


class PolicyChecker:
    """Checks policies against the schemas of what they are about."""

    def __init__(self, registry: Registry, schemas: Schemas) -> None:
        self._registry = registry
        self._schemas = schemas

    def warnings(self, policy: Policy) -> list[Document]:
        """Return the expressionWarnings of a policy; none when all is well."""
        spec = policy.spec
        variables = tuple(Variable(one.name, one.expression) for one in spec.variables)
        words = Words(variables, params=spec.param_kind is not None)
        found: dict[str, list[str]] = {}
        for resource in self._resources(policy):
            checker = self._checker(policy, resource, words)
            for index, one in enumerate(spec.validations):
                for field, text in (("expression", one.expression), ("messageExpression", one.message_expression)):
                    if text.strip() and (problem := _problem(checker, text)):
                        told = found.setdefault(f"spec.validations[{index}].{field}", [])
                        told.append(f"{resource.api_version}, Kind={resource.kind}: {problem}")
        return [{"fieldRef": place, "warning": "\n".join(told)} for place, told in found.items()]

    def _checker(self, policy: Policy, resource: Resource, words: Words) -> TypedChecker:
        """Return what checks expressions about one kind."""
        kinds = KindTypes(self._schemas.definitions)
        shown = self._type(kinds, resource)
        types: dict[str, Any] = {"object": shown, "oldObject": shown}
        kind = policy.spec.param_kind
        if kind is not None:
            group, _, version = kind.api_version.rpartition("/")
            params = self._registry.of_kind(group, version, kind.kind)
            if params is not None:
                types["params"] = self._type(kinds, params)
        return TypedChecker(words, kinds.pool(), types)

    def _type(self, kinds: KindTypes, resource: Resource) -> Any:
        if isinstance(resource.schema, CustomSchema):
            return kinds.of_props(resource.schema.props)
        schema = self._schemas.of(resource.group, resource.version, resource.kind)
        return kinds.of_definition(schema.definition)

    def _resources(self, policy: Policy) -> list[Resource]:
        """Return the kinds that the rules name one by one, in order of group, version and kind."""
        found: dict[tuple[str, str, str], Resource] = {}
        for rule in policy.spec.match_constraints.resource_rules:
            for resource in self._of(rule):
                found[resource.group, resource.version, resource.kind] = resource
        return [found[key] for key in sorted(found)][:_MOST]

    def _of(self, rule: Rule) -> Iterator[Resource]:
        if "*" in (*rule.api_groups, *rule.api_versions) or any(set("*/") & set(one) for one in rule.resources):
            return
        for group in rule.api_groups:
            for version in rule.api_versions:
                for plural in rule.resources:
                    resource = self._registry.find(group, version, plural)
                    if resource is not None and resource.stored:
                        yield resource


def _problem(checker: TypedChecker, text: str) -> str:
    try:
        return checker.problem(text)
    except ExpressionError as error:
        return str(error)
