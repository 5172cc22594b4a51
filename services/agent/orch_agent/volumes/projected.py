"""Volumes of several sources in one folder, in memory (pkg/volume/projected)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from orch.clock import Clock
from orch.errors import ApiError, UnavailableError
from orch.objects.pods import Pod
from orch.objects.scheme import SECRETS
from orch.objects.volumes import PodCertificateProjection, ProjectedPart, ProjectedSource, TokenProjection, Volume
from orch_agent.volumes import atomic
from orch_agent.volumes.config_map import config_map_files
from orch_agent.volumes.downward_api import downward_files
from orch_agent.volumes.objects import ReferredObjects
from orch_agent.volumes.ownership import group_of, user_of
from orch_agent.volumes.payload import DEFAULT_MODE, File
from orch_agent.volumes.pod_certificates import Certificate, PodCertificates, parts_of
from orch_agent.volumes.protocol import NodeFacts, Ready, Reference, VolumeError, in_thread
from orch_agent.volumes.secret import secret_files
from orch_agent.volumes.tokens import Token, Tokens
from orch_agent.volumes.trust_bundles import TrustBundles

_PRIVATE: Final = 0o600


class _Shown(msgspec.Struct):
    """What the parts of one volume come to."""

    files: dict[str, File] = {}
    tokens: list[Token] = []
    certificates: list[Certificate] = []
    bundles: bool = False


class ProjectedVolumes:
    """The kind projected."""

    name = "kubernetes.io/projected"
    volatile = True

    def __init__(
        self,
        objects: ReferredObjects,
        tokens: Tokens,
        bundles: TrustBundles,
        certificates: PodCertificates,
        facts: NodeFacts,
        clock: Clock,
    ) -> None:
        self._objects = objects
        self._tokens = tokens
        self._bundles = bundles
        self._certificates = certificates
        self._facts = facts
        self._clock = clock

    def handles(self, volume: Volume) -> bool:
        """Return whether the volume is put together from sources."""
        return volume.projected is not None

    async def set_up(self, pod: Pod, volume: Volume, folder: Path) -> Ready:
        """Show all sources as they are now; a later one hides a file of an earlier one that has its path."""
        source = volume.projected or ProjectedSource()
        mode = DEFAULT_MODE if source.default_mode is None else source.default_mode
        shown = _Shown()
        problems: list[str] = []
        for part in source.sources:
            try:
                await self._add(shown, pod, part, mode, folder)
            except (VolumeError, ApiError, UnavailableError) as error:
                problems.append(str(error))
        if problems:
            raise VolumeError(problems[0] if len(problems) == 1 else f"[{', '.join(dict.fromkeys(problems))}]")
        await in_thread(atomic.write, folder, shown.files, group_of(pod), self._clock.now())
        stale = [each.stale_at for each in (*shown.tokens, *shown.certificates)]
        if shown.bundles:
            stale.append(self._bundles.stale_at())
        return Ready(path=folder, read_only=True, stale_at=min(stale, default=None))

    async def tear_down(self, folder: Path) -> None:
        """Let go of what was asked for; nothing but the folder is there."""
        self._certificates.forget(str(folder))

    async def _add(self, shown: _Shown, pod: Pod, part: ProjectedPart, mode: int, folder: Path) -> None:
        namespace = pod.metadata.namespace
        if part.config_map is not None:
            shown.files |= await config_map_files(self._objects, namespace, part.config_map, mode)
        elif part.secret is not None:
            reference = Reference(SECRETS.resource, namespace, part.secret.name)
            optional = part.secret.optional
            shown.files |= await secret_files(self._objects, reference, part.secret.items, mode, optional=optional)
        elif part.downward_api is not None:
            shown.files |= downward_files(pod, part.downward_api.items, mode, self._facts)
        elif part.service_account_token is not None:
            wanted = part.service_account_token
            token = await self._token(pod, wanted, folder)
            shown.files[wanted.path] = _private_file(pod, token.text, mode)
            shown.tokens.append(token)
        elif part.cluster_trust_bundle is not None:
            bundle = part.cluster_trust_bundle
            shown.files[bundle.path] = File(await self._bundles.certificates(bundle), mode)
            shown.bundles = True
        elif part.pod_certificate is not None:
            await self._add_certificate(shown, pod, part.pod_certificate, mode, folder)
        else:
            raise VolumeError("a source of the projected volume is of a kind that this node does not know")

    async def _add_certificate(
        self, shown: _Shown, pod: Pod, wanted: PodCertificateProjection, mode: int, folder: Path
    ) -> None:
        bundle, key, chain = wanted.credential_bundle_path, wanted.key_path, wanted.certificate_chain_path
        before: tuple[bytes, bytes] | None = None
        if bundle and (content := await in_thread(atomic.read, folder, bundle)) is not None:
            before = parts_of(content)
        elif key and chain:
            contents = [await in_thread(atomic.read, folder, path) for path in (key, chain)]
            before = (contents[0] or b"", contents[1] or b"")
        place = (pod.metadata.uid, str(folder), bundle or key)
        found = await self._certificates.certificate(pod, wanted, place, before)
        files = {bundle: found.key + found.chain, key: found.key, chain: found.chain}
        for path, content in files.items():
            if path:
                shown.files[path] = _private_file(pod, content, mode)
        shown.certificates.append(found)

    async def _token(self, pod: Pod, wanted: TokenProjection, folder: Path) -> Token:
        before = await in_thread(atomic.read, folder, wanted.path)
        return await self._tokens.token(pod, wanted, before)


def _private_file(pod: Pod, content: bytes, mode: int) -> File:
    """Return the file of what proves who a pod is: for its user, or its group, alone if that is known."""
    owner = user_of(pod)
    if owner is not None or group_of(pod) is not None:
        mode = _PRIVATE
    return File(content, mode, owner)
