"""Decodes documents of a user-defined kind: their metadata as that of any kind, the rest by the definition's schema."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Final, cast

import msgspec

from orch.errors import BadRequestError
from orch.quoting import quote
from orch_api.extensions.defaulting import apply_defaults, drop_nulls
from orch_api.extensions.field_types import field_type
from orch_api.extensions.props import NODE_META, Props, Schema, walk
from orch_api.extensions.pruning import prune
from orch_api.patch.documents import clone
from orch_api.schema import FieldIssue, KindSchema, MergeRule, Schemas, Validation
from orch_api.schema.definitions import GroupVersionKind
from orch_api.schema.explain import MAX_ISSUES, Members, parse
from orch_api.schema.repeated import may_repeat, repeated
from orch_api.schema.typed import FieldType, Form

Document = dict[str, Any]

_EDITIONS: Final = itertools.count(1)
_INT64: Final = 2**63
_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


class CustomSchema(KindSchema):
    """The schema of one version of a definition.

    Of the definition that the base class decodes by, a kind with nothing but metadata, only the metadata is used.
    """

    def __init__(
        self,
        kind: GroupVersionKind,
        list_kind: str,
        props: Props,
        published: Schema,
        schemas: Schemas,
        selectable: Sequence[str] = (),
    ) -> None:
        super().__init__(kind, *schemas.bare)
        self.edition = next(_EDITIONS)
        self.props = props
        self.list_kind = list_kind
        self.published = published
        """The schema as the definition has it, for the OpenAPI documents."""
        self.selectable = selectable
        """The fields that selectors may name, for the OpenAPI documents."""
        parts = ".".join(reversed(self.group.split(".")))
        self.name = f"{parts}.{self.version}.{self.kind}"
        self.list_name = f"{parts}.{self.version}.{list_kind}"

    @cached_property
    def _embeds(self) -> bool:
        return any(one.embedded for one in walk(self.props))

    @cached_property
    def fields(self) -> FieldType:
        """How documents are structured for those who own parts of them."""
        made = FieldType(Form.STRUCT)
        made.elements.update(super().fields.elements)
        made.open = bool(self.props.preserve)
        _, meta = made.elements["metadata"]
        for name in set(made.elements) - NODE_META:
            del made.elements[name]
        for name, inner in sorted(self.props.properties.items()):
            if name not in NODE_META:
                made.declare(name, field_type(inner, meta))
        return made

    def decode(self, body: bytes, validation: Validation = "Strict") -> tuple[Document, list[str]]:
        """Return the document in `body` and the warnings about it, pruned and with the schema's defaults.

        Raises BadRequestError as KindSchema does; values of wrong types are found by the schema's own validation.
        """
        try:
            document = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            super().decode(body, "Ignore")  # says in Kubernetes' words why it is no document, or else
            document = cast("Document", _plain(parse(body.decode("utf-8", "replace"))))
            return self._shaped(document, validation, repeated(body))
        twice = repeated(body) if validation != "Ignore" and may_repeat(body, document) else []
        return self._shaped(document, validation, twice)

    def convert(self, document: Document, validation: Validation = "Ignore") -> tuple[Document, list[str]]:
        """Return `document`, as a patch left it, in the form that decode gives; it is not changed."""
        return self._shaped(clone(document), validation, [])

    def check(self, document: Document) -> None:
        """Raise BadRequestError when the metadata has a value of the wrong type."""
        super().check(_meta_of(document))

    def issues(self, document: Document) -> list[FieldIssue]:
        """Return the unknown fields of `document`."""
        found = super().issues(_meta_of(document))
        return [*found, *map(_unknown, prune(clone(document), self.props, root=True))]

    def strategy_at(self, path: tuple[str, ...]) -> MergeRule | None:
        """Return how the list at `path` is merged (list items elided), None where the schema says nothing."""
        if path and path[0] in NODE_META:
            return super().strategy_at(path)
        found: Props | None = self.props
        for name in path:
            while found is not None and found.item is not None:
                found = found.item
            found = None if found is None else found.properties.get(name, found.additional)
        if found is None or found.list_type is None:
            return None
        return MergeRule(list_type=found.list_type, map_keys=found.list_map_keys)

    def complete(self, document: Document) -> None:
        """Prune in place what was read from the store, and fill in the defaults that came after it was written."""
        prune(document, self.props, root=True)
        apply_defaults(document, self.props)
        drop_nulls(document, self.props)

    def _shaped(self, document: Document, validation: Validation, twice: list[str]) -> tuple[Document, list[str]]:
        meta, warnings = super().convert(_meta_of(document), "Ignore" if validation == "Ignore" else "Warn")
        document.update(meta)
        if self._embeds:
            for path, inner in _embedded(document, self.props, ""):
                metadata = _meta_of(inner)
                warnings += [_unknown(f"{path}.{issue.path}").message for issue in super().issues(metadata)]
                inner.update(super().convert(metadata)[0])
        dropped = prune(document, self.props, root=True)
        messages = [*(f"duplicate field {quote(path)}" for path in twice), *warnings]
        messages += [_unknown(path).message for path in dropped]
        apply_defaults(document, self.props)
        drop_nulls(document, self.props)
        if validation == "Ignore":
            return document, []
        if messages and validation == "Strict":
            api_version = document.get("apiVersion") or self.version
            version = str(api_version).rpartition("/")[2]
            problem = f"strict decoding error: {', '.join(messages[:MAX_ISSUES])}"
            kind = document.get("kind") or self.kind
            raise BadRequestError(f'{kind} in version "{version}" cannot be handled as a {self.kind}: {problem}')
        return document, messages[:MAX_ISSUES]


def _meta_of(document: Document) -> Document:
    return {name: document[name] for name in NODE_META if name in document}


def _embedded(value: Any, props: Props, path: str) -> Iterator[tuple[str, Document]]:
    """Yield the resources that a value has within, with their paths."""
    if isinstance(value, dict):
        for name, inner in cast("Document", value).items():
            known = props.properties.get(name, props.additional)
            if known is None:
                continue
            where = f"{path}.{name}" if path else name
            if known.embedded and isinstance(inner, dict):
                yield where, cast("Document", inner)
            yield from _embedded(inner, known, where)
    elif isinstance(value, list) and props.item is not None:
        for index, item in enumerate(cast("list[Any]", value)):
            where = f"{path}[{index}]"
            if props.item.embedded and isinstance(item, dict):
                yield where, cast("Document", item)
            yield from _embedded(item, props.item, where)


def _unknown(path: str) -> FieldIssue:
    return FieldIssue(path, f"unknown field {quote(path)}")


def _plain(value: Any) -> Any:
    """Return a parsed value as the usual maps, lists and numbers."""
    if isinstance(value, Members):
        return {name: _plain(inner) for name, inner in value}
    if isinstance(value, list):
        return [_plain(item) for item in cast("list[Any]", value)]
    if type(value).__name__ == "Number":
        whole = value.lstrip("-").isdigit() and abs(int(value)) < _INT64
        return int(value) if whole else float(value)
    return value
