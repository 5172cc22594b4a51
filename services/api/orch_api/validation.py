"""The rules that fields of every kind share, and how their violations are worded.

Each rule function takes a text and returns the reasons why it is refused (none: accepted), memoised, because the same
names and labels arrive again and again. The constructors (`invalid`, `required`, ...) make the Cause that a Status
carries. Wording: k8s.io/apimachinery/pkg/util/validation and its field package.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_network
from typing import Any, Final, cast

import msgspec

from orch import quantity
from orch.errors import Cause

Problems = tuple[str, ...]
Rule = Callable[[str], Problems]

IMMUTABLE: Final = "field is immutable"
NEGATIVE: Final = "must be greater than or equal to 0"

_NONE: Final[Problems] = ()
_CACHE: Final = 8192


# Causes ---------------------------------------------------------------------------------------------------------


def shown(value: Any) -> str:
    """Return a value as Kubernetes prints it in an error: texts quoted, structures as JSON."""
    if value is None:
        return '"null"'
    return msgspec.json.encode(value, order="sorted").decode()


def _cause(reason: str, field: str, headline: str, detail: str) -> Cause:
    return Cause(reason=reason, message=f"{headline}: {detail}" if detail else headline, field=field)


def required(field: str, detail: str = "") -> Cause:
    """Return the cause for a value that is missing."""
    return _cause("FieldValueRequired", field, "Required value", detail)


def invalid(field: str, value: Any, detail: str) -> Cause:
    """Return the cause for a value that breaks a rule."""
    return _cause("FieldValueInvalid", field, f"Invalid value: {shown(value)}", detail)


def immutable(field: str, value: Any) -> Cause:
    """Return the cause for a field that may not change."""
    return invalid(field, value, IMMUTABLE)


def unsupported(field: str, value: Any, allowed: Iterable[str]) -> Cause:
    """Return the cause for a value outside of its enumeration, whose values are named in the order given."""
    listed = ", ".join(shown(one) for one in allowed)
    detail = f"supported values: {listed}" if listed else ""
    return _cause("FieldValueNotSupported", field, f"Unsupported value: {shown(value)}", detail)


def duplicate(field: str, value: Any) -> Cause:
    """Return the cause for a value that occurs twice where it may not."""
    return _cause("FieldValueDuplicate", field, f"Duplicate value: {shown(value)}", "")


def forbidden(field: str, detail: str) -> Cause:
    """Return the cause for a value that is fine in itself but not allowed here."""
    return _cause("FieldValueForbidden", field, "Forbidden", detail)


def not_found(field: str, value: Any) -> Cause:
    """Return the cause for a name that refers to nothing."""
    return _cause("FieldValueNotFound", field, f"Not found: {shown(value)}", "")


def too_long(field: str, limit: int) -> Cause:
    """Return the cause for a text of more than `limit` bytes."""
    return _cause("FieldValueTooLong", field, "Too long", f"may not be more than {limit} bytes")


def too_many(field: str, count: int, limit: int) -> Cause:
    """Return the cause for a list of more than `limit` items."""
    noun = "item" if limit == 1 else "items"
    return _cause("FieldValueTooMany", field, f"Too many: {count}", f"must have at most {limit} {noun}")


def check(field: str, value: str, rule: Rule) -> list[Cause]:
    """Return a cause for each reason for which `rule` refuses `value`."""
    problems = rule(value)
    return [invalid(field, value, problem) for problem in problems] if problems else []


def one_of(field: str, value: str, allowed: tuple[str, ...]) -> list[Cause]:
    """Return the cause when a required value is missing or outside of its enumeration."""
    if value in allowed:
        return []
    return [unsupported(field, value, allowed) if value else required(field)]


# Texts ----------------------------------------------------------------------------------------------------------


def _byte_length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _max_length(limit: int) -> str:
    return f"must be no more than {limit} bytes"


def _expected(problem: str, pattern: str, *examples: str) -> str:
    listed = " or ".join(f"'{example}', " for example in examples)
    return f"{problem} (e.g. {listed}regex used for validation is '{pattern}')"


def inclusive_range(low: int, high: int) -> str:
    """Return the reason for a number outside of `low` to `high`."""
    return f"must be between {low} and {high}, inclusive"


class _Pattern:
    """A pattern with a limit of bytes, and what is said when a text does not follow it."""

    __slots__ = ("_limit", "_match", "_problem")

    def __init__(self, pattern: str, limit: int, problem: str, *examples: str) -> None:
        self._match = re.compile(pattern).fullmatch
        self._limit = limit
        self._problem = _expected(problem, pattern, *examples)

    def problems(self, text: str) -> Problems:
        """Return what is wrong with the text."""
        too_long = (_max_length(self._limit),) if self._limit and _byte_length(text) > self._limit else _NONE
        return too_long if self._match(text) else (*too_long, self._problem)


_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_QUALIFIED = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"

_DNS_LABEL = _Pattern(
    _LABEL,
    63,
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    "with an alphanumeric character",
    "my-name",
    "123-abc",
)
_DNS_SUBDOMAIN = _Pattern(
    _SUBDOMAIN,
    253,
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character",
    "example.com",
)
_DNS_1035 = _Pattern(
    r"[a-z]([-a-z0-9]*[a-z0-9])?",
    63,
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character",
    "my-name",
    "abc-123",
)
_QUALIFIED_NAME = _Pattern(
    _QUALIFIED,
    63,
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
    "MyName",
    "my.name",
    "123-abc",
)
_LABEL_VALUE = _Pattern(
    rf"({_QUALIFIED})?",
    63,
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character",
    "MyValue",
    "my_value",
    "12345",
)
_CONFIG_KEY = _Pattern(
    r"[-._a-zA-Z0-9]+",
    253,
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
    "key.name",
    "KEY_NAME",
    "key-name",
)
_PERCENT = _Pattern(
    r"[0-9]+%", 0, "a valid percent string must be a numeric string followed by an ending '%'", "1%", "93%"
)
_ENV_NAME = re.compile(r"[ -<>-~]+")
_PORT_NAME = re.compile(r"[-a-z0-9]+")


@lru_cache(_CACHE)
def dns_label(text: str) -> Problems:
    """Refuse what is not an RFC 1123 label: names of containers, namespaces, volumes."""
    return _DNS_LABEL.problems(text)


@lru_cache(_CACHE)
def dns_subdomain(text: str) -> Problems:
    """Refuse what is not an RFC 1123 subdomain: the names of most objects."""
    return _DNS_SUBDOMAIN.problems(text)


@lru_cache(_CACHE)
def dns_1035_label(text: str) -> Problems:
    """Refuse what is not an RFC 1035 label: names of services."""
    return _DNS_1035.problems(text)


def path_segment(text: str) -> Problems:
    """Refuse only what could not stand in a path."""
    if text in {".", ".."}:
        return (f"may not be '{text}'",)
    return tuple(f"may not contain '{illegal}'" for illegal in "/%" if illegal in text)


@lru_cache(_CACHE)
def qualified_name(text: str) -> Problems:
    """Refuse what is not a name with an optional DNS prefix: keys of labels, resources, conditions."""
    prefix, slash, name = text.rpartition("/")
    if "/" in prefix:
        pattern = _QUALIFIED_NAME.problems("")[0]
        return (
            f"a qualified name {pattern} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
        )
    problems: list[str] = []
    if slash:
        of_prefix = dns_subdomain(prefix) if prefix else ("must be non-empty",)
        problems += [f"prefix part {problem}" for problem in of_prefix]
    if not name:
        problems.append("name part must be non-empty")
    problems += [f"name part {problem}" for problem in _QUALIFIED_NAME.problems(name)]
    return tuple(problems)


@lru_cache(_CACHE)
def label_value(text: str) -> Problems:
    """Refuse what cannot be the value of a label."""
    return _LABEL_VALUE.problems(text)


def config_key(text: str) -> Problems:
    """Refuse what cannot be a key in a ConfigMap or Secret, which becomes the name of a file."""
    problems = _CONFIG_KEY.problems(text)
    if text.startswith(".."):
        return (*problems, "must not be '..'" if text == ".." else "must not start with '..'")
    return (*problems, "must not be '.'") if text == "." else problems


@lru_cache(_CACHE)
def env_name(text: str) -> Problems:
    """Refuse what cannot be the name of an environment variable."""
    if _ENV_NAME.fullmatch(text):
        return _NONE
    return ("a valid environment variable name must consist only of printable ASCII characters other than '='",)


@lru_cache(_CACHE)
def port_name(text: str) -> Problems:
    """Refuse what is not an IANA service name: names of container ports."""
    problems: list[str] = []
    if len(text) > 15:
        problems.append(_max_length(15))
    if not _PORT_NAME.fullmatch(text):
        problems.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not any("a" <= letter <= "z" for letter in text):
        problems.append("must contain at least one letter (a-z)")
    if "--" in text:
        problems.append("must not contain consecutive hyphens")
    if text and "-" in {text[0], text[-1]}:
        problems.append("must not begin or end with a hyphen")
    return tuple(problems)


def percent(text: str) -> Problems:
    """Refuse what is not a percentage."""
    return _PERCENT.problems(text)


@lru_cache(_CACHE)
def ip_address(text: str) -> Problems:
    """Refuse what is not an IPv4 or IPv6 address in the usual form."""
    try:
        _ = IPv6Address(text) if ":" in text else IPv4Address(text)
    except AddressValueError:
        return ("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",)
    return _NONE


@lru_cache(_CACHE)
def cidr(text: str) -> Problems:
    """Refuse what is not a range of addresses."""
    try:
        ip_network(text, strict=False)
    except ValueError:
        return ("must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",)
    return _NONE if "/" in text else ("must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",)


# Numbers --------------------------------------------------------------------------------------------------------


def port_number(field: str, number: int) -> list[Cause]:
    """Return the cause when a number is no port."""
    return [] if 1 <= number <= 65535 else [invalid(field, number, inclusive_range(1, 65535))]


def non_negative(field: str, number: int) -> list[Cause]:
    """Return the cause when a number is negative."""
    return [] if number >= 0 else [invalid(field, number, NEGATIVE)]


def quantity_value(field: str, value: Any) -> list[Cause]:
    """Return the cause when a value is no quantity, or a negative one. Numbers are taken as they are written."""
    try:
        milli = quantity.milli(str(value))
    except ValueError as problem:
        return [invalid(field, value, str(problem))]
    return [invalid(field, value, NEGATIVE)] if milli < 0 else []


# Maps and selectors ---------------------------------------------------------------------------------------------

MAX_ANNOTATIONS: Final = 256 * 1024


def label_map(field: str, values: Mapping[str, str]) -> list[Cause]:
    """Return what is wrong with a map of labels."""
    causes: list[Cause] = []
    for key, value in values.items():
        if problems := qualified_name(key):
            causes += [invalid(field, key, problem) for problem in problems]
        if problems := label_value(value):
            causes += [invalid(field, value, problem) for problem in problems]
    return causes


def annotation_map(field: str, values: Mapping[str, str]) -> list[Cause]:
    """Return what is wrong with a map of annotations: keys, and 256 KiB in all."""
    causes: list[Cause] = []
    total = 0
    for key, value in values.items():
        total += _byte_length(key) + _byte_length(value)
        if problems := qualified_name(key.lower()):
            causes += [invalid(field, key, problem) for problem in problems]
    if total > MAX_ANNOTATIONS:
        causes.append(too_long(field, MAX_ANNOTATIONS))
    return causes


_SET_OPERATORS: Final = frozenset({"In", "NotIn"})
_EXISTENCE_OPERATORS: Final = frozenset({"Exists", "DoesNotExist"})


def label_selector(field: str, selector: Mapping[str, Any]) -> list[Cause]:
    """Return what is wrong with a metav1.LabelSelector."""
    causes = label_map(f"{field}.matchLabels", selector.get("matchLabels") or {})
    for index, requirement in enumerate(selector.get("matchExpressions") or ()):
        causes += _requirement(f"{field}.matchExpressions[{index}]", requirement)
    return causes


def _requirement(field: str, requirement: Mapping[str, Any]) -> list[Cause]:
    causes: list[Cause] = []
    operator = requirement.get("operator") or ""
    values = requirement.get("values") or ()
    if operator in _SET_OPERATORS:
        if not values:
            causes.append(required(f"{field}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in _EXISTENCE_OPERATORS:
        if values:
            causes.append(
                forbidden(f"{field}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
            )
    else:
        causes.append(invalid(f"{field}.operator", operator, "not a valid selector operator"))
    causes += check(f"{field}.key", requirement.get("key") or "", qualified_name)
    for index, value in enumerate(values):
        causes += check(f"{field}.values[{index}]", value, label_value)
    return causes


# Equality -------------------------------------------------------------------------------------------------------


def same(one: Any, other: Any) -> bool:
    """Tell whether two values mean the same: nothing, null and an empty map or list are alike inside of a map."""
    if one == other:
        return True
    if _empty(one) and _empty(other):
        return True
    if isinstance(one, dict) or isinstance(other, dict):
        return _same_maps(one or {}, other or {})
    if isinstance(one, list) and isinstance(other, list):
        return _same_lists(cast("list[Any]", one), cast("list[Any]", other))
    return False


def _same_maps(one: Any, other: Any) -> bool:
    if not isinstance(one, dict) or not isinstance(other, dict):
        return False
    left, right = cast("dict[str, Any]", one), cast("dict[str, Any]", other)
    return all(same(left.get(key), right.get(key)) for key in left.keys() | right.keys())


def _same_lists(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(map(same, one, other))


def _empty(value: Any) -> bool:
    return value is None or (not value and isinstance(value, dict | list))
