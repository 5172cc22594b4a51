"""What a terminating namespace says it waits for (k8s.io/kubernetes pkg/controller/namespace/deletion). Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from orch.clock import rfc3339
from orch.objects.meta import Condition

CONTENT: Final = "NamespaceContentRemaining"
FINALIZERS: Final = "NamespaceFinalizersRemaining"

_HELD: Final = "Some content in the namespace has finalizers remaining: "


class Remains(msgspec.Struct, frozen=True):
    """How many objects of a resource ("pods.", "deployments.apps") are left, and how many have which finalizer."""

    resource: str
    count: int
    finalizers: Mapping[str, int]


def conditions_of(before: Sequence[Condition], remains: Sequence[Remains], now: datetime) -> tuple[Condition, ...]:
    """Return the namespace's conditions for what is left in it."""
    content = ", ".join(f"{each.resource} has {each.count} resource instances" for each in _sorted(remains))
    held: Counter[str] = Counter()
    for each in remains:
        held.update(each.finalizers)
    holding = ", ".join(f"{name} in {count} resource instances" for name, count in sorted(held.items()))
    wanted = (
        _condition(CONTENT, "SomeResourcesRemain", f"Some resources are remaining: {content}", "True")
        if content
        else _condition(CONTENT, "ContentRemoved", "All content successfully removed"),
        _condition(FINALIZERS, "SomeFinalizersRemain", f"{_HELD}{holding}", "True")
        if holding
        else _condition(FINALIZERS, "ContentHasNoFinalizers", "All content-preserving finalizers finished"),
    )
    others = tuple(each for each in before if each.type not in {CONTENT, FINALIZERS})
    return (*others, *(_dated(each, before, now) for each in wanted))


def _condition(kind: str, reason: str, message: str, status: str = "False") -> Condition:
    return Condition(type=kind, status=status, reason=reason, message=message)


def _dated(new: Condition, before: Sequence[Condition], now: datetime) -> Condition:
    old = next((each for each in before if each.type == new.type), None)
    since = old.last_transition_time if old is not None and old.status == new.status else rfc3339(now)
    return msgspec.structs.replace(new, last_transition_time=since)


def _sorted(remains: Sequence[Remains]) -> list[Remains]:
    return sorted(remains, key=lambda each: each.resource)
