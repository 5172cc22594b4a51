"""Requests to the API as any client sends them, with the administrator's certificate."""

from __future__ import annotations

import asyncio
import http.client
import ssl
from typing import TypeVar

import msgspec

from orch.errors import ApiError, BadRequestError, UnavailableError
from orch_cli.pki import KeyPair

ViewT = TypeVar("ViewT")

_MERGE_PATCH = "application/merge-patch+json"


class AdministratorApi:
    """The API over HTTPS on this machine. Each request is one connection, in a thread of its own.

    Every method raises the ApiError that the API answers, or UnavailableError when it does not in time.
    """

    def __init__(self, port: int, admin: KeyPair, timeout: float) -> None:
        self._port = port
        self._timeout = timeout
        self._context = ssl.create_default_context(cafile=str(admin.authority))
        self._context.load_cert_chain(admin.certificate, admin.key)

    async def get(self, path: str, view: type[ViewT]) -> ViewT:
        """Return what is at a path."""
        return _decoded(await self._request("GET", path, b"", ""), path, view)

    async def create(self, path: str, body: bytes, view: type[ViewT]) -> ViewT:
        """Post an object; return what the API made of it."""
        return _decoded(await self._request("POST", path, body, "application/json"), path, view)

    async def patch(self, path: str, patch: bytes) -> None:
        """Apply a merge patch."""
        await self._request("PATCH", path, patch, _MERGE_PATCH)

    async def delete(self, path: str) -> None:
        """Delete what is at a path."""
        await self._request("DELETE", path, b"", "")

    async def _request(self, method: str, path: str, body: bytes, content_type: str) -> bytes:
        return await asyncio.to_thread(self._ask, method, path, body, content_type)

    def _ask(self, method: str, path: str, body: bytes, content_type: str) -> bytes:
        connection = http.client.HTTPSConnection("127.0.0.1", self._port, context=self._context, timeout=self._timeout)
        headers = {"Accept": "application/json", **({"Content-Type": content_type} if content_type else {})}
        try:
            connection.request(method, path, body=body or None, headers=headers)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise UnavailableError(f"the API on port {self._port} does not answer: {error}") from error
        finally:
            connection.close()
        if response.status >= 300:
            raise _refusal(response.status, content)
        return content


def _refusal(code: int, content: bytes) -> ApiError:
    try:
        return ApiError.decode(content)
    except msgspec.MsgspecError:
        return BadRequestError(f"the API answered {code}: {content[:200].decode(errors='replace')}")


def _decoded(content: bytes, path: str, view: type[ViewT]) -> ViewT:
    try:
        return msgspec.json.decode(content, type=view)
    except msgspec.MsgspecError as error:
        raise UnavailableError(f"the API's answer for {path} cannot be read: {error}") from error
