"""Names of images as containers refer to them (github.com/distribution/reference), written out in full."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

import msgspec

_HUB: Final = "docker.io"
_PART: Final = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REFERENCE: Final = re.compile(
    rf"(?P<repository>{_PART}(?:/{_PART})*)(?::(?P<tag>\w[\w.-]{{0,127}}))?(?:@(?P<digest>[A-Za-z0-9+._-]+:[0-9a-fA-F]{{32,}}))?",
    re.ASCII,
)
_REGISTRY: Final = re.compile(
    r"(?:\[[0-9a-fA-F:]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?::[0-9]{1,5})?", re.ASCII
)
_SHA256: Final = re.compile(r"sha256:[0-9a-f]{64}")
_MAX_LENGTH: Final = 512


class Reference(msgspec.Struct, frozen=True):
    """An image: `registry/repository:tag@digest`; tag and digest may be empty."""

    registry: str
    repository: str
    tag: str
    digest: str

    @property
    def name(self) -> str:
        """What patterns are compared with: registry and repository."""
        return f"{self.registry}/{self.repository}"


@lru_cache(4096)
def parse(text: str) -> Reference:
    """Return the image that a text refers to. Raises ValueError for none."""
    if len(text) > _MAX_LENGTH:
        raise ValueError("the reference is too long")
    registry, slash, rest = text.partition("/")
    if not slash or not (set(registry) & set(".:[") or registry == "localhost" or registry != registry.lower()):
        registry, rest = _HUB, text
    elif _REGISTRY.fullmatch(registry) is None:
        raise ValueError("invalid reference format")
    if registry in {_HUB, f"index.{_HUB}"}:
        registry = _HUB
        rest = rest if "/" in rest else f"library/{rest}"
    found = _REFERENCE.fullmatch(rest)
    if found is None:
        raise ValueError("invalid reference format")
    digest = found["digest"] or ""
    if digest and _SHA256.fullmatch(digest) is None:
        raise ValueError("invalid reference format: digests are sha256: and 64 hexadecimal digits")
    return Reference(registry.lower(), found["repository"], found["tag"] or "", digest)


@lru_cache(1024)
def pattern(text: str) -> re.Pattern[str]:
    """Return a pattern for names: `*` is any text without a slash, `**` any text at all."""
    pieces = re.split(r"(\*\*|\*)", text)
    return re.compile("".join({"**": ".*", "*": "[^/]*"}.get(piece, re.escape(piece)) for piece in pieces))
