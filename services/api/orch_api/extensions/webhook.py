"""Conversion between versions by a webhook: a ConversionReview over HTTPS.

Follows apiextensions' pkg/apiserver/conversion/webhook_converter.go.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
import uuid
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from prometheus_client import Counter, Histogram

from orch.errors import InternalError, OrchError
from orch_api.extensions.https import Request, ask, trust
from orch_api.extensions.outgoing import Guard
from orch_api.extensions.service_addresses import ServiceAddresses
from orch_api.strategy import Document, section

CALLS: Final = Counter(
    "apiextensions_apiserver_conversion_webhook_requests", "Calls of conversion webhooks by outcome", ("result",)
)
DURATION: Final = Histogram(
    "apiextensions_apiserver_conversion_webhook_duration_seconds", "Time that calls of conversion webhooks took"
)

_TIMEOUT: Final = 30.0
_HTTPS: Final = 443
_MAX_ANSWER: Final = 64 << 20
_GROUP: Final = "apiextensions.k8s.io"
_SUPPORTED: Final = ("v1", "v1beta1")
_FIXED_META: Final = ("name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp")

_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


class ConversionError(OrchError):
    """The webhook did not convert; in Kubernetes' words."""


class WebhookConverters:
    """Makes the converter of each definition that has a webhook."""

    def __init__(self, addresses: ServiceAddresses, guard: Guard) -> None:
        self._addresses = addresses
        self._guard = guard

    def __call__(self, definition: Document) -> WebhookConverter:
        """Return what converts a definition's documents."""
        return WebhookConverter(definition, self._addresses, self._guard)


class WebhookConverter:
    """Converts by asking the webhook of one definition."""

    def __init__(self, definition: Document, addresses: ServiceAddresses, guard: Guard) -> None:
        webhook = section(section(section(definition, "spec"), "conversion"), "webhook")
        self._config = section(webhook, "clientConfig")
        self._versions: list[str] = webhook.get("conversionReviewVersions") or []
        self._addresses = addresses
        self._guard = guard
        self._tls: ssl.SSLContext | None = None

    async def convert(self, documents: Sequence[Document], api_version: str) -> list[Document]:
        """Return the documents in `api_version`; those that are of it already are not sent. Raises InternalError."""
        sent = [document for document in documents if document.get("apiVersion") != api_version]
        if not sent:
            return list(documents)
        kind = sent[0].get("kind") or ""
        group, _, version = str(sent[0].get("apiVersion") or "").rpartition("/")
        about = f"conversion webhook for {group}/{version}, Kind={kind}"
        try:
            with DURATION.time():
                converted = iter(await self._converted(sent, api_version, about))
        except ConversionError as error:
            CALLS.labels("failure").inc()
            raise InternalError(str(error)) from error
        CALLS.labels("success").inc()
        return [document if document.get("apiVersion") == api_version else next(converted) for document in documents]

    async def _converted(self, sent: Sequence[Document], api_version: str, about: str) -> list[Document]:
        review = next((version for version in self._versions if version in _SUPPORTED), "")
        if not review:
            raise ConversionError("no supported conversion review versions")
        uid = str(uuid.uuid4())
        question = {
            "kind": "ConversionReview",
            "apiVersion": f"{_GROUP}/{review}",
            "request": {"uid": uid, "desiredAPIVersion": api_version, "objects": list(sent)},
        }
        try:
            answer = await self._ask(msgspec.json.encode(question))
        except (OSError, ValueError, OrchError) as error:
            raise ConversionError(f"{about} failed: {_said(error, self._target()[0])}") from error
        try:
            objects = _answered(answer, uid, f"{_GROUP}/{review}", strict=review == "v1")
        except ConversionError as error:
            raise ConversionError(f"{about} failed: {error}") from error
        if len(objects) != len(sent):
            raise ConversionError(f"{about} returned {len(objects)} objects, expected {len(sent)}")
        for index, (before, after) in enumerate(zip(sent, objects, strict=True)):
            problem = _problem(before, after, api_version)
            if problem:
                raise ConversionError(f"{about} returned invalid converted object at index {index}: {problem}")
            after["metadata"] = _metadata(before, after)
        return objects

    async def _ask(self, question: bytes) -> Document:
        """Post a review; return the answer. Raises OSError, ValueError for what is no JSON object, and ApiError."""
        if self._tls is None:
            self._tls = _tls(self._config.get("caBundle") or "")
        url, service = self._target()
        parts = urlsplit(url)
        name, port = parts.hostname or "", parts.port or _HTTPS
        host, number = name, port
        if service is not None:
            host, number = await self._addresses.find(service["namespace"], service["name"], port)
        request = Request(
            host=host,
            port=number,
            server_name=name,
            tls=self._tls,
            guard=self._guard,
            method="POST",
            target=f"{parts.path or '/'}?timeout={_TIMEOUT:g}s".encode(),
            headers=(
                (b"host", parts.netloc.encode()),
                (b"content-type", b"application/json"),
                (b"accept", b"application/json"),
            ),
            body=question,
            timeout=_TIMEOUT,
        )
        async with asyncio.timeout(_TIMEOUT), ask(request) as answer:
            body = await answer.body(_MAX_ANSWER)
        if answer.status >= 400:
            detail = body[:256].decode(errors="replace").strip()
            raise ValueError(f"the server responded with the status code {answer.status}: {detail}")
        return _decode(body)

    def _target(self) -> tuple[str, Document | None]:
        """Return the address that messages show, and the service if it is one."""
        service: Document | None = self._config.get("service")
        if service is None:
            return self._config.get("url") or "", None
        host = f"{service.get('name')}.{service.get('namespace')}.svc:{service.get('port') or 443}"
        path: str = (service.get("path") or "/").lstrip("/")
        return f"https://{host}/{path}", service


def _tls(bundle: str) -> ssl.SSLContext:
    return trust(base64.b64decode(bundle).decode("ascii", "replace") if bundle else None)


def _said(error: Exception, url: str) -> str:
    detail = str(error) or type(error).__name__
    if isinstance(error, TimeoutError):
        detail = "context deadline exceeded"
    return f'Post "{url}?timeout={_TIMEOUT:g}s": {detail}'


def _answered(answer: Document, uid: str, api_version: str, *, strict: bool) -> list[Document]:
    """Return the converted objects of a ConversionReview. Raises ConversionError."""
    if strict and (answer.get("kind"), answer.get("apiVersion")) != ("ConversionReview", api_version):
        got = f"{answer.get('apiVersion') or ''}, Kind={answer.get('kind') or ''}"
        raise ConversionError(f"expected webhook response of {api_version}, Kind=ConversionReview, got {got}")
    response = answer.get("response")
    if not isinstance(response, dict):
        raise ConversionError("no response provided")
    given = _member(response, "uid")
    if strict and given != uid:
        raise ConversionError(f'expected response.uid="{uid}", got "{given or ""}"')
    result = _member(response, "result")
    status = _member(result, "status") or ""
    if status != "Success":
        raise ConversionError(_member(result, "message") or f"response.result.status was '{status}', not 'Success'")
    return [one for one in _member(response, "convertedObjects") or () if isinstance(one, dict)]


def _member(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None  # pyright: ignore[reportUnknownMemberType,reportUnknownVariableType]


def _problem(before: Document, after: Document, api_version: str) -> str:
    """Return what a webhook may not have done to an object, "" when all is well."""
    if after.get("apiVersion") != api_version:
        return f"invalid groupVersion (expected {api_version}, received {after.get('apiVersion') or ''})"
    if after.get("kind") != before.get("kind"):
        return f"invalid kind (expected {before.get('kind')}, received {after.get('kind') or ''})"
    metadata = after.get("metadata")
    if not isinstance(metadata, dict):
        return "missing metadata in converted object"
    for name in ("uid", "name", "namespace"):
        old, new = before["metadata"].get(name), _member(metadata, name)
        if old != new:
            return f"must have the same {name}: {old} != {new}"
    return ""


def _metadata(before: Document, after: Document) -> Document:
    """Return the metadata of a converted object: only labels and annotations may be the webhook's."""
    metadata: Document = dict(before["metadata"])
    for name in ("labels", "annotations"):
        metadata.pop(name, None)
        if after["metadata"].get(name):
            metadata[name] = after["metadata"][name]
    return metadata
