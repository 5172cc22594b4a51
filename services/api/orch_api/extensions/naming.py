"""Which names a definition gets: those that no other definition of its group holds already."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from orch.errors import Cause
from orch_api.extensions.resources import condition
from orch_api.strategy import Document, section

Names = dict[str, Any]


def accepted_names(definition: Document, others: Iterable[Document]) -> tuple[Names, Document]:
    """Return the names that the definition may have, and its NamesAccepted condition.

    `others` are the other definitions of its group. A name that is taken stays what it was before.
    """
    resources, kinds = _taken(others)
    wanted: Names = section(definition["spec"], "names")
    accepted: Names = section(section(definition, "status"), "acceptedNames")
    result: Names = dict(accepted)
    problems: list[Cause] = []
    for name, taken in (("plural", resources), ("singular", resources), ("kind", kinds), ("listKind", kinds)):
        value: str = wanted.get(name) or ""
        if value != accepted.get(name) and value in taken:
            problems.append(Cause(f"{name[0].upper()}{name[1:]}Conflict", f'"{value}" is already in use'))
        else:
            result[name] = value
    mine = accepted.get("shortNames") or ()
    clashes = [f'"{one}" is already in use' for one in wanted.get("shortNames") or () if one in resources - set(mine)]
    if clashes:
        message = clashes[0] if len(clashes) == 1 else f"[{', '.join(clashes)}]"
        problems.append(Cause("ShortNamesConflict", message))
    else:
        _set(result, "shortNames", wanted.get("shortNames"))
    _set(result, "categories", wanted.get("categories"))
    if problems:
        return result, {
            "type": "NamesAccepted",
            "status": "False",
            "reason": problems[-1].reason,
            "message": problems[-1].message,
        }
    return result, {
        "type": "NamesAccepted",
        "status": "True",
        "reason": "NoConflicts",
        "message": "no conflicts found",
    }


def established(definition: Document, named: Document) -> Document:
    """Return the Established condition, given NamesAccepted; once established, a definition stays it."""
    old = condition(definition, "Established")
    if old is not None and old.get("status") == "True":
        return old
    if named["status"] == "True":
        return {
            "type": "Established",
            "status": "True",
            "reason": "InitialNamesAccepted",
            "message": "the initial names have been accepted",
        }
    return {
        "type": "Established",
        "status": "False",
        "reason": "NotAccepted",
        "message": "not all names are accepted",
    }


def with_conditions(definition: Document, conditions: Iterable[Document], now: str) -> list[Document]:
    """Return the definition's conditions with some of them set; the time changes with the status only."""
    result: list[Document] = list(section(definition, "status").get("conditions") or ())
    for wanted in conditions:
        place = next((index for index, one in enumerate(result) if one.get("type") == wanted["type"]), len(result))
        old = result[place] if place < len(result) else {}
        at = old.get("lastTransitionTime") if old.get("status") == wanted["status"] else now
        result[place : place + 1] = [{**wanted, "lastTransitionTime": at or now}]
    return result


def _taken(others: Iterable[Document]) -> tuple[set[str], set[str]]:
    resources: set[str] = set()
    kinds: set[str] = set()
    for other in others:
        names = section(section(other, "status"), "acceptedNames")
        resources.update(value for name in ("plural", "singular") if (value := names.get(name)))
        resources.update(names.get("shortNames") or ())
        kinds.update(value for name in ("kind", "listKind") if (value := names.get(name)))
    return resources, kinds


def _set(names: Names, name: str, value: Any) -> None:
    if value:
        names[name] = value
    else:
        names.pop(name, None)
