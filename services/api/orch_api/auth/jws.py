"""What a signed token (JWS in its compact form) says before anybody has verified it."""

from __future__ import annotations

import base64
import binascii
from typing import Final

import msgspec


class _Issued(msgspec.Struct):
    iss: str = ""


_issued: Final = msgspec.json.Decoder(_Issued).decode


def claimed_issuer(token: str) -> str:
    """Return the issuer that a token claims to be from, "" when it is no JWT. It decides whom to ask, nothing else."""
    parts = token.split(".")
    if len(parts) != 3:
        return ""
    payload = parts[1]
    try:
        return _issued(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))).iss
    except (binascii.Error, ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return ""
