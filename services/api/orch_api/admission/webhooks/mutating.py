"""MutatingWebhookConfigurations: webhooks change an object one after another, by name (webhook/mutating)."""

from __future__ import annotations

import asyncio
import json
import logging
from time import perf_counter
from typing import Any, ClassVar, Final

import msgspec

from orch.errors import ApiError, InternalError, StatusDetails
from orch.errors import TimeoutError as ApiTimeoutError
from orch_api.admission.asking_rights import Deciding
from orch_api.admission.chain import CONNECT, CREATE, DELETE, UPDATE, Operation, Plugin, Request, Rule
from orch_api.admission.changes import ChangeError, Changes
from orch_api.admission.examination import Examination
from orch_api.admission.questions import ScaleForm, Shown
from orch_api.admission.reinvoking import Reinvocation
from orch_api.admission.webhooks.calling import CallError, WebhookCalls
from orch_api.admission.webhooks.conditions import applies
from orch_api.admission.webhooks.configured import Hook, hooks_of
from orch_api.admission.webhooks.figures import FAIL_OPEN, note
from orch_api.admission.webhooks.refusing import denied, no_dry_run, unreachable
from orch_api.admission.webhooks.reviews import Reply
from orch_api.patch import json_patch
from orch_api.registry import Registry, Resource
from orch_api.schema import Schemas
from orch_api.storage.cache import ObjectCache

log = logging.getLogger(__name__)

_EVERYTHING: Final = (Rule((CREATE, UPDATE, DELETE, CONNECT), ("*", "*/*")),)
_KIND: Final = "admit"
_MUTATION: Final = "mutation.webhook.admission.k8s.io/"
_ALL_SECONDS: Final = 60.0
"""What all webhooks may take for one request; each has a limit of its own, too."""


class _Question(msgspec.Struct, frozen=True):
    """A webhook to be asked in one of the two runs, and its place among all."""

    hook: Hook
    target: Resource
    round: int
    index: int

    @property
    def place(self) -> str:
        """Where its annotations are."""
        return f"round_{self.round}_index_{self.index}"


class MutatingWebhooks(Plugin):
    """Changes objects as webhooks say, and refuses what they refuse."""

    name: ClassVar[str] = "MutatingAdmissionWebhook"
    mutates: ClassVar[tuple[Rule, ...]] = _EVERYTHING
    changing: ClassVar[bool] = True

    def __init__(
        self,
        cache: ObjectCache,
        registry: Registry,
        schemas: Schemas,
        authority: Deciding,
        scale: ScaleForm,
        calls: WebhookCalls,
    ) -> None:
        self._cache = cache
        self._authority = authority
        self._scale = scale
        self._calls = calls
        self._changes = Changes(schemas)
        self._hooks = hooks_of(cache, registry, "mutatingwebhookconfigurations")

    def wants(self, operation: Operation, resource: Resource, subresource: str) -> bool:
        """Return whether any webhook is about such requests."""
        return bool(self._hooks.about(operation, resource, subresource))

    async def mutate(self, request: Request) -> None:
        """Ask every webhook, each about what those before it made. Raises ApiError with the first refusal."""
        try:
            async with asyncio.timeout(_ALL_SECONDS):
                await self._all(request)
        except TimeoutError as error:
            message = "Timeout: request did not complete within requested timeout"
            raise ApiTimeoutError(message, StatusDetails()) from error

    async def _all(self, request: Request) -> None:
        state = Reinvocation.of(request, self.name)
        shown = Shown(request, self._scale)
        examination = Examination(request, shown, self._cache, self._authority)
        turn = 1 if request.notes.again else 0
        for index, (hook, _) in enumerate(self._hooks.about(request.operation, request.resource, request.subresource)):
            target = self._hooks.target(hook.matcher, request)  # labels may have changed since
            if target is None or not state.asked(request, hook.key):
                continue
            if not await applies(hook, target, request, examination, _KIND):
                continue
            if await self._ask(_Question(hook, target, turn, index), request, shown):
                state.changed(request)
            if hook.view.reinvocation_policy == "IfNeeded":
                state.willing(hook.key)
        state.end(request)

    async def _ask(self, asked: _Question, request: Request, shown: Shown) -> bool:
        """Ask one webhook; return whether it changed the object. Raises ApiError."""
        hook, notes = asked.hook, request.notes
        began = perf_counter()
        told = (hook.name, _KIND, request.operation)
        changed = False
        try:
            changed = await self._change(asked, request, shown)
        except CallError as error:
            closed = hook.fails_closed
            note(*told, perf_counter() - began, error.code, rejected=closed, failure="calling_webhook_error")
            if closed:
                log.warning("%s, failing closed", error)
                raise unreachable(error) from error
            log.warning("%s, failing open", error)
            FAIL_OPEN.labels(hook.name, _KIND).inc()
            notes.annotations[f"failed-open.{_MUTATION}{asked.place}"] = hook.name
        except ApiError as error:
            failure = "no_error" if error.message.startswith("admission webhook") else "apiserver_internal_error"
            note(*told, perf_counter() - began, error.code, rejected=True, failure=failure)
            raise
        else:
            note(*told, perf_counter() - began, 200, rejected=False)
        finally:
            value = {"configuration": hook.configuration, "webhook": hook.name, "mutated": changed}
            notes.annotations[f"{_MUTATION}{asked.place}"] = json.dumps(value, separators=(",", ":"))
        return changed

    async def _change(self, asked: _Question, request: Request, shown: Shown) -> bool:
        """Let a webhook change the object. Raises CallError and ApiError."""
        hook = asked.hook
        if request.dry_run and not hook.dry_run:
            raise no_dry_run(hook)
        now, before = await shown.objects(asked.target)
        reply = await self._calls.ask(hook, request, asked.target, now, before, mutating=True)
        notes = request.notes
        for key, value in reply.annotations.items():
            notes.annotations[f"{hook.name}/{key}"] = value
        for warning in reply.warnings:
            notes.warn(warning)
        if not reply.allowed:
            raise denied(hook, reply.status)
        patch = _operations(hook, reply)
        if not patch:
            return False
        if now is None:
            raise _internal(
                f'admission webhook "{hook.name}" attempted to modify the object, which is not supported for this '
                "operation"
            )
        try:
            patched = json_patch.apply(now, patch)
            return await self._changes.take(request, shown, asked.target, patched)
        except ChangeError as error:
            raise _internal(f'admission webhook "{hook.name}" made a change that is not allowed: {error}') from error
        except ApiError as error:
            raise _internal(_cause(error)) from error


def _operations(hook: Hook, reply: Reply) -> list[Any]:
    """Return the operations of a patch. Raises CallError for what is none."""
    if not reply.patch:
        return []
    try:
        return msgspec.json.decode(reply.patch, type=list[Any])
    except msgspec.MsgspecError as error:
        raise CallError(hook, f"received undecodable patch in webhook response: {error}") from error


def _internal(problem: str) -> InternalError:
    return InternalError(f"Internal error occurred: {problem}")


def _cause(error: ApiError) -> str:
    """Return why a patch does not apply."""
    causes = error.details.causes if error.details is not None else ()
    return causes[0].message if causes else error.message
