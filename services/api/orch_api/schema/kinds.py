"""Decodes documents of each kind against the schema: in C when they are right, slowly when something is wrong."""

from __future__ import annotations

import hashlib
from functools import cache, cached_property
from typing import Any, Final

import msgspec

from orch.errors import BadRequestError
from orch_api.schema.definitions import (
    Definition,
    Definitions,
    GroupVersionKind,
    MergeRule,
    Validation,
    packed_definitions,
    read_definitions,
    read_full_definitions,
)
from orch_api.schema.empties import Empties, may_hold_empties
from orch_api.schema.explain import Explainer, FieldIssue, members, parse, type_name
from orch_api.schema.repeated import may_repeat
from orch_api.schema.structs import Structs, decode_hook, encode_hook
from orch_api.schema.syntax import syntax_error
from orch_api.schema.typed import FieldType, FieldTypes

_SHOWN_BYTES: Final = 30
_TYPE_META: Final = (
    r'struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }'
)
_BARE: Final = "io.k8s.api.core.v1.Namespace"
"""A definition with metadata: what else it has is not looked at."""
# What msgspec raises for bytes that are no document of the kind, or are nested more deeply than it follows.
_REFUSED: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class KindSchema:
    """Decodes documents of one kind."""

    edition = 0
    """Tells schemas of user-defined kinds apart: each version has one of its own after each change."""

    def __init__(
        self,
        kind: GroupVersionKind,
        definition: str,
        definitions: Definitions,
        structs: Structs,
        field_types: FieldTypes,
        empties: Empties,
    ) -> None:
        self.group = kind.group
        self.version = kind.version
        self.kind = kind.kind
        self.definition = definition  # its name in the schema: io.k8s.api.apps.v1.Deployment
        self._definitions = definitions
        self._structs = structs
        self._field_types = field_types
        self._empties = empties
        self._rules: dict[tuple[str, ...], MergeRule | None] = {}

    @cached_property
    def _struct(self) -> type[msgspec.Struct]:
        return self._structs.of(self.definition)

    @cached_property
    def _decoder(self) -> msgspec.json.Decoder[msgspec.Struct]:
        return msgspec.json.Decoder(self._struct, dec_hook=decode_hook)

    @cached_property
    def fields(self) -> FieldType:
        """How documents are structured for those who own parts of them."""
        return self._field_types.of(self.definition)

    def decode(self, body: bytes, validation: Validation = "Strict") -> tuple[dict[str, Any], list[str]]:
        """Return the document in `body` and the warnings about it.

        The document holds only fields of the schema, no null fields, no empty lists and maps but those that must be
        there, and canonical quantities and times. Raises BadRequestError worded as Kubernetes: malformed JSON, a value
        of the wrong type and, when `validation` is "Strict", unknown and repeated fields, about which "Warn" warns.
        """
        try:
            document = _builtins(self._decoder.decode(body))
            if validation == "Ignore" or not may_repeat(body, document):
                if may_hold_empties(body):
                    self._empties.drop(document, self.definition)
                return document, []
        except _REFUSED:
            pass  # the slow path decodes it after all, or says why not
        return self._explain(_parse(body, self.kind), validation)

    def convert(self, document: dict[str, Any], validation: Validation = "Ignore") -> tuple[dict[str, Any], list[str]]:
        """Return `document`, as a patch left it, checked and made canonical as decode does; it is not changed."""
        try:
            converted = _builtins(msgspec.convert(document, self._struct, dec_hook=decode_hook))
        except (msgspec.ValidationError, RecursionError):
            return self._explain(document, validation)
        self._empties.drop(converted, self.definition)
        return converted, []

    def check(self, document: dict[str, Any]) -> None:
        """Raise BadRequestError, worded as decode's, when a value in `document` is of the wrong type."""
        self.convert(document)

    def issues(self, document: dict[str, Any]) -> list[FieldIssue]:
        """Return the unknown fields of `document`."""
        explainer = Explainer(self._definitions)
        explainer.document(document, self.definition)
        return explainer.issues

    def strategy_at(self, path: tuple[str, ...]) -> MergeRule | None:
        """Return how patches merge the field at `path` (list items elided), None where the schema says nothing."""
        if path not in self._rules:
            self._rules[path] = self._rule(path)
        return self._rules[path]

    def _rule(self, path: tuple[str, ...]) -> MergeRule | None:
        found = self._definition_at(path)
        if found is None or not (found.patch_strategy or found.list_type):
            return None
        strategies = frozenset(found.patch_strategy.split(",")) if found.patch_strategy else frozenset[str]()
        return MergeRule(strategies, found.patch_merge_key, found.list_type, found.list_map_keys)

    def _definition_at(self, path: tuple[str, ...]) -> Definition | None:
        found = self._definitions[self.definition]
        for step in path:
            while found.items is not None:
                found = found.items
            if found.ref:
                found = self._definitions[found.ref]
            inner = found.values if found.values is not None else (found.properties or {}).get(step)
            if inner is None:
                return None
            found = inner
        return found

    def _explain(self, document: Any, validation: Validation) -> tuple[dict[str, Any], list[str]]:
        explainer = Explainer(self._definitions)
        result = explainer.document(document, self.definition)
        problem = explainer.error
        messages = [issue.message for issue in explainer.issues] if validation != "Ignore" else []
        if not problem and messages and validation == "Strict":
            problem = f"strict decoding error: {', '.join(messages)}"
        if problem:
            kind, version = self._named_in(document)
            raise BadRequestError(f'{kind} in version "{version}" cannot be handled as a {self.kind}: {problem}')
        self._empties.drop(result, self.definition)
        return result, messages

    def _named_in(self, document: Any) -> tuple[str, str]:
        """Return the kind and version that the document claims to have, by default this one's."""
        claims = dict(members(document) or ())
        kind, api_version = claims.get("kind"), claims.get("apiVersion")
        version = str(api_version).rpartition("/")[2] if isinstance(api_version, str) else ""
        return (kind if isinstance(kind, str) and kind else self.kind), version or self.version


class Schemas:
    """The schemas of all kinds of Kubernetes 1.37."""

    def __init__(self, packed: bytes) -> None:
        definitions = self.definitions = read_definitions(packed)
        """What the schemas are made of."""
        self.fingerprint: Final = hashlib.sha256(packed).hexdigest()
        structs = Structs(definitions)
        field_types = FieldTypes(definitions)
        empties = Empties(definitions)
        self.bare: Final = (_BARE, definitions, structs, field_types, empties)
        """What a KindSchema takes beside its kind, for a kind of which only the metadata is known."""
        self._kinds = {
            (kind.group, kind.version, kind.kind): KindSchema(kind, name, definitions, structs, field_types, empties)
            for name, definition in definitions.items()
            for kind in definition.kinds
        }

    @classmethod
    def load(cls) -> Schemas:
        """Return the one set of schemas that this process uses."""
        return _loaded()

    def of(self, group: str, version: str, kind: str) -> KindSchema:
        """Return the schema of a kind. Raises LookupError when Kubernetes has no such kind."""
        try:
            return self._kinds[group, version, kind]
        except KeyError:
            api_version = f"{group}/{version}" if group else version
            raise LookupError(f'no kind "{kind}" is registered for version "{api_version}"') from None

    def full_definitions(self) -> dict[str, dict[str, Any]]:
        """Return the definitions as Kubernetes publishes them, read anew: for building a document, not for keeping."""
        return read_full_definitions(packed_definitions())


@cache
def _loaded() -> Schemas:
    return Schemas(packed_definitions())


def _builtins(typed: msgspec.Struct) -> dict[str, Any]:
    return msgspec.to_builtins(typed, enc_hook=encode_hook)


def _parse(body: bytes, kind: str) -> Any:
    """Return the value in `body` as explain.parse does; refuse what tells no kind, as Kubernetes does first of all."""
    try:
        value = parse(body.decode("utf-8", "replace"))
    except ValueError as error:
        raise _unrecognized(kind, syntax_error(body) or str(error), body) from error
    except RecursionError:
        raise _unrecognized(kind, syntax_error(body) or "exceeded max depth", body) from None
    pairs = members(value)
    if pairs is None:
        if value is None:
            return {}
        raise _unrecognized(kind, f"json: cannot unmarshal {type_name(value)} into Go value of type {_TYPE_META}", body)
    for key, inner in pairs:
        if key in {"apiVersion", "kind"} and inner is not None and type_name(inner) != "string":
            problem = f"json: cannot unmarshal {type_name(inner)} into Go struct field .{key} of type string"
            raise _unrecognized(kind, problem, body)
    return value


def _unrecognized(kind: str, problem: str, body: bytes) -> BadRequestError:
    shown = body[:_SHOWN_BYTES]
    summary = shown.decode("utf-8", "replace") if body.startswith(b"{") else shown.hex()
    summary = f"{summary} ..." if len(body) > _SHOWN_BYTES else summary or "<empty>"
    return BadRequestError(
        f"the object provided is unrecognized (must be of type {kind}): "
        f"couldn't get version/kind; json parse error: {problem} ({summary})"
    )
