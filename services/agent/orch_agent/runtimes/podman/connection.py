"""Requests to Podman's REST service, through podman-py's client in a few threads."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import podman
import requests
from podman.api.client import APIResponse
from podman.errors import APIError

from orch.errors import UnavailableError
from orch_agent.runtimes.protocol import ContainerError

_LOG: Final = logging.getLogger(__name__)
API_VERSION: Final = "4.0.0"
_THREADS: Final = 8
_SLOW_THREADS: Final = 4
_TIMEOUT: Final = 60.0

Document = dict[str, Any]


class MissingError(ContainerError):
    """What was asked for does not exist."""


class Connection:
    """A node's Podman service, as requests are made of it. Streams open connections of their own (`wire`)."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="podman")
        self._slow_threads = ThreadPoolExecutor(_SLOW_THREADS, thread_name_prefix="podman-slow")
        self._local = threading.local()

    def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._slow_threads.shutdown(wait=False, cancel_futures=True)

    async def call(self, method: str, path: str, body: Document | None = None) -> Document:
        """Make a request and return the answer's document, {} when it has none. Raises MissingError for a 404."""
        loop = asyncio.get_running_loop()
        answer = await loop.run_in_executor(self._threads, self._request, method, path, body, _TIMEOUT)
        if answer.status_code == 404:
            raise MissingError(problem(answer))
        if answer.status_code >= 400:
            raise ContainerError(problem(answer))
        return answer.json() if answer.content else {}

    async def finish(self, method: str, path: str, body: Document | None = None) -> Document:
        """Make a request that changes something. When cancelled, wait for its end first: it cannot be called back."""
        call = asyncio.ensure_future(self.call(method, path, body))
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            await asyncio.wait([call])
            if not call.cancelled() and (error := call.exception()) is not None:
                _LOG.debug("a cancelled request failed: %s", error)
            raise

    async def post_slowly(self, path: str, timeout: float) -> APIResponse:
        """Make a request that may take minutes, in threads that nothing quick waits for."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._slow_threads, self._request, "POST", path, None, timeout)

    def _request(self, method: str, path: str, body: Document | None, timeout: float) -> APIResponse:
        """Make a request, in a thread. Each thread has a client of its own: sessions are not for sharing."""
        client: podman.PodmanClient | None = getattr(self._local, "client", None)
        if client is None:
            client = podman.PodmanClient(base_url=f"unix://{self.socket}", version=API_VERSION, timeout=timeout)
            self._local.client = client
        data = json.dumps(body) if body is not None else None
        headers = {"Content-Type": "application/json"}
        try:
            # podman-py leaves its further arguments untyped, hence what pyright is told to ignore here.
            if method == "GET":
                return client.api.get(path, headers=headers, timeout=timeout)  # pyright: ignore[reportUnknownMemberType]
            if method == "DELETE":
                return client.api.delete(path, headers=headers, timeout=timeout)  # pyright: ignore[reportUnknownMemberType]
            return client.api.post(path, data=data, headers=headers, timeout=timeout)  # pyright: ignore[reportUnknownMemberType]
        except (APIError, requests.RequestException, OSError) as error:
            raise UnavailableError(f"Podman does not answer on {self.socket}: {error}") from error


def problem(answer: APIResponse) -> str:
    """Return what an answer says went wrong."""
    try:
        document: Document = answer.json()
    except ValueError:
        return answer.text.strip() or f"HTTP {answer.status_code}"
    return str(document.get("message") or document.get("cause") or answer.text)
