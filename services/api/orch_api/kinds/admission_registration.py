"""Webhook configurations: what is sent to whom before it is stored (admissionregistration.k8s.io)."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Final

from orch.errors import Cause
from orch_api import validation
from orch_api.kinds import admission_rules as rules
from orch_api.kinds import webhook_rules
from orch_api.kinds.columns import AGE, NAME
from orch_api.resource import Column, Resource
from orch_api.strategy import Document, Strategy, section
from orch_api.validation import duplicate, invalid, required, same, unsupported

GROUP: Final = "admissionregistration.k8s.io"

_REVIEW_VERSIONS: Final = ("v1", "v1beta1")
_SIDE_EFFECTS: Final = ("None", "NoneOnDryRun")
_TIMEOUT: Final = 10
_MAX_TIMEOUT: Final = 30


class WebhookStrategy(Strategy):
    """The rules of ValidatingWebhookConfigurations."""

    has_generation = True
    mutating: ClassVar[bool] = False

    def default(self, obj: Document) -> None:
        """Fill in policies, selectors, the timeout and ports."""
        for hook in obj.get("webhooks") or ():
            if hook.get("failurePolicy") is None:
                hook["failurePolicy"] = "Fail"
            if hook.get("timeoutSeconds") is None:
                hook["timeoutSeconds"] = _TIMEOUT
            if self.mutating and hook.get("reinvocationPolicy") is None:
                hook["reinvocationPolicy"] = "Never"
            rules.default_selectors(hook)
            rules.default_rules(hook.get("rules"))
            webhook_rules.default_service_port(section(hook, "clientConfig"))

    def changes_generation(self, obj: Document, old: Document) -> bool:
        """Tell whether the webhooks changed."""
        return not same(obj.get("webhooks"), old.get("webhooks"))

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the webhooks."""
        causes: list[Cause] = []
        names: set[str] = set()
        for index, hook in enumerate(obj.get("webhooks") or ()):
            at = f"webhooks[{index}]"
            causes += self._hook(at, hook)
            causes += _review_versions(f"{at}.admissionReviewVersions", hook.get("admissionReviewVersions") or [])
            name: str = hook.get("name") or ""
            if name and name in names:
                causes.append(duplicate(f"{at}.name", name))
            names.add(name)
        return causes

    def _hook(self, at: str, hook: Document) -> list[Cause]:
        causes = _fully_qualified(f"{at}.name", hook.get("name") or "")
        for index, rule in enumerate(hook.get("rules") or ()):
            causes += rules.rule_with_operations(f"{at}.rules[{index}]", rule)
        causes += rules.optional(f"{at}.failurePolicy", hook.get("failurePolicy"), rules.FAILURE_POLICIES)
        causes += rules.optional(f"{at}.matchPolicy", hook.get("matchPolicy"), rules.MATCH_POLICIES)
        effects: str | None = hook.get("sideEffects")
        if effects is None:
            causes.append(required(f"{at}.sideEffects", f"must specify one of {', '.join(_SIDE_EFFECTS)}"))
        elif effects not in _SIDE_EFFECTS:
            causes.append(unsupported(f"{at}.sideEffects", effects, _SIDE_EFFECTS))
        timeout: int = hook.get("timeoutSeconds") or 0
        if not 1 <= timeout <= _MAX_TIMEOUT:
            problem = "the timeout value must be between 1 and 30 seconds"
            causes.append(invalid(f"{at}.timeoutSeconds", timeout, problem))
        for name in ("namespaceSelector", "objectSelector"):
            causes += validation.label_selector(f"{at}.{name}", hook.get(name) or {})
        if self.mutating:
            policy: str | None = hook.get("reinvocationPolicy")
            causes += rules.optional(f"{at}.reinvocationPolicy", policy, rules.REINVOCATION_POLICIES)
        causes += webhook_rules.client_config(f"{at}.clientConfig", section(hook, "clientConfig"))
        return causes + rules.match_conditions(f"{at}.matchConditions", hook.get("matchConditions") or ())


class MutatingWebhookStrategy(WebhookStrategy):
    """The rules of MutatingWebhookConfigurations."""

    mutating = True


def _fully_qualified(at: str, name: str) -> list[Cause]:
    if not name:
        return [required(at)]
    if problems := validation.dns_subdomain(name):
        return [invalid(at, name, ",".join(problems))]
    if name.count(".") < 2:
        return [invalid(at, name, "should be a domain with at least three segments separated by dots")]
    return []


def _review_versions(at: str, versions: list[str]) -> list[Cause]:
    listed = ", ".join(_REVIEW_VERSIONS)
    if not versions:
        return [required(at, f"must specify one of {listed}")]
    causes: list[Cause] = []
    for index, version in enumerate(versions):
        if version in versions[:index]:
            causes.append(invalid(f"{at}[{index}]", version, "duplicate version"))
            continue
        causes += validation.check(f"{at}[{index}]", version, validation.dns_1035_label)
    if not set(versions) & set(_REVIEW_VERSIONS):
        causes.append(invalid(at, versions, f"must include at least one of {listed}"))
    return causes


def _webhooks(obj: Document, now: datetime) -> int:
    _ = now
    return len(obj.get("webhooks") or ())


_COLUMNS: Final = (
    NAME,
    Column("Webhooks", _webhooks, type="integer", description="How many webhooks the configuration registers."),
    AGE,
)

RESOURCES: Final = (
    Resource(
        group=GROUP,
        plural="validatingwebhookconfigurations",
        singular="validatingwebhookconfiguration",
        kind="ValidatingWebhookConfiguration",
        namespaced=False,
        categories=("api-extensions",),
        strategy=WebhookStrategy(),
        columns=_COLUMNS,
    ),
    Resource(
        group=GROUP,
        plural="mutatingwebhookconfigurations",
        singular="mutatingwebhookconfiguration",
        kind="MutatingWebhookConfiguration",
        namespaced=False,
        categories=("api-extensions",),
        strategy=MutatingWebhookStrategy(),
        columns=_COLUMNS,
    ),
)
