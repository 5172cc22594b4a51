"""What of a validating policy does not fit the kinds that it names: warnings in its status (typechecking.go).

A policy works as it did whatever is found here: an expression may be meant for only some of its kinds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from orch.objects.admissionregistration import Policy, Rule
from orch_api.extensions.documents import CustomSchema
from orch_api.extensions.expressions.admission import ExpressionError, Variable, Words, typed_problem
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
        resources = self._resources(policy)
        found: list[Document] = []
        spec = policy.spec
        variables = tuple(Variable(one.name, one.expression) for one in spec.variables)
        words = Words(variables, params=spec.param_kind is not None)
        for index, one in enumerate(spec.validations):
            for field, text in (("expression", one.expression), ("messageExpression", one.message_expression)):
                warning = "\n".join(self._about(policy, resource, text, words) for resource in resources).strip("\n")
                if text.strip() and warning:
                    found.append({"fieldRef": f"spec.validations[{index}].{field}", "warning": warning})
        return found

    def _about(self, policy: Policy, resource: Resource, text: str, words: Words) -> str:
        """Return what is wrong with an expression about one kind, "" when nothing is."""
        if not text.strip():
            return ""
        kinds = KindTypes(self._schemas.definitions)
        shown = self._type(kinds, resource)
        types: dict[str, Any] = {"object": shown, "oldObject": shown}
        kind = policy.spec.param_kind
        if kind is not None:
            group, _, version = kind.api_version.rpartition("/")
            params = self._registry.of_kind(group, version, kind.kind)
            if params is not None:
                types["params"] = self._type(kinds, params)
        try:
            problem = typed_problem(text, words, kinds.pool(), types)
        except ExpressionError as error:
            problem = str(error)
        return f"{resource.api_version}, Kind={resource.kind}: {problem}" if problem else ""

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
