"""Making tokens for service accounts: the subresource serviceaccounts/token (TokenREST in k8s.io/kubernetes)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import msgspec

from orch import telemetry
from orch.clock import rfc3339
from orch.errors import BadRequestError, Cause, ConflictError, InvalidError, NotFoundError
from orch.store.keys import ObjectKey
from orch_api.admission import CREATE, Request
from orch_api.admission.chain import Notes
from orch_api.auth.identity import Caller
from orch_api.auth.tokens import Binding, Reference, ServiceAccountTokens
from orch_api.pipeline.parts import Document, Outcome, Parts, WriteOptions, check_kind, metadata_of
from orch_api.registry import Resource
from orch_api.storage.cache import Cached
from orch_api.storage.objects import to_document, to_json
from orch_api.strategy import section
from orch_api.validation import invalid

GROUP: Final = "authentication.k8s.io"
KIND: Final = "TokenRequest"

_DEFAULT_SECONDS: Final = 3600
_MIN_SECONDS: Final = 600
_MAX_SECONDS: Final = 2**32
_PROJECTED_SECONDS: Final = 3607
"""What a kubelet asks for when it mounts a token by itself; such a token goes on for a year, with warnings."""
_EXTENDED_SECONDS: Final = 365 * 24 * 3600
_CONTROLLERS: Final = "system:kube-controller-manager"
_BINDABLE: Final = {"Pod": "pods", "Secret": "secrets", "Node": "nodes"}


class TokenRequests:
    """Makes tokens."""

    def __init__(self, parts: Parts, tokens: ServiceAccountTokens) -> None:
        self._parts = parts
        self._tokens = tokens

    async def create(
        self, caller: Caller, accounts: Resource, namespace: str, name: str, body: bytes, options: WriteOptions
    ) -> Outcome:
        """Return the TokenRequest with a token of the account `name`. Raises ApiError."""
        parts = self._parts
        with telemetry.span("api.create serviceaccounts/token", parent=options.trace):
            await parts.authorizer.permit(caller, "create", accounts, namespace, name, "token")
            schema = parts.schemas.of(GROUP, "v1", KIND)
            document, warnings = schema.decode(body, options.field_validation)
            check_kind(document, f"{GROUP}/v1", KIND)
            metadata = metadata_of(document)
            _check_identity(metadata, namespace, name)
            request = Request(caller, CREATE, accounts, "token", namespace, name, document, None, options.dry_run)
            await parts.admission.mutate(request)
            await parts.admission.validate(request)
            account = await self._get("serviceaccounts", namespace, name)
            spec: dict[str, Any] = document.get("spec") or {}
            audiences: list[str] = spec.get("audiences") or list(self._tokens.audiences)
            seconds = self._shortened(caller, _seconds(spec), request.notes)
            bound = await self._bound(spec.get("boundObjectRef"), namespace, account)
            now = parts.clock.now()
            spec |= {"audiences": audiences, "expirationSeconds": seconds}
            metadata |= {"name": name, "namespace": namespace, "creationTimestamp": rfc3339(now)}
            document["spec"] = spec
            document["status"] = {
                "token": self._issue(bound, audiences, seconds),
                "expirationTimestamp": rfc3339(now + timedelta(seconds=seconds)),
            }
            return Outcome(to_json(document), 0, created=True, warnings=(*warnings, *request.notes.warnings))

    def _shortened(self, caller: Caller, seconds: int, notes: Notes) -> int:
        """Return for how long the token counts; those that the controllers put into Secrets end with these alone."""
        longest = self._tokens.longest
        if not longest or seconds <= longest or caller.user == _CONTROLLERS:
            return seconds
        notes.warn(f"requested expiration of {seconds} seconds shortened to {longest} seconds")
        return longest

    def _issue(self, bound: Binding, audiences: list[str], seconds: int) -> str:
        ours = set(audiences) <= set(self._tokens.audiences)
        if bound.pod is not None and seconds == _PROJECTED_SECONDS and ours:
            warned = int(self._parts.clock.now().timestamp()) + seconds
            bound = msgspec.structs.replace(bound, warnafter=warned)
            seconds = _EXTENDED_SECONDS
        return self._tokens.issue(bound, audiences, seconds)

    async def _bound(self, wanted: Document | None, namespace: str, account: Cached) -> Binding:
        """Return what the token is bound to, its account at least. Raises BadRequestError and ConflictError."""
        owner = Reference(account.key.name, account.uid)
        binding = Binding(namespace=namespace, serviceaccount=owner)
        if wanted is None:
            return binding
        api_version: str = wanted.get("apiVersion") or ""
        kind: str = wanted.get("kind") or ""
        group, _, version = api_version.rpartition("/")
        plural = _BINDABLE.get(kind)
        if group or plural is None:
            raise BadRequestError(f"cannot bind token to object of type {group}/{version}, Kind={kind}")
        name: str = wanted.get("name") or ""
        found = await self._get(plural, "" if kind == "Node" else namespace, name)
        reference = Reference(name, found.uid)
        if kind == "Pod":
            binding = msgspec.structs.replace(binding, pod=reference, node=await self._node_of(found, owner.name))
        elif kind == "Secret":
            binding = msgspec.structs.replace(binding, secret=reference)
        else:
            binding = msgspec.structs.replace(binding, node=reference)
        uid: str = wanted.get("uid") or ""
        if uid and uid != found.uid:
            problem = (
                f"the UID in the bound object reference ({uid}) does not match the UID in record. The object might "
                "have been deleted and then recreated"
            )
            raise ConflictError.of(kind, "", name, problem)
        return binding

    async def _node_of(self, pod: Cached, account: str) -> Reference | None:
        """Return the node that a pod is bound to; one that is gone has no uid. Raises BadRequestError."""
        runs_as: str = section(to_document(pod.json), "spec").get("serviceAccountName") or ""
        if runs_as != account:
            raise BadRequestError(
                f'cannot bind token for serviceaccount "{account}" to pod running with different serviceaccount name.'
            )
        if not pod.node:
            return None
        node = self._parts.cache.get(ObjectKey("", "nodes", "", pod.node))
        return Reference(pod.node, "" if node is None else node.uid)

    async def _get(self, plural: str, namespace: str, name: str) -> Cached:
        await self._parts.cache.catch_up()
        found = self._parts.cache.get(ObjectKey("", plural, namespace, name))
        if found is None:
            raise NotFoundError.of(plural, "", name)
        return found


def _check_identity(metadata: Document, namespace: str, name: str) -> None:
    """Refuse a request that names another account than its path. Raises InvalidError."""
    causes: list[Cause] = []
    if (given := metadata.get("name")) and given != name:
        causes.append(invalid("metadata.name", given, "must match the service account name if specified"))
    elif (given := metadata.get("namespace")) and given != namespace:
        causes.append(invalid("metadata.namespace", given, "must match the service account namespace if specified"))
    if causes:
        raise InvalidError.of(KIND, GROUP, name, causes)


def _seconds(spec: Document) -> int:
    """Return for how long the token shall count. Raises InvalidError."""
    seconds: int | None = spec.get("expirationSeconds")
    if seconds is None:
        return _DEFAULT_SECONDS
    problem = ""
    if seconds < _MIN_SECONDS:
        problem = "may not specify a duration less than 10 minutes"
    elif seconds > _MAX_SECONDS:
        problem = "may not specify a duration larger than 2^32 seconds"
    if problem:
        raise InvalidError.of(KIND, GROUP, "", [invalid("spec.expirationSeconds", seconds, problem)])
    return seconds
