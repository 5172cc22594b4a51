"""Which objects a request selects: label and field selectors over cached states."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from orch import selectors
from orch.errors import BadRequestError
from orch.selectors import Selector
from orch_api.registry import Resource
from orch_api.storage.objects import Cached, to_document
from orch_api.storage.versions import served_documents

_NAME = "metadata.name"
_NAMESPACE = "metadata.namespace"
_NODE = "spec.nodeName"


class Selection:
    """What a request selects; calling it with a state tells whether that is selected."""

    __slots__ = ("_at", "_fields", "_labels", "_resource", "converts", "name", "node")

    def __init__(self, resource: Resource, labels: Selector | None, fields: tuple[tuple[str, str, str], ...]) -> None:
        self._resource = resource
        self._labels = labels
        self._fields = fields
        custom = resource.schema is not None and resource.conversion is not None
        self.converts = custom and any(path in resource.fields for path, _, _ in fields)
        """Whether fields are those of the served version, not of the stored one: then states are prepared first."""
        self._at = f"{resource.schema.edition}:" if self.converts and resource.schema is not None else ""
        equal = {path: value for path, operator, value in fields if operator != "!="}
        self.name = equal.get(_NAME, "")
        """The only name that can match, if the selector says one."""
        self.node = equal.get(_NODE, "") if resource.plural == "pods" and not resource.group else ""
        """The only node whose pods can match, if the selector says one."""

    @property
    def everything(self) -> bool:
        """Whether nothing is asked of the objects."""
        return self._labels is None and not self._fields

    async def prepare(self, items: Iterable[Cached]) -> None:
        """Read the fields of states that must be converted for that, all at once. Raises ApiError."""
        if not self.converts:
            return
        unread = [item for item in items if item.fields is None or not self._known(item.fields)]
        documents = await served_documents(self._resource, [item.json for item in unread])
        for item, document in zip(unread, documents, strict=True):
            self._remember(item, document)

    def __call__(self, item: Cached) -> bool:
        """Return whether the state is selected."""
        if self._labels is not None and not self._labels.matches(item.labels):
            return False
        return all((self._field(item, path) == value) != (operator == "!=") for path, operator, value in self._fields)

    def _field(self, item: Cached, path: str) -> str:
        if path == _NAME:
            return item.key.name
        if path == _NAMESPACE:
            return item.key.namespace
        if path == _NODE and item.node:
            return item.node
        at = self._at + path
        if item.fields is None or at not in item.fields:
            self._remember(item, to_document(item.json))
        return (item.fields or {})[at]

    def _known(self, fields: Mapping[str, str]) -> bool:
        return all(self._at + path in fields for path in self._resource.fields)

    def _remember(self, item: Cached, document: dict[str, Any]) -> None:
        """Keep what fields say with the state: it is the same for every reader."""
        read = {self._at + path: value(document) for path, value in self._resource.fields.items()}
        msgspec.structs.force_setattr(item, "fields", {**(item.fields or {}), **read})


def selection(resource: Resource, label_selector: str = "", field_selector: str = "") -> Selection:
    """Return what the two selectors select of a resource. Raises BadRequestError."""
    labels: Selector | None = None
    fields: tuple[tuple[str, str, str], ...] = ()
    try:
        if label_selector:
            labels = selectors.parse_label_selector(label_selector)
        if field_selector:
            fields = tuple(selectors.parse_field_selector(field_selector))
    except ValueError as error:
        raise BadRequestError(str(error)) from error
    for path, _, _ in fields:
        if path != _NAME and not (path == _NAMESPACE and resource.namespaced) and path not in resource.fields:
            # Kinds without fields of their own have Kubernetes' general rule, which words it otherwise.
            if not resource.fields and resource.schema is None:
                raise BadRequestError(f'"{path}" is not a known field selector: only "{_NAME}", "{_NAMESPACE}"')
            raise BadRequestError(f"field label not supported: {path}")
    return Selection(resource, labels, fields)
