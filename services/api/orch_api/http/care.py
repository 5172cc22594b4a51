"""What every request gets around its own work, whatever it asks for: a seat, a time limit, and figures about it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from orch.clock import Clock
from orch_api.auth.identity import Caller
from orch_api.http.deadlines import REQUEST_TIMEOUT, Deadlines, TimeLimitError, timeout_of
from orch_api.http.exchange import Disconnected, Exchange
from orch_api.http.fairness import Fairness, RejectedError, Ticket
from orch_api.http.metrics import REQUESTS, Labels, RequestFigures
from orch_api.http.refusal import refuse
from orch_api.http.request import Call

_APPLY: Final = "application/apply-patch"

Work = Callable[[], Awaitable[None]]
"""Answers the request. May raise anything: it is answered with a Status."""


class Care:
    """Lets requests be served, each with what is due to it."""

    def __init__(self, fairness: Fairness, clock: Clock) -> None:
        self._fairness = fairness
        self._deadlines = Deadlines()
        self._clock = clock

    async def resource(self, exchange: Exchange, call: Call, work: Work) -> None:
        """Serve a request for a resource; what goes wrong is answered."""
        apply = call.verb == "patch" and exchange.header(b"content-type").startswith(_APPLY)
        dry_run = "All" if call.query.get("dryRun") == ["All"] else ""
        figures = REQUESTS.of("apply" if apply else call.verb, call.target, dry_run)
        ticket = None if call.streams else self._fairness.ticket(call)
        await self._serve(exchange, figures, ticket, call, work)

    async def path(self, exchange: Exchange, caller: Caller, work: Work) -> None:
        """Serve a request for a path that is no resource's; what goes wrong is answered."""
        verb = "get" if exchange.method in {"GET", "HEAD"} else "other"
        ticket = self._fairness.path_ticket(caller, verb, exchange.scope["path"])
        await self._serve(exchange, REQUESTS.labelled(Labels(verb)), ticket, None, work)

    async def _serve(
        self, exchange: Exchange, figures: RequestFigures, ticket: Ticket | None, call: Call | None, work: Work
    ) -> None:
        long_running = call is not None and call.long_running
        started = self._clock.monotonic()
        REQUESTS.begin(figures, long_running=long_running)
        try:
            timeout = timeout_of(call.query) if call is not None and not long_running else REQUEST_TIMEOUT
            if ticket is not None:
                exchange.extra.extend(ticket.headers)
                exchange.settled = ticket.release
                if not ticket.granted:
                    await self._fairness.wait(ticket, timeout)
            if long_running:
                await work()
            else:
                await self._in_time(timeout, work)
        except Disconnected:
            return
        except (RejectedError, TimeLimitError) as error:
            figures.terminate(error.code)
            await refuse(exchange, error)
        except Exception as error:  # noqa: BLE001 - the last place that can turn a failure into an answer
            await refuse(exchange, error)
        finally:
            waited = 0.0
            if ticket is not None:
                waited = ticket.waited
                ticket.release()
            REQUESTS.end(figures, long_running=long_running)
            if long_running and exchange.status:
                figures.count(exchange.status)
            elif exchange.status:
                figures.done(exchange.status, self._clock.monotonic() - started, waited, exchange.size)

    async def _in_time(self, timeout: float, work: Work) -> None:
        deadline = self._deadlines.begin(timeout)
        try:
            await work()
        finally:
            self._deadlines.end(deadline)
