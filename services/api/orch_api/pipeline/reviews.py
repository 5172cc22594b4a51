"""Answers questions: who is this, may they do that. Each is posted as a document and comes back with its status.

Who is asked: the authorizer for what somebody may do, the authenticator for whose a token is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from orch import telemetry
from orch.clock import rfc3339
from orch.errors import BadRequestError, UnauthorizedError
from orch_api.admission import Request
from orch_api.auth.authenticator import Authenticator
from orch_api.auth.authorizer import Attributes, PathRule, Rule
from orch_api.auth.identity import Caller
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
_ATTRIBUTES: Final = ("verb", "group", "resource", "subresource", "namespace", "name")


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
            parts.authorizer.authorize(caller, "create", resource, namespace, "")
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

    def _access(self, _: Caller, review: Document) -> Document:
        spec = section(review, "spec")
        extra: dict[str, list[str]] = spec.get("extra") or {}
        subject = Caller(
            user=spec.get("user") or "",
            groups=tuple(spec.get("groups") or ()),
            uid=spec.get("uid") or "",
            extra=tuple((key, tuple(values)) for key, values in sorted(extra.items())),
        )
        return self._own_access(subject, review)

    def _own_access(self, caller: Caller, review: Document) -> Document:
        allowed, reason = self._parts.authorizer.decide(caller, _wanted(section(review, "spec")))
        status: Document = {"allowed": allowed}
        if reason:
            status["reason"] = reason
        return {**review, "status": status}

    def _own_rules(self, caller: Caller, review: Document) -> Document:
        if not section(review, "spec").get("namespace"):
            raise BadRequestError("no namespace on request")
        found = self._parts.authorizer.permitted(caller)
        status: Document = {
            "resourceRules": [one for rule in found.rules for one in _resource_rules(rule)],
            "nonResourceRules": [_path_rule(rule) for rule in found.paths],
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


def _wanted(spec: Document) -> Attributes:
    path: Document | None = spec.get("nonResourceAttributes")
    if path is not None:
        return Attributes(verb=path.get("verb") or "", path=path.get("path") or "")
    resource = section(spec, "resourceAttributes")
    return Attributes(**{name: resource.get(name) or "" for name in _ATTRIBUTES})


def _resource_rules(rule: Rule) -> Iterable[Document]:
    """Yield the rule as Kubernetes writes it: one for each group, subresources behind a slash."""
    groups: dict[str, list[str]] = {}
    for one in sorted(rule.resources):
        whole, slash, subresource = one.partition("/")
        resource, _, group = whole.partition(".")
        groups.setdefault("*" if one == "*" else group, []).append(f"{resource}{slash}{subresource}")
    for group, resources in groups.items():
        yield {"verbs": sorted(rule.verbs), "apiGroups": [group], "resources": resources}


def _path_rule(rule: PathRule) -> Document:
    return {"verbs": sorted(rule.verbs), "nonResourceURLs": sorted(rule.paths)}
