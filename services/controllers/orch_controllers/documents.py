"""Parts of objects as they are written. Views leave defaults out, which a patch would take for "as it was"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from orch.errors import ApiError
from orch.objects.meta import Condition, ObjectMeta
from orch.objects.scheme import Kind


def condition_document(condition: Condition) -> dict[str, Any]:
    """Return a condition as JSON's builtins, its status always among them."""
    document: dict[str, Any] = msgspec.to_builtins(condition)
    document["status"] = condition.status
    return document


def controller_reference(kind: Kind[Any], meta: ObjectMeta) -> dict[str, Any]:
    """Return the owner reference that makes an object of `kind` the controller of another."""
    return {
        "apiVersion": kind.api_version,
        "kind": kind.name,
        "name": meta.name,
        "uid": meta.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def without_owners(uid: str, owners: list[str]) -> dict[str, Any]:
    """Return the strategic merge patch that takes references to `owners` from the object `uid`."""
    removals = [{"$patch": "delete", "uid": owner} for owner in owners]
    return {"metadata": {"uid": uid, "ownerReferences": removals}}


def without_zeroes(status: Mapping[str, Any], *kept: str) -> dict[str, Any]:
    """Return a status for a merge patch that leaves out counts of zero, as Go does, but for those that are `kept`."""
    return {name: None if value == 0 and name not in kept else value for name, value in status.items()}


def is_namespace_terminating(error: BaseException) -> bool:
    """Return whether a creation was refused because its namespace is being deleted: then there is nothing to do."""
    if not isinstance(error, ApiError) or error.details is None:
        return False
    return any(cause.reason == "NamespaceTerminating" for cause in error.details.causes)
