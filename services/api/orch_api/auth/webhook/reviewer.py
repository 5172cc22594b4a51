"""Asks a webhook who may what: a SubjectAccessReview over HTTPS, and the answer kept for a while.

Follows k8s.io/apiserver/plugin/pkg/authorizer/webhook. What it said is kept as long as the file says, shorter for a
refusal; long questions are not kept, so that nobody fills the memory with them.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import OrderedDict
from typing import Final, Literal

import msgspec
from prometheus_client import Counter, Histogram

from orch.clock import Clock
from orch_api.auth.attributes import NO_OPINION, Attributes, Decision, Verdict
from orch_api.auth.identity import Caller
from orch_api.auth.kubeconfig import Webhook
from orch_api.auth.webhook.conditions import Conditions
from orch_api.auth.webhook.questions import spec_of
from orch_api.extensions.expressions.environment import ExpressionError
from orch_api.extensions.https import Header, Request, ask
from orch_api.extensions.outgoing import OPEN

log = logging.getLogger(__name__)

Version = Literal["v1", "v1beta1"]

_LABELS: Final = ("name", "result")
EVALUATIONS: Final = Counter(
    "apiserver_authorization_webhook_evaluations", "Questions to authorization webhooks by outcome", _LABELS
)
FAIL_OPEN: Final = Counter(
    "apiserver_authorization_webhook_evaluations_fail_open",
    "Questions that a webhook did not answer, and that others decide",
    _LABELS,
)
DURATION: Final = Histogram(
    "apiserver_authorization_webhook_duration_seconds", "Time that authorization webhooks took by outcome", _LABELS
)

_MOST: Final = 8192
"""Answers that are kept."""
_MOST_ASKED: Final = 256
"""Questions that may be under way at a time; others wait, within the webhook's time."""
_LONGEST_KEPT: Final = 10_000
"""Bytes of a question past which its answer is not kept."""
_LONGEST_ANSWER: Final = 1 << 20
_FIRST_BACKOFF: Final = 0.05
_FACTOR: Final = 2.0
_JITTER: Final = 0.2


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How one webhook is asked. Times are seconds; a `ttl` of 0 keeps nothing."""

    name: str
    version: Version
    timeout: float
    authorized_ttl: float
    unauthorized_ttl: float
    fails_closed: bool


class _Status(msgspec.Struct, frozen=True, rename="camel"):
    allowed: bool = False
    denied: bool = False
    reason: str = ""
    evaluation_error: str = ""


class _Review(msgspec.Struct, frozen=True):
    status: _Status = _Status()


class _Kept(msgspec.Struct, frozen=True):
    verdict: Verdict
    until: float


class _RetryError(Exception):
    """The webhook could not answer; it may the next time."""


_decode: Final = msgspec.json.Decoder(_Review).decode
_encode: Final = msgspec.json.Encoder(order="sorted").encode


class WebhookAuthorizer:
    """One webhook in the chain."""

    def __init__(self, webhook: Webhook, settings: Settings, conditions: Conditions, clock: Clock) -> None:
        self._webhook = webhook
        self._settings = settings
        self._conditions = conditions
        self._clock = clock
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self._gate = asyncio.Semaphore(_MOST_ASKED)

    async def ask(self, caller: Caller, wanted: Attributes) -> Verdict:
        """Return the webhook's opinion, asked for if it is not known yet."""
        spec = spec_of(caller, wanted)
        spared = self._spared(spec)
        if spared is not None:
            return spared
        key = _encode(spec)
        known = self._known(key)
        if known is not None:
            return known
        try:
            verdict = await self._reviewed(caller, wanted)
        except (OSError, ValueError, RecursionError) as error:
            return self._failed(error)
        self._count("success")
        self._keep(key, verdict)
        return verdict

    def _spared(self, spec: dict[str, object]) -> Verdict | None:
        """Return the opinion on what the conditions keep from the webhook, None for what it is asked."""
        try:
            return None if self._conditions.hold(spec) else NO_OPINION
        except ExpressionError as error:
            log.warning("a condition of the webhook authorizer %s failed: %s", self._settings.name, error)
            decision: Decision = "deny" if self._settings.fails_closed else "none"
            return Verdict(decision, error=str(error) if self._settings.fails_closed else "")

    # Asking -----------------------------------------------------------------------------------------------------

    async def _reviewed(self, caller: Caller, wanted: Attributes) -> Verdict:
        """Return the webhook's answer. Raises OSError and ValueError when there is none in time."""
        settings = self._settings
        spec = spec_of(caller, wanted, groups="groups" if settings.version == "v1" else "group")
        question = {"kind": "SubjectAccessReview", "apiVersion": f"authorization.k8s.io/{settings.version}"}
        body = _encode({**question, "metadata": {}, "spec": spec, "status": {"allowed": False}})
        async with asyncio.timeout(settings.timeout), self._gate:
            status = await self._answer(body)
        if status.allowed and status.denied:
            raise ValueError("webhook subject access review returned both allow and deny response")
        decision: Decision = "allow" if status.allowed else "deny" if status.denied else "none"
        return Verdict(decision, status.reason, status.evaluation_error)

    async def _answer(self, body: bytes) -> _Status:
        """Post until there is an answer; the caller limits the time. Raises OSError and ValueError."""
        backoff = _FIRST_BACKOFF
        while True:
            began = self._clock.monotonic()
            try:
                said = await self._post(body)
            except _RetryError as error:
                DURATION.labels(self._settings.name, "error").observe(self._clock.monotonic() - began)
                log.warning("the webhook authorizer %s cannot be asked: %s", self._settings.name, error)
                await self._clock.sleep(backoff * random.uniform(1, 1 + _JITTER))  # noqa: S311 - spreads load only
                backoff *= _FACTOR
                continue
            DURATION.labels(self._settings.name, "success").observe(self._clock.monotonic() - began)
            return _decode(said).status

    async def _post(self, body: bytes) -> bytes:
        """Return the body of a successful answer. Raises _RetryError and ValueError."""
        webhook = self._webhook
        try:
            headers: list[Header] = [
                (b"host", f"{webhook.host}:{webhook.port}".encode()),
                (b"content-type", b"application/json"),
                (b"accept", b"application/json"),
            ]
            if token := await asyncio.to_thread(webhook.bearer):
                headers.append((b"authorization", f"Bearer {token}".encode()))
            request = Request(
                host=webhook.host,
                port=webhook.port,
                server_name=webhook.server_name,
                tls=webhook.tls,
                guard=OPEN,  # the operator has named it
                method="POST",
                target=webhook.target.encode(),
                headers=headers,
                body=body,
                timeout=self._settings.timeout,
            )
            async with ask(request) as answer:
                said = await answer.body(_LONGEST_ANSWER)
        except TimeoutError:
            raise
        except OSError as error:
            raise _RetryError(str(error) or type(error).__name__) from error
        if answer.status == 429 or answer.status >= 500:
            raise _RetryError(f"the server responded with the status code {answer.status}")
        if answer.status not in {200, 201}:
            raise ValueError(f"the server responded with the status code {answer.status}")
        return said

    def _failed(self, error: Exception) -> Verdict:
        result = "timeout" if isinstance(error, TimeoutError) else "error"
        self._count(result)
        detail = str(error) or "context deadline exceeded"
        problem = f'webhook authorizer {self._settings.name} at "{self._webhook.url}" failed: {detail}'
        log.warning("%s", problem)
        if self._settings.fails_closed:
            return Verdict("deny", error=problem)
        FAIL_OPEN.labels(self._settings.name, result).inc()
        return Verdict("none", error=problem)

    def _count(self, result: str) -> None:
        EVALUATIONS.labels(self._settings.name, result).inc()

    # Remembering ------------------------------------------------------------------------------------------------

    def _known(self, key: bytes) -> Verdict | None:
        kept = self._kept.get(key)
        if kept is None or kept.until <= self._clock.monotonic():
            return None
        self._kept.move_to_end(key)
        return kept.verdict

    def _keep(self, key: bytes, verdict: Verdict) -> None:
        ttl = self._settings.authorized_ttl if verdict.allowed else self._settings.unauthorized_ttl
        if ttl <= 0 or len(key) > _LONGEST_KEPT:
            return
        self._kept[key] = _Kept(verdict, self._clock.monotonic() + ttl)
        self._kept.move_to_end(key)
        while len(self._kept) > _MOST:
            self._kept.popitem(last=False)
