"""Load: writes config maps as fast as they are taken, and remembers what the api said it has stored."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rest import Rest

_PATIENCE = 60.0


class Writer:
    """Creates and updates config maps in a thread, each write again and again until it is confirmed.

    `stored` holds the last value of each name.
    """

    def __init__(self, rest: Rest, namespace: str) -> None:
        self._rest = rest
        self._path = f"/api/v1/namespaces/{namespace}/configmaps"
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._write, name="writer")
        self.stored: dict[str, str] = {}
        self.failures = 0
        self.refusals: list[str] = []

    @contextmanager
    def open(self) -> Iterator[Writer]:
        """Write within the context."""
        self._thread.start()
        try:
            yield self
        finally:
            self._closed.set()
            self._thread.join(timeout=_PATIENCE + 15)

    def check(self) -> None:
        """Assert that all writes were confirmed, and that what is there is what they said, no more and no less."""
        assert not self._thread.is_alive(), "the last write was not confirmed"
        assert self.refusals == []
        listed = self._rest("GET", self._path, labelSelector="writer").body["items"]
        assert {item["metadata"]["name"]: item["data"]["value"] for item in listed} == self.stored

    def _write(self) -> None:
        number = 0
        while not self._closed.is_set():
            number += 1
            self._send("POST", f"w-{number}", "first")
            if number % 2:
                self._send("PUT", f"w-{number}", "second")

    def _send(self, method: str, name: str, value: str) -> None:
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "labels": {"writer": "yes"}},
            "data": {"value": value},
        }
        path = self._path if method == "POST" else f"{self._path}/{name}"
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            try:
                answer = self._rest(method, path, body, timeout=10)
            except (OSError, http.client.HTTPException):
                self.failures += 1
            else:
                # A try whose answer got lost had come through if the name is taken now.
                if answer.status in {200, 201} or (answer.status == 409 and method == "POST"):
                    self.stored[name] = value
                    return
                if answer.status < 500:
                    self.refusals.append(f"{method} {name}: {answer.body['message']}")
                    return
                self.failures += 1
            time.sleep(0.05)
        self.refusals.append(f"{method} {name}: not confirmed within {_PATIENCE:g} s")
