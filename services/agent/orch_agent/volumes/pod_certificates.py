"""Certificates of pods: a key that is made here, and a chain that a signer issues for it, made anew in time.

    new key ─▶ PodCertificateRequest ─▶ (signer) ─▶ chain, shown with its key until beginRefreshAt, then once more

The key leaves the node never, and is in memory and in the volume's tmpfs alone. Source: k8s.io/kubernetes/pkg/kubelet/
podcertificate (podcertificatemanager.go).
"""

from __future__ import annotations

import asyncio
import base64
import importlib
import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import msgspec

from orch.clock import Clock, parse_rfc3339
from orch.errors import ApiError, BusError, ForbiddenError, NotFoundError, UnavailableError
from orch.objects.certificates import PodCertificateRequest
from orch.objects.pods import Pod
from orch.objects.scheme import NODES, POD_CERTIFICATE_REQUESTS, SERVICE_ACCOUNTS, Kind, ObjectT
from orch.objects.volumes import PodCertificateProjection
from orch_agent.volumes.protocol import VolumeError, in_thread

_LOG: Final = logging.getLogger(__name__)
_LOOKS: Final = 10
_PAUSE: Final = 0.2
_AGAIN: Final = timedelta(seconds=10)
_GIVEN_UP: Final = timedelta(minutes=15)
"""Nobody answers requests that are older: the controllers clear them away."""
_SPARE: Final = 0.2
"""The part of a certificate's life that is left when another is asked for, where its signer's word is not known."""
_END_OF_KEY: Final = b"-----END PRIVATE KEY-----\n"

Place = tuple[str, str, str]
"""A pod's uid, its volume's folder, and a path in it."""


class Certificate(msgspec.Struct, frozen=True):
    """A key and its chain, both PEM, and when another one is to be asked for."""

    key: bytes
    chain: bytes
    stale_at: datetime

    def __repr__(self) -> str:
        """Return no secret."""
        return f"Certificate(stale_at={self.stale_at})"


class _Order(msgspec.Struct, frozen=True):
    """A request that is under way, with its key."""

    name: str
    key: bytes
    since: datetime

    def __repr__(self) -> str:
        """Return no secret."""
        return f"_Order({self.name})"


class Requester(Protocol):
    """The part of the api's client by which certificates are asked for."""

    async def get(self, kind: Kind[ObjectT], namespace: str, name: str) -> ObjectT:
        """Return an object. Raises NotFoundError."""
        ...

    async def create(
        self, kind: Kind[ObjectT], namespace: str, body: Mapping[str, Any], *, name: str = "", subresource: str = ""
    ) -> ObjectT:
        """Make an object. Raises ApiError, UnavailableError."""
        ...


class PodCertificates:
    """The certificates of one node's pods. Those that were issued are held by the files that show them."""

    def __init__(self, client: Requester, node: str, clock: Clock) -> None:
        self._client = client
        self._node = node
        self._clock = clock
        self._orders: dict[Place, _Order] = {}
        self._refresh: dict[Place, datetime] = {}

    async def certificate(
        self, pod: Pod, wanted: PodCertificateProjection, place: Place, before: tuple[bytes, bytes] | None
    ) -> Certificate:
        """Return what is shown `before` (key and chain), if it is fresh, or another one.

        One that is stale stays while no other is issued, until it ends. Raises VolumeError.
        """
        held = await self._held(place, before) if before is not None else None
        now = self._clock.now()
        if held is not None and now < held[0].stale_at:
            return held[0]
        try:
            return await self._issued(pod, wanted, place, 1 if held is not None else _LOOKS)
        except (ApiError, BusError, UnavailableError, VolumeError) as error:
            if held is None or now >= held[1]:
                raise VolumeError(f"failed to get a certificate of {wanted.signer_name}: {error}") from error
            _LOG.warning("pod %s keeps its old certificate: %s", pod.metadata.name, error)
            return msgspec.structs.replace(held[0], stale_at=now + _AGAIN)

    def forget(self, folder: str) -> None:
        """Let go of what was asked for a volume."""
        self._orders = {place: each for place, each in self._orders.items() if place[1] != folder}
        self._refresh = {place: each for place, each in self._refresh.items() if place[1] != folder}

    async def _issued(self, pod: Pod, wanted: PodCertificateProjection, place: Place, looks: int) -> Certificate:
        order = self._orders.get(place)
        if order is None or self._clock.now() - order.since > _GIVEN_UP:
            order = self._orders[place] = await self._ask(pod, wanted)
        for look in range(looks):
            if look:
                await self._clock.sleep(_PAUSE)
            try:
                request = await self._client.get(POD_CERTIFICATE_REQUESTS, pod.metadata.namespace, order.name)
            except NotFoundError:
                del self._orders[place]
                raise
            except ForbiddenError:
                continue  # the api's authorizer has not seen yet that the request is this node's
            for refused, words in (("Denied", "was denied"), ("Failed", "failed")):
                if (verdict := request.decided(refused)) is not None:
                    del self._orders[place]
                    raise VolumeError(f"PodCertificateRequest {order.name} {words}: {verdict.message}")
            if request.decided("Issued") is not None:
                del self._orders[place]
                self._refresh[place] = stale = parse_rfc3339(request.status.begin_refresh_at)
                return Certificate(order.key, _ended(request.status.certificate_chain).encode(), stale)
        raise VolumeError(f"PodCertificateRequest {order.name} has not been issued yet")

    async def _ask(self, pod: Pod, wanted: PodCertificateProjection) -> _Order:
        meta, account_name = pod.metadata, pod.spec.service_account_name or "default"
        account = await self._client.get(SERVICE_ACCOUNTS, meta.namespace, account_name)
        node = await self._client.get(NODES, "", self._node)
        try:
            key, request = await in_thread(_keys().new_key, wanted.key_type)
        except KeyError as error:
            raise VolumeError(f"keys of the type {wanted.key_type!r} are not known") from error
        spec: dict[str, Any] = {
            "signerName": wanted.signer_name,
            "podName": meta.name,
            "podUID": meta.uid,
            "serviceAccountName": account_name,
            "serviceAccountUID": account.metadata.uid,
            "nodeName": self._node,
            "nodeUID": node.metadata.uid,
            "stubPKCS10Request": base64.b64encode(request).decode(),
        }
        if wanted.max_expiration_seconds is not None:
            spec["maxExpirationSeconds"] = wanted.max_expiration_seconds
        if wanted.user_annotations:
            spec["unverifiedUserAnnotations"] = wanted.user_annotations
        owner = {"apiVersion": "v1", "kind": "Pod", "name": meta.name, "uid": meta.uid}
        body = {
            "apiVersion": POD_CERTIFICATE_REQUESTS.api_version,
            "kind": POD_CERTIFICATE_REQUESTS.name,
            "metadata": {"namespace": meta.namespace, "generateName": "req-", "ownerReferences": [owner]},
            "spec": spec,
        }
        made: PodCertificateRequest = await self._client.create(POD_CERTIFICATE_REQUESTS, meta.namespace, body)
        return _Order(made.metadata.name, key, self._clock.now())

    async def _held(self, place: Place, before: tuple[bytes, bytes]) -> tuple[Certificate, datetime] | None:
        """Return what is shown, and its end; None when that is no certificate with its key."""
        try:
            begin, end = await asyncio.to_thread(_keys().lifetime, *before)
        except (ValueError, TypeError, IndexError):
            return None
        stale = self._refresh.get(place) or _usual_refresh(begin, end)
        return Certificate(*before, stale), end


def _ended(text: str) -> str:
    """Return a text with a newline at its end."""
    return text if text.endswith("\n") else f"{text}\n"


def _usual_refresh(begin: datetime, end: datetime) -> datetime:
    return end - (end - begin) * _SPARE


def parts_of(bundle: bytes) -> tuple[bytes, bytes]:
    """Return key and chain of a credential bundle, which has the key first."""
    key, end, chain = bundle.partition(_END_OF_KEY)
    return key + end, chain


def _keys() -> Any:
    """Return the module that makes keys. By name: few nodes need it, and the memory that it takes."""
    return importlib.import_module("orch_agent.volumes.certificate_keys")
