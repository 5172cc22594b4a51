"""Strategic merge patch: like a merge patch, but the schema says which lists are merged, and directives say more.

    $patch: replace | delete | merge        in a map, or in an item of a list that is merged by a key
    $retainKeys: [...]                      the only keys that remain in the map
    $setElementOrder/<list>: [...]          how the merged list is ordered
    $deleteFromPrimitiveList/<list>: [...]  what is taken out of a merged list of plain values

Semantics: k8s.io/apimachinery/pkg/util/strategicpatch; its description: contributors/devel/sig-api-machinery/
strategic-merge-patch.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, cast

import msgspec

from orch.errors import BadRequestError
from orch_api.patch.documents import Document, as_object, equal

_DIRECTIVE: Final = "$patch"
_RETAIN_KEYS: Final = "$retainKeys"
_ORDER: Final = "$setElementOrder/"
_DELETION: Final = "$deleteFromPrimitiveList/"

Path = tuple[str, ...]


class Rule(Protocol):
    """How a field is merged."""

    @property
    def strategies(self) -> frozenset[str]:
        """Of merge, replace and retainKeys."""
        ...

    @property
    def merge_key(self) -> str:
        """The field by which the items of a list are matched; empty for lists of plain values."""
        ...


class Rules(Protocol):
    """Where the rules come from: orch_api.schema.KindSchema."""

    def strategy_at(self, path: Path) -> Rule | None:
        """Return the rule of the field at a path, in which the items of lists are left out."""
        ...


def apply(document: Document, patch: Any, schema: Rules) -> Document:
    """Return the document with the patch merged into it; the two and the result may share what they hold.

    Raises BadRequestError for a patch that makes no sense.
    """
    return _Merge(schema).maps(document, as_object(patch), ())


def _shown(value: Any) -> str:
    return msgspec.json.encode(value).decode()


class _Merge:
    """Merges by the rules of one kind."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    def maps(self, original: Mapping[str, Any], patch: Document, path: Path) -> Document:
        """Return the merged map."""
        directive = patch.get(_DIRECTIVE, "merge")
        if directive == "delete":
            return {}
        if directive == "replace":
            return _fresh_map(patch)
        if directive != "merge":
            raise BadRequestError(f"unknown patch type: {directive} in map: {_shown(patch)}")
        kept = _retained(original, patch)
        fields = {key: value for key, value in patch.items() if not _is_directive(key)}
        directives = _list_directives(patch)
        result: Document = {key: value for key, value in kept.items() if key not in fields and key not in directives}
        for key in (*fields, *(name for name in directives if name not in fields)):
            merged = self._field(kept.get(key), fields, key, directives.get(key, {}), (*path, key))
            if merged is not None:
                result[key] = merged
        return result

    def _field(self, original: Any, fields: Document, key: str, directives: dict[str, list[Any]], path: Path) -> Any:
        """Return a field's new value, None when there is none."""
        given = key in fields
        patch = fields.get(key)
        if given and patch is None:
            return None
        if isinstance(patch, dict):
            return self._map_field(original, cast("Document", patch), path)
        if given and not isinstance(patch, list):
            return patch
        if not given and not isinstance(original, list):
            return original
        items = cast("list[Any]", patch) if given else []
        order = directives.get(_ORDER)
        if order is not None:
            items = self._check_order(items, order, path)
        if not isinstance(original, list):
            result = _fresh_list(items)
        else:
            result = self._lists(cast("list[Any]", original), items, order, path, given=given)
        unwanted = directives.get(_DELETION, ())
        return [item for item in result if not any(equal(item, one) for one in unwanted)]

    def _map_field(self, original: Any, patch: Document, path: Path) -> Any:
        rule = self._rules.strategy_at(path)
        replaces = rule is not None and "replace" in rule.strategies
        if replaces or not isinstance(original, dict):
            return _fresh_map(patch)
        return self.maps(cast("Document", original), patch, path)

    def _merge_key(self, path: Path) -> str | None:
        """Return the key by which the list at the path is merged, None when a patch replaces it."""
        rule = self._rules.strategy_at(path)
        return rule.merge_key if rule is not None and "merge" in rule.strategies else None

    def _check_order(self, items: list[Any], order: list[Any], path: Path) -> list[Any]:
        """Refuse an order in which items of the patch are missing or stand otherwise than in the patch."""
        key = self._merge_key(path) or ""
        wanted = iter([_identity(item, key) for item in order])
        named = [item for item in items if not _has_directive(item)] if order else []
        if not all(_identity(item, key) in wanted for item in named):
            lists = f"{_shown(items)}\n doesn't match $setElementOrder list:\n{_shown(order)}"
            raise BadRequestError(f"The order in patch list:\n{lists}\n")
        return items

    def _lists(
        self, original: list[Any], patch: list[Any], order: list[Any] | None, path: Path, *, given: bool
    ) -> list[Any]:
        key = self._merge_key(path)
        if key is None:
            return _fresh_list(patch) if given else original
        both = [*original, *patch]
        if any(isinstance(item, list) for item in both):
            raise BadRequestError("lists of lists are not supported")
        if not any(isinstance(item, dict) for item in both):
            distinct = list({_identity(item, ""): item for item in both}.values())
            return _ordered(distinct, original, order or patch, "")
        if not all(isinstance(item, dict) for item in both):
            raise BadRequestError(f"list element types are not identical: {_shown(both)}")
        if not key:
            raise BadRequestError(f"cannot merge lists without merge key for {'.'.join(path)}")
        return self._keyed_lists(original, patch, order, path, key)

    def _keyed_lists(
        self, original: list[Document], patch: list[Document], order: list[Any] | None, path: Path, key: str
    ) -> list[Any]:
        plain: list[Document] = []
        removed: set[bytes] = set()
        replaces = False
        for item in patch:
            directive = item.get(_DIRECTIVE, "merge")
            if directive == "merge":
                plain.append({name: value for name, value in item.items() if name != _DIRECTIVE})
            elif directive == "delete":
                removed.add(_identity(item, key))
            elif directive == "replace":
                replaces = True
            else:
                raise BadRequestError(f"unknown patch type: {directive} in map: {_shown(item)}")
        if replaces:
            return _fresh_list(plain)
        merged = [item for item in original if _identity(item, key) not in removed]
        places = _places(merged, key)
        for item in plain:
            place = places.setdefault(_identity(item, key), len(merged))
            if place < len(merged):
                merged[place] = self.maps(merged[place], item, path)
            else:
                merged.append(_fresh_map(item))
        return _ordered(merged, original, order if order is not None else plain, key)


def _identity(item: Any, key: str) -> bytes:
    """Return what tells an item from the others of its list: its merge key's value, or itself."""
    if not key:
        return msgspec.json.encode(item)
    found = cast("Document", item) if isinstance(item, dict) else {}
    if key not in found:
        raise BadRequestError(f"map: {_shown(item)} does not contain declared merge key: {key}")
    return msgspec.json.encode(found[key])


def _places(items: Sequence[Any], key: str) -> dict[bytes, int]:
    """Return at which place each item is first."""
    places: dict[bytes, int] = {}
    for place, item in enumerate(items):
        places.setdefault(_identity(item, key), place)
    return places


def _ordered(merged: Sequence[Any], original: Sequence[Any], order: Sequence[Any], key: str) -> list[Any]:
    """Return the items in the order asked for; those it does not name keep their place among the original ones."""
    asked, live = _places(order, key), _places(original, key)
    named = [item for item in merged if _identity(item, key) in asked]
    named.sort(key=lambda item: asked[_identity(item, key)])
    others = [item for item in merged if _identity(item, key) not in asked]
    result: list[Any] = []
    taken = 0
    for item in named:
        place = live.get(_identity(item, key), -1)
        while taken < len(others) and live.get(_identity(others[taken], key), place) < place:
            result.append(others[taken])
            taken += 1
        result.append(item)
    return [*result, *others[taken:]]


def _retained(original: Mapping[str, Any], patch: Document) -> Mapping[str, Any]:
    """Return what $retainKeys leaves of the original. Raises BadRequestError when the patch sets other keys."""
    if _RETAIN_KEYS not in patch:
        return original
    keys = _list_of(patch[_RETAIN_KEYS], "retainKeys")
    if any(value is not None and not _is_directive(key) and key not in keys for key, value in patch.items()):
        raise BadRequestError("invalid patch format of retainKeys")
    return {key: value for key, value in original.items() if key in keys}


def _list_directives(patch: Document) -> dict[str, dict[str, list[Any]]]:
    """Return, for each list that has them, the directives about its order and its deletions."""
    found: dict[str, dict[str, list[Any]]] = {}
    for key, value in patch.items():
        for prefix, name in ((_ORDER, "setElementOrder list"), (_DELETION, "primitive list")):
            if key.startswith(prefix) and value is not None:
                found.setdefault(key.removeprefix(prefix), {})[prefix] = _list_of(value, name)
    return found


def _list_of(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise BadRequestError(f"invalid patch format of {name}")
    return cast("list[Any]", value)


def _fresh(value: Any) -> Any:
    """Return what a patch makes of nothing: its values, without directives and nulls."""
    if isinstance(value, dict):
        return _fresh_map(cast("Document", value))
    if isinstance(value, list):
        return _fresh_list(cast("list[Any]", value))
    return value


def _fresh_map(patch: Document) -> Document:
    if patch.get(_DIRECTIVE) == "delete":
        return {}
    return {key: _fresh(value) for key, value in patch.items() if value is not None and not _is_directive(key)}


def _fresh_list(patch: list[Any]) -> list[Any]:
    return [_fresh(item) for item in patch if not _is_special(item)]


def _has_directive(item: Any) -> bool:
    return isinstance(item, dict) and _DIRECTIVE in item


def _is_special(item: Any) -> bool:
    """Tell whether an item is there only for its directive."""
    return isinstance(item, dict) and cast("Document", item).get(_DIRECTIVE) in {"delete", "replace"}


def _is_directive(key: str) -> bool:
    return key in {_DIRECTIVE, _RETAIN_KEYS} or key.startswith((_ORDER, _DELETION))
