"""Who may use an image that is here: pods that bring credentials with which it was pulled, not everybody on the node.

Which credentials that were is remembered beside the images, as keyed hashes, and across restarts. An image that this
agent never pulled was put there by somebody else: who may use it is the policy's to say. Source: k8s.io/kubernetes/
pkg/kubelet/images/pullmanager (image_pull_manager.go, image_pull_policies.go).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal

import msgspec

from orch.errors import ConfigError
from orch_agent.runtimes.image_names import qualified, repository
from orch_agent.runtimes.protocol import Credentials, FoundImage, ImageError, Runtime

_LOG: Final = logging.getLogger(__name__)
_PRUNED_FROM: Final = 256
_ALL_BELOW: Final = "/*"

Policy = Literal["NeverVerify", "NeverVerifyPreloadedImages", "NeverVerifyAllowlistedImages", "AlwaysVerify"]


class _Pulled(msgspec.Struct):
    """How an image was had under one of its names: by anybody, or with credentials of these hashes."""

    open: bool = False
    credentials: list[str] = []


class _Records(msgspec.Struct):
    """What is kept on the disk. `pulling`: pulls of which the end was not seen."""

    key: str
    images: dict[str, dict[str, _Pulled]] = {}
    pulling: list[str] = []


class AccessSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Which images that are here are free for all, in the words of KubeletConfiguration.

    `allowlist` (preloadedImagesVerificationAllowlist): names without tag and digest, or all below a path: `host/a/*`.
    """

    policy: Policy = "NeverVerifyPreloadedImages"
    allowlist: tuple[str, ...] = ()

    def check(self, path: str) -> None:
        """Raise ConfigError for what cannot be meant."""
        if self.allowlist and self.policy != "NeverVerifyAllowlistedImages":
            raise ConfigError(f"{path}.allowlist", "is of use with the policy NeverVerifyAllowlistedImages alone")
        for place, pattern in enumerate(self.allowlist):
            name = pattern.removesuffix(_ALL_BELOW)
            last = name.rpartition("/")[2]
            if not name or "*" in name or (name == pattern and (":" in last or "@" in last)):
                raise ConfigError(
                    f"{path}.allowlist[{place}]", "must be an image without tag and digest, or end in a segment `*`"
                )


class ImageAccess:
    """The images of one node. Without a file (simulated nodes) all is forgotten with the process."""

    def __init__(self, settings: AccessSettings, file: Path | None, runtime: Runtime) -> None:
        self._settings = settings
        self._file = file
        self._runtime = runtime
        self._flights: Counter[str] = Counter()
        self._unreadable = False
        self._turn = asyncio.Lock()
        self._records = self._load()
        self._doubtful = set(self._records.pulling)
        """Images that may have come without anybody having noted with what: only another pull tells."""

    def is_open(self, image: str, found: FoundImage) -> bool:
        """Return whether any pod may use an image that is here."""
        known = self._records.images.get(found.id)
        name = qualified(image)
        pulled = self._unreadable or known is not None or name in self._records.pulling or name in self._doubtful
        policy = self._settings.policy
        if policy == "NeverVerify" or (policy == "NeverVerifyPreloadedImages" and not pulled):
            return True
        if policy == "NeverVerifyAllowlistedImages" and self._is_listed(image):
            return True
        record = known.get(repository(image)) if known is not None else None
        return record is not None and record.open

    def is_proven(self, image: str, found: FoundImage, candidates: Iterable[Credentials]) -> bool:
        """Return whether the image was pulled under this name with one of these credentials."""
        record = self._records.images.get(found.id, {}).get(repository(image))
        return record is not None and any(self._hash(each) in record.credentials for each in candidates)

    async def begin(self, image: str) -> None:
        """Note that the image is being pulled: should nobody see the end, it is not taken for somebody else's.

        Raises ImageError when that cannot be noted.
        """
        name = qualified(image)
        self._flights[name] += 1
        if self._settings.policy == "NeverVerify" or name in self._records.pulling:
            return
        self._records.pulling.append(name)
        try:
            await self._save()
        except OSError as error:
            self._records.pulling.remove(name)
            self._land(name)
            raise ImageError(f"the pull of {image} cannot be recorded: {error.strerror or error}") from error

    async def failed(self, image: str) -> None:
        """Note that a pull has come to nothing."""
        name = qualified(image)
        if self._land(name) and name in self._records.pulling and name not in self._doubtful:
            self._records.pulling.remove(name)
            await self._try_to_save()

    async def pulled(self, image: str, found: FoundImage, credentials: Credentials | None) -> None:
        """Note with what an image was had, None for nothing."""
        name = qualified(image)
        names = self._records.images.setdefault(found.id, {})
        record = names.setdefault(repository(image), _Pulled())
        if credentials is None:
            record.open = True
        elif (hashed := self._hash(credentials)) not in record.credentials:
            record.credentials = [*record.credentials, hashed]
        self._doubtful.discard(name)
        if self._land(name) and name in self._records.pulling:
            self._records.pulling.remove(name)
        await self._prune()
        await self._try_to_save()

    def abandoned(self, image: str) -> None:
        """Note that nobody waits for a pull any more: whether it has come to something is not known."""
        name = qualified(image)
        self._land(name)
        self._doubtful.add(name)

    def _land(self, name: str) -> bool:
        """Count a pull out; return whether it was the last of its name."""
        self._flights[name] -= 1
        if self._flights[name] <= 0:
            del self._flights[name]
        return name not in self._flights

    def _is_listed(self, image: str) -> bool:
        name = repository(image)
        for pattern in self._settings.allowlist:
            below = pattern.removesuffix(_ALL_BELOW)
            if name == repository(pattern) if below == pattern else name.startswith(f"{below}/"):
                return True
        return False

    def _hash(self, credentials: Credentials) -> str:
        plain = msgspec.json.encode([credentials.username, credentials.password])
        return hmac.new(base64.b64decode(self._records.key), plain, hashlib.sha256).hexdigest()

    async def _prune(self) -> None:
        """Forget images that are gone, once there are many: one that comes again is pulled again."""
        if len(self._records.images) > _PRUNED_FROM:
            here = {each.id for each in await self._runtime.images()}
            self._records.images = {known: names for known, names in self._records.images.items() if known in here}

    # -- the file ------------------------------------------------------------------------------------------------

    def _load(self) -> _Records:
        """Return what an earlier process noted. If that cannot be read, all images are to be proven anew."""
        fresh = _Records(key=base64.b64encode(os.urandom(32)).decode())
        if self._file is None:
            return fresh
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=_Records)
        except FileNotFoundError:
            return fresh
        except (OSError, msgspec.DecodeError) as error:
            self._unreadable = True
            _LOG.error("%s cannot be read: credentials are asked for all images that are here: %s", self._file, error)
            return fresh

    async def _try_to_save(self) -> None:
        """Save; if that fails, what is on the disk asks for more credentials than needed, not for fewer."""
        try:
            await self._save()
        except OSError as error:
            _LOG.warning("which credentials images were pulled with is not saved: %s", error)

    async def _save(self) -> None:
        if self._file is None or self._settings.policy == "NeverVerify":
            return
        async with self._turn:
            await asyncio.to_thread(_write, self._file, msgspec.json.encode(self._records))


def _write(file: Path, content: bytes) -> None:
    """Replace a file, which nobody but root may read."""
    fresh = file.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    opened = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(opened, "wb") as stream:
        stream.write(content)
    fresh.replace(file)
