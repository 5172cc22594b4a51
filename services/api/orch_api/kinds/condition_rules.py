"""What a condition in a status must be (k8s.io/apimachinery/pkg/apis/meta/v1/validation, ValidateConditions)."""

from __future__ import annotations

import re
from typing import Final

from orch.errors import Cause
from orch_api import validation
from orch_api.strategy import Document
from orch_api.validation import Problems, check, duplicate, invalid, required, too_long, unsupported

_STATUSES: Final = ("False", "True", "Unknown")
_REASON: Final = "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?"
_REASON_WRONG: Final = (
    "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric "
    "characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or "
    f"'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '{_REASON}')"
)
_MAX_REASON: Final = 1024
_MAX_MESSAGE: Final = 32 * 1024


def conditions(field: str, found: list[Document]) -> list[Cause]:
    """Return what is wrong with a list of metav1.Condition, which has at most one of a type."""
    causes: list[Cause] = []
    types: set[str] = set()
    for index, condition in enumerate(found):
        kind: str = condition.get("type") or ""
        if kind in types:
            causes.append(duplicate(f"{field}[{index}]", kind))
        types.add(kind)
        causes += _condition(f"{field}[{index}]", condition)
    return causes


def _condition(at: str, condition: Document) -> list[Cause]:
    causes: list[Cause] = []
    if kind := condition.get("type"):
        causes += check(f"{at}.type", kind, validation.qualified_name)
    else:
        causes.append(required(f"{at}.type", "is required"))
    status: str = condition.get("status") or ""
    if not status:
        causes.append(required(f"{at}.status"))
    elif status not in _STATUSES:
        causes.append(unsupported(f"{at}.status", status, _STATUSES))
    generation: int = condition.get("observedGeneration") or 0
    if generation < 0:
        causes.append(invalid(f"{at}.observedGeneration", generation, "must be greater than or equal to zero"))
    if not condition.get("lastTransitionTime"):
        causes.append(required(f"{at}.lastTransitionTime"))
    reason: str = condition.get("reason") or ""
    causes += check(f"{at}.reason", reason, _reason) if reason else [required(f"{at}.reason")]
    if len(reason) > _MAX_REASON:
        causes.append(too_long(f"{at}.reason", _MAX_REASON))
    if len((condition.get("message") or "").encode()) > _MAX_MESSAGE:
        causes.append(too_long(f"{at}.message", _MAX_MESSAGE))
    return causes


def _reason(text: str) -> Problems:
    return () if re.fullmatch(_REASON, text) else (_REASON_WRONG,)
