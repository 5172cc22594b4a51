"""The formats of texts that Kubernetes' validation knows (go-openapi's strfmt); others are no constraint."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_network
from typing import Final
from urllib.parse import urlsplit

Check = Callable[[str], bool]

_DURATION_PARTS: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_SECONDS: Final[Mapping[str, float]] = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1,
    "m": 60,
    "h": 3600,
    "d": 86_400,
    "w": 604_800,
}
_WORDED: Final = re.compile(r"((\d+)\s*([A-Za-zµ]+))")
_WORDS: Final[Mapping[str, float]] = {
    **_SECONDS,
    **dict.fromkeys(("nano", "nanosecond", "nanoseconds"), 1e-09),
    **dict.fromkeys(("micro", "microsecond", "microseconds"), 1e-06),
    **dict.fromkeys(("milli", "millisecond", "milliseconds"), 0.001),
    **dict.fromkeys(("second", "seconds"), 1.0),
    **dict.fromkeys(("minute", "minutes"), 60.0),
    **dict.fromkeys(("hr", "hour", "hours"), 3600.0),
    **dict.fromkeys(("day", "days"), 86400.0),
    **dict.fromkeys(("wk", "week", "weeks"), 604800.0),
}
_DATE_TIME: Final = re.compile(r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:\d{2})(\.\d+)?([Zz]|[+-]\d{2}:?\d{2})?")
_EMAIL: Final = re.compile(r"[^@\s<>()\[\],;:\\\"]+@[^@\s<>()\[\],;:\\\"]+")
_HOSTNAME: Final = re.compile(r"([a-zA-Z0-9_]([a-zA-Z0-9_-]{0,62}))(\.[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,62}))*\.?")
_LABEL: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"


def go_duration(text: str) -> float | None:
    """Return the seconds of a duration as Go writes them: 1h30m, -1.5s; None for what is none."""
    sign, rest = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    if rest == "0":
        return 0.0
    total, end = 0.0, 0
    for part in _DURATION_PARTS.finditer(rest):
        if part.start() != end:
            return None
        total += float(part[1]) * _SECONDS[part[2]]
        end = part.end()
    return sign * total if rest and end == len(rest) else None


def duration(text: str) -> float | None:
    """Return the seconds of a duration as go-openapi reads it: Go's form, or words as in "3 days"."""
    found = go_duration(text)
    if found is not None:
        return found
    total, matched = 0.0, False
    for part in _WORDED.finditer(text):
        unit = _WORDS.get(part[3].lower())
        if unit is None:
            return None
        matched = True
        total += int(part[2]) * unit
    return total if matched else None


def date_time(text: str) -> datetime | None:
    """Return the moment that a text in RFC 3339 names, None for what is none."""
    found = _DATE_TIME.fullmatch(text)
    if found is None:
        return None
    fraction = (found[3] or ".0")[:7]
    zone = (found[4] or "Z").upper().replace("Z", "+00:00")
    try:
        return datetime.fromisoformat(f"{found[1]}T{found[2]}{fraction:0<7}{zone}")
    except ValueError:
        return None


def full_date(text: str) -> date | None:
    """Return the day that a text names as 2006-01-02, None for what is none."""
    try:
        return date.fromisoformat(text) if len(text) == 10 else None
    except ValueError:
        return None


def decoded(text: str) -> bytes | None:
    """Return what base64 writes, None for what is no base64."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def is_ipv4(text: str) -> bool:
    """Tell whether a text is an IPv4 address."""
    try:
        _ = IPv4Address(text)
    except AddressValueError:
        return False
    return True


def is_ipv6(text: str) -> bool:
    """Tell whether a text is an IPv6 address."""
    try:
        _ = IPv6Address(text)
    except AddressValueError:
        return False
    return True


def is_cidr(text: str) -> bool:
    """Tell whether a text is a range of addresses."""
    try:
        _ = ip_network(text, strict=False)
    except ValueError:
        return False
    return "/" in text


def is_uri(text: str) -> bool:
    """Tell whether a text is an absolute address or path, as Go's url.ParseRequestURI reads it."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    return not re.search(r"[\x00-\x20\x7f]", text) and (bool(parts.scheme) or text.startswith("/"))


def _pattern(pattern: str, limit: int = 0) -> Check:
    match = re.compile(pattern).fullmatch
    return lambda text: match(text) is not None and (not limit or len(text) <= limit)


def _uuid(version: str) -> Check:
    variant = "[89ab]" if version in "45" else "[0-9a-f]"
    return _pattern(
        rf"(?i)[0-9a-f]{{8}}-?[0-9a-f]{{4}}-?{version}[0-9a-f]{{3}}-?{variant}[0-9a-f]{{3}}-?[0-9a-f]{{12}}"
    )


def _isbn(length: int) -> Check:
    def check(text: str) -> bool:
        digits = text.replace("-", "").replace(" ", "")
        if not re.fullmatch(r"[0-9]{9}[0-9Xx]" if length == 10 else r"97[89][0-9]{10}", digits):
            return False
        values = [10 if digit in "Xx" else int(digit) for digit in digits]
        if length == 10:
            return sum(value * (10 - place) for place, value in enumerate(values)) % 11 == 0
        return sum(value * (3 if place % 2 else 1) for place, value in enumerate(values)) % 10 == 0

    return check


def _credit_card(text: str) -> bool:
    digits = re.sub(r"[^0-9]", "", text)
    if not 13 <= len(digits) <= 19:
        return False
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


FORMATS: Final[Mapping[str, Check]] = {
    "bsonobjectid": _pattern(r"[0-9a-fA-F]{24}"),
    "uri": is_uri,
    "email": lambda text: _EMAIL.fullmatch(text) is not None,
    "hostname": lambda text: len(text) <= 255 and _HOSTNAME.fullmatch(text) is not None,
    "ipv4": is_ipv4,
    "ipv6": is_ipv6,
    "cidr": is_cidr,
    "mac": _pattern(r"(?i)[0-9a-f]{2}([:-][0-9a-f]{2}){5}(([:-][0-9a-f]{2}){2})?|([0-9a-f]{4}\.){2,3}[0-9a-f]{4}"),
    "uuid": _pattern(r"(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}"),
    "uuid3": _uuid("3"),
    "uuid4": _uuid("4"),
    "uuid5": _uuid("5"),
    "isbn": lambda text: _isbn(10)(text) or _isbn(13)(text),
    "isbn10": _isbn(10),
    "isbn13": _isbn(13),
    "creditcard": _credit_card,
    "ssn": _pattern(r"[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}"),
    "hexcolor": _pattern(r"#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})"),
    "rgbcolor": _pattern(
        r"rgb\(\s*([0-9]{1,2}|1[0-9]{2}|2[0-4][0-9]|25[0-5])\s*(,\s*([0-9]{1,2}|1[0-9]{2}|2[0-4][0-9]|25[0-5])\s*){2}\)"
    ),
    "byte": lambda text: decoded(text) is not None,
    "password": lambda text: True,  # noqa: ARG005 - it hides a value and asks nothing of it
    "date": lambda text: full_date(text) is not None,
    "duration": lambda text: duration(text) is not None,
    "date-time": lambda text: date_time(text) is not None,
    "datetime": lambda text: date_time(text) is not None,
    "k8s-short-name": _pattern(_LABEL, 63),
    "k8s-long-name": _pattern(rf"{_LABEL}(\.{_LABEL})*", 253),
}
