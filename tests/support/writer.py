"""Load: writes config maps as fast as they are taken, and remembers what the api said it has stored."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rest import Rest


class Writer:
    """Creates and updates config maps in a thread. `stored` holds name and value of each write that was confirmed."""

    def __init__(self, rest: Rest, namespace: str) -> None:
        self._rest = rest
        self._path = f"/api/v1/namespaces/{namespace}/configmaps"
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._write, name="writer")
        self.stored: dict[str, str] = {}
        self.tried: dict[str, str] = {}
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
            self._thread.join(timeout=60)

    def check(self) -> None:
        """Assert that what was confirmed is there with its value, and that nothing is there that was not sent."""
        listed = self._rest("GET", self._path, labelSelector="writer").body["items"]
        found = {item["metadata"]["name"]: item["data"]["value"] for item in listed}
        assert {name: found.get(name) for name in self.stored} == self.stored
        assert {name: self.tried.get(name) for name in found} == found
        assert self.refusals == []

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
        before = self.tried.get(name)
        self.tried[name] = value
        while not self._closed.is_set():
            try:
                answer = self._rest(method, path, body, timeout=10)
            except (OSError, http.client.HTTPException):
                self.failures += 1
            else:
                if answer.status in {200, 201}:
                    self.stored[name] = value
                    return
                if answer.status == 409 and method == "POST":
                    # A try whose answer got lost had come through.
                    self.stored[name] = value
                    return
                if answer.status < 500:
                    self.refusals.append(f"{method} {name}: {answer.body['message']}")
                    return
                self.failures += 1
            self._closed.wait(0.05)
        if name not in self.stored and before is not None:
            self.tried[name] = before
