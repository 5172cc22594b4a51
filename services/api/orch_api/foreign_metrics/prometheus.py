"""Instant queries to Prometheus' HTTP API, each in time, and the same one not asked again within a moment."""

from __future__ import annotations

import asyncio
import math
import ssl
from pathlib import Path
from typing import Final
from urllib.parse import urlencode, urlsplit

import msgspec
from prometheus_client import Counter

from orch.clock import Clock
from orch.errors import ServiceUnavailableError
from orch_api.extensions.https import Header, Request, ask
from orch_api.extensions.outgoing import OPEN
from orch_api.foreign_metrics.rules import PrometheusSettings

_QUERIES: Final = Counter("orch_api_prometheus_queries", "Queries to Prometheus, those answered from memory left out.")
_FAILURES: Final = Counter("orch_api_prometheus_failures", "Queries to Prometheus that failed.")

_LONGEST: Final = 8 << 20
_REMEMBERED: Final = 1024
_PORTS: Final = {"http": 80, "https": 443}
_FORM: Final = b"application/x-www-form-urlencoded"


class Series(msgspec.Struct, frozen=True):
    """A value, in thousandths, and the labels that it carries; `at` in nanoseconds since 1970."""

    labels: dict[str, str]
    value: int
    at: int


class _Sample(msgspec.Struct, frozen=True):
    metric: dict[str, str] = {}
    value: tuple[float, str] = (0.0, "NaN")


class _Data(msgspec.Struct, frozen=True, rename="camel"):
    result_type: str
    result: msgspec.Raw


class _Answer(msgspec.Struct, frozen=True, rename="camel"):
    status: str
    data: _Data | None = None
    error: str = ""


_answer: Final = msgspec.json.Decoder(_Answer).decode
_vector: Final = msgspec.json.Decoder(list[_Sample]).decode
_scalar: Final = msgspec.json.Decoder(tuple[float, str]).decode


class Prometheus:
    """A client of one server."""

    def __init__(self, settings: PrometheusSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._address = urlsplit(settings.url)
        self._tls = None
        if self._address.scheme == "https":
            self._tls = ssl.create_default_context(cafile=settings.ca_file or None)
        self._known: dict[str, tuple[float, asyncio.Task[list[Series]]]] = {}

    async def query(self, text: str) -> list[Series]:
        """Return what a query comes to. Raises ServiceUnavailableError."""
        now = self._clock.monotonic()
        known = self._known.get(text)
        if known is None or (known[1].done() and now - known[0] >= self._settings.cache):
            known = self._known[text] = (now, asyncio.create_task(self._ask(text)))
            if len(self._known) > _REMEMBERED:
                del self._known[next(iter(self._known))]
        try:
            return await asyncio.shield(known[1])
        except ServiceUnavailableError:
            if self._known.get(text) is known:
                del self._known[text]
            raise

    async def _ask(self, text: str) -> list[Series]:
        _QUERIES.inc()
        try:
            async with asyncio.timeout(self._settings.timeout):
                return _series(await self._post(urlencode({"query": text}).encode()))
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            _FAILURES.inc()
            problem = str(error) or "no answer in time"
            raise ServiceUnavailableError(f"Prometheus at {self._settings.url}: {problem}") from error

    async def _post(self, body: bytes) -> bytes:
        address = self._address
        host = address.hostname or ""
        headers: list[Header] = [(b"host", address.netloc.rpartition("@")[2].encode()), (b"content-type", _FORM)]
        if self._settings.bearer_token_file:
            # Read each time, as tokens are renewed.
            token = (await asyncio.to_thread(Path(self._settings.bearer_token_file).read_text)).strip()
            headers.append((b"authorization", f"Bearer {token}".encode()))
        request = Request(
            host=host,
            port=address.port or _PORTS[address.scheme],
            server_name=host,
            tls=self._tls,
            guard=OPEN,
            method="POST",
            target=f"{address.path.rstrip('/')}/api/v1/query".encode(),
            headers=headers,
            body=body,
            timeout=self._settings.timeout,
        )
        async with ask(request) as answer:
            return await answer.body(_LONGEST)


def _series(body: bytes) -> list[Series]:
    """Return the series of an answer. Raises ValueError with Prometheus' own words when it is an error."""
    answer = _answer(body)
    if answer.status != "success" or answer.data is None:
        raise ValueError(answer.error or "the query failed")
    if answer.data.result_type == "scalar":
        samples = [_Sample(value=_scalar(answer.data.result))]
    elif answer.data.result_type == "vector":
        samples = _vector(answer.data.result)
    else:
        raise ValueError(f"the query yields a {answer.data.result_type}, not one value a series")
    found: list[Series] = []
    for sample in samples:
        at, number = sample.value[0], float(sample.value[1])
        if math.isfinite(number):  # NaN and Inf say nothing
            found.append(Series(sample.metric, math.ceil(number * 1000), int(at * 1000) * 1_000_000))
    return found
