"""Serves requests, and shows the services of this connection to NATS's tools as micro services (`nats micro ls`).

This is NATS's own protocol for services (ADR-32): every instance answers on $SRV.PING, $SRV.INFO and $SRV.STATS. The
client library's implementation handles one request at a time, cannot stop one endpoint alone and fails on Python
3.12's deprecations, so these few answers are our own.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import msgspec

from orch.bus.nats.connection import Connection, Listener
from orch.bus.nats.received import Header, Received
from orch.bus.protocol import Handler, Message, Subscription
from orch.bus.serving import RequestPool
from orch.errors import OrchError

_VERSION: Final = "0.1.0"
_SHARED: Final = "orch"
"""The queue of those who serve a subject outside any service."""
_ERROR: Final = "Nats-Service-Error"
_ERROR_HEADER: Final = Header(_ERROR)
_ERROR_CODE: Final = "Nats-Service-Error-Code"


def problem_of(answer: Received) -> str:
    """Return why a request was not answered ("" when it was)."""
    return answer.header(_ERROR_HEADER)


class _EndpointInfo(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    subject: str
    queue_group: str
    metadata: dict[str, str] = {}


class _EndpointStats(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    subject: str
    queue_group: str
    num_requests: int
    num_errors: int
    last_error: str
    processing_time: int
    average_processing_time: int


class _Identity(msgspec.Struct, frozen=True, kw_only=True):
    type: str
    name: str
    id: str
    version: str = _VERSION
    metadata: dict[str, str] = {}
    description: str = ""
    started: str = ""
    endpoints: tuple[_EndpointInfo | _EndpointStats, ...] | None = None


class _Endpoint:
    """One subject that is served."""

    def __init__(self, server: Services, service: str, subject: str, pool: RequestPool) -> None:
        self._server = server
        self.service = service
        self.subject = subject
        self.pool = pool
        self.name = subject.rsplit(".", 1)[-1]
        self.listener: Listener | None = None

    async def stop(self) -> None:
        await self._server.withdraw(self)


class Services:
    """Everything that one connection serves."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._id = secrets.token_hex(11)
        self._started = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._endpoints: list[_Endpoint] = []
        self._discovery: dict[str, tuple[RequestPool, list[Listener]]] = {}

    async def serve(self, subject: str, handler: Handler, *, service: str, in_flight: int) -> Subscription:
        """See Bus.serve."""
        pool = RequestPool(subject, handler, in_flight, self._respond)
        endpoint = _Endpoint(self, service, subject, pool)
        if service and service not in self._discovery:
            await self._announce(service)
        refusals: list[OrchError] = []
        endpoint.listener = await self._connection.listen(
            subject, _into(pool), queue=service or _SHARED, refused=refusals.append
        )
        self._endpoints.append(endpoint)
        try:
            await self._connection.confirm()
        except BaseException:
            await self.withdraw(endpoint)
            raise
        if refusals:
            await self.withdraw(endpoint)
            raise refusals[0]
        return endpoint

    async def withdraw(self, endpoint: _Endpoint) -> None:
        """Stop serving a subject; requests that have arrived are answered."""
        if endpoint not in self._endpoints:
            return
        self._endpoints.remove(endpoint)
        if endpoint.listener is not None:
            await self._connection.ignore(endpoint.listener, drain=True)
        await endpoint.pool.drain()
        announced = self._discovery.get(endpoint.service)
        if announced is not None and all(other.service != endpoint.service for other in self._endpoints):
            del self._discovery[endpoint.service]  # of several that stop at the same time the first one does it
            pool, listeners = announced
            for listener in listeners:
                await self._connection.ignore(listener)
            await pool.drain()

    async def stop(self) -> None:
        """Stop serving everything."""
        for endpoint in list(self._endpoints):
            await self.withdraw(endpoint)

    async def _announce(self, service: str) -> None:
        pool = RequestPool(f"$SRV.{service}", self._describe(service), 4, self._respond)
        subjects = [
            subject
            for verb in ("PING", "INFO", "STATS")
            for subject in (f"$SRV.{verb}", f"$SRV.{verb}.{service}", f"$SRV.{verb}.{service}.{self._id}")
        ]
        listeners = [await self._connection.listen(subject, _into(pool)) for subject in subjects]
        self._discovery[service] = (pool, listeners)

    def _describe(self, service: str) -> Handler:
        async def describe(request: Message) -> bytes:
            verb = request.subject.split(".")[1]
            endpoints = [endpoint for endpoint in self._endpoints if endpoint.service == service]
            identity = _Identity(type=f"io.nats.micro.v1.{verb.lower()}_response", name=service, id=self._id)
            if verb == "INFO":
                listed = tuple(_info(endpoint) for endpoint in endpoints)
                identity = msgspec.structs.replace(identity, endpoints=listed, description=f"orch's {service}")
            elif verb == "STATS":
                counted = tuple(_stats(endpoint) for endpoint in endpoints)
                identity = msgspec.structs.replace(identity, endpoints=counted, started=self._started)
            return msgspec.json.encode(identity)

        return describe

    async def _respond(self, request: Message, data: bytes, problem: str) -> None:
        if not request.reply:
            return
        headers = {_ERROR: problem, _ERROR_CODE: "500"} if problem else None
        await self._connection.publish(request.reply, data, headers=headers)


def _into(pool: RequestPool) -> Callable[[Received], None]:
    def deliver(raw: Received) -> None:
        pool.accept(Message(subject=raw.subject, data=raw.data, reply=raw.reply))

    return deliver


def _info(endpoint: _Endpoint) -> _EndpointInfo:
    return _EndpointInfo(name=endpoint.name, subject=endpoint.subject, queue_group=endpoint.service)


def _stats(endpoint: _Endpoint) -> _EndpointStats:
    pool = endpoint.pool
    spent = round(pool.seconds * 1e9)
    return _EndpointStats(
        name=endpoint.name,
        subject=endpoint.subject,
        queue_group=endpoint.service,
        num_requests=pool.requests,
        num_errors=pool.errors,
        last_error=pool.last_error,
        processing_time=spent,
        average_processing_time=spent // max(pool.requests, 1),
    )
