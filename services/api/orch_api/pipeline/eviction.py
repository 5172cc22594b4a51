"""Evicting pods: deleting them as far as their disruption budgets allow (pods/eviction's EvictionREST).

Who asks needs no right to delete pods. A pod that has ended, is ending or has not started disrupts nothing when it
goes, and neither does one that is not ready while its application has all the pods it needs. Any other pod uses up one
of its budget's disruptions, by compare-and-swap on the budget's status, before it is deleted.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import msgspec
from prometheus_client import Counter

from orch import telemetry
from orch.clock import rfc3339
from orch.errors import BadRequestError, ConflictError, InternalError, NotFoundError, StatusDetails
from orch.errors import TimeoutError as ApiTimeoutError
from orch_api.admission import Request
from orch_api.auth.identity import Caller
from orch_api.pipeline.deletion import DeleteOptions, Deletion, Preconditions, read_options
from orch_api.pipeline.disruptions import RETRY_AFTER, allows_unready, later, selects, take
from orch_api.pipeline.parts import Document, Outcome, Parts, WriteOptions, check_kind, check_namespace, metadata_of
from orch_api.registry import Resource
from orch_api.storage.commit import Verdict
from orch_api.storage.objects import Cached, Encoded, encode, to_document, to_json
from orch_api.strategy import section

RETRIES: Final = Counter(
    "orch_api_eviction_retries", "Evictions that lost against other writes, by what they wrote", ("what",)
)

_VERSIONS: Final = ("policy/v1", "policy/v1beta1")
_ENDED: Final = frozenset({"Succeeded", "Failed"})
_ATTEMPTS: Final = 20
_FIRST_WAIT: Final = 0.05
_MAX_WAIT: Final = 0.5

_Result = TypeVar("_Result")

_TARGET: Final = "DisruptionTarget"
_TOO_MANY_BUDGETS: Final = (
    "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
)
_SUCCESS: Final = msgspec.json.encode(
    {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
)


class _Wanted(msgspec.Struct, frozen=True):
    """Who wants which pod gone, and how."""

    caller: Caller
    namespace: str
    name: str
    asked: DeleteOptions
    options: WriteOptions

    @property
    def dry_run(self) -> bool:
        """Whether nothing is to happen."""
        return self.options.dry_run or bool(self.asked.dry_run)

    @property
    def names_version(self) -> bool:
        """Whether the pod is to go only in the state that the caller saw."""
        preconditions = self.asked.preconditions
        return preconditions is not None and bool(preconditions.resource_version)

    def in_state(self, version: int) -> _Wanted:
        """Return the same for a pod that must not have changed since a version."""
        uid = self.asked.preconditions.uid if self.asked.preconditions else None
        preconditions = Preconditions(uid=uid, resource_version=str(version))
        return msgspec.structs.replace(self, asked=msgspec.structs.replace(self.asked, preconditions=preconditions))


class Eviction:
    """Evicts pods."""

    def __init__(self, parts: Parts, deletion: Deletion, pods: Resource, budgets: Resource) -> None:
        self._parts = parts
        self._deletion = deletion
        self._pods = pods
        self._budgets = budgets

    async def evict(self, caller: Caller, namespace: str, name: str, body: bytes, options: WriteOptions) -> Outcome:
        """Evict one pod as an Eviction document says. Raises ApiError; 429 when its budget does not allow it now."""
        with telemetry.span("api.evict pods", parent=options.trace):
            parts = self._parts
            await parts.authorizer.permit(caller, "create", self._pods, namespace, name, "eviction")
            document, warnings = parts.schemas.of("policy", "v1", "Eviction").decode(body, options.field_validation)
            wanted = _Wanted(caller, namespace, name, self._read(document, namespace, name), options)
            request = Request(caller, "CREATE", self._pods, "eviction", namespace, name, document, None, wanted.dry_run)
            await parts.admission.mutate(request)
            await parts.admission.validate(request)
            await self._check_identity(wanted)
            pod = await self._remove_harmless(wanted)
            if pod is not None:
                await self._remove_guarded(wanted, pod)
        return Outcome(_SUCCESS, 0, created=True, deleted=True, warnings=(*warnings, *request.notes.warnings))

    def _read(self, document: Document, namespace: str, name: str) -> DeleteOptions:
        """Check what the document says of itself, return how the pod is to be deleted."""
        version: str = document.get("apiVersion") or _VERSIONS[0]
        check_kind(document, version if version in _VERSIONS else _VERSIONS[0], "Eviction")
        metadata = metadata_of(document)
        check_namespace(metadata, self._pods, namespace)
        if metadata.get("name") != name:
            raise BadRequestError("name in URL does not match name in Eviction object")
        asked: Document | None = document.get("deleteOptions")
        return DeleteOptions() if asked is None else read_options(to_json(asked))

    async def _check_identity(self, wanted: _Wanted) -> None:
        """Refuse at once a pod that is not the one that was meant: trying again would not help."""
        preconditions = wanted.asked.preconditions
        if preconditions is None or not preconditions.uid:
            return
        pod = await self._parts.committer.read(self._pods.key(wanted.namespace, wanted.name))
        if pod is not None:
            _check_preconditions(pod, Preconditions(uid=preconditions.uid))

    async def _remove_harmless(self, wanted: _Wanted) -> Cached | None:
        """Delete a pod whose going disrupts nothing; return any other pod instead."""

        async def attempt() -> Cached | None:
            pod = await self._parts.committer.read(self._pods.key(wanted.namespace, wanted.name))
            if pod is None:
                raise NotFoundError.of("pods", "", wanted.name)
            document = to_document(pod.json)
            phase = section(document, "status").get("phase")
            gone = phase in _ENDED or bool(section(document, "metadata").get("deletionTimestamp"))
            if not gone and phase != "Pending":
                return pod
            # A pod that has not started may become ready meanwhile, and then counts.
            exact = wanted if gone or wanted.names_version else wanted.in_state(pod.version)
            await self._remove(exact)
            return None

        if wanted.names_version:
            return await attempt()
        return await self._retry("pod", attempt)

    async def _remove_guarded(self, wanted: _Wanted, pod: Cached) -> None:
        """Delete a pod when its budget allows it."""
        budgets = await self._budgets_of(pod)
        if len(budgets) > 1:
            raise InternalError(_TOO_MANY_BUDGETS)
        if not budgets:
            await self._remove(wanted)
            return
        budget = budgets[0]
        name = budget.key.name
        if not _is_ready(to_document(pod.json)) and allows_unready(to_document(budget.json)):
            try:
                await self._remove(wanted if wanted.names_version else wanted.in_state(pod.version))
            except ConflictError as error:
                if wanted.names_version:
                    raise
                raise later(name) from error  # it changed, and may be ready now
            return
        await self._spend(wanted, budget)
        await self._remove(wanted)

    async def _budgets_of(self, pod: Cached) -> list[Cached]:
        """Return the budgets that select the pod."""
        await self._parts.cache.catch_up()
        items = self._parts.cache.select(self._budgets.group, self._budgets.plural, pod.key.namespace)
        return [item for item in items if selects(item, pod)]

    async def _spend(self, wanted: _Wanted, budget: Cached) -> None:
        """Take one disruption from the budget. Raises ApiError when there is none."""
        parts = self._parts

        async def decide(item: Cached) -> Encoded | Verdict:
            document = to_document(item.json)
            take(document, wanted.name, rfc3339(parts.clock.now()))
            return encode(document, wanted.options.origin())

        async def attempt() -> None:
            await parts.committer.change(self._budgets, budget.key, decide, dry_run=wanted.dry_run)

        try:
            await self._retry("poddisruptionbudget", attempt)
        except ConflictError as error:
            problem = f'Timeout: couldn\'t update PodDisruptionBudget "{budget.key.name}" due to conflicts'
            raise ApiTimeoutError(problem, StatusDetails(retry_after_seconds=RETRY_AFTER)) from error

    async def _remove(self, wanted: _Wanted) -> None:
        """Say in the pod's status why it goes, and delete it."""
        if not wanted.dry_run:
            key = self._pods.key(wanted.namespace, wanted.name)
            now = rfc3339(self._parts.clock.now())

            async def decide(item: Cached) -> Encoded | Verdict:
                _check_preconditions(item, wanted.asked.preconditions)
                document = to_document(item.json)
                if not _mark(document, now):
                    return Verdict.KEEP
                return encode(document, wanted.options.origin())

            done = await self._parts.committer.change(self._pods, key, decide, fence=wanted.options.fence)
            if wanted.names_version:
                wanted = wanted.in_state(done.version)
        await self._deletion.carry_out(
            wanted.caller, self._pods, wanted.namespace, wanted.name, wanted.asked, wanted.options
        )

    async def _retry(self, what: str, attempt: Callable[[], Awaitable[_Result]]) -> _Result:
        """Return what `attempt` returns, trying again, after ever longer waits, when it lost against other writes."""
        wait = _FIRST_WAIT
        for _ in range(_ATTEMPTS - 1):
            try:
                return await attempt()
            except ConflictError:
                RETRIES.labels(what).inc()
                await self._parts.clock.sleep(wait * random.uniform(1, 1.1))  # noqa: S311 - spreads, hides nothing
                wait = min(wait * 2, _MAX_WAIT)
        return await attempt()


def _is_ready(pod: Document) -> bool:
    conditions: list[Document] = section(pod, "status").get("conditions") or []
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


def _check_preconditions(item: Cached, preconditions: Preconditions | None) -> None:
    """Raise ConflictError when the pod is not the one that was meant."""
    if preconditions is None:
        return
    name = item.key.name
    if preconditions.uid and preconditions.uid != item.uid:
        problem = (
            f"the UID in the precondition ({preconditions.uid}) does not match the UID in record ({item.uid}). "
            "The object might have been deleted and then recreated"
        )
        raise ConflictError.of("Pod", "", name, problem)
    if preconditions.resource_version and preconditions.resource_version != str(item.version):
        problem = (
            f"the ResourceVersion in the precondition ({preconditions.resource_version}) does not match the "
            f"ResourceVersion in record ({item.version}). The object might have been modified"
        )
        raise ConflictError.of("Pod", "", name, problem)


def _mark(pod: Document, now: str) -> bool:
    """Add the condition that says who wants the pod gone; return whether it was not there yet."""
    status: Document = pod.setdefault("status", {})
    conditions: list[Document] = status.get("conditions") or []
    before = next((one for one in conditions if one.get("type") == _TARGET), None)
    since = before.get("lastTransitionTime") if before and before.get("status") == "True" else now
    condition: Document = {
        "type": _TARGET,
        "status": "True",
        "lastTransitionTime": since or now,
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
    }
    if before is not None and before | condition == before:
        return False
    status["conditions"] = [*(one for one in conditions if one is not before), condition]
    return True
