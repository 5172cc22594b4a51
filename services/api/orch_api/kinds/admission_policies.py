"""Admission policies in CEL, and the bindings that put them to use (admissionregistration.k8s.io)."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from orch.errors import Cause
from orch_api import validation
from orch_api.extensions.expressions.admission import Wanted, Words
from orch_api.kinds import admission_rules as rules
from orch_api.kinds.admission_registration import GROUP
from orch_api.kinds.columns import AGE, NAME, text
from orch_api.resource import Cell, Column, Resource, Subresource
from orch_api.strategy import Document, Strategy, section
from orch_api.validation import check, duplicate, forbidden, invalid, one_of, required, unsupported

_REASONS: Final = ("Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized")
_ACTIONS: Final = ("Audit", "Deny", "Warn")
_MAX_AUDIT_ANNOTATIONS: Final = 20
_MAX_VALUE_EXPRESSION: Final = 5 * 1024
_PATCH_TYPES: Final = {"ApplyConfiguration": "applyConfiguration", "JSONPatch": "jsonPatch"}
_PATCH_RESULTS: Final[dict[str, Wanted]] = {"ApplyConfiguration": "Object", "JSONPatch": "list(JSONPatch)"}
_UNSET: Final = "<unset>"


class PolicyStrategy(Strategy):
    """What policies that validate and those that mutate have in common."""

    has_generation = True

    def default(self, obj: Document) -> None:
        """Fail when an expression fails; match equivalent requests for all objects."""
        spec = section(obj, "spec")
        if spec and spec.get("failurePolicy") is None:
            spec["failurePolicy"] = "Fail"
        rules.default_match_resources(spec.get("matchConstraints"))

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with what the policy is about, and with its conditions and variables."""
        spec = section(obj, "spec")
        causes = one_of("spec.failurePolicy", spec.get("failurePolicy") or "", rules.FAILURE_POLICIES)
        if (kind := spec.get("paramKind")) is not None:
            causes += rules.param_kind("spec.paramKind", kind)
        constraints: Document | None = spec.get("matchConstraints")
        if constraints is None:
            causes.append(required("spec.matchConstraints"))
        else:
            causes += rules.match_resources("spec.matchConstraints", constraints)
            if not constraints.get("resourceRules"):
                causes.append(required("spec.matchConstraints.resourceRules"))
        params = kind is not None
        conditions: list[Document] = spec.get("matchConditions") or []
        causes += rules.match_conditions("spec.matchConditions", conditions, Words(params=params))
        return causes + rules.variables("spec.variables", spec.get("variables") or (), params=params)


class ValidatingPolicyStrategy(PolicyStrategy):
    """The rules of ValidatingAdmissionPolicies."""

    has_status = True

    def validate(self, obj: Document) -> list[Cause]:
        """Return, too, what is wrong with the validations and audit annotations."""
        spec = section(obj, "spec")
        causes = super().validate(obj)
        validations: list[Document] = spec.get("validations") or []
        annotations: list[Document] = spec.get("auditAnnotations") or []
        if not validations and not annotations:
            needed = "validations or auditAnnotations must be non-empty"
            return [*causes, required("spec.validations", needed), required("spec.auditAnnotations", needed)]
        words, quiet = _words(spec), _words(spec, authorizer=False)
        for index, one in enumerate(validations):
            causes += _validation(f"spec.validations[{index}]", one, words, quiet)
        return causes + _audit_annotations(annotations, section(obj, "metadata").get("name") or "", quiet)


def _words(spec: Document, *, authorizer: bool = True) -> Words:
    """Return what the expressions of a policy may speak of."""
    variables = rules.declared(spec.get("variables") or ())
    return Words(variables, params=spec.get("paramKind") is not None, authorizer=authorizer)


def _validation(at: str, one: Document, words: Words, quiet: Words) -> list[Cause]:
    causes = rules.expression(f"{at}.expression", one.get("expression"), words, "bool")
    message_expression: str = one.get("messageExpression") or ""
    if message_expression and not message_expression.strip():
        problem = "must be non-empty if specified"
        causes.append(invalid(f"{at}.messageExpression", message_expression, problem))
    elif message_expression:
        causes += rules.expression(f"{at}.messageExpression", message_expression, quiet, "string")
    message: str = one.get("message") or ""
    if message and not message.strip():
        causes.append(invalid(f"{at}.message", message, "message must be non-empty if specified"))
    elif "\n" in message.strip() or "\r" in message.strip():
        causes.append(invalid(f"{at}.message", message, "message must not contain line breaks"))
    return causes + rules.optional(f"{at}.reason", one.get("reason"), _REASONS)


def _audit_annotations(annotations: list[Document], policy: str, words: Words) -> list[Cause]:
    at = "spec.auditAnnotations"
    causes: list[Cause] = []
    if len(annotations) > _MAX_AUDIT_ANNOTATIONS:
        problem = f"must not have more than {_MAX_AUDIT_ANNOTATIONS} auditAnnotations"
        causes.append(invalid(at, annotations, problem))
    keys: set[str] = set()
    for index, annotation in enumerate(annotations):
        key: str = annotation.get("key") or ""
        written = f"{policy}/{key}" if policy else key
        causes += check(f"{at}[{index}].key", written, validation.qualified_name)
        value: str = (annotation.get("valueExpression") or "").strip()
        field = f"{at}[{index}].valueExpression"
        if not value:
            causes.append(required(field, "valueExpression is not specified"))
        elif len(value.encode()) > _MAX_VALUE_EXPRESSION:
            causes.append(required(field, f"must not exceed {_MAX_VALUE_EXPRESSION} bytes in length"))
        else:
            causes += rules.expression(field, value, words, "string or null")
        if key in keys:
            causes.append(duplicate(f"{at}[{index}].key", key))
        keys.add(key)
    return causes


class MutatingPolicyStrategy(PolicyStrategy):
    """The rules of MutatingAdmissionPolicies."""

    def validate(self, obj: Document) -> list[Cause]:
        """Return, too, what is wrong with the mutations."""
        spec = section(obj, "spec")
        causes = super().validate(obj)
        for index, rule in enumerate(section(spec, "matchConstraints").get("resourceRules") or ()):
            if "DELETE" in (rule.get("operations") or ()):
                field = f"spec.matchConstraints.resourceRules[{index}].operations"
                causes.append(unsupported(field, "DELETE", ("CONNECT", "CREATE", "UPDATE")))
        mutations: list[Document] = spec.get("mutations") or []
        if not mutations:
            causes.append(required("spec.mutations", "mutations must contain at least one item"))
        for index, mutation in enumerate(mutations):
            causes += _mutation(f"spec.mutations[{index}]", mutation, _words(spec))
        policy: str = spec.get("reinvocationPolicy") or ""
        return causes + one_of("spec.reinvocationPolicy", policy, rules.REINVOCATION_POLICIES)


def _mutation(at: str, mutation: Document, words: Words) -> list[Cause]:
    patch: str = mutation.get("patchType") or ""
    causes = one_of(f"{at}.patchType", patch, tuple(_PATCH_TYPES))
    if causes:
        return causes
    for kind, name in _PATCH_TYPES.items():
        inner: Document | None = mutation.get(name)
        if kind != patch:
            if inner is not None:
                causes.append(forbidden(f"{at}.{name}", f"must not be set when patchType is {patch}"))
        elif inner is None:
            causes.append(required(f"{at}.{name}", f"must be specified when patchType is {patch}"))
        else:
            wanted = _PATCH_RESULTS[kind]
            causes += rules.expression(f"{at}.{name}.expression", inner.get("expression"), words, wanted)
    return causes


class BindingStrategy(Strategy):
    """The rules of bindings of policies that mutate."""

    has_generation = True

    def default(self, obj: Document) -> None:
        """Match equivalent requests for all objects."""
        rules.default_match_resources(section(obj, "spec").get("matchResources"))

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with what is bound, to which parameters, for which requests."""
        spec = section(obj, "spec")
        policy: str = spec.get("policyName") or ""
        field = "spec.policyName"
        causes = check(field, policy, validation.dns_subdomain) if policy else [required(field)]
        if (reference := spec.get("paramRef")) is not None:
            causes += rules.param_ref("spec.paramRef", reference)
        if (resources := spec.get("matchResources")) is not None:
            causes += rules.match_resources("spec.matchResouces", resources)  # Kubernetes spells it so
        return causes


class ValidatingBindingStrategy(BindingStrategy):
    """The rules of bindings of policies that validate, which say what becomes of a request that fails."""

    def validate(self, obj: Document) -> list[Cause]:
        """Return, too, what is wrong with the actions."""
        at = "spec.validationActions"
        actions: list[str] = section(obj, "spec").get("validationActions") or []
        causes = super().validate(obj)
        for index, action in enumerate(actions):
            if action not in _ACTIONS:
                causes.append(unsupported(f"{at}[{index}]", action, _ACTIONS))
            if action in actions[:index]:
                causes.append(duplicate(f"{at}[{index}]", action))
        if "Deny" in actions and "Warn" in actions:
            problem = (
                "must not contain both Deny and Warn (repeating the same validation failure information in the API "
                "response and headers serves no purpose)"
            )
            causes.append(invalid(at, actions, problem))
        if not actions:
            causes.append(required(at))
        return causes


# Tables ---------------------------------------------------------------------------------------------------------


def _count(field: str) -> Cell:
    def cell(obj: Document, now: datetime) -> int:
        _ = now
        return len(section(obj, "spec").get(field) or ())

    return cell


def _param_kind(obj: Document, now: datetime) -> str:
    _ = now
    kind: Document | None = section(obj, "spec").get("paramKind")
    return _UNSET if kind is None else f"{kind.get('apiVersion') or ''}/{kind.get('kind') or ''}"


def _param_ref(obj: Document, now: datetime) -> str:
    _ = now
    reference = section(section(obj, "spec"), "paramRef")
    name: str = reference.get("name") or ""
    if name:
        namespace: str = reference.get("namespace") or ""
        return f"{namespace}/{name}" if namespace else name
    selector: Document | None = reference.get("selector")
    return _UNSET if selector is None else _go_selector(selector)


def _go_selector(selector: Document) -> str:
    """Return a selector as Go prints it, which is what Kubernetes shows."""
    labels = "".join(f"{key}: {value}," for key, value in sorted(section(selector, "matchLabels").items()))
    requirements = "".join(
        f"LabelSelectorRequirement{{Key:{one.get('key') or ''},Operator:{one.get('operator') or ''},"
        f"Values:[{' '.join(one.get('values') or ())}],}},"
        for one in selector.get("matchExpressions") or ()
    )
    return (
        f"&LabelSelector{{MatchLabels:map[string]string{{{labels}}},"
        f"MatchExpressions:[]LabelSelectorRequirement{{{requirements}}},}}"
    )


def _policy(kind: str, strategy: PolicyStrategy, counted: str, *, status: bool) -> Resource:
    heading = counted.capitalize()
    return Resource(
        group=GROUP,
        plural=f"{kind.lower().removesuffix('y')}ies",
        singular=kind.lower(),
        kind=kind,
        namespaced=False,
        categories=("api-extensions",),
        strategy=strategy,
        columns=(
            NAME,
            Column(heading, _count(counted), type="integer", description=f"How many {counted} the policy has."),
            Column("ParamKind", _param_kind, description="The kind of the policy's parameters."),
            AGE,
        ),
        subresources={"status": Subresource(kind, GROUP)} if status else {},
    )


def _binding(kind: str, strategy: BindingStrategy) -> Resource:
    return Resource(
        group=GROUP,
        plural=f"{kind.lower()}s",
        singular=kind.lower(),
        kind=kind,
        namespaced=False,
        categories=("api-extensions",),
        strategy=strategy,
        columns=(
            NAME,
            Column("PolicyName", text("spec", "policyName"), description="The policy that is put to use."),
            Column("ParamRef", _param_ref, description="Its parameters."),
            AGE,
        ),
    )


RESOURCES: Final = (
    _policy("ValidatingAdmissionPolicy", ValidatingPolicyStrategy(), "validations", status=True),
    _binding("ValidatingAdmissionPolicyBinding", ValidatingBindingStrategy()),
    _policy("MutatingAdmissionPolicy", MutatingPolicyStrategy(), "mutations", status=False),
    _binding("MutatingAdmissionPolicyBinding", BindingStrategy()),
)
