"""Asks one webhook: over HTTPS, within its time, on a connection that is kept for the next question."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import ssl
import uuid
from typing import Final
from urllib.parse import urlsplit

import msgspec

from orch import telemetry
from orch.errors import ApiError, OrchError
from orch.objects.admissionregistration import ClientConfig
from orch_api.admission.chain import Request
from orch_api.admission.webhooks.configured import Hook
from orch_api.admission.webhooks.reviews import Reply, ReviewError, question, read, review_version
from orch_api.extensions import https
from orch_api.extensions.connections import Connections
from orch_api.extensions.outgoing import Guard
from orch_api.extensions.service_addresses import ServiceAddresses
from orch_api.resource import Resource
from orch_api.strategy import Document

_HTTPS: Final = 443
_MAX_ANSWER: Final = 8 << 20
_MAX_CONTEXTS: Final = 256
_SHOWN: Final = 512
_SERVER_ERROR: Final = 500
_MEANINGS: Final = {
    401: "the server has asked for the client to provide credentials",
    403: "forbidden",
    404: "the server could not find the requested resource",
    405: "the server does not allow this method on the requested resource",
    413: "the server responded with the status code 413 but did not return more information",
    429: "the server has received too many requests and has asked us to try again later",
    503: "the server is currently unable to handle the request",
    504: "the server was unable to return a response in the time allotted, but may still be processing the request",
}


class CallError(OrchError):
    """A webhook could not be asked, or gave no proper answer. `code` is what figures know the failure by."""

    def __init__(self, hook: Hook, problem: str, code: int = 503) -> None:
        super().__init__(f'failed calling webhook "{hook.name}": {problem}')
        self.code = code


class WebhookCalls:
    """Asks webhooks."""

    def __init__(self, addresses: ServiceAddresses, guard: Guard, connections: Connections) -> None:
        self._addresses = addresses
        self._guard = guard
        self._connections = connections
        self._contexts: dict[str, ssl.SSLContext] = {}

    async def ask(
        self,
        hook: Hook,
        request: Request,
        target: Resource,
        shown: Document | None,
        old: Document | None,
        *,
        mutating: bool,
    ) -> Reply:
        """Return a webhook's answer. Raises CallError."""
        version = review_version(hook.view.admission_review_versions)
        if not version:
            problem = "could not create admission objects: webhook does not accept known AdmissionReview versions"
            raise CallError(hook, problem, 400)
        uid = str(uuid.uuid4())
        attributes = {"webhook": hook.name, "configuration": hook.configuration}
        with telemetry.span("api.webhook", attributes=attributes):
            body = await self._post(hook, question(request, target, shown, old, uid, version))
        try:
            return read(body, uid, version, mutating=mutating)
        except ReviewError as error:
            raise CallError(hook, f"received invalid webhook response: {error}") from error

    async def _post(self, hook: Hook, body: bytes) -> bytes:
        config, seconds = hook.view.client_config, hook.view.timeout_seconds
        url = _url(config)
        try:
            async with asyncio.timeout(seconds):
                status, answer = await self._connections.ask(
                    await self._request(config, url, body, seconds), _MAX_ANSWER
                )
        except TimeoutError as error:
            raise _failed(hook, f'Post "{url}?timeout={seconds}s": context deadline exceeded') from error
        except (OSError, ValueError, ApiError) as error:
            refused = isinstance(error, ConnectionRefusedError)
            detail = "connect: connection refused" if refused else str(error) or type(error).__name__
            raise _failed(hook, f'Post "{url}?timeout={seconds}s": {detail}') from error
        if status >= 300:
            raise _failed(hook, _meaning(status, answer), status)
        return answer

    async def _request(self, config: ClientConfig, url: str, body: bytes, seconds: int) -> https.Request:
        """Return the request. Raises ApiError for a service that cannot be found, ValueError for a wrong CA bundle."""
        parts = urlsplit(url)
        name, port = parts.hostname or "", parts.port or _HTTPS
        host, number = name, port
        if config.service is not None:
            host, number = await self._addresses.find(config.service.namespace, config.service.name, port)
        return https.Request(
            host=host,
            port=number,
            server_name=name,
            tls=self._tls(config.ca_bundle),
            guard=self._guard,
            method="POST",
            target=f"{parts.path or '/'}?timeout={seconds}s".encode(),
            headers=(
                (b"host", parts.netloc.encode()),
                (b"content-type", b"application/json"),
                (b"accept", b"application/json"),
                (b"user-agent", b"orch-api"),
            ),
            body=body,
            connect_timeout=seconds,
            timeout=seconds,
        )

    def _tls(self, bundle: str) -> ssl.SSLContext:
        made = self._contexts.get(bundle)
        if made is None:
            if len(self._contexts) >= _MAX_CONTEXTS:
                self._contexts.clear()
            try:
                made = https.trust(base64.b64decode(bundle).decode("ascii", "replace") if bundle else None)
            except (ssl.SSLError, binascii.Error) as error:
                raise ValueError(f"unable to load root certificates: {error}") from error
            self._contexts[bundle] = made
        return made


def _url(config: ClientConfig) -> str:
    """Return the address of a webhook as messages show it: a service's is made of its names."""
    service = config.service
    if service is None:
        return config.url
    return f"https://{service.name}.{service.namespace}.svc:{service.port}/{service.path.lstrip('/')}"


def _failed(hook: Hook, problem: str, code: int = 503) -> CallError:
    return CallError(hook, f"failed to call webhook: {problem}", code)


class _Status(msgspec.Struct, frozen=True):
    kind: str = ""
    message: str = ""


def _meaning(status: int, body: bytes) -> str:
    """Return what client-go says of an answer that is no success."""
    try:
        told = msgspec.json.decode(body, type=_Status)
    except msgspec.MsgspecError:
        told = _Status()
    if told.kind == "Status" and told.message:
        return told.message
    if status < 400:
        return f"the server redirects with the status code {status}, which is not followed"
    if status in _MEANINGS:
        return _MEANINGS[status]
    if status >= _SERVER_ERROR:
        shown = json.dumps(body[:_SHOWN].decode(errors="replace").strip(), ensure_ascii=False)
        return f"an error on the server ({shown}) has prevented the request from succeeding"
    return f"the server responded with the status code {status} but did not return more information"
