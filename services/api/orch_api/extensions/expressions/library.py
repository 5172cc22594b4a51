"""The functions that Kubernetes adds to CEL (k8s.io/apiserver/pkg/cel/library), beside CEL's own extensions.

Left out, as the runtime has no place for them: `format` (its results are optional values) and `string` of addresses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import total_ordering
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from itertools import pairwise
from typing import Any, Final, overload
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit

from cel_expr_python import cel

from orch import quantity
from orch_api.extensions import patterns
from orch_api.extensions.expressions.messages import PACKAGE, message_class

_T: Final = cel.Type
_ANY_LIST: Final = _T.List(_T.DYN)
_TEXTS: Final = _T.List(_T.STRING)
_QUANTITY: Final = _T(f"{PACKAGE}.Quantity")
_URL: Final = _T(f"{PACKAGE}.URL")
_IP: Final = _T(f"{PACKAGE}.IP")
_CIDR: Final = _T(f"{PACKAGE}.CIDR")
_SEMVER: Final = _T(f"{PACKAGE}.Semver")
_Quantity: Final = message_class("Quantity")
_Url: Final = message_class("URL")
_Ip: Final = message_class("IP")
_Cidr: Final = message_class("CIDR")
_Semver: Final = message_class("Semver")

_NANO: Final = 10**9
_MAX_TEXT: Final = 1 << 20
_PATH_CHARACTERS: Final = "/%:@!$&'()*+,;=-._~"
_SEMVER_SYNTAX: Final = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-([0-9A-Za-z.-]+))?(?:\+([0-9A-Za-z.-]+))?"
)

Address = IPv4Address | IPv6Address


_One = tuple[cel.Type]
_Two = tuple[cel.Type, cel.Type]
_Three = tuple[cel.Type, cel.Type, cel.Type]
_Four = tuple[cel.Type, cel.Type, cel.Type, cel.Type]


class _Functions:
    """Collects overloads by function: a function is declared once, with all of them."""

    def __init__(self) -> None:
        self._overloads: dict[str, list[cel.Overload]] = {}

    @overload
    def member(self, name: str, returns: cel.Type, takes: _One, made: Callable[[Any], Any]) -> None: ...
    @overload
    def member(self, name: str, returns: cel.Type, takes: _Two, made: Callable[[Any, Any], Any] | None) -> None: ...
    @overload
    def member(self, name: str, returns: cel.Type, takes: _Three, made: Callable[[Any, Any, Any], Any]) -> None: ...
    @overload
    def member(self, name: str, returns: cel.Type, takes: _Four, made: Callable[[Any, Any, Any, Any], Any]) -> None: ...
    def member(
        self, name: str, returns: cel.Type, takes: tuple[cel.Type, ...], made: Callable[..., Any] | None
    ) -> None:
        """Add a function of its first parameter. Without `made`, another overload of it does the work."""
        self._add(name, returns, takes, made, is_member=True)

    def plain(self, name: str, returns: cel.Type, made: Callable[[str], Any]) -> None:
        """Add a function of a text."""
        self._add(name, returns, (_T.STRING,), made, is_member=False)

    def _add(
        self,
        name: str,
        returns: cel.Type,
        takes: tuple[cel.Type, ...],
        made: Callable[..., Any] | None,
        *,
        is_member: bool,
    ) -> None:
        known = self._overloads.setdefault(name, [])
        where = f"kubernetes_{name}_{len(known)}"
        parameters = list(takes)
        known.append(
            cel.Overload(where, return_type=returns, parameters=parameters, is_member=is_member)
            if made is None
            else cel.Overload(where, return_type=returns, parameters=parameters, is_member=is_member, impl=made)
        )

    def declarations(self) -> list[cel.FunctionDecl]:
        """Return what the environment takes."""
        return [cel.FunctionDecl(name, overloads) for name, overloads in self._overloads.items()]


def functions() -> list[cel.FunctionDecl]:
    """Return the declarations of all functions."""
    found = _Functions()
    for add in (_lists, _texts, _regex, _urls, _quantities, _addresses, _semvers):
        add(found)
    return found.declarations()


# Lists ------------------------------------------------------------------------------------------------------------


def _lists(add: _Functions) -> None:
    add.member("isSorted", _T.BOOL, (_ANY_LIST,), lambda items: all(a <= b for a, b in pairwise(items)))
    add.member("sum", _T.DYN, (_ANY_LIST,), sum)
    add.member("min", _T.DYN, (_ANY_LIST,), min)
    add.member("max", _T.DYN, (_ANY_LIST,), max)
    for kind in (_T.STRING, _T.INT, _T.DOUBLE, _T.BOOL):
        add.member("indexOf", _T.INT, (_ANY_LIST, kind), _index)
        add.member("lastIndexOf", _T.INT, (_ANY_LIST, kind), _last_index)


def _index(items: Sequence[Any], wanted: Any) -> int:
    return next((place for place, item in enumerate(items) if item == wanted), -1)


def _last_index(items: Sequence[Any], wanted: Any) -> int:
    return next((place for place in range(len(items) - 1, -1, -1) if items[place] == wanted), -1)


# Texts: CEL's own extension, declared here since `indexOf` is a function of lists too ------------------------------


def _texts(add: _Functions) -> None:
    text, number = _T.STRING, _T.INT
    add.member("charAt", text, (text, number), _char_at)
    add.member("indexOf", number, (text, text), str.find)
    add.member("indexOf", number, (text, text, number), _find_from)
    add.member("lastIndexOf", number, (text, text), str.rfind)
    add.member(
        "lastIndexOf", number, (text, text, number), lambda value, part, at: value.rfind(part, 0, at + len(part))
    )
    add.member("lowerAscii", text, (text,), lambda value: value.translate(_LOWER))
    add.member("upperAscii", text, (text,), lambda value: value.translate(_UPPER))
    add.member("replace", text, (text, text, text), lambda value, old, new: _bounded(value.replace(old, new)))
    add.member(
        "replace", text, (text, text, text, number), lambda value, old, new, n: _bounded(value.replace(old, new, n))
    )
    add.member("split", _TEXTS, (text, text), _split)
    add.member("split", _TEXTS, (text, text, number), _split)
    add.member("substring", text, (text, number), lambda value, low: _substring(value, low, len(value)))
    add.member("substring", text, (text, number, number), _substring)
    add.member("trim", text, (text,), str.strip)
    add.member("reverse", text, (text,), lambda value: value[::-1])
    add.member("join", text, (_TEXTS,), _join)
    add.member("join", text, (_TEXTS, text), _join)
    add.member("format", text, (text, _ANY_LIST), _format)
    add.plain("strings.quote", text, _quoted)


_LOWER: Final = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
_UPPER: Final = {lower: lower - 32 for lower in range(ord("a"), ord("z") + 1)}


def _bounded(text: str) -> str:
    """Return a text that was made, unless it outgrew what a rule may make."""
    if len(text) > _MAX_TEXT:
        raise ValueError("the text is too long")
    return text


def _join(parts: Sequence[str], between: str = "") -> str:
    return _bounded(between.join(parts))


def _char_at(value: str, place: int) -> str:
    if not 0 <= place <= len(value):
        raise IndexError(f"index out of range: {place}")
    return value[place : place + 1]


def _find_from(value: str, part: str, start: int) -> int:
    if not 0 <= start <= len(value):
        raise IndexError(f"index out of range: {start}")
    return value.find(part, start)


def _split(value: str, between: str, limit: int = -1) -> list[str]:
    if limit == 0:
        return []
    if not between:
        parts = list(value)
        return parts if limit < 0 or limit >= len(parts) else [*parts[: limit - 1], "".join(parts[limit - 1 :])]
    return value.split(between, limit - 1 if limit > 0 else -1)


def _substring(value: str, low: int, high: int) -> str:
    if not 0 <= low <= high <= len(value):
        raise IndexError(f"index out of range: {low if not 0 <= low <= len(value) else high}")
    return value[low:high]


_VERB: Final = re.compile(r"%(?:%|(?:\.(\d+))?([sdfeboxX]))")


def _format(template: str, values: Sequence[Any]) -> str:
    left = list(values)

    def shown(found: re.Match[str]) -> str:
        if found[0] == "%%":
            return "%"
        if not left:
            raise ValueError("index 0 out of range")
        value, digits, verb = left.pop(0), found[1], found[2]
        if verb in "dbo":
            return format(int(value), verb)
        if verb in "xX":
            return format(value, verb) if isinstance(value, int) else str(value).encode().hex()
        if verb in "fe":
            return format(float(value), f".{digits or 6}{verb}")
        return _text(value)

    return _bounded(_VERB.sub(shown, template))


def _text(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case float():
            return format(value, "g")
        case list():
            return f"[{', '.join(map(_text, value))}]"  # pyright: ignore[reportUnknownArgumentType]
        case dict():
            parts = sorted(f"{_text(key)}: {_text(inner)}" for key, inner in value.items())  # pyright: ignore[reportUnknownVariableType,reportUnknownArgumentType]
            return f"{{{', '.join(parts)}}}"
        case _:
            return str(value)


def _quoted(value: str) -> str:
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "\a": "\\a", "\b": "\\b"}
    return f'"{"".join(escapes.get(one, one) for one in value)}"'


# Regular expressions ----------------------------------------------------------------------------------------------


def _regex(add: _Functions) -> None:
    add.member(
        "find", _T.STRING, (_T.STRING, _T.STRING), lambda text, pattern: next(iter(_found(text, pattern, 1)), "")
    )
    add.member("findAll", _TEXTS, (_T.STRING, _T.STRING), lambda text, pattern: patterns.find_all(pattern, text))
    add.member("findAll", _TEXTS, (_T.STRING, _T.STRING, _T.INT), _found)


def _found(text: str, pattern: str, limit: int) -> list[str]:
    return patterns.find_all(pattern, text, limit)


# URLs -------------------------------------------------------------------------------------------------------------


def _urls(add: _Functions) -> None:
    add.plain("url", _URL, lambda text: _Url(text=_checked_url(text)))
    add.plain("isURL", _T.BOOL, _is_url)
    add.member("getScheme", _T.STRING, (_URL,), _of_url(lambda parts: parts.scheme))
    add.member("getHost", _T.STRING, (_URL,), _of_url(_host))
    add.member("getHostname", _T.STRING, (_URL,), _of_url(_hostname))
    add.member("getPort", _T.STRING, (_URL,), _of_url(_port))
    add.member("getEscapedPath", _T.STRING, (_URL,), _of_url(lambda parts: quote(parts.path, safe=_PATH_CHARACTERS)))
    add.member("getQuery", _T.Map(_T.STRING, _TEXTS), (_URL,), _of_url(_query))


def _of_url(part: Callable[[SplitResult], Any]) -> Callable[[Any], Any]:
    def read(url: Any) -> Any:
        text: str = url.text
        return part(urlsplit(text))

    return read


def _host(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]


def _hostname(parts: SplitResult) -> str:
    host = _host(parts)
    return host[1 : host.index("]")] if host.startswith("[") else host.partition(":")[0]


def _port(parts: SplitResult) -> str:
    return _host(parts).rpartition("]")[2].partition(":")[2]


def _query(parts: SplitResult) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key, value in parse_qsl(parts.query, keep_blank_values=True):
        found.setdefault(key, []).append(value)
    return found


def _checked_url(text: str) -> str:
    """Return the text if Go's url.ParseRequestURI takes it."""
    parts = urlsplit(text)
    _ = parts.port
    if re.search(r"[\x00-\x20\x7f]", text) or re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise ValueError(f"URL parse error during conversion from string: parse {text!r}: invalid URI for request")
    if not parts.scheme and not text.startswith("/"):
        raise ValueError(f"URL parse error during conversion from string: parse {text!r}: invalid URI for request")
    return text


def _is_url(text: str) -> bool:
    try:
        _ = _checked_url(text)
    except ValueError:
        return False
    return True


# Quantities -------------------------------------------------------------------------------------------------------


def _quantities(add: _Functions) -> None:
    both = (_QUANTITY, _QUANTITY)
    add.plain("quantity", _QUANTITY, lambda text: _Quantity(nanos=str(quantity.parse(text).nanos)))
    add.plain("isQuantity", _T.BOOL, _is_quantity)
    add.member("isInteger", _T.BOOL, (_QUANTITY,), lambda one: _nanos(one) % _NANO == 0)
    add.member("asInteger", _T.INT, (_QUANTITY,), _as_integer)
    add.member("asApproximateFloat", _T.DOUBLE, (_QUANTITY,), lambda one: _nanos(one) / _NANO)
    add.member("sign", _T.INT, (_QUANTITY,), lambda one: (_nanos(one) > 0) - (_nanos(one) < 0))
    add.member("isGreaterThan", _T.BOOL, both, lambda one, other: _compare(one, other) > 0)
    add.member("isLessThan", _T.BOOL, both, lambda one, other: _compare(one, other) < 0)
    add.member("compareTo", _T.INT, both, _compare)
    add.member("add", _QUANTITY, both, lambda one, other: _Quantity(nanos=str(_nanos(one) + _nanos(other))))
    add.member("sub", _QUANTITY, both, lambda one, other: _Quantity(nanos=str(_nanos(one) - _nanos(other))))
    with_number = (_QUANTITY, _T.INT)
    add.member("add", _QUANTITY, with_number, lambda one, n: _Quantity(nanos=str(_nanos(one) + n * _NANO)))
    add.member("sub", _QUANTITY, with_number, lambda one, n: _Quantity(nanos=str(_nanos(one) - n * _NANO)))


def _nanos(value: Any) -> int:
    return int(value.nanos)


def _compare(one: Any, other: Any) -> int:
    """Return which of two quantities or versions is greater: 1 the first, -1 the other, 0 neither."""
    if one.DESCRIPTOR.name != other.DESCRIPTOR.name:
        raise TypeError("no such overload")
    left, right = (_rank(one), _rank(other))
    return (left > right) - (left < right)


def _rank(value: Any) -> Any:
    return _nanos(value) if value.DESCRIPTOR.name == "Quantity" else _precedence(value.text)


def _as_integer(value: Any) -> int:
    whole, rest = divmod(_nanos(value), _NANO)
    if rest or abs(whole) >= 2**63:
        raise ValueError("cannot convert value to integer")
    return whole


def _is_quantity(text: str) -> bool:
    try:
        _ = quantity.parse(text)
    except ValueError:
        return False
    return True


# Addresses --------------------------------------------------------------------------------------------------------


def _addresses(add: _Functions) -> None:
    add.plain("ip", _IP, lambda text: _Ip(text=str(_address(text))))
    add.plain("isIP", _T.BOOL, _accepts(_address))
    add.plain("ip.isCanonical", _T.BOOL, lambda text: str(_address(text)) == text)
    add.member("family", _T.INT, (_IP,), lambda ip: _address(ip.text).version)
    add.member("isUnspecified", _T.BOOL, (_IP,), lambda ip: _address(ip.text).is_unspecified)
    add.member("isLoopback", _T.BOOL, (_IP,), lambda ip: _address(ip.text).is_loopback)
    add.member("isLinkLocalMulticast", _T.BOOL, (_IP,), lambda ip: _is_link_local_multicast(_address(ip.text)))
    add.member("isLinkLocalUnicast", _T.BOOL, (_IP,), lambda ip: _address(ip.text).is_link_local)
    add.member("isGlobalUnicast", _T.BOOL, (_IP,), lambda ip: _is_global_unicast(_address(ip.text)))
    add.plain("cidr", _CIDR, lambda text: _Cidr(text=_checked_cidr(text)))
    add.plain("isCIDR", _T.BOOL, _accepts(_checked_cidr))
    for kind in (_T.STRING, _IP):
        add.member("containsIP", _T.BOOL, (_CIDR, kind), _contains_ip)
    for kind in (_T.STRING, _CIDR):
        add.member("containsCIDR", _T.BOOL, (_CIDR, kind), _contains_cidr)
    add.member("ip", _IP, (_CIDR,), lambda cidr: _Ip(text=str(_address(cidr.text.partition("/")[0]))))
    add.member("masked", _CIDR, (_CIDR,), lambda cidr: _Cidr(text=str(ip_network(cidr.text, strict=False))))
    add.member("prefixLength", _T.INT, (_CIDR,), lambda cidr: ip_network(cidr.text, strict=False).prefixlen)


def _address(text: str) -> Address:
    found = ip_address(text)
    if "%" in text or (isinstance(found, IPv6Address) and found.ipv4_mapped is not None):
        raise ValueError(f"IP Address {text!r} parse error during conversion from string")
    return found


def _checked_cidr(text: str) -> str:
    network = ip_network(text, strict=False)
    if "/" not in text or (isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None):
        raise ValueError(f"network address parse error during conversion from string: {text!r}")
    return text


def _accepts(parse: Callable[[str], Any]) -> Callable[[str], bool]:
    def accepts(text: str) -> bool:
        try:
            parse(text)
        except ValueError:
            return False
        return True

    return accepts


def _is_link_local_multicast(ip: Address) -> bool:
    if isinstance(ip, IPv4Address):
        return ip in ip_network("224.0.0.0/24")
    return ip.packed[0] == 0xFF and ip.packed[1] & 0x0F == 0x02


def _is_global_unicast(ip: Address) -> bool:
    limited = ip == IPv4Address("255.255.255.255")
    return not (ip.is_unspecified or ip.is_loopback or ip.is_multicast or ip.is_link_local or limited)


def _plain(value: Any) -> str:
    """Return the text of an address or a range, given as such or as text."""
    return value if isinstance(value, str) else value.text


def _contains_ip(cidr: Any, ip: Any) -> bool:
    return _address(_plain(ip)) in ip_network(cidr.text, strict=False)


def _contains_cidr(cidr: Any, other: Any) -> bool:
    outer, inner = ip_network(cidr.text, strict=False), ip_network(_checked_cidr(_plain(other)), strict=False)
    if isinstance(outer, IPv6Network):
        return isinstance(inner, IPv6Network) and inner.subnet_of(outer)
    return not isinstance(inner, IPv6Network) and inner.subnet_of(outer)


# Semantic versions ------------------------------------------------------------------------------------------------


@total_ordering
class _Identifier:
    """A part of a pre-release: numbers come before words."""

    def __init__(self, text: str) -> None:
        self._key: tuple[int, int, str] = (0, int(text), "") if text.isdigit() else (1, 0, text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identifier) and self._key == other._key

    def __lt__(self, other: _Identifier) -> bool:
        return self._key < other._key

    def __hash__(self) -> int:
        return hash(self._key)


def _semvers(add: _Functions) -> None:
    both = (_SEMVER, _SEMVER)
    add.plain("semver", _SEMVER, lambda text: _Semver(text=_checked_semver(text)))
    add.plain("isSemver", _T.BOOL, _accepts(_checked_semver))
    for place, name in enumerate(("major", "minor", "patch")):
        add.member(name, _T.INT, (_SEMVER,), _part_of_semver(place))
    # The runtime tells functions apart by the kinds of their parameters alone: these are the ones of quantities.
    add.member("isGreaterThan", _T.BOOL, both, None)
    add.member("isLessThan", _T.BOOL, both, None)
    add.member("compareTo", _T.INT, both, None)


def _checked_semver(text: str) -> str:
    if _SEMVER_SYNTAX.fullmatch(text) is None:
        raise ValueError(f"Semver parse error during conversion from string: {text!r}")
    return text


def _part_of_semver(place: int) -> Callable[[Any], int]:
    return lambda version: int(version.text.partition("-")[0].partition("+")[0].split(".")[place])


def _precedence(text: str) -> tuple[list[int], bool, list[_Identifier]]:
    found = _SEMVER_SYNTAX.fullmatch(text)
    if found is None:
        raise ValueError(f"Semver parse error: {text!r}")
    before = [_Identifier(part) for part in found[4].split(".")] if found[4] else []
    return [int(found[place]) for place in (1, 2, 3)], not before, before
