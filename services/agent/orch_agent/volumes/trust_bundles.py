"""Certificates of authorities from ClusterTrustBundles (pkg/kubelet/clustertrustbundle)."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Final, Protocol

from orch.clock import Clock
from orch.errors import NotFoundError
from orch.objects.certificates import ClusterTrustBundle
from orch.objects.meta import LabelSelector
from orch.objects.scheme import CLUSTER_TRUST_BUNDLES, Kind, ObjectT
from orch.objects.volumes import TrustBundleProjection
from orch_agent.volumes.protocol import VolumeError

_BLOCK: Final = re.compile(r"-----BEGIN CERTIFICATE-----\s.*?-----END CERTIFICATE-----", re.DOTALL)
_LOOK_AGAIN: Final = timedelta(seconds=60)


class BundleReader(Protocol):
    """The part of the api's client that is needed here."""

    async def get(self, kind: Kind[ObjectT], namespace: str, name: str) -> ObjectT:
        """Return the object. Raises NotFoundError."""
        ...

    async def list(
        self, kind: Kind[ObjectT], namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> list[ObjectT]:
        """Return the objects that are selected."""
        ...


class TrustBundles:
    """Bundles by name, or by signer and labels. They are public and few: looked up again every minute."""

    def __init__(self, reader: BundleReader, clock: Clock) -> None:
        self._reader = reader
        self._clock = clock

    def stale_at(self) -> datetime:
        """Return when what was read a moment ago is to be read again."""
        return self._clock.now() + _LOOK_AGAIN

    async def certificates(self, wanted: TrustBundleProjection) -> bytes:
        """Return the certificates in PEM, each once. Raises VolumeError, ApiError and UnavailableError."""
        if wanted.name:
            return await self._by_name(wanted)
        selector = _selector(wanted.label_selector)
        found: list[ClusterTrustBundle] = []
        if selector is not None:
            found = await self._reader.list(
                CLUSTER_TRUST_BUNDLES, label_selector=selector, field_selector=f"spec.signerName={wanted.signer_name}"
            )
        if not found and not wanted.optional:
            raise VolumeError(
                f'combination of signerName "{wanted.signer_name}" and labelSelector matched zero ClusterTrustBundles'
            )
        return _joined(found)

    async def _by_name(self, wanted: TrustBundleProjection) -> bytes:
        try:
            found: ClusterTrustBundle = await self._reader.get(CLUSTER_TRUST_BUNDLES, "", wanted.name)
        except NotFoundError as error:
            if wanted.optional:
                return b""
            raise VolumeError(f'clustertrustbundle "{wanted.name}" not found') from error
        return _joined([found])


def _joined(bundles: list[ClusterTrustBundle]) -> bytes:
    blocks = {block: None for bundle in bundles for block in _BLOCK.findall(bundle.spec.trust_bundle)}
    return "".join(f"{block}\n" for block in sorted(blocks)).encode()


def _selector(labels: LabelSelector | None) -> str | None:
    """Return the selector as a query writes it. None selects nothing, an empty one everything, as in Kubernetes."""
    if labels is None:
        return None
    terms = [f"{key}={value}" for key, value in sorted(labels.match_labels.items())]
    for wanted in labels.match_expressions:
        match wanted.operator:
            case "Exists":
                terms.append(wanted.key)
            case "DoesNotExist":
                terms.append(f"!{wanted.key}")
            case operator:
                word = "in" if operator == "In" else "notin"
                terms.append(f"{wanted.key} {word} ({','.join(sorted(wanted.values))})")
    return ",".join(terms)
