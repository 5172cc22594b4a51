"""Reads a service's settings: a YAML file, overridden by environment variables, decoded into a frozen Struct.

A variable is named ORCH_<SERVICE>_<PATH>, the path's parts joined by two underscores: ORCH_API_ETCD__DIAL_TIMEOUT=5s
is `etcd.dial_timeout` of the service "api". Lists are written with commas, whole sections as YAML. What is unknown or
unusable is refused with its path (or the variable's name); nothing is ignored.
"""

from __future__ import annotations

import math
import os
import re
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar, Union, cast, get_args, get_origin

import msgspec
import yaml

from orch.errors import ConfigError

StructT = TypeVar("StructT", bound=msgspec.Struct)

_DURATION: Final = "orch-duration"

Duration = Annotated[float, msgspec.Meta(extra={_DURATION: True})]
"""Seconds; written as "5s", "1m30s", "250ms" or a number of seconds."""

Ratio = Annotated[float, msgspec.Meta(ge=0, le=1)]
"""A share between 0 and 1."""


class EtcdConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach etcd. The files are PEM; empty ones mean that the connection is not encrypted by them."""

    endpoints: tuple[str, ...] = ("https://127.0.0.1:2379",)
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    dial_timeout: Duration = 5.0


class NatsConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach NATS, and as whom: `user` is this identity's name, such as `system:kube-scheduler`."""

    servers: tuple[str, ...] = ("tls://127.0.0.1:4222",)
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    nkey_seed_file: str = ""
    user: str = ""


class TelemetryConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Where traces, metrics and logs go. An empty endpoint or address means that they are not exported."""

    otlp_endpoint: str = ""
    sample_ratio: Ratio = 1.0
    metrics_address: str = ""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"


def load(kind: type[StructT], *, service: str, file: Path | None, environ: Mapping[str, str] = os.environ) -> StructT:
    """Return the settings of `service`: defaults, then `file`, then variables. Raises ConfigError."""
    tree = read_yaml(file) if file is not None else {}
    _overlay(tree, f"ORCH_{service.upper().replace('-', '_')}_", environ)
    return cast("StructT", _decode(kind, tree, ""))


def read(file: Path, kind: type[StructT]) -> StructT:
    """Return what another file of settings says, such as a policy. Raises ConfigError, with the file and the path."""
    return decode(kind, read_tree(file), str(file))


def read_tree(file: Path) -> dict[str, Any]:
    """Return what a YAML file says, as it is. Raises ConfigError."""
    return read_yaml(file)


def decode(kind: type[StructT], tree: Any, place: str) -> StructT:
    """Return a part of a file that is at `place` as a Struct. Raises ConfigError with the path of what is wrong."""
    try:
        return cast("StructT", _decode(kind, _mapping(tree, ""), ""))
    except ConfigError as error:
        raise ConfigError(f"{place}: {error.path}" if error.path else place, error.problem) from error


def parse_duration(text: str) -> float:
    """Return the seconds that "1h2m3.5s", "250ms" or a plain number names. Raises ValueError."""
    if _NUMBER.fullmatch(text):
        return float(text)
    if not _WHOLE_DURATION.fullmatch(text):
        raise ValueError(f'invalid duration {text!r}: write it like "5s", "1m30s" or "250ms"')
    return math.fsum(float(number) * _UNITS[unit] for number, unit in _DURATION_PART.findall(text))


_NUMBER: Final = re.compile(r"\d+(?:\.\d*)?|\.\d+")
_DURATION_PART: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_WHOLE_DURATION: Final = re.compile(rf"(?:{_DURATION_PART.pattern})+")
_UNITS: Final[Mapping[str, float]] = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


class _FromEnvironment(str):
    """A variable's text in place of a value; it remembers the variable's name for error messages."""

    __slots__ = ("variable",)
    variable: str

    def __new__(cls, text: str, variable: str) -> Self:
        made = super().__new__(cls, text)
        made.variable = variable
        return made


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML's safe loader, except that a key given twice is an error rather than silently the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping; see yaml.SafeLoader."""
        seen: set[str] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue  # the base class refuses what cannot be a key
            key = f"{key_node.tag} {key_node.value}"
            if key in seen:
                problem = f"key {key_node.value!r} is given twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(file: Path) -> dict[str, Any]:
    """Return a file of YAML as it is. Raises ConfigError for one that is none, or that says a thing twice."""
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(file), f"cannot be read: {error}") from error
    return _mapping(_parse_yaml(text, str(file)), str(file))


def _parse_yaml(text: str, path: str) -> Any:
    try:
        return yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506 - derived from the safe loader
    except yaml.YAMLError as error:
        raise ConfigError(path, f"is not valid YAML: {' '.join(str(error).split())}") from error


def _mapping(value: Any, path: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(path, f"expected a section of keys and values, got {_name_of(value)}")
    keys = cast("dict[Any, Any]", value)
    for key in keys:
        if not isinstance(key, str):
            raise ConfigError(path, f"the key {key!r} is not text")
    return cast("dict[str, Any]", keys)


def _overlay(tree: dict[str, Any], prefix: str, environ: Mapping[str, str]) -> None:
    """Set each variable's text at its place in the tree; sections before what is in them."""
    for variable in sorted(environ):
        if not variable.startswith(prefix):
            continue
        *sections, last = variable[len(prefix) :].lower().split("__")
        place = tree
        for section in sections:
            inner = place.get(section)
            if isinstance(inner, _FromEnvironment):
                inner = _parse_yaml(inner, inner.variable)
            # A copy, because YAML aliases may share one section between several places.
            place[section] = dict(_mapping(inner, variable))
            place = place[section]
        place[last] = _FromEnvironment(environ[variable], variable)


def _decode(kind: Any, value: Any, path: str) -> Any:
    """Return `value` as `kind` (a type annotation), which sits at `path`."""
    if isinstance(value, _FromEnvironment):
        path = value.variable
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated and (meta := _meta(arguments)) is not None and (meta.extra or {}).get(_DURATION):
        return _decode_duration(value, path)
    if origin in (Union, types.UnionType):
        return _decode_union(kind, arguments, value, path)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _decode_struct(kind, _section(value, path), path)
    if origin is dict:
        section = _section(value, path)
        return {key: _decode(arguments[1], inner, _join(path, key)) for key, inner in section.items()}
    if origin in (tuple, list):
        items = [_decode(arguments[0], item, f"{path}[{index}]") for index, item in enumerate(_items(value, path))]
        return tuple(items) if origin is tuple else items
    return _decode_leaf(kind, value, path)


def _meta(arguments: tuple[Any, ...]) -> msgspec.Meta | None:
    return next((each for each in arguments[1:] if isinstance(each, msgspec.Meta)), None)


def _decode_struct(kind: type[msgspec.Struct], section: Mapping[str, Any], path: str) -> msgspec.Struct:
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    for key, value in section.items():
        if key not in fields:
            raise ConfigError(_origin_of(value) or _join(path, key), f"unknown key; known: {', '.join(sorted(fields))}")
    for name, field in fields.items():
        if field.required and name not in section:
            raise ConfigError(_join(path, name), "is required")
    decoded = {fields[key].name: _decode(fields[key].type, value, _join(path, key)) for key, value in section.items()}
    try:
        return kind(**decoded)
    except (ValueError, TypeError) as error:  # what a __post_init__ finds wrong with the section as a whole
        raise ConfigError(path or "settings", str(error)) from error


def _decode_union(kind: Any, arms: tuple[Any, ...], value: Any, path: str) -> Any:
    """Decode `Section | None` and its like; other unions are left to msgspec."""
    if value is None and type(None) in arms:
        return None
    rest = [arm for arm in arms if arm is not type(None)]
    return _decode(rest[0], value, path) if len(rest) == 1 else _decode_leaf(kind, value, path)


def _decode_duration(value: Any, path: str) -> float:
    if isinstance(value, str):
        try:
            return parse_duration(value)
        except ValueError as error:
            raise ConfigError(path, str(error)) from error
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(path, f'expected a duration such as "5s", got {_name_of(value)}')
    if not (math.isfinite(value) and value >= 0):
        raise ConfigError(path, f"expected a duration that is finite and not negative, got {value}")
    return float(value)


def _decode_leaf(kind: Any, value: Any, path: str) -> Any:
    from_environment = isinstance(value, _FromEnvironment)
    try:
        return msgspec.convert(str(value) if from_environment else value, kind, strict=not from_environment)
    except msgspec.ValidationError as error:
        problem = str(error).partition(" - at ")[0]
        raise ConfigError(path, problem[:1].lower() + problem[1:]) from error


def _section(value: Any, path: str) -> dict[str, Any]:
    return _mapping(_parse_yaml(value, path) if isinstance(value, _FromEnvironment) else value, path)


def _items(value: Any, path: str) -> list[Any]:
    if isinstance(value, _FromEnvironment):
        if not value.lstrip().startswith("["):
            return [_FromEnvironment(part.strip(), value.variable) for part in value.split(",") if part.strip()]
        value = _parse_yaml(value, path)
    if not isinstance(value, list):
        raise ConfigError(path, f"expected a list, got {_name_of(value)}")
    return cast("list[Any]", value)


def _origin_of(value: Any) -> str:
    """Return the variable that put `value` into the tree, "" when the file did."""
    if isinstance(value, _FromEnvironment):
        return value.variable
    if isinstance(value, dict):
        origins = [_origin_of(inner) for inner in cast("dict[str, Any]", value).values()]
        return next((origin for origin in origins if origin), "")
    return ""


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _name_of(value: Any) -> str:
    match value:
        case dict():
            return "a section"
        case list():
            return "a list"
        case str():
            return "text"
        case bool():
            return "true or false"
        case None:
            return "nothing"
        case _:
            return "a number"
