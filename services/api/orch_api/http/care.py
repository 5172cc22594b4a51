"""What every request gets around its own work, whatever it asks for: a seat, a time limit, figures, an audit entry."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from orch.errors import UnauthorizedError
from orch_api.auth.identity import Caller
from orch_api.http.audit import Auditor, Entry
from orch_api.http.audit_policy import Attributes
from orch_api.http.deadlines import REQUEST_TIMEOUT, Deadlines, TimeLimitError, timeout_of
from orch_api.http.exchange import Disconnected, Exchange, Scope, Send, audit_id
from orch_api.http.fairness import Fairness, RejectedError, Ticket
from orch_api.http.metrics import REQUESTS, Labels, RequestFigures
from orch_api.http.refusal import refuse
from orch_api.http.request import Call, Target, parse_path

NOBODY: Final = Caller("", ())
"""Who could not be identified."""

_APPLY: Final = "application/apply-patch"
_SWITCHING: Final = 101

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
        entry = None if self._auditor is None else self._entry(exchange, attributes_of(call, exchange.scope["path"]))
        ticket = None if call.streams else self._fairness.ticket(call)
        return self._serve(exchange, figures, ticket, entry, call, work)

    def path(self, exchange: Exchange, caller: Caller, work: Work) -> Awaitable[None]:
        """Serve a request for a path that is no resource's; what goes wrong is answered."""
        path, verb = exchange.scope["path"], "get" if exchange.method in {"GET", "HEAD"} else "other"
        asked = Attributes(caller=caller, verb=exchange.method.lower(), path=path)
        ticket = self._fairness.path_ticket(caller, verb, path)
        entry = self._entry(exchange, asked)
        return self._serve(exchange, REQUESTS.labelled(Labels(verb)), ticket, entry, None, work)

    async def refuse(self, exchange: Exchange, caller: Caller, failure: Exception) -> None:
        """Answer a request that failed before it was known what it asks for."""
        path, verb = exchange.scope["path"], "get" if exchange.method in {"GET", "HEAD"} else "other"
        target = None if isinstance(failure, UnauthorizedError) else parse_path(path)
        asked = Attributes(caller=caller, verb=exchange.method.lower(), path=path)
        if target is not None:
            asked = _attributes(caller, exchange.method.lower(), path, target)
        entry = self._entry(exchange, asked)
        await refuse(exchange, failure)
        REQUESTS.labelled(Labels(verb)).count(exchange.status)
        if entry is not None:
            entry.finish(failure)

    async def websocket(self, scope: Scope, send: Send, call: Call, work: Callable[[Send], Awaitable[None]]) -> None:
        """Serve a request for a WebSocket; `work` is given what sends to the client. Raises what `work` does."""
        figures = REQUESTS.of(call.verb, call.target)
        ticket = None if call.streams else self._fairness.ticket(call)
        entry: Entry | None = None
        if self._auditor is not None:
            headers = dict(scope["headers"])
            asked = attributes_of(call, scope["path"])
            entry = self._auditor.begin(scope, headers, audit_id(headers).decode("latin-1"), asked)
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
        except Exception as error:
            failure, code = error, code or getattr(error, "code", 500)
            raise
        finally:
            if ticket is not None:
                ticket.release()
            REQUESTS.end(figures, long_running=True)
            figures.count(code)
            if entry is not None:
                entry.finish(failure)

    def _entry(self, exchange: Exchange, asked: Attributes) -> Entry | None:
        if self._auditor is None:
            return None
        entry = self._auditor.begin(exchange.scope, exchange.headers, exchange.audit_id.decode("latin-1"), asked)
        exchange.witness = entry
        return entry

    async def _serve(
        self,
        exchange: Exchange,
        figures: RequestFigures,
        ticket: Ticket | None,
        entry: Entry | None,
        call: Call | None,
        work: Work,
    ) -> None:
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
            if entry is not None:
                entry.finish(failure)
            REQUESTS.end(figures, long_running=long_running)
            _count(exchange, figures, time.monotonic() - started, ticket, long_running=long_running)

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


def attributes_of(call: Call, path: str) -> Attributes:
    """Return what the audit policy looks at."""
    return _attributes(call.caller, call.verb, path, call.target)


def _attributes(caller: Caller, verb: str, path: str, target: Target) -> Attributes:
    return Attributes(
        caller=caller,
        verb=verb,
        path=path,
        group=target.group,
        version=target.version,
        resource=target.resource,
        subresource=target.subresource,
        namespace=target.namespace,
        name=target.name,
    )
