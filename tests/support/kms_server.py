"""A key management service's plugin (KMS v2) on a unix socket, whose key can be changed and which can fall ill."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from orch_pb.kms import v2_pb2


class KmsServer:
    """Seals with one key by its name; those before it still open."""

    def __init__(self, folder: Path) -> None:
        self.endpoint = f"unix://{folder}/kms.sock"
        self.key_id = "first"
        self.health = "ok"
        self.calls: Counter[str] = Counter()
        self._keys: dict[str, AESGCM] = {}
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        handlers = {
            "Status": (self._status, v2_pb2.StatusRequest),
            "Encrypt": (self._encrypt, v2_pb2.EncryptRequest),
            "Decrypt": (self._decrypt, v2_pb2.DecryptRequest),
        }
        methods = {
            name: grpc.unary_unary_rpc_method_handler(
                handle, request_deserializer=request.FromString, response_serializer=_serialized
            )
            for name, (handle, request) in handlers.items()
        }
        self._server = grpc.aio.server()
        handler = grpc.method_handlers_generic_handler("v2.KeyManagementService", methods)
        self._server.add_generic_rpc_handlers((handler,))
        self._server.add_insecure_port(self.endpoint.replace("unix://", "unix:", 1))
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(0)
            self._server = None

    def _key(self, key_id: str) -> AESGCM:
        return self._keys.setdefault(key_id, AESGCM(AESGCM.generate_key(256)))

    async def _status(self, _request: v2_pb2.StatusRequest, _context: Any) -> v2_pb2.StatusResponse:
        self.calls["Status"] += 1
        return v2_pb2.StatusResponse(version="v2", healthz=self.health, key_id=self.key_id)

    async def _encrypt(self, request: v2_pb2.EncryptRequest, _context: Any) -> v2_pb2.EncryptResponse:
        self.calls["Encrypt"] += 1
        nonce = os.urandom(12)
        sealed = nonce + self._key(self.key_id).encrypt(nonce, request.plaintext, None)
        return v2_pb2.EncryptResponse(ciphertext=sealed, key_id=self.key_id, annotations={"kms.example.com": b"v1"})

    async def _decrypt(self, request: v2_pb2.DecryptRequest, context: Any) -> v2_pb2.DecryptResponse:
        self.calls["Decrypt"] += 1
        if request.annotations != {"kms.example.com": b"v1"} or request.key_id not in self._keys:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no such key")
        try:
            plain = self._keys[request.key_id].decrypt(request.ciphertext[:12], request.ciphertext[12:], None)
        except InvalidTag:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the ciphertext is broken")
            raise
        return v2_pb2.DecryptResponse(plaintext=plain)


def _serialized(message: Any) -> bytes:
    return message.SerializeToString()
