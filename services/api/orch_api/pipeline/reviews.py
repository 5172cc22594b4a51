"""Answers questions: who is this, may they do that. Each is posted as a document and comes back with its status.

Who is asked: the authorizer for what somebody may do, the authenticator for whose a token is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from orch import telemetry
from orch.clock import rfc3339
from orch.errors import BadRequestError, UnauthorizedError
from orch.objects.rbac import PolicyRule
from orch_api.admission import Request
from orch_api.auth.attributes import Attributes, Verdict
from orch_api.auth.authenticator import Authenticator
from orch_api.auth.identity import Caller
from orch_api.auth.selector_requirements import of_review
from orch_api.pipeline.parts import (
    Document,
    Outcome,
    Parts,
    WriteOptions,
    check_kind,
    check_namespace,
    metadata_of,
    refuse_invalid,
)
from orch_api.registry import Resource
from orch_api.storage.objects import to_json
from orch_api.strategy import section

_Answer = Callable[[Caller, Document], Awaitable[Document] | Document]
_ATTRIBUTES: Final = ("verb", "group", "version", "resource", "subresource", "namespace", "name")


class Reviews:
    """Answers every kind of question."""

    def __init__(self, parts: Parts, authenticator: Authenticator) -> None:
        self._parts = parts
        self._authenticator = authenticator
        self._answers: dict[str, _Answer] = {
            "TokenReview": self._token,
            "SelfSubjectReview": self._self,
            "SubjectAccessReview": self._access,
            "LocalSubjectAccessReview": self._access,
            "SelfSubjectAccessReview": self._own_access,
            "SelfSubjectRulesReview": self._own_rules,
        }

    async def answer(
        self, caller: Caller, resource: Resource, namespace: str, body: bytes, options: WriteOptions
    ) -> Outcome:
        """Return the question with its answer. Raises ApiError."""
        parts = self._parts
        with telemetry.span(f"api.answer {resource.plural}", parent=options.trace):
            await parts.authorizer.permit(caller, "create", resource, namespace, "")
            document, warnings = parts.schema(resource).decode(body, options.field_validation)
            check_kind(document, resource.api_version, resource.kind)
            check_namespace(metadata_of(document), resource, namespace)
            request = Request(caller, "CREATE", resource, "", namespace, "", document, None, options.dry_run)
            await parts.admission.mutate(request)
            refuse_invalid(resource, "", resource.strategy.validate(document))
            await parts.admission.validate(request)
            answered = self._answers[resource.kind](caller, document)
            if isinstance(answered, Awaitable):
                answered = await answered
            return Outcome(to_json(answered), 0, created=True, warnings=(*warnings, *request.notes.warnings))

    async def _token(self, _: Caller, review: Document) -> Document:
        spec = section(review, "spec")
        token: str = spec.get("token") or ""
        if not token:
            raise BadRequestError("token is required for TokenReview in authentication")
        audiences: list[str] = spec.get("audiences") or list(self._authenticator.audiences)
        status: Document = {"user": {}}
        try:
            owner, accepted = await self._authenticator.review(token, audiences)
        except UnauthorizedError as error:
            return {**review, "status": {**status, "error": error.message}}
        if accepted or not audiences:
            status = {"authenticated": True, "user": user_info(owner)}
            if accepted:
                status["audiences"] = list(accepted)
        return {**review, "status": status}

    def _self(self, caller: Caller, review: Document) -> Document:
        created = rfc3339(self._parts.clock.now())
        metadata = {**section(review, "metadata"), "creationTimestamp": created}
        return {**review, "metadata": metadata, "status": {"userInfo": user_info(caller)}}

    async def _access(self, _: Caller, review: Document) -> Document:
        spec = section(review, "spec")
        extra: dict[str, list[str]] = spec.get("extra") or {}
        subject = Caller(
            user=spec.get("user") or "",
            groups=tuple(spec.get("groups") or ()),
            uid=spec.get("uid") or "",
            extra=tuple((key, tuple(values)) for key, values in sorted(extra.items())),
        )
        return await self._own_access(subject, review)

    async def _own_access(self, caller: Caller, review: Document) -> Document:
        wanted, ignored = _wanted(section(review, "spec"))
        verdict = await self._parts.authorizer.judge(caller, wanted)
        return {**review, "status": _access_status(verdict, ignored)}

    def _own_rules(self, caller: Caller, review: Document) -> Document:
        namespace: str = section(review, "spec").get("namespace") or ""
        if not namespace:
            raise BadRequestError("no namespace on request")
        found = self._parts.authorizer.permitted(caller, namespace)
        status: Document = {
            "resourceRules": [_resource_rule(rule) for rule in found.rules if rule.resources],
            "nonResourceRules": [_path_rule(rule) for rule in found.rules if rule.non_resource_urls],
            "incomplete": bool(found.gap),
        }
        if found.gap:
            status["evaluationError"] = found.gap
        identity = {name: review[name] for name in ("kind", "apiVersion")}
        return {**identity, "metadata": {}, "spec": {}, "status": status}


def user_info(caller: Caller) -> Document:
    """Return a caller as documents name users."""
    info: Document = {"username": caller.user}
    if caller.uid:
        info["uid"] = caller.uid
    if caller.groups:
        info["groups"] = list(caller.groups)
    if caller.extra:
        info["extra"] = {key: list(values) for key, values in caller.extra}
    return info


def _wanted(spec: Document) -> tuple[Attributes, list[str]]:
    """Return what a review asks for, and what is to be said of selectors that could not be read."""
    path: Document | None = spec.get("nonResourceAttributes")
    if path is not None:
        return Attributes(verb=path.get("verb") or "", path=path.get("path") or ""), []
    resource = section(spec, "resourceAttributes")
    fields, field_problem = of_review(resource.get("fieldSelector"), labels=False)
    labels, label_problem = of_review(resource.get("labelSelector"), labels=True)
    told = {name: resource.get(name) or "" for name in _ATTRIBUTES}
    problems = (("fieldSelector", field_problem), ("labelSelector", label_problem))
    ignored = [f"spec.resourceAttributes.{name} {how} due to parse error" for name, how in problems if how]
    return Attributes(**told, fields=fields, labels=labels), ignored


def _access_status(verdict: Verdict, ignored: Iterable[str]) -> Document:
    status: Document = {"allowed": verdict.allowed}
    if verdict.decision == "deny":
        status["denied"] = True
    if verdict.reason:
        status["reason"] = verdict.reason
    errors = [verdict.error, *ignored] if verdict.error else list(ignored)
    if errors:
        status["evaluationError"] = "; ".join(errors)
    return status


def _resource_rule(rule: PolicyRule) -> Document:
    written: Document = {
        "verbs": list(rule.verbs),
        "apiGroups": list(rule.api_groups),
        "resources": list(rule.resources),
    }
    if rule.resource_names:
        written["resourceNames"] = list(rule.resource_names)
    return written


def _path_rule(rule: PolicyRule) -> Document:
    return {"verbs": list(rule.verbs), "nonResourceURLs": list(rule.non_resource_urls)}
