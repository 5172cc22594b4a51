"""Lists and gets: from the cache where it has the state that was asked for, else from the store at that revision.

The rules of resourceVersion, resourceVersionMatch and continue follow k8s.io/apiserver's storage and
metainternalversion's validation of ListOptions. A continue token is Kubernetes' own: base64 of {"v", "rv", "start"}.
"""

from __future__ import annotations

import base64
import binascii
import posixpath
import sys
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import msgspec

from orch.errors import BadRequestError, Cause, CompactedError, ExpiredError, InvalidError, NotFoundError
from orch.store import keys
from orch.store.protocol import Store, split_version
from orch_api.registry import Resource
from orch_api.storage.cache import ObjectCache
from orch_api.storage.objects import Cached, StateReader
from orch_api.storage.selection import Selection, selection

TOKEN_VERSION: Final = "meta.k8s.io/v1"
_MAX_VERSION: Final = (1 << 64) - 1
_LONGEST_VERSION: Final = 64
_SNAPSHOTS: Final = 16
_RANGE_PAGE: Final = 500
_EXPIRED: Final = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)
_AS_IT_IS: Final = -1
"""The version in tokens that go on with a list after it expired."""
_EXPIRED_VERSION: Final = "The resourceVersion for the provided list is too old."


class ListOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a list asks for. Empty texts and a limit of 0 are absent."""

    label_selector: str = ""
    field_selector: str = ""
    limit: int = 0
    continue_token: str = ""
    resource_version: str = ""
    match: str = ""
    max_bytes: int = 0
    """With a limit: end the page earlier when its objects have this many bytes; 0: never."""


class Page(msgspec.Struct, frozen=True):
    """A list or a page of one. `remaining` counts what follows, None when that is not known."""

    items: Sequence[Cached]
    version: int
    continue_token: str = ""
    remaining: int | None = None


class _Token(msgspec.Struct, frozen=True, kw_only=True):
    v: str
    rv: int
    start: str


class _Query(msgspec.Struct, frozen=True, kw_only=True):
    resource: Resource
    namespace: str
    selected: Selection
    limit: int
    max_bytes: int

    def at(self, version: int) -> tuple[str, str, str, int]:
        """Return what names the list that this is a page of."""
        return (self.stored.group, self.stored.plural, self.namespace, version)

    @property
    def stored(self) -> Resource:
        """The resource in the version in which its objects are stored."""
        return self.resource.storage


def matcher(resource: Resource, label_selector: str, field_selector: str) -> Selection:
    """Return what tells whether a state is selected. Raises BadRequestError."""
    return selection(resource, label_selector, field_selector)


def parse_version(text: str) -> int:
    """Return a resourceVersion as a number. Raises BadRequestError."""
    if not (text.isascii() and text.isdigit()):
        raise BadRequestError(
            f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        )
    if len(text) > _LONGEST_VERSION or int(text) > _MAX_VERSION:
        raise BadRequestError(
            f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": value out of range'
        )
    return int(text)


class Reader:
    """Serves reads; the caller has authorized them."""

    def __init__(self, store: Store, cache: ObjectCache) -> None:
        self._store = store
        self._cache = cache
        self._states = StateReader()
        self._snapshots: OrderedDict[tuple[str, str, str, int], Sequence[Cached]] = OrderedDict()

    async def get(self, resource: Resource, namespace: str, name: str, resource_version: str = "") -> Cached:
        """Return an object: consistent, or with a resourceVersion not older than that. Raises NotFoundError."""
        if not resource_version:
            await self._cache.catch_up()
        elif version := parse_version(resource_version):
            await self._cache.wait_for(version)
        item = self._cache.get(resource.key(namespace, name))
        if item is None:
            raise NotFoundError.of(resource.plural, resource.group, name)
        return item

    async def list_page(self, resource: Resource, namespace: str, options: ListOptions) -> Page:
        """Return a list or a page of one.

        Raises BadRequestError and InvalidError for options that do not go together, ExpiredError (410) when the state
        asked for is gone, TimeoutError (504) when it is still to come.
        """
        check_list_options(options)
        query = _Query(
            resource=resource,
            namespace=namespace,
            selected=selection(resource, options.label_selector, options.field_selector),
            limit=options.limit,
            max_bytes=options.max_bytes,
        )
        if options.continue_token:
            token = _decode_token(options.continue_token)
            if token.rv == _AS_IT_IS:
                await self._cache.catch_up()
                return await self._from_cache(query, self._cache.version, token.start)
            await self._cache.wait_for(token.rv)
            if self._cached(query, token.rv):
                return await self._from_cache(query, token.rv, token.start)
            return await self._from_store(query, token.rv, token.start)
        version = parse_version(options.resource_version) if options.resource_version else None
        if version is None:
            await self._cache.catch_up()
        elif version:
            await self._cache.wait_for(version)
            if options.match == "Exact" or (options.limit and not options.match):
                if self._cached(query, version):
                    return await self._from_cache(query, version, "")
                return await self._from_store(query, version, "")
        return await self._from_cache(query, self._cache.version, "")

    def _cached(self, query: _Query, version: int) -> bool:
        """Return whether the state at `version` is here: nothing changed since, or it was kept for its pages."""
        if query.at(version) in self._snapshots:
            return True
        return self._cache.changed(query.stored.group, query.stored.plural) <= version <= self._cache.version

    async def _from_cache(self, query: _Query, version: int, start: str) -> Page:
        selected, limit = query.selected, query.limit
        items = self._snapshots.get(query.at(version))
        if items is None:
            items = self._candidates(query)
        if selected.converts:
            await selected.prepare(items)
        first = _first_after(items, start, query.namespace) if start else 0
        if not limit:
            whole = selected.everything and not first
            return Page(items if whole else [item for item in items[first:] if selected(item)], version)
        page: list[Cached] = []
        room = query.max_bytes or sys.maxsize
        for position in range(first, len(items)):
            item = items[position]
            if not selected(item):
                continue
            if len(page) == limit or (page and len(item.json) > room):
                self._keep(query.at(version), items)
                token = _encode_token(version, _start_after(page[-1], query.namespace))
                return Page(page, version, token, len(items) - position if selected.everything else None)
            page.append(item)
            room -= len(item.json)
        return Page(page, version)

    def _candidates(self, query: _Query) -> Sequence[Cached]:
        """Return all that can be selected; less than everything only when no further pages depend on it."""
        resource, namespace, selected = query.resource, query.namespace, query.selected
        if not query.limit and selected.name and (namespace or not resource.namespaced):
            item = self._cache.get(resource.key(namespace, selected.name))
            return () if item is None else (item,)
        if not query.limit and selected.node:
            pods = [pod for pod in self._cache.pods_of(selected.node) if namespace in {"", pod.key.namespace}]
            return sorted(pods, key=lambda pod: (f"{pod.key.namespace}/", pod.key.name))
        return self._cache.select(query.stored.group, query.stored.plural, namespace)

    def _keep(self, at: tuple[str, str, str, int], items: Sequence[Cached]) -> None:
        """Keep what the next pages of this list are cut from; the cache has the same tuple until something changes."""
        self._snapshots[at] = items
        self._snapshots.move_to_end(at)
        while len(self._snapshots) > _SNAPSHOTS:
            self._snapshots.popitem(last=False)

    async def _from_store(self, query: _Query, version: int, start: str) -> Page:
        selected, limit = query.selected, query.limit
        prefix = keys.objects_prefix(query.stored.group, query.stored.plural, query.namespace)
        end = keys.prefix_end(prefix)
        begin = prefix + start.encode()
        revision, _ = split_version(version)
        if not revision:  # to etcd this would mean the latest
            raise _expired(start)
        found: list[Cached] = []
        room = query.max_bytes or sys.maxsize
        more = True
        while more:
            size = min(_RANGE_PAGE, limit - len(found) + 1) if limit and selected.everything else _RANGE_PAGE
            try:
                read = await self._store.range(begin, end, limit=size, revision=revision)
            except CompactedError as error:
                raise _expired(start) from error
            states = [
                self._states.read_item(key, item) for item in read.items if (key := keys.parse_object_key(item.key))
            ]
            if selected.converts:
                await selected.prepare(states)
            for state in states:
                if not selected(state):
                    continue
                if found and limit and (len(found) == limit or len(state.json) > room):
                    return Page(found, version, _encode_token(version, _start_after(found[-1], query.namespace)))
                found.append(state)
                room -= len(state.json)
            more = read.more
            if read.items:
                begin = read.items[-1].key + b"\x00"
        return Page(found, version)


def check_list_options(options: ListOptions) -> None:
    """Refuse options that do not go together. Raises InvalidError or BadRequestError, worded as Kubernetes."""
    match, version = options.match, options.resource_version
    problems: list[Cause] = []
    if match:
        if not version:
            problems.append(_forbidden_match("resourceVersionMatch is forbidden unless resourceVersion is provided"))
        if options.continue_token:
            problems.append(_forbidden_match("resourceVersionMatch is forbidden when continue is provided"))
        if match not in {"Exact", "NotOlderThan"}:
            message = f'Unsupported value: "{match}": supported values: "Exact", "NotOlderThan", ""'
            problems.append(Cause("FieldValueNotSupported", message, "resourceVersionMatch"))
        if match == "Exact" and version == "0":
            message = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
            problems.append(_forbidden_match(message))
    if problems:
        raise InvalidError.of("ListOptions", "meta.k8s.io", "", problems)
    if options.continue_token and version not in {"", "0"}:
        raise BadRequestError("specifying resource version is not allowed when using continue")


def _forbidden_match(problem: str) -> Cause:
    return Cause("FieldValueForbidden", f"Forbidden: {problem}", "resourceVersionMatch")


def _expired(start: str) -> ExpiredError:
    """Return the error of a list whose state is gone; its rest can be read as it is now."""
    if not start:
        return ExpiredError(_EXPIRED_VERSION)
    return ExpiredError(_EXPIRED, continue_token=_encode_token(_AS_IT_IS, start))


def _first_after(items: Sequence[Cached], start: str, namespace: str) -> int:
    """Return the place of the first item whose key is not before `start`."""
    low, high = 0, len(items)
    while low < high:
        middle = (low + high) // 2
        if _path(items[middle], namespace) < start:
            low = middle + 1
        else:
            high = middle
    return low


def _path(item: Cached, namespace: str) -> str:
    """Return the key of an item below the prefix that a list of `namespace` reads."""
    return item.key.name if namespace else f"{item.key.namespace or '-'}/{item.key.name}"


def _start_after(item: Cached, namespace: str) -> str:
    return _path(item, namespace) + "\x00"


def _encode_token(version: int, start: str) -> str:
    token = msgspec.json.encode(_Token(v=TOKEN_VERSION, rv=version, start=start))
    return base64.urlsafe_b64encode(token).rstrip(b"=").decode()


def _decode_token(text: str) -> _Token:
    """Return what a continue token says. Raises BadRequestError."""
    try:
        encoded = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        token = msgspec.json.decode(encoded, type=_Token)
    except (binascii.Error, ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise BadRequestError(f"continue key is not valid: {error}") from error
    if token.v != TOKEN_VERSION:
        raise BadRequestError(f"continue key is not valid: server does not recognize this encoded version {token.v}")
    if not (0 < token.rv < 1 << 63 or token.rv == _AS_IT_IS):
        problem = f"incorrect encoded start resourceVersion (version {TOKEN_VERSION})"
        raise BadRequestError(f"continue key is not valid: {problem}")
    if not token.start:
        raise BadRequestError(f"continue key is not valid: encoded start key empty (version {TOKEN_VERSION})")
    if token.start[0] == "/" or posixpath.normpath(f"/{token.start}") != f"/{token.start}":
        raise BadRequestError(f"continue key is not valid: {token.start}")
    return token
