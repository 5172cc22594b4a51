"""Tables (meta.k8s.io/v1): objects as rows of cells, which is what `kubectl get` asks for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Literal

import msgspec

from orch_api.kinds.columns import NAME, text
from orch_api.resource import Column, Resource

IncludeObject = Literal["Metadata", "Object", "None"]

_META: Final = "meta.k8s.io/v1"
_PLAIN: Final = (NAME, Column("Created At", text("metadata", "creationTimestamp"), type="date"))
_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


def table(
    resource: Resource,
    objects: Sequence[bytes | dict[str, Any]],
    *,
    now: datetime,
    include_object: IncludeObject = "Metadata",
    list_version: str = "",
    continue_token: str = "",
    remaining: int | None = None,
    with_columns: bool = True,
    api_version: str = _META,
) -> bytes:
    """Return the objects as a Table in JSON, with what `include_object` names beside each row.

    A watch sends one object a Table; only its first one needs to carry the columns' definitions (`with_columns`).
    """
    columns = resource.columns or _PLAIN
    metadata: dict[str, Any] = {"resourceVersion": list_version}
    if continue_token:
        metadata["continue"] = continue_token
        if remaining is not None:
            metadata["remainingItemCount"] = remaining
    return msgspec.json.encode(
        {
            "kind": "Table",
            "apiVersion": api_version,
            "metadata": metadata,
            "columnDefinitions": [_definition(column) for column in columns] if with_columns else [],
            "rows": [_row(columns, one, now, include_object, api_version) for one in objects],
        }
    )


def _definition(column: Column) -> dict[str, Any]:
    return {
        "name": column.name,
        "type": column.type,
        "format": column.format,
        "description": column.description,
        "priority": column.priority,
    }


def _row(
    columns: Sequence[Column],
    one: bytes | dict[str, Any],
    now: datetime,
    include_object: IncludeObject,
    api_version: str,
) -> dict[str, Any]:
    document = _decode(one) if isinstance(one, bytes) else one
    return {
        "cells": [column.value(document, now) for column in columns],
        "object": _included(document, one, include_object, api_version),
    }


def _included(
    document: dict[str, Any], one: bytes | dict[str, Any], include_object: IncludeObject, api_version: str
) -> Any:
    if include_object == "None":
        return None
    if include_object == "Object":
        return msgspec.Raw(one) if isinstance(one, bytes) else one
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": api_version,
        "metadata": document.get("metadata") or {},
    }
