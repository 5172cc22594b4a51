"""A plugin for a key management service (KMS v2): data keys are sealed by it, objects by the data keys.

The service is asked to seal a data key when the first object is written and whenever its key has changed, and to open
one that is not known; never for a single object. How it does, and which key it uses, is asked every minute.
"""

from __future__ import annotations

import asyncio
import logging
import os
import uuid
from collections.abc import Awaitable
from typing import Any, Final, TypeVar, cast

import grpc
import grpc.aio
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf.message import Message
from prometheus_client import Counter, Histogram

from orch.clock import Clock
from orch.errors import StoreError, UnavailableError
from orch_api.encryption.configuration import KmsPart
from orch_api.encryption.providers import DATA_KEY_USES, DataKey, DataKeys, unseal
from orch_pb.kms import v2_pb2
from orch_pb.v1.object_pb2 import SealedContent

log = logging.getLogger(__name__)

LATENCY: Final = Histogram(
    "apiserver_envelope_encryption_kms_operations_latency_seconds",
    "How long key management services took to answer",
    ("provider_name", "method_name", "grpc_status_code"),
)
KEY_CHANGES: Final = Counter(
    "orch_encryption_kms_key_changes", "Times that a key management service used another key", ("provider_name",)
)
_HEALTHY_PERIOD: Final = 60.0
_SICK_PERIOD: Final = 10.0
_MAX_KEY_ID: Final = 1024
_MAX_CIPHERTEXT: Final = 1024
_MAX_ANNOTATIONS: Final = 32 << 10
_VERSIONS: Final = ("v2", "v2beta1")
_LOST: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED})
_OPTIONS: Final[list[tuple[str, Any]]] = [
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.default_authority", "localhost"),
]

ResponseT = TypeVar("ResponseT", bound=Message)


class KmsProvider:
    """Seals with data keys that a service seals."""

    def __init__(self, part: KmsPart, clock: Clock) -> None:
        self.name: Final = part.name
        self.problem = "it was not asked yet"
        """What is wrong with the service, "" when nothing is."""
        self._endpoint = part.endpoint.replace("unix://", "unix:", 1)
        self._timeout = part.timeout
        self._clock = clock
        self._channel: grpc.aio.Channel | None = None
        self._prefix: Final = f"kms:{part.name}:"
        self._service_key = ""
        self._next_look = 0.0
        self._current: DataKey | None = None
        self._opened = DataKeys()
        self._lock = asyncio.Lock()

    def owns(self, key_id: str) -> bool:
        """Return whether one of the service's keys sealed it."""
        return key_id.startswith(self._prefix)

    async def current(self) -> str:
        """Return the id of the key that seals now. Raises UnavailableError."""
        if not self._service_key:
            await self._ask_status()
        return self._prefix + self._service_key

    async def seal(self, plain: bytes, place: bytes) -> tuple[str, SealedContent]:
        """Seal with the data key in use. Raises UnavailableError when a new one is needed and cannot be had."""
        key_id = await self.current()
        data_key = self._current
        if data_key is None or data_key.key_id != key_id or data_key.uses >= DATA_KEY_USES:
            async with self._lock:
                data_key = self._current
                if data_key is None or data_key.key_id != key_id or data_key.uses >= DATA_KEY_USES:
                    data_key = self._current = await self._new_key()
        return data_key.key_id, data_key.seal(plain, place)

    async def open(self, key_id: str, sealed: SealedContent, place: bytes) -> bytes:
        """Open with the data key that was stored with it. Raises StoreError, UnavailableError."""
        cipher = self._opened.get(key_id, sealed.data_key)
        if cipher is None:
            request = v2_pb2.DecryptRequest(
                ciphertext=sealed.data_key,
                uid=str(uuid.uuid4()),
                key_id=key_id.removeprefix(self._prefix),
                annotations=sealed.annotations,
            )
            answer = await self._call("Decrypt", request, v2_pb2.DecryptResponse)
            try:
                cipher = AESGCM(answer.plaintext)
            except ValueError as error:
                raise StoreError(f"the KMS {self.name} answered with no data key: {error}") from error
            self._opened.put(key_id, sealed.data_key, cipher)
        return unseal(cipher, sealed.content, place, key_id)

    async def look(self) -> bool:
        """Ask how the service does, if it is time to; return whether it uses another key, or answers again."""
        if self._clock.monotonic() < self._next_look:
            return False
        before, was_ill = self._service_key, bool(self.problem)
        try:
            await self._ask_status()
        except UnavailableError as error:
            log.warning("the KMS %s is not well: %s", self.name, error)
        return (bool(before) and self._service_key != before) or (was_ill and not self.problem)

    async def close(self) -> None:
        """Close the connection."""
        if self._channel is not None:
            await self._channel.close()

    async def _ask_status(self) -> None:
        """Note the service's health and key. Raises UnavailableError."""
        self._next_look = self._clock.monotonic() + _SICK_PERIOD
        try:
            status = await self._call("Status", v2_pb2.StatusRequest(), v2_pb2.StatusResponse)
            _check_status(status, self.name)
        except (UnavailableError, StoreError) as error:
            self.problem = str(error)
            raise UnavailableError(self.problem) from error
        self.problem = ""
        self._next_look = self._clock.monotonic() + _HEALTHY_PERIOD
        self._use(status.key_id)

    async def _new_key(self) -> DataKey:
        """Return a new data key, sealed by the service. Raises UnavailableError."""
        secret = os.urandom(32)
        request = v2_pb2.EncryptRequest(plaintext=secret, uid=str(uuid.uuid4()))
        try:
            answer = await self._call("Encrypt", request, v2_pb2.EncryptResponse)
        except StoreError as error:
            raise UnavailableError(str(error)) from error
        _check_key_id(answer.key_id, self.name)
        if not 0 < len(answer.ciphertext) <= _MAX_CIPHERTEXT:
            raise UnavailableError(f"the KMS {self.name} made a ciphertext of {len(answer.ciphertext)} bytes")
        if sum(len(name) + len(value) for name, value in answer.annotations.items()) > _MAX_ANNOTATIONS:
            raise UnavailableError(f"the KMS {self.name} made annotations of more than {_MAX_ANNOTATIONS} bytes")
        self._use(answer.key_id)
        made = DataKey(
            self._prefix + answer.key_id,
            secret,
            SealedContent(data_key=answer.ciphertext, annotations=answer.annotations),
        )
        self._opened.put(made.key_id, answer.ciphertext, made.cipher)
        return made

    def _use(self, key: str) -> None:
        if self._service_key and key != self._service_key:
            KEY_CHANGES.labels(self.name).inc()
            log.info("the KMS %s uses another key now", self.name)
        self._service_key = key

    async def _call(self, method: str, request: Message, response: type[ResponseT]) -> ResponseT:
        """Make a call. Raises UnavailableError when there is no answer, StoreError when the answer is no."""
        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(self._endpoint, options=_OPTIONS)
        stub: Any = self._channel.unary_unary(
            f"/v2.KeyManagementService/{method}",
            request_serializer=_serialized,
            response_deserializer=response.FromString,
        )
        began, code = self._clock.monotonic(), grpc.StatusCode.OK
        try:
            return await cast("Awaitable[ResponseT]", stub(request, timeout=self._timeout))
        except grpc.aio.AioRpcError as error:
            code = error.code()
            problem = f"the KMS {self.name} answers {method} with {code.name}: {error.details()}"
            if code not in _LOST:
                raise StoreError(problem) from error
            self.problem = problem
            self._next_look = min(self._next_look, self._clock.monotonic() + _SICK_PERIOD)
            raise UnavailableError(problem) from error
        finally:
            LATENCY.labels(self.name, method, code.name).observe(self._clock.monotonic() - began)


def _check_status(status: v2_pb2.StatusResponse, name: str) -> None:
    if status.version not in _VERSIONS:
        raise UnavailableError(f"the KMS {name} speaks version {status.version!r}, expected v2")
    if status.healthz != "ok":
        raise UnavailableError(f"the KMS {name} says {status.healthz!r}, expected 'ok'")
    _check_key_id(status.key_id, name)


def _check_key_id(key_id: str, name: str) -> None:
    if not 0 < len(key_id.encode()) <= _MAX_KEY_ID:
        raise UnavailableError(f"the KMS {name} names its key with {len(key_id.encode())} bytes, expected 1 to 1024")


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()
