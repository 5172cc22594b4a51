"""Asks the API, as any client would, whether the cluster is ready."""

from __future__ import annotations

import http.client
import ssl
from typing import Any

import msgspec

from orch_cli.pki import KeyPair

_TIMEOUT = 5.0


class Condition(msgspec.Struct, frozen=True):
    """A node's condition, as far as it matters here."""

    type: str
    status: str


class _NodeStatus(msgspec.Struct, frozen=True):
    conditions: tuple[Condition, ...] = ()


class _Metadata(msgspec.Struct, frozen=True):
    name: str


class _Node(msgspec.Struct, frozen=True):
    metadata: _Metadata
    status: _NodeStatus = _NodeStatus()


class _NodeList(msgspec.Struct, frozen=True):
    items: tuple[_Node, ...]


class ApiProbe:
    """A client of the API with the administrator's certificate. Each question is one connection."""

    def __init__(self, port: int, admin: KeyPair) -> None:
        self._port = port
        self._context = ssl.create_default_context(cafile=str(admin.authority))
        self._context.load_cert_chain(admin.certificate, admin.key)

    def ready(self) -> bool:
        """Say whether /readyz answers that all is well."""
        return self._get("/readyz") is not None

    def ready_nodes(self) -> set[str]:
        """Return the names of the nodes that are Ready."""
        content = self._get("/api/v1/nodes")
        if content is None:
            return set()
        nodes = msgspec.json.decode(content, type=_NodeList).items
        return {node.metadata.name for node in nodes if _is_ready(node.status.conditions)}

    def get(self, path: str) -> Any:
        """Return what the API serves at `path`, None when it does not answer or refuses."""
        content = self._get(path)
        return None if content is None else msgspec.json.decode(content)

    def _get(self, path: str) -> bytes | None:
        connection = http.client.HTTPSConnection("127.0.0.1", self._port, context=self._context, timeout=_TIMEOUT)
        try:
            connection.request("GET", path, headers={"Accept": "application/json"})
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
        return content if response.status == 200 else None


def _is_ready(conditions: tuple[Condition, ...]) -> bool:
    return any(condition.type == "Ready" and condition.status == "True" for condition in conditions)
