"""Kubernetes' quantities: "100m", "1.5Gi", "12e6" (k8s.io/apimachinery/pkg/api/resource).

    <number>[n u m k M G T P E | Ki Mi Gi Ti Pi Ei | e<exponent>]

An amount is exact to a billionth; what is finer is rounded away from zero. A quantity remembers in which of the three
notations it was written, and its canonical form keeps that notation where no precision is lost.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, Literal

import msgspec

Notation = Literal["DecimalSI", "BinarySI", "DecimalExponent"]

_FORMAT_WRONG: Final = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
_NUMBER_WRONG: Final = "unable to parse numeric part of quantity"
_SUFFIX_WRONG: Final = "unable to parse quantity's suffix"

_SYNTAX: Final = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?((?:[eEinumkKMGTP]*)(?:[-+]?[0-9]*))")
_EXPONENT: Final = re.compile(r"[eE]([+-]?[0-9]+)")
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DECIMAL_SUFFIX: Final = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_BINARY: Final = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")

_NANO: Final = 10**9
_MAX_BINARY: Final = (2**63 - 1) * _NANO
_MAX_DIGITS: Final = 256
"""Longer texts are refused, exponents beyond it as well: no amount of anything needs them."""
_REMEMBERED: Final = 16384


class Quantity(msgspec.Struct, frozen=True, gc=False):
    """An amount in billionths, and how it was written."""

    nanos: int
    notation: Notation

    @property
    def value(self) -> int:
        """The amount in units, rounded away from zero."""
        return _divide(self.nanos, _NANO)

    @property
    def milli(self) -> int:
        """The amount in thousandths, rounded away from zero."""
        return _divide(self.nanos, 10**6)

    def __str__(self) -> str:
        """Return the canonical form: no fraction, the largest suffix that keeps all precision."""
        if self.nanos == 0:
            return "0"
        whole, rest = divmod(abs(self.nanos), _NANO)
        if self.notation == "BinarySI" and whole >= 1024 and rest == 0:
            return _sign(self.nanos) + _binary(whole)
        return _sign(self.nanos) + _decimal(abs(self.nanos), exponential=self.notation == "DecimalExponent")


@lru_cache(maxsize=_REMEMBERED)
def parse(text: str) -> Quantity:
    """Return the quantity that `text` writes. Raises ValueError with Kubernetes' wording."""
    match = _SYNTAX.fullmatch(text)
    if match is None or len(text) > _MAX_DIGITS:
        raise ValueError(_FORMAT_WRONG)
    sign, whole, fraction, suffix = match.groups("")
    if not whole and not fraction:
        raise ValueError(_NUMBER_WRONG if "." in text else _FORMAT_WRONG)
    notation, base, exponent = _interpret(suffix)
    digits = int(whole + fraction or "0")
    nanos = _scale(digits * base, exponent + 9 - len(fraction))
    if notation == "BinarySI":
        nanos = min(nanos, _MAX_BINARY)
        if nanos < _NANO:
            notation = "DecimalSI"
    return Quantity(-nanos if sign == "-" else nanos, notation)


def value(text: str) -> int:
    """Return the quantity in units, rounded away from zero. Raises ValueError."""
    return parse(text).value


def milli(text: str) -> int:
    """Return the quantity in thousandths, rounded away from zero. Raises ValueError."""
    return parse(text).milli


@lru_cache(maxsize=_REMEMBERED)
def canonical(text: str) -> str:
    """Return the quantity's canonical form: "1000m" is "1", "1.5Gi" is "1536Mi". Raises ValueError."""
    return str(parse(text))


def _interpret(suffix: str) -> tuple[Notation, int, int]:
    """Return the notation, a factor and a power of ten. Raises ValueError."""
    if suffix in _DECIMAL:
        return "DecimalSI", 1, _DECIMAL[suffix]
    if suffix in _BINARY:
        return "BinarySI", 1024 ** _BINARY.index(suffix), 0
    match = _EXPONENT.fullmatch(suffix)
    if match is None or abs(int(match[1])) > _MAX_DIGITS:
        raise ValueError(_SUFFIX_WRONG)
    return "DecimalExponent", 1, int(match[1])


def _scale(number: int, exponent: int) -> int:
    """Return number * 10**exponent, rounded up."""
    return number * 10**exponent if exponent >= 0 else -(-number // 10**-exponent)


def _divide(number: int, divisor: int) -> int:
    return -(-number // divisor) if number >= 0 else number // divisor


def _sign(number: int) -> str:
    return "-" if number < 0 else ""


def _binary(units: int) -> str:
    power = 0
    while units % 1024 == 0 and power < len(_BINARY) - 1:
        units //= 1024
        power += 1
    return f"{units}{_BINARY[power]}"


def _decimal(nanos: int, *, exponential: bool) -> str:
    exponent = -9
    while nanos % 1000 == 0 and (exponential or exponent < 18):
        nanos //= 1000
        exponent += 3
    if exponential:
        return f"{nanos}e{exponent}" if exponent else str(nanos)
    return f"{nanos}{_DECIMAL_SUFFIX[exponent]}"
