"""When two pod templates are the same, and the short hash that a template is known by. Pure.

The hash is FNV-1a over the template's content, written in letters that spell nothing (k8s.io/apimachinery pkg/util/rand
SafeEncodeString); a number of collisions makes it another one.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import msgspec

from orch.objects.pods import PodTemplate

_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"

_canonical = msgspec.json.Encoder(order="deterministic")


@lru_cache(maxsize=2048)
def _decoded(spec: bytes) -> Any:
    return msgspec.json.decode(spec)


def content(template: PodTemplate, *, without: str = "") -> dict[str, Any]:
    """Return what makes a template: its pods' metadata and spec, `without` a label that a controller gave it."""
    meta = template.metadata
    return {
        "labels": {key: value for key, value in meta.labels.items() if key != without},
        "annotations": meta.annotations,
        "finalizers": meta.finalizers,
        "spec": _decoded(bytes(template.spec)),
    }


def canonical(template: PodTemplate, *, without: str = "") -> bytes:
    """Return the template's content in the one form that equal templates share."""
    return _canonical.encode(content(template, without=without))


def safe_hash(data: bytes, collisions: int) -> str:
    """Return the short hash of a template's canonical form."""
    value = 0x811C9DC5
    for byte in data + (str(collisions).encode() if collisions else b""):
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return "".join(_ALPHABET[ord(digit) % len(_ALPHABET)] for digit in str(value))
