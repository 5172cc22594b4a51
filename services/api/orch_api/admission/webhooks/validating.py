"""ValidatingWebhookConfigurations: the webhooks that a request is for, asked at the same time (webhook/validating)."""

from __future__ import annotations

import asyncio
import logging
from time import perf_counter
from typing import ClassVar, Final

from orch.errors import ApiError
from orch_api.admission.asking_rights import Deciding
from orch_api.admission.chain import CONNECT, CREATE, DELETE, UPDATE, Operation, Plugin, Request, Rule
from orch_api.admission.examination import Examination
from orch_api.admission.questions import ScaleForm, Shown
from orch_api.admission.webhooks.calling import CallError, WebhookCalls
from orch_api.admission.webhooks.conditions import applies
from orch_api.admission.webhooks.configured import Hook, hooks_of
from orch_api.admission.webhooks.figures import FAIL_OPEN, note
from orch_api.admission.webhooks.refusing import denied, no_dry_run, unreachable
from orch_api.registry import Registry, Resource
from orch_api.storage.cache import ObjectCache

log = logging.getLogger(__name__)

_EVERYTHING: Final = (Rule((CREATE, UPDATE, DELETE, CONNECT), ("*", "*/*")),)
_KIND: Final = "validating"


class ValidatingWebhooks(Plugin):
    """Refuses what webhooks refuse."""

    name: ClassVar[str] = "ValidatingAdmissionWebhook"
    validates: ClassVar[tuple[Rule, ...]] = _EVERYTHING
    changing: ClassVar[bool] = True

    def __init__(
        self, cache: ObjectCache, registry: Registry, authority: Deciding, scale: ScaleForm, calls: WebhookCalls
    ) -> None:
        self._cache = cache
        self._authority = authority
        self._scale = scale
        self._calls = calls
        self._hooks = hooks_of(cache, registry, "validatingwebhookconfigurations")

    def wants(self, operation: Operation, resource: Resource, subresource: str) -> bool:
        """Return whether any webhook is about such requests."""
        return bool(self._hooks.about(operation, resource, subresource))

    async def validate(self, request: Request) -> None:
        """Ask every webhook. Raises ApiError with the refusal of the first, in order of their names."""
        shown = Shown(request, self._scale)
        examination = Examination(request, shown, self._cache, self._authority)
        relevant = [
            (hook, target)
            for hook, target in self._hooks.of(request)
            if await applies(hook, target, request, examination, _KIND)
        ]
        answers = await asyncio.gather(
            *(self._ask(index, hook, target, request, shown) for index, (hook, target) in enumerate(relevant)),
            return_exceptions=True,
        )
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer

    async def _ask(self, index: int, hook: Hook, target: Resource, request: Request, shown: Shown) -> None:
        """Ask one webhook. Raises ApiError."""
        began = perf_counter()
        told = (hook.name, _KIND, request.operation)
        try:
            if request.dry_run and not hook.dry_run:
                note(*told, perf_counter() - began, 0, rejected=True, failure="apiserver_internal_error")
                raise no_dry_run(hook)
            now, before = await shown.objects(target)
            reply = await self._calls.ask(hook, request, target, now, before, mutating=False)
        except CallError as error:
            closed = hook.fails_closed
            note(*told, perf_counter() - began, error.code, rejected=closed, failure="calling_webhook_error")
            if closed:
                log.warning("%s, failing closed", error)
                raise unreachable(error) from error
            log.warning("%s, failing open", error)
            FAIL_OPEN.labels(hook.name, _KIND).inc()
            key = f"failed-open.validating.webhook.admission.k8s.io/round_0_index_{index}"
            request.notes.annotations[key] = hook.name
            return
        for key, value in reply.annotations.items():
            request.notes.annotations[f"{hook.name}/{key}"] = value
        for warning in reply.warnings:
            request.notes.warn(warning)
        refusal: ApiError | None = None if reply.allowed else denied(hook, reply.status)
        code = 200 if refusal is None else refusal.code
        note(*told, perf_counter() - began, code, rejected=refusal is not None)
        if refusal is not None:
            raise refusal
