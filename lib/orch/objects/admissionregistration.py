"""Webhooks and admission policies (k8s.io/api/admissionregistration/v1), as far as those read them who ask them."""

from __future__ import annotations

import msgspec

from orch.objects.meta import LabelSelector, ObjectMeta, View


class Rule(View, frozen=True):
    """Operations on resources (RuleWithOperations, and with names NamedRuleWithOperations)."""

    operations: tuple[str, ...] = ()
    api_groups: tuple[str, ...] = ()
    api_versions: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    scope: str = "*"
    resource_names: tuple[str, ...] = ()


class MatchCondition(View, frozen=True):
    """A named expression that must hold."""

    name: str = ""
    expression: str = ""


class MatchResources(View, frozen=True):
    """Which requests a policy or its binding is about; absent selectors select everything."""

    namespace_selector: LabelSelector = LabelSelector()
    object_selector: LabelSelector = LabelSelector()
    resource_rules: tuple[Rule, ...] = ()
    exclude_resource_rules: tuple[Rule, ...] = ()
    match_policy: str = "Equivalent"


class ServiceReference(View, frozen=True):
    """A webhook behind a Service."""

    namespace: str = ""
    name: str = ""
    path: str = ""
    port: int = 443


class ClientConfig(View, frozen=True):
    """Where a webhook is: a URL or a Service, and who signed its certificate, as PEM in base64."""

    url: str = ""
    service: ServiceReference | None = None
    ca_bundle: str = ""


class Webhook(View, frozen=True):
    """One webhook of a configuration; `reinvocation_policy` is a mutating one's."""

    name: str = ""
    client_config: ClientConfig = ClientConfig()
    rules: tuple[Rule, ...] = ()
    failure_policy: str = "Fail"
    match_policy: str = "Equivalent"
    namespace_selector: LabelSelector = LabelSelector()
    object_selector: LabelSelector = LabelSelector()
    side_effects: str = ""
    timeout_seconds: int = 10
    admission_review_versions: tuple[str, ...] = ()
    match_conditions: tuple[MatchCondition, ...] = ()
    reinvocation_policy: str = "Never"


class WebhookConfiguration(View, frozen=True):
    """A ValidatingWebhookConfiguration or a MutatingWebhookConfiguration."""

    metadata: ObjectMeta = ObjectMeta()
    webhooks: tuple[Webhook, ...] = ()


class ParamKind(View, frozen=True):
    """Of which kind a policy's parameters are."""

    api_version: str = ""
    kind: str = ""


class Variable(View, frozen=True):
    """A named expression that others refer to."""

    name: str = ""
    expression: str = ""


class Validation(View, frozen=True):
    """An expression that must hold, and what is said when it does not."""

    expression: str = ""
    message: str = ""
    reason: str = ""
    message_expression: str = ""


class AuditAnnotation(View, frozen=True):
    """An expression whose result the audit event tells."""

    key: str = ""
    value_expression: str = ""


class Patch(View, frozen=True):
    """The expression of a mutation."""

    expression: str = ""


class Mutation(View, frozen=True):
    """A change: of the type ApplyConfiguration or JSONPatch, each with its own field."""

    patch_type: str = ""
    apply_configuration: Patch | None = None
    json_patch: Patch | None = msgspec.field(default=None, name="jsonPatch")


class PolicySpec(View, frozen=True):
    """What a policy says; validations and audit annotations are a validating one's, the rest a mutating one's."""

    param_kind: ParamKind | None = None
    match_constraints: MatchResources = MatchResources()
    match_conditions: tuple[MatchCondition, ...] = ()
    variables: tuple[Variable, ...] = ()
    failure_policy: str = "Fail"
    validations: tuple[Validation, ...] = ()
    audit_annotations: tuple[AuditAnnotation, ...] = ()
    mutations: tuple[Mutation, ...] = ()
    reinvocation_policy: str = "Never"


class Policy(View, frozen=True):
    """A ValidatingAdmissionPolicy or a MutatingAdmissionPolicy."""

    metadata: ObjectMeta = ObjectMeta()
    spec: PolicySpec = PolicySpec()


class ParamRef(View, frozen=True):
    """Which objects are a policy's parameters: one by its name, or those that a selector selects."""

    name: str = ""
    namespace: str = ""
    selector: LabelSelector | None = None
    parameter_not_found_action: str = "Deny"


class BindingSpec(View, frozen=True):
    """To what a policy is put to use; the actions are a validating one's."""

    policy_name: str = ""
    param_ref: ParamRef | None = None
    match_resources: MatchResources | None = None
    validation_actions: tuple[str, ...] = ()


class PolicyBinding(View, frozen=True):
    """A ValidatingAdmissionPolicyBinding or a MutatingAdmissionPolicyBinding."""

    metadata: ObjectMeta = ObjectMeta()
    spec: BindingSpec = BindingSpec()
