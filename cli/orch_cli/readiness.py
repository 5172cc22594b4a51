"""Asks the API, as any client would, whether the cluster is ready."""

from __future__ import annotations

import http.client
import ssl
from datetime import datetime

import msgspec

from orch.clock import rfc3339
from orch_cli.pki import KeyPair

_TIMEOUT = 5.0


class Condition(msgspec.Struct, frozen=True, rename="camel"):
    """A node's condition, as far as it matters here."""

    type: str
    status: str
    last_heartbeat_time: str = ""


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

    def ready_nodes(self, since: datetime) -> set[str]:
        """Return the names of the nodes that said at `since` or later, in this run, that they are Ready."""
        content = self._get("/api/v1/nodes")
        if content is None:
            return set()
        nodes = msgspec.json.decode(content, type=_NodeList).items
        return {node.metadata.name for node in nodes if _is_ready(node.status.conditions, rfc3339(since))}

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


def _is_ready(conditions: tuple[Condition, ...], since: str) -> bool:
    return any(
        condition.type == "Ready" and condition.status == "True" and condition.last_heartbeat_time >= since
        for condition in conditions
    )
