"""What an HTTP request asks for, read from its method, path and query as Kubernetes' RequestInfo is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

import msgspec

from orch.errors import BadRequestError, MethodNotAllowedError
from orch_api.auth.identity import Caller
from orch_api.resource import Resource

NAMESPACE_SUBRESOURCES: Final = frozenset({"status", "finalize"})
"""What may follow /namespaces/<name>/ and still speak of the namespace itself."""

PROXY: Final = "proxy"
"""The subresource whose requests are passed on; it alone takes OPTIONS, for which there is no verb."""

MAX_PARAMETERS: Final = 10_000
"""Parameters of a query; Go's limit."""

_BAD_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2}).{0,2}", re.DOTALL)
_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_LONGEST: Final = 64
_LIMIT: Final = 1 << 63

_COLLECTION_VERBS: Final = {"GET": "list", "HEAD": "list", "POST": "create", "DELETE": "deletecollection"}
_OBJECT_VERBS: Final = {
    "GET": "get",
    "HEAD": "get",
    "POST": "create",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}


class Target(msgspec.Struct, frozen=True, gc=False):
    """The resource that a path names. Empty fields are absent from it."""

    group: str
    version: str
    resource: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    watch: bool = False
    path: str = ""


class Call(msgspec.Struct, frozen=True, gc=False):
    """A request for a resource that is served: who asks for what. `streams`: the answer is a stream, as logs are."""

    caller: Caller
    verb: str
    resource: Resource
    target: Target
    query: Mapping[str, list[str]]
    streams: bool = False

    @property
    def long_running(self) -> bool:
        """Whether the answer may take as long as the client wishes."""
        return self.streams or self.verb == "watch"


def parse_path(path: str) -> Target | None:
    """Return what a path below /api/<version>/ or /apis/<group>/<version>/ names, None when it names no resource."""
    parts = path.strip("/").split("/")
    if parts[0] == "api" and len(parts) >= 3:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) >= 4:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    watch = rest[0] == "watch" and len(rest) > 1
    if watch:
        rest = rest[1:]
    proxied = PROXY in rest[:5]  # what follows it is another server's path, and may be written in any way
    if "" in (rest[: rest.index(PROXY)] if proxied else rest):
        return None
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and not (len(rest) == 3 and rest[2] in NAMESPACE_SUBRESOURCES):
        namespace, rest = rest[1], rest[2:]
    resource, name = rest[0], rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    return Target(group, version, resource, namespace, name, subresource, watch, "/".join(rest[3:]))


def check_path(raw: bytes) -> None:
    """Refuse a path as it was sent when its escapes are malformed. Raises BadRequestError."""
    if b"%" in raw and (bad := _BAD_ESCAPE.search(raw)):
        path, escape = raw.decode("latin-1"), bad.group().decode("latin-1")
        raise BadRequestError(f'parse "{path}": invalid URL escape "{escape}"')


def parse_query(query: bytes) -> dict[str, list[str]]:
    """Return each parameter's values in order, without those whose escapes are malformed. Raises BadRequestError."""
    values: dict[str, list[str]] = {}
    if query:
        if b"%" in query and _BAD_ESCAPE.search(query):
            query = b"&".join(pair for pair in query.split(b"&") if not _BAD_ESCAPE.search(pair))
        try:
            pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
        except ValueError as error:
            raise BadRequestError("number of URL query parameters exceeded limit") from error
        for key, value in pairs:
            values.setdefault(key, []).append(value)
    return values


def verb_of(method: str, target: Target, query: Mapping[str, list[str]]) -> str:
    """Return the API verb: get, list, watch, create, update, patch, delete or deletecollection."""
    verbs = _OBJECT_VERBS if target.name else _COLLECTION_VERBS
    verb = "" if method == "OPTIONS" and target.subresource == PROXY else verbs.get(method)
    if verb is None:
        raise MethodNotAllowedError
    if verb in {"get", "list"} and not target.subresource and (target.watch or flag(query, "watch")):
        return "watch"
    return verb


def text(query: Mapping[str, list[str]], name: str) -> str:
    """Return a parameter's first value, "" when it is absent."""
    values = query.get(name)
    return values[0] if values else ""


def flag(query: Mapping[str, list[str]], name: str) -> bool:
    """Return a boolean parameter as Kubernetes reads it: present without a value, or anything but false or 0."""
    values = query.get(name)
    return values is not None and values[0].lower() not in {"false", "0"}


def number(query: Mapping[str, list[str]], name: str) -> int | None:
    """Return an integer parameter, None when it is absent or empty. Raises BadRequestError when it is no integer."""
    value = text(query, name)
    if not value:
        return None
    if not _INTEGER.fullmatch(value):
        raise BadRequestError(f'strconv.ParseInt: parsing "{value}": invalid syntax')
    if len(value) > _LONGEST or not -_LIMIT <= (found := int(value)) < _LIMIT:
        raise BadRequestError(f'strconv.ParseInt: parsing "{value}": value out of range')
    return found
