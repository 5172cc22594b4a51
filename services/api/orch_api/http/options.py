"""What a request's query says about how it is to be done: ListOptions, CreateOptions, PatchOptions, DeleteOptions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from orch import telemetry
from orch.errors import Cause, InvalidError
from orch_api.http.request import flag, number, text
from orch_api.pipeline import WriteOptions
from orch_api.pipeline.parts import MAX_MANAGER
from orch_api.storage.read import ListOptions

Query = Mapping[str, list[str]]

_VALIDATIONS: Final = frozenset({"", "Strict", "Warn", "Ignore"})
_OPTIONS: Final = {
    "create": "CreateOptions",
    "update": "UpdateOptions",
    "patch": "PatchOptions",
    "apply": "PatchOptions",
}


def list_options(query: Query) -> ListOptions:
    """Return the ListOptions of a query. Raises BadRequestError."""
    limit = number(query, "limit") or 0
    number(query, "timeoutSeconds")  # says nothing of a list, and must be a number all the same
    if limit < 0:
        problem = Cause("FieldValueInvalid", f"Invalid value: {limit}: must be greater than or equal to 0", "limit")
        raise InvalidError.of("ListOptions", "meta.k8s.io", "", [problem])
    return ListOptions(
        label_selector=text(query, "labelSelector"),
        field_selector=text(query, "fieldSelector"),
        limit=limit,
        continue_token=text(query, "continue"),
        resource_version=text(query, "resourceVersion"),
        match=text(query, "resourceVersionMatch"),
    )


def write_options(query: Query, verb: str, agent: str) -> WriteOptions:
    """Return the options of a write; the verb of an applied configuration is "apply". Raises InvalidError.

    `agent` is the User-Agent, which names the field manager when the query does not.
    """
    if not query and verb != "apply":
        return WriteOptions(agent=agent, trace=telemetry.current_trace())
    dry_run = query.get("dryRun", [])
    problems: list[Cause] = []
    if any(value != "All" for value in dry_run):
        listed = ", ".join(f'"{value}"' for value in dry_run)
        message = f'Unsupported value: [{listed}]: supported values: "All"'
        problems.append(Cause("FieldValueNotSupported", message, "dryRun"))
    manager = text(query, "fieldManager")
    problems += _manager_problems(manager, verb)
    if verb == "patch" and "force" in query:
        message = "Forbidden: may not be specified for non-apply patch"
        problems.append(Cause("FieldValueForbidden", message, "force"))
    validation = text(query, "fieldValidation")
    if validation not in _VALIDATIONS:
        message = f'Unsupported value: "{validation}": supported values: "Ignore", "Strict", "Warn"'
        problems.append(Cause("FieldValueNotSupported", message, "fieldValidation"))
    if problems:
        raise InvalidError.of(_OPTIONS.get(verb, "DeleteOptions"), "meta.k8s.io", "", problems)
    return WriteOptions(
        dry_run=bool(dry_run),
        field_manager=manager,
        agent=agent,
        force=verb == "apply" and flag(query, "force"),
        field_validation=validation or "Warn",  # pyright: ignore[reportArgumentType]
        trace=telemetry.current_trace(),
    )


def _manager_problems(manager: str, verb: str) -> list[Cause]:
    if not manager:
        message = "Required value: is required for apply patch"
        return [Cause("FieldValueRequired", message, "fieldManager")] if verb == "apply" else []
    if len(manager.encode()) > MAX_MANAGER:
        return [Cause("FieldValueTooLong", f"Too long: may not be more than {MAX_MANAGER} bytes", "fieldManager")]
    if not manager.isprintable():
        message = f"Invalid value: {msgspec.json.encode(manager).decode()}: should only contain printable characters"
        return [Cause("FieldValueInvalid", message, "fieldManager")]
    return []


def delete_body(document: bytes, query: Query) -> bytes:
    """Return DeleteOptions as JSON: the body, or when there is none what the query says. Raises BadRequestError."""
    if document:
        return document
    options: dict[str, object] = {}
    if (seconds := number(query, "gracePeriodSeconds")) is not None:
        options["gracePeriodSeconds"] = seconds
    if policy := text(query, "propagationPolicy"):
        options["propagationPolicy"] = policy
    if text(query, "orphanDependents"):
        options["orphanDependents"] = flag(query, "orphanDependents")
    return msgspec.json.encode(options) if options else b""
