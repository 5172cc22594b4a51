"""Metrics from the server that an APIService names for custom.metrics.k8s.io or external.metrics.k8s.io."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlencode

import msgspec

from orch import quantity
from orch.clock import parse_rfc3339
from orch.errors import ApiError, ServiceUnavailableError
from orch_api.auth.identity import Caller
from orch_api.extensions.api_services import ApiServices, RemoteApi, identity_headers
from orch_api.extensions.https import Request, ask
from orch_pb.v1.autoscaling_pb2 import MetricValue

_TIMEOUT: Final = 4.0
_LONGEST: Final = 8 << 20
_SECOND: Final = 1_000_000_000
_OK: Final = 200


class _Described(msgspec.Struct, frozen=True):
    name: str = ""


class _Item(msgspec.Struct, frozen=True, rename="camel"):
    described_object: _Described = _Described()
    timestamp: str = ""
    window_seconds: int | None = None
    window: int | None = None
    value: str = "0"


class _List(msgspec.Struct, frozen=True):
    items: list[_Item] = []


_values: Final = msgspec.json.Decoder(_List).decode


class RemoteMetrics:
    """Asks aggregated servers."""

    def __init__(self, services: ApiServices) -> None:
        self._services = services

    async def ask(self, caller: Caller, api: RemoteApi, place: str, parameters: Mapping[str, str]) -> list[MetricValue]:
        """Return the values of a list below the API's path. Raises the ApiError that the server answers."""
        host, port = await self._services.address(api)
        query = urlencode({name: text for name, text in parameters.items() if text})
        target = f"{api.place}/{quote(place, safe='/*:')}" + (f"?{query}" if query else "")
        headers = [(b"host", api.host.encode()), (b"accept", b"application/json"), *identity_headers(caller)]
        try:
            request = Request(
                host=host,
                port=port,
                server_name=api.host,
                tls=self._services.tls(api),
                guard=self._services.guard,
                target=target.encode(),
                headers=headers,
                timeout=_TIMEOUT,
            )
            async with ask(request) as answer:
                body = await answer.body(_LONGEST)
                if answer.status != _OK:
                    raise ApiError.decode(body)
                return [_value(item) for item in _values(body).items]
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            raise ServiceUnavailableError(f"the server of {api.name} cannot be asked: {error}") from error


def _value(item: _Item) -> MetricValue:
    return MetricValue(
        name=item.described_object.name,
        value=quantity.milli(item.value),
        at=int(parse_rfc3339(item.timestamp).timestamp()) * _SECOND if item.timestamp else 0,
        window=(item.window_seconds or item.window or 0) * _SECOND,
    )
