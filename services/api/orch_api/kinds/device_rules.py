"""What the kinds of dynamic resource allocation share: names, selectors, settings, taints and tolerations of devices.

Source: k8s.io/kubernetes/pkg/apis/resource/validation. Selectors are checked for their length; whoever evaluates them
compiles them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from orch.errors import Cause
from orch_api import validation
from orch_api.kinds.persistent_volume_rules import driver_name
from orch_api.strategy import Document
from orch_api.validation import check, duplicate, invalid, required, too_long, too_many, unsupported

GROUP: Final = "resource.k8s.io"
MAX_REQUESTS: Final = 32
MAX_CONFIGS: Final = 32
MAX_PARAMETER_BYTES: Final = 10 * 1024
_MAX_SELECTORS: Final = 32
_MAX_EXPRESSION: Final = 10 * 1024
_MAX_POOL: Final = 253
_MAX_IDENTIFIER: Final = 32
_MAX_CONDITIONS: Final = 4
_IDENTIFIER: Final = "[A-Za-z_][A-Za-z0-9_]*"
_IDENTIFIER_WRONG: Final = (
    "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters "
    f"or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '{_IDENTIFIER}')"
)
_TAINT_EFFECTS: Final = ("NoExecute", "NoSchedule", "None")
_OPERATORS: Final = ("Equal", "Exists")
_UID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_UID_WRONG: Final = (
    "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal "
    "characters"
)


def each(
    field: str, items: Sequence[Any], limit: int, rule: Callable[[str, Any], list[Cause]], *, key: str | None = None
) -> list[Cause]:
    """Return what `rule` says of each item, or only that there are too many. Items are unique by `key` if it is set.

    An empty `key` stands for the item itself.
    """
    if len(items) > limit:
        return [too_many(field, len(items), limit)]
    causes: list[Cause] = []
    seen: set[Any] = set()
    for index, item in enumerate(items):
        at = f"{field}[{index}]"
        causes += rule(at, item)
        if key is not None:
            value = (item.get(key) or "") if key else item
            if value in seen:
                causes.append(duplicate(at, value))
            seen.add(value)
    return causes


# Names ----------------------------------------------------------------------------------------------------------


def label(at: str, name: str) -> list[Cause]:
    """Return what is wrong with the name of a device, a request or a counter."""
    return check(at, name, validation.dns_label)


def pool_name(at: str, name: str) -> list[Cause]:
    """Return what is wrong with the name of a pool: subdomains between slashes."""
    if not name:
        return [required(at)]
    causes = [too_long(at, _MAX_POOL)] if len(name.encode()) > _MAX_POOL else []
    for part in name.split("/"):
        causes += check(at, part, validation.dns_subdomain)
    return causes


def qualified_name(at: str, name: str) -> list[Cause]:
    """Return what is wrong with the name of an attribute or capacity: an identifier, maybe behind a domain."""
    domain, slash, identifier = name.partition("/")
    if not slash:
        return _identifier(at, name)
    if "/" in identifier:
        return [invalid(at, name, "must not contain more than one slash")]
    causes = driver_name(at, domain) if domain else [invalid(at, "", "the domain must not be empty")]
    return causes + (_identifier(at, identifier) if identifier else [invalid(at, "", "the name must not be empty")])


def full_name(at: str, name: str) -> list[Cause]:
    """Return what is wrong with the name of an attribute where the domain may not be left out."""
    causes = qualified_name(at, name)
    if "/" not in name:
        problem = "a fully qualified name must be a domain and a name separated by a slash"
        causes.append(invalid(at, name, problem))
    return causes


def _identifier(at: str, text: str) -> list[Cause]:
    causes = [too_long(at, _MAX_IDENTIFIER)] if len(text.encode()) > _MAX_IDENTIFIER else []
    return causes if re.fullmatch(_IDENTIFIER, text) else [*causes, invalid(at, text, _IDENTIFIER_WRONG)]


def uid(at: str, text: str) -> list[Cause]:
    """Return what is wrong with a uid."""
    return [] if _UID.fullmatch(text) else [invalid(at, text, _UID_WRONG)]


# Parts of requests and devices ----------------------------------------------------------------------------------


def selectors(field: str, found: list[Document]) -> list[Cause]:
    """Return what is wrong with what is asked of a device."""
    return each(field, found, _MAX_SELECTORS, _selector)


def _selector(at: str, selector: Document) -> list[Cause]:
    expression: Document | None = selector.get("cel")
    if expression is None:
        return [required(f"{at}.cel")]
    return cel(f"{at}.cel.expression", expression.get("expression") or "")


def cel(at: str, expression: str) -> list[Cause]:
    """Return the cause when there is no expression, or too long a one."""
    if not expression.strip():
        return [required(at)]
    return [too_long(at, _MAX_EXPRESSION)] if len(expression.encode()) > _MAX_EXPRESSION else []


def settings(at: str, config: Document) -> list[Cause]:
    """Return what is wrong with settings for a driver."""
    opaque: Document | None = config.get("opaque")
    if opaque is None:
        return [required(f"{at}.opaque")]
    causes = driver_name(f"{at}.opaque.driver", opaque.get("driver") or "")
    return causes + raw(f"{at}.opaque.parameters", opaque.get("parameters"), MAX_PARAMETER_BYTES)


def raw(at: str, value: Any, limit: int) -> list[Cause]:
    """Return why a value is not an object of at most `limit` bytes."""
    if value is None:
        return [required(at)]
    if len(msgspec.json.encode(value)) > limit:
        return [too_long(at, limit)]
    return [] if isinstance(value, dict) else [invalid(at, "<value omitted>", "must be a valid JSON object")]


def taint(at: str, found: Document) -> list[Cause]:
    """Return what is wrong with a device's taint."""
    causes = check(f"{at}.key", found.get("key") or "", validation.qualified_name)
    if value := found.get("value"):
        causes += check(f"{at}.value", value, validation.label_value)
    effect: str = found.get("effect") or ""
    if not effect:
        causes.append(required(f"{at}.effect"))
    elif effect not in _TAINT_EFFECTS:
        causes.append(unsupported(f"{at}.effect", effect, _TAINT_EFFECTS))
    return causes


def toleration(at: str, found: Document) -> list[Cause]:
    """Return what is wrong with a toleration of devices' taints."""
    causes: list[Cause] = []
    if key := found.get("key"):
        causes += check(f"{at}.key", key, validation.qualified_name)
    operator: str = found.get("operator") or ""
    value: str = found.get("value") or ""
    if operator == "Equal":
        causes += check(f"{at}.value", value, validation.label_value)
    elif not operator:
        causes.append(required(f"{at}.operator"))
    elif operator not in _OPERATORS:
        causes.append(unsupported(f"{at}.operator", operator, _OPERATORS))
    elif value:
        causes.append(invalid(f"{at}.value", value, "must be empty for operator `Exists`"))
    if (effect := found.get("effect")) and effect not in _TAINT_EFFECTS:
        causes.append(unsupported(f"{at}.effect", effect, _TAINT_EFFECTS))
    return causes


def binding_conditions(at: str, found: Document) -> list[Cause]:
    """Return what is wrong with the conditions that a device waits for before its pod is bound."""
    names = ("bindingConditions", "bindingFailureConditions")
    good: list[str] = found.get(names[0]) or []
    bad: list[str] = found.get(names[1]) or []
    causes: list[Cause] = []
    for name, conditions in zip(names, (good, bad), strict=True):
        field = f"{at}.{name}"
        causes += each(
            field, conditions, _MAX_CONDITIONS, lambda one, text: check(one, text, validation.qualified_name), key=""
        )
    for index, condition in enumerate(bad):
        if condition in good:
            problem = "bindingFailureConditions must not overlap with bindingConditions"
            causes.append(invalid(f"{at}.{names[1]}[{index}]", condition, problem))
    if bad and not good:
        causes.append(invalid(f"{at}.{names[0]}", good, f"{names[0]} are required to use {names[1]}"))
    if good and not bad:
        causes.append(invalid(f"{at}.{names[1]}", bad, f"{names[1]} are required to use {names[0]}"))
    return causes


def skipped_operations(at: str, found: list[str]) -> list[Cause]:
    """Return the cause when a device is to be given up on the node that never prepared it."""
    if "NodePrepareResources" not in found or {"NodeUnprepareResources", "*"} & set(found):
        return []
    problem = "NodePrepareResources cannot be skipped unless NodeUnprepareResources is also skipped"
    return [invalid(at, found, problem)]
