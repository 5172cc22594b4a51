"""A registry of images for tests: in memory, inside a network namespace, with a user, and with what may be wrong.

Images of repositories below `private/` are only for who has the password; the content of `corrupt` layers is not what
their digest says, and `slow` ones come in pieces.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import platform
import tarfile
import threading
import time
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from image_archives import ARCHITECTURES

from orch_agent.network.connections import _socket_in

PORT = 5055
HOST = f"127.0.0.1:{PORT}"
USER, PASSWORD = "puller", "hunter2"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"
_PIECES = 8
_PAUSE = 0.2


class ImageRegistry:
    """The registry of one network namespace, a path. Use it as a context manager."""

    def __init__(self, namespace: str) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.slow: set[str] = set()
        self._namespace = namespace
        self._server: ThreadingHTTPServer | None = None

    def __enter__(self) -> Self:
        made: list[Any] = []
        entering = threading.Thread(target=lambda: made.append(_socket_in(self._namespace, over_six=False)))
        entering.start()
        entering.join()
        listening = made[0]
        listening.setblocking(True)
        self._server = ThreadingHTTPServer(("127.0.0.1", PORT), _handler(self), bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = listening
        self._server.server_bind()
        self._server.server_activate()
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    def add(
        self,
        repository: str,
        *,
        size: int = 1000,
        corrupt: bool = False,
        slow: bool = False,
        architecture: str = "",
        config: Mapping[str, Any] | None = None,
    ) -> str:
        """Add an image as `repository`:1 and return its digest. With an architecture, it is one of an index."""
        layer = _layer(repository, size)
        machine = architecture or ARCHITECTURES.get(platform.machine(), platform.machine())
        document = {
            "architecture": machine,
            "os": "linux",
            "config": dict(config or {}),
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }
        described = self._blob("application/vnd.oci.image.config.v1+json", json.dumps(document).encode())
        content = self._blob("application/vnd.oci.image.layer.v1.tar", layer)
        if corrupt:
            self.blobs[content["digest"]] = layer[:-1] + b"x"
        if slow:
            self.slow.add(content["digest"])
        manifest = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": described, "layers": [content]}
        digest = self._manifest(repository, _MANIFEST, manifest)
        if architecture:
            entry = {
                "mediaType": _MANIFEST,
                "digest": digest,
                "size": len(json.dumps(manifest)),
                "platform": {"os": "linux", "architecture": architecture},
            }
            index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": [entry]}
            digest = self._manifest(repository, _INDEX, index)
        return digest

    def _manifest(self, repository: str, kind: str, document: Mapping[str, Any]) -> str:
        content = json.dumps(document).encode()
        digest = _digest(content)
        self.manifests[repository, digest] = self.manifests[repository, "1"] = (kind, content)
        return digest

    def _blob(self, kind: str, content: bytes) -> dict[str, Any]:
        digest = _digest(content)
        self.blobs[digest] = content
        return {"mediaType": kind, "digest": digest, "size": len(content)}


def _layer(name: str, size: int) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo("content")
        entry.size = size
        tar.addfile(entry, io.BytesIO((name.encode() * size)[:size]))
    return archive.getvalue()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _handler(registry: ImageRegistry) -> type[BaseHTTPRequestHandler]:
    expected = f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def log_message(self, *_: object) -> None:
            return

        def _answer(self, *, with_body: bool) -> None:
            repository, kind, content, wanted = _find(registry, self.path)
            allowed = self.headers.get("Authorization") == expected or not repository.startswith("private/")
            asked_first = self.path == "/v2/" and "Authorization" not in self.headers
            if asked_first or not allowed:
                self._send(HTTPStatus.UNAUTHORIZED, *_error("UNAUTHORIZED", "authentication required"), with_body)
            elif content is None:
                self._send(HTTPStatus.NOT_FOUND, *_error("MANIFEST_UNKNOWN", "manifest unknown"), with_body)
            else:
                self._send(HTTPStatus.OK, kind, content, with_body, slowly=wanted in registry.slow)

        def _send(
            self, status: HTTPStatus, kind: str, content: bytes, with_body: bool, *, slowly: bool = False
        ) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            if status is HTTPStatus.UNAUTHORIZED:
                self.send_header("WWW-Authenticate", 'Basic realm="tests"')
            else:
                self.send_header("Docker-Content-Digest", _digest(content))
            self.end_headers()
            step = len(content) // _PIECES + 1 if slowly else max(len(content), 1)
            for start in range(0, len(content) if with_body else 0, step):
                self.wfile.write(content[start : start + step])
                if slowly:
                    time.sleep(_PAUSE)

    return Handler


def _find(registry: ImageRegistry, path: str) -> tuple[str, str, bytes | None, str]:
    """Return the repository that is asked, what is there (its kind and content), and what it was asked for by."""
    if path == "/v2/":
        return "", "application/json", b"{}", ""
    repository, _, wanted = path.removeprefix("/v2/").rpartition("/manifests/")
    if repository:
        return repository, *registry.manifests.get((repository, wanted), ("", None)), wanted
    repository, _, wanted = path.removeprefix("/v2/").rpartition("/blobs/")
    return repository, "application/octet-stream", registry.blobs.get(wanted), wanted


def _error(code: str, message: str) -> tuple[str, bytes]:
    return "application/json", json.dumps({"errors": [{"code": code, "message": message}]}).encode()
