"""The plugin: pods are refused, recorded or warned of by their namespace's labels, templates of them warned of.

A namespace whose labels become stricter is answered with warnings about the pods that it has.
Source: k8s.io/pod-security-admission/admission.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar, Final

from prometheus_client import Counter

from orch.clock import Clock
from orch.errors import Cause, InvalidError
from orch.store.keys import ObjectKey
from orch_api.admission.chain import CREATE, UPDATE, Plugin, Request, Rule
from orch_api.admission.configuration import Given
from orch_api.admission.pod_security.checks import findings
from orch_api.admission.pod_security.configuration import configured
from orch_api.admission.pod_security.levels import (
    NEWEST_MINOR,
    Mode,
    Policy,
    Read,
    Wanted,
    is_stricter,
    read,
    version_text,
)
from orch_api.admission.pod_security.templates import TEMPLATES, looked, template_of
from orch_api.admission.pod_security.views import Finding, Looked
from orch_api.admission.refusals import refused
from orch_api.storage.cache import Cached, ObjectCache
from orch_api.storage.objects import to_document
from orch_api.strategy import Document, section
from orch_api.validation import invalid

_REQUEST: Final = ("request_operation", "resource", "subresource")
EVALUATIONS: Final = Counter(
    "pod_security_evaluations_total",
    "Evaluations of policies, by what they came to",
    ("decision", "policy_level", "policy_version", "mode", *_REQUEST),
)
EXEMPTIONS: Final = Counter("pod_security_exemptions_total", "Requests that are exempt from evaluation", _REQUEST)
ERRORS: Final = Counter("pod_security_errors_total", "Policies that could not be read", ("fatal", *_REQUEST))

_PREFIX: Final = "pod-security.kubernetes.io/"
_MOST_PODS: Final = 3000
"""Existing pods that a stricter namespace is compared with."""
_MOST_SECONDS: Final = 1.0
_REMEMBERED: Final = 4096


class PodSecurity(Plugin):
    """Judges pods, templates and namespaces."""

    name: ClassVar = "PodSecurity"
    validates: ClassVar = (
        Rule((CREATE, UPDATE), ("pods", *TEMPLATES, "namespaces")),
        Rule((UPDATE,), ("pods/ephemeralcontainers", "pods/resize")),
    )

    def __init__(self, cache: ObjectCache, clock: Clock, given: Given) -> None:
        self._cache = cache
        self._clock = clock
        self._defaults, self._exempt = configured(given)
        self._known: dict[str, tuple[Mapping[str, str], Read]] = {}

    async def validate(self, request: Request) -> None:
        """Judge a request. Raises ForbiddenError for a pod, InvalidError for the labels of a namespace."""
        resource = request.resource.qualified
        if resource == "namespaces":
            self._judge_namespace(request)
            return
        if request.document is None or self._is_exempt(request):
            return
        found = self._policy(request.namespace)
        policy = found.policy
        if resource == "pods":
            if policy.is_privileged and not found.problems:
                _count("allow", policy.enforce, "enforce", request)
            elif request.old is None or _brings_images(request.document, request.old):
                self._judge(request, found, looked(request.document), enforce=True)
        elif not (policy.audit.level == policy.warn.level == "privileged") or found.problems:
            template = template_of(resource, request.document)
            if template is not None:
                self._judge(request, found, template, enforce=False)

    def _policy(self, namespace: str) -> Read:
        """Return what a namespace's labels ask for; that it exists has been seen before."""
        item = self._cache.get(ObjectKey("", "namespaces", "", namespace))
        labels: Mapping[str, str] = item.labels if item is not None else {}
        known = self._known.get(namespace)
        if known is None or known[0] is not labels:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[namespace] = (labels, read(labels, self._defaults))
        return known[1]

    def _is_exempt(self, request: Request) -> bool:
        exempt = self._exempt
        if request.namespace not in exempt.namespaces and request.caller.user not in exempt.usernames:
            return False
        exemption = "namespace" if request.namespace in exempt.namespaces else "user"
        request.notes.annotations[f"{_PREFIX}exempt"] = exemption
        EXEMPTIONS.labels(*_labels(request)).inc()
        return True

    def _judge(self, request: Request, found: Read, pod: Looked, *, enforce: bool) -> None:
        """Refuse, annotate and warn, as each mode says. Raises ForbiddenError."""
        annotations, policy = request.notes.annotations, found.policy
        if pod.spec.get("runtimeClassName") in self._exempt.runtime_classes:
            annotations[f"{_PREFIX}exempt"] = "runtimeClass"
            EXEMPTIONS.labels(*_labels(request)).inc()
            return
        if found.problems:
            told = "; ".join(f'{label}: Invalid value: "{value}": {why}' for label, value, why in found.problems)
            annotations[f"{_PREFIX}error"] = f"Failed to parse policy: {told}"
            ERRORS.labels("false", *_labels(request)).inc()
        results: dict[Wanted, list[Finding]] = {}

        def violations(mode: Mode) -> str:
            wanted: Wanted = getattr(policy, mode)
            if wanted not in results:
                results[wanted] = findings(wanted, pod)
            if results[wanted] or mode == "enforce":
                _count("deny" if results[wanted] else "allow", wanted, mode, request)
            return ", ".join(map(str, results[wanted]))

        forbidden = ""
        if enforce:
            annotations[f"{_PREFIX}enforce-policy"] = str(policy.enforce)
            forbidden = violations("enforce")
        if told := violations("audit"):
            annotations[f"{_PREFIX}audit-violations"] = f'would violate PodSecurity "{policy.audit}": {told}'
        if forbidden:
            raise refused(request, f'violates PodSecurity "{policy.enforce}": {forbidden}')
        if told := violations("warn"):
            request.notes.warn(f'would violate PodSecurity "{policy.warn}": {told}')

    # Namespaces -------------------------------------------------------------------------------------------------

    def _judge_namespace(self, request: Request) -> None:
        """Refuse labels that cannot be read, and warn of pods that a stricter level would refuse."""
        labels = section(section(request.document or {}, "metadata"), "labels")
        new = read(labels, self._defaults)
        old = None if request.old is None else read(section(section(request.old, "metadata"), "labels"), self._defaults)
        if new.problems and (old is None or new.problems != old.problems):
            causes = [invalid(f"metadata.labels[{label}]", value, why) for label, value, why in new.problems]
            raise _invalid(request, causes)
        enforce = new.policy.enforce
        if old is not None and not _is_news(enforce, old.policy.enforce):
            return
        name = request.name or section(request.document or {}, "metadata").get("name") or ""
        if name in self._exempt.namespaces:
            if told := self._ignored(new.policy, labels):
                problem = f'namespace "{name}" is exempt from Pod Security, and the policy ({told}) will be ignored'
                request.notes.warn(problem)
        elif old is not None:
            for warning in self._existing(name, enforce):
                request.notes.warn(warning)

    def _ignored(self, policy: Policy, labels: Mapping[str, str]) -> str:
        """Return what labels ask for in vain."""
        if policy == self._defaults:
            return ""
        modes: tuple[Mode, ...] = ("enforce", "audit", "warn")
        return ", ".join(
            f"{mode}={getattr(policy, mode)}"
            for mode in modes
            if getattr(policy, mode).level != "privileged"
            and (f"{_PREFIX}{mode}" in labels or f"{_PREFIX}{mode}-version" in labels)
        )

    def _existing(self, namespace: str, enforce: Wanted) -> list[str]:
        """Return the warnings about pods that a namespace has; one pod of each controller is looked at first."""
        pods = self._by_importance(self._cache.select("", "pods", namespace))
        until = self._clock.monotonic() + _MOST_SECONDS
        violating: dict[str, list[str]] = {}
        checked = 0
        for name, pod in pods[:_MOST_PODS]:
            checked += 1
            if found := findings(enforce, pod):
                violating.setdefault(", ".join(one.reason for one in found), []).append(name)
            if self._clock.monotonic() > until:
                break
        warnings: list[str] = []
        if checked < len(pods):
            part = f"the first {checked} of {len(pods)} existing pods"
            warnings.append(f"new PodSecurity enforce level only checked against {part}")
        if violating:
            where = f'existing pods in namespace "{namespace}"'
            warnings.append(f'{where} violate the new PodSecurity enforce level "{enforce}"')
        return warnings + sorted(_told(min(names), len(names), reasons) for reasons, names in violating.items())

    def _by_importance(self, items: Iterable[Cached]) -> list[tuple[str, Looked]]:
        first: list[tuple[str, Looked]] = []
        others: list[tuple[str, Looked]] = []
        seen: set[str] = set()
        for item in items:
            document = to_document(item.json)
            pod = looked(document)
            if pod.spec.get("runtimeClassName") in self._exempt.runtime_classes:
                continue
            owners: Sequence[Document] = section(document, "metadata").get("ownerReferences") or ()
            owner = next((one.get("uid") or "" for one in owners if one.get("controller")), "")
            (others if owner and owner in seen else first).append((item.key.name, pod))
            seen.add(owner)
        return first + others


def _told(name: str, count: int, reasons: str) -> str:
    if count == 1:
        return f"{name}: {reasons}"
    return f"{name} (and {count - 1} other pod{'s' if count > 2 else ''}): {reasons}"


def _is_news(new: Wanted, old: Wanted) -> bool:
    """Return whether a level may refuse pods that the old one did not."""
    if new == old or new.level == "privileged":
        return False
    return new.minor != old.minor or is_stricter(new, old)


def _invalid(request: Request, causes: list[Cause]) -> InvalidError:
    name = request.name or section(request.document or {}, "metadata").get("name") or ""
    return InvalidError.of(request.resource.kind, request.resource.group, name, causes)


def _brings_images(pod: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """Return whether an update brings containers or images that were not there: all else stays as it was judged."""
    new, before = section(pod, "spec"), section(old, "spec")
    for part in ("containers", "initContainers"):
        images = [one.get("image") for one in new.get(part) or ()]
        if images != [one.get("image") for one in before.get(part) or ()]:
            return True
    known = {one.get("name"): one.get("image") for one in before.get("ephemeralContainers") or ()}
    return any(
        one.get("name") not in known or known[one.get("name")] != one.get("image")
        for one in new.get("ephemeralContainers") or ()
    )


def _labels(request: Request) -> tuple[str, str, str]:
    return _labels_of(request.operation, request.resource.qualified, request.subresource)


def _labels_of(operation: str, qualified: str, subresource: str) -> tuple[str, str, str]:
    kind = {"pods": "pod", "namespaces": "namespace"}.get(qualified, "controller")
    return operation.lower(), kind, subresource


def _count(decision: str, wanted: Wanted, mode: Mode, request: Request) -> None:
    _counter(decision, wanted, mode, request.operation, request.resource.qualified, request.subresource).inc()


@lru_cache(1024)
def _counter(decision: str, wanted: Wanted, mode: Mode, operation: str, qualified: str, subresource: str) -> Counter:
    """Return where evaluations are counted; finding it is dearer than counting."""
    version = version_text(wanted.minor)
    if wanted.level == "privileged":
        version = version_text(None)
    elif wanted.minor is not None and wanted.minor > NEWEST_MINOR:
        version = "future"
    about = _labels_of(operation, qualified, subresource)
    return EVALUATIONS.labels(decision, wanted.level, version, mode, *about)
