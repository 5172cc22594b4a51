"""What every request gets around its own work, whatever it asks for: a seat, a time limit, figures, an audit entry."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from orch.errors import UnauthorizedError
from orch_api.auth.attributes import namespace_of
from orch_api.auth.audit_notes import NOTES, AuditNotes
from orch_api.auth.identity import Caller
from orch_api.http.audit import Auditor, Entry
from orch_api.http.audit_policy import Attributes, attributes_for
from orch_api.http.credentials import asked, attempted
from orch_api.http.deadlines import REQUEST_TIMEOUT, Deadlines, TimeLimitError, timeout_of
from orch_api.http.exchange import Disconnected, Exchange, Scope, Send, audit_id
from orch_api.http.fairness import Fairness, RejectedError, Ticket
from orch_api.http.metrics import REQUESTS, Labels, RequestFigures
from orch_api.http.refusal import as_api_error, refuse, refuse_websocket
from orch_api.http.request import Call

NOBODY: Final = Caller("", ())
"""Who could not be identified."""

_APPLY: Final = "application/apply-patch"
_SWITCHING: Final = 101

About = Callable[[], Attributes]
"""Tells what the audit policy looks at."""

Work = Callable[[], Awaitable[None]]
"""Answers the request. May raise anything: it is answered with a Status."""


class Care:
    """Lets requests be served, each with what is due to it."""

    def __init__(self, fairness: Fairness, auditor: Auditor | None = None) -> None:
        self._fairness = fairness
        self._auditor = auditor
        self._deadlines = Deadlines()

    def resource(self, exchange: Exchange, call: Call, work: Work) -> Awaitable[None]:
        """Serve a request for a resource; what goes wrong is answered."""
        apply = call.verb == "patch" and exchange.header(b"content-type").startswith(_APPLY)
        dry_run = "All" if call.query.get("dryRun") == ["All"] else ""
        figures = REQUESTS.of("apply" if apply else call.verb, call.target, dry_run)
        ticket = None if call.streams else self._fairness.ticket(call)
        return self._serve(exchange, figures, ticket, lambda: attributes_of(call, exchange.scope["path"]), call, work)

    def path(self, exchange: Exchange, caller: Caller, work: Work) -> Awaitable[None]:
        """Serve a request for a path at which no resource is; what goes wrong is answered."""
        path, verb = exchange.scope["path"], "get" if exchange.method in {"GET", "HEAD"} else "other"
        ticket = self._fairness.path_ticket(caller, verb, path)
        figures = REQUESTS.labelled(Labels(verb))
        return self._serve(exchange, figures, ticket, lambda: sent(exchange.scope, caller), None, work)

    async def refuse(self, exchange: Exchange, caller: Caller, failure: Exception) -> None:
        """Answer a request whose sender is not known, or not believed."""
        verb = "get" if exchange.method in {"GET", "HEAD"} else "other"
        entry = None
        if self._auditor is not None:
            entry = self._entry(self._auditor, exchange, sent(exchange.scope, caller), known=caller is not NOBODY)
        await refuse(exchange, failure)
        REQUESTS.labelled(Labels(verb)).count(exchange.status)
        _end(entry, exchange.scope, failure)

    async def refuse_websocket(self, scope: Scope, send: Send, caller: Caller, failure: Exception) -> None:
        """Answer a request for a WebSocket that cannot be served."""
        entry = None
        if self._auditor is not None:
            named = audit_id(dict(scope["headers"])).decode("latin-1")
            known = caller is not NOBODY
            entry = self._auditor.begin(scope, dict(scope["headers"]), named, sent(scope, caller), known=known)
        await refuse_websocket(send, failure)
        _end(entry, scope, failure)

    async def websocket(self, scope: Scope, send: Send, call: Call, work: Callable[[Send], Awaitable[None]]) -> None:
        """Serve a request for a WebSocket; `work` is given what sends to the client. What goes wrong is answered."""
        figures = REQUESTS.of(call.verb, call.target)
        ticket = None if call.streams else self._fairness.ticket(call)
        entry: Entry | None = None
        if self._auditor is not None:
            headers = dict(scope["headers"])
            entry = self._auditor.begin(
                scope, headers, audit_id(headers).decode("latin-1"), attributes_of(call, scope["path"])
            )
        code = 0

        async def told(message: MutableMapping[str, Any]) -> None:
            nonlocal code
            if not code:
                code = _SWITCHING if message["type"] == "websocket.accept" else message.get("status", 0)
                if entry is not None:
                    entry.begun(code)
            await send(message)

        REQUESTS.begin(figures, long_running=True)
        failure: Exception | None = None
        try:
            if ticket is not None and not ticket.granted:
                await self._fairness.wait(ticket, REQUEST_TIMEOUT)
            await work(told)
        except Exception as error:  # noqa: BLE001 - the last place that can turn a failure into an answer
            failure, code = error, code or as_api_error(error).code
            await refuse_websocket(send, error)
        finally:
            if ticket is not None:
                ticket.release()
            REQUESTS.end(figures, long_running=True)
            figures.count(code)
            if entry is not None:
                entry.finish(failure)

    def _entry(self, auditor: Auditor, exchange: Exchange, asked: Attributes, *, known: bool = True) -> Entry:
        named = exchange.audit_id.decode("latin-1")
        entry = auditor.begin(exchange.scope, exchange.headers, named, asked, known=known)
        if entry.recorded:
            exchange.witness = entry
        return entry

    async def _serve(
        self,
        exchange: Exchange,
        figures: RequestFigures,
        ticket: Ticket | None,
        about: About,
        call: Call | None,
        work: Work,
    ) -> None:
        entry = None if self._auditor is None else self._begin(self._auditor, exchange, about)
        long_running = call is not None and call.long_running
        failure: Exception | None = None
        started = time.monotonic()
        REQUESTS.begin(figures, long_running=long_running)
        try:
            timeout = REQUEST_TIMEOUT
            if call is not None and "timeout" in call.query and not long_running:
                timeout = timeout_of(call.query)
            if ticket is not None:
                exchange.settled = ticket.release
                exchange.extra.extend(ticket.headers)
                if not ticket.granted:
                    await self._fairness.wait(ticket, timeout)
            if long_running:
                await work()
            else:
                await self._in_time(timeout, work)
        except Disconnected:
            return
        except Exception as error:  # noqa: BLE001 - the last place that can turn a failure into an answer
            failure = error
            if isinstance(error, RejectedError | TimeLimitError):
                figures.terminate(error.code)
            await refuse(exchange, error)
        finally:
            if ticket is not None:
                ticket.release()
            seconds = time.monotonic() - started
            if entry is not None:
                entry.finish(failure)
            elif failure is not None:
                self._failed(exchange, about, failure, seconds)
            REQUESTS.end(figures, long_running=long_running)
            _count(exchange, figures, seconds, ticket, long_running=long_running)

    def _begin(self, auditor: Auditor, exchange: Exchange, about: About) -> Entry | None:
        """Begin a request's entry; where denials alone are recorded there is none before it is denied."""
        if not auditor.quiet:
            return self._entry(auditor, exchange, about())
        NOTES.set(AuditNotes())  # a request is served in a context of its own
        return None

    def _failed(self, exchange: Exchange, about: About, failure: Exception, seconds: float) -> None:
        if self._auditor is not None:
            named = exchange.audit_id.decode("latin-1")
            self._auditor.failed(exchange.scope, exchange.headers, named, about(), failure, seconds)

    async def _in_time(self, timeout: float, work: Work) -> None:
        task = self._deadlines.begin(timeout)
        try:
            await work()
        finally:
            self._deadlines.end(task)


def _count(
    exchange: Exchange, figures: RequestFigures, seconds: float, ticket: Ticket | None, *, long_running: bool
) -> None:
    if not exchange.status:
        return  # the client left before there was an answer
    if long_running:
        figures.count(exchange.status)
    else:
        figures.done(exchange.status, seconds, 0.0 if ticket is None else ticket.waited, exchange.size)


def _end(entry: Entry | None, scope: Scope, failure: Exception) -> None:
    """Record what became of a request that was not let in."""
    if entry is None:
        return
    if isinstance(failure, UnauthorizedError):
        entry.unknown(attempted(scope))
    else:
        entry.finish(failure)


def sent(scope: Scope, caller: Caller) -> Attributes:
    """Return what the audit policy looks at, of a request that may name no resource."""
    return attributes_for(caller, asked(scope), scope["path"])


def attributes_of(call: Call, path: str) -> Attributes:
    """Return what the audit policy looks at."""
    target = call.target
    return Attributes(
        caller=call.caller,
        verb=call.verb,
        path=path,
        group=target.group,
        version=target.version,
        resource=target.resource,
        subresource=target.subresource,
        namespace=namespace_of(target.resource, target.namespace, target.name),
        name=target.name,
    )
