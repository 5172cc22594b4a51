"""Flow schemas and priority levels: which requests are fair to one another (flowcontrol.apiserver.k8s.io)."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any, Final

from orch.errors import Cause
from orch_api import validation
from orch_api.kinds import flow_objects, flow_rules
from orch_api.kinds.columns import AGE, NAME, NONE, at, text
from orch_api.resource import Cell, Column, Resource, Subresource
from orch_api.strategy import Document, Strategy, section
from orch_api.validation import check, duplicate, forbidden, invalid, required, same, unsupported

GROUP: Final = "flowcontrol.apiserver.k8s.io"

_DEFAULT_PRECEDENCE: Final = 1000
_MAX_PRECEDENCE: Final = 10_000
_DISTINGUISHERS: Final = ("ByNamespace", "ByUser")
_DEFAULT_SHARES: Final = 30
_DEFAULT_QUEUING: Final = {"handSize": 8, "queues": 64, "queueLengthLimit": 50}
_MAX_QUEUES: Final = 10_000_000
_MAX_HASH_BITS: Final = 60
_NOT_NEGATIVE: Final = "must be a non-negative integer"


class FlowSchemaStrategy(Strategy):
    """The rules of flow schemas."""

    has_status = True
    has_generation = True

    def default(self, obj: Document) -> None:
        """Give the precedence that most schemas have."""
        spec = section(obj, "spec")
        if spec and not spec.get("matchingPrecedence"):
            spec["matchingPrecedence"] = _DEFAULT_PRECEDENCE

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the order, the level and the rules; mandatory schemas are as they are."""
        name: str = section(obj, "metadata").get("name") or ""
        spec = section(obj, "spec")
        causes = _precedence(spec.get("matchingPrecedence") or 0, name)
        if (method := spec.get("distinguisherMethod")) is not None and method.get("type") not in _DISTINGUISHERS:
            causes.append(unsupported("spec.distinguisherMethod.type", method, _DISTINGUISHERS))
        level: str = section(spec, "priorityLevelConfiguration").get("name") or ""
        field = "spec.priorityLevelConfiguration.name"
        if level:
            causes += check(field, level, validation.dns_subdomain)
        else:
            causes.append(required(field, "must reference a priority level"))
        for index, rules in enumerate(spec.get("rules") or ()):
            causes += flow_rules.policy_rules(f"spec.rules[{index}]", rules)
        wanted = flow_objects.MANDATORY_SCHEMAS.get(name)
        if wanted is not None and not same(spec, wanted):
            causes.append(invalid("spec", spec, f"spec of '{name}' must equal the fixed value"))
        return causes

    def validate_status(self, obj: Document, old: Document) -> list[Cause]:
        """Return what is wrong with the conditions."""
        _ = old
        return _conditions(obj)


def _precedence(value: int, name: str) -> list[Cause]:
    field = "spec.matchingPrecedence"
    causes: list[Cause] = []
    if value <= 0:
        causes.append(invalid(field, value, "must be a positive value"))
    if value > _MAX_PRECEDENCE:
        causes.append(invalid(field, value, f"must not be greater than {_MAX_PRECEDENCE}"))
    if value == 1 and name != flow_objects.EXEMPT:
        causes.append(invalid(field, value, "only the schema named 'exempt' may have matchingPrecedence 1"))
    return causes


def _conditions(obj: Document) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, condition in enumerate(section(obj, "status").get("conditions") or ()):
        field = f"status.conditions[{index}].type"
        kind: str = condition.get("type") or ""
        if kind in seen:
            causes.append(duplicate(field, kind))
        seen.add(kind)
        if not kind:
            causes.append(required(field, "must not be empty"))
    return causes


class PriorityLevelStrategy(Strategy):
    """The rules of priority levels."""

    has_status = True
    has_generation = True

    def default(self, obj: Document) -> None:
        """Fill in shares, what may be lent, and the queues."""
        spec = section(obj, "spec")
        if (exempt := spec.get("exempt")) is not None:
            exempt.setdefault("nominalConcurrencyShares", 0)
            exempt.setdefault("lendablePercent", 0)
        if (limited := spec.get("limited")) is not None:
            limited.setdefault("nominalConcurrencyShares", _DEFAULT_SHARES)
            limited.setdefault("lendablePercent", 0)
            if (queuing := section(limited, "limitResponse").get("queuing")) is not None:
                for name, value in _DEFAULT_QUEUING.items():
                    queuing[name] = queuing.get(name) or value

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with limits and queues; of the mandatory levels, only what 'exempt' lends may change."""
        name: str = section(obj, "metadata").get("name") or ""
        spec = section(obj, "spec")
        causes = _level(spec, name)
        wanted = flow_objects.MANDATORY_LEVELS.get(name)
        if wanted is None:
            return causes
        if name == flow_objects.EXEMPT:
            if not same({**spec, "exempt": None}, {**wanted, "exempt": None}):
                problem = f"spec of '{name}' except the 'spec.exempt' field must equal the fixed value"
                causes.append(invalid("spec", spec, problem))
        elif not same(spec, wanted):
            causes.append(invalid("spec", spec, f"spec of '{name}' must equal the fixed value"))
        return causes

    def validate_status(self, obj: Document, old: Document) -> list[Cause]:
        """Return what is wrong with the conditions."""
        _ = old
        return _conditions(obj)


def _level(spec: Document, name: str) -> list[Cause]:
    kind: str = spec.get("type") or ""
    exempt: Document | None = spec.get("exempt")
    limited: Document | None = spec.get("limited")
    causes: list[Cause] = []
    if (name == flow_objects.EXEMPT) != (kind == "Exempt"):
        problem = "type must be 'Exempt' if and only if `name` is 'exempt'"
        causes.append(invalid("spec.type", kind, problem))
    if kind == "Exempt":
        if limited is not None:
            causes.append(forbidden("spec.limited", "must be nil if the type is not Limited"))
        if exempt is None:
            causes.append(required("spec.exempt", "must not be empty when type is Exempt"))
        else:
            causes += _lending("spec.exempt", exempt)
    elif kind == "Limited":
        if exempt is not None:
            causes.append(forbidden("spec.exempt", "must be nil if the type is Limited"))
        if limited is None:
            causes.append(required("spec.limited", "must not be empty when type is Limited"))
        else:
            causes += _limited("spec.limited", limited)
    else:
        causes.append(unsupported("spec.type", kind, ("Exempt", "Limited")))
    return causes


def _lending(field: str, level: Document) -> list[Cause]:
    causes: list[Cause] = []
    shares: int = level.get("nominalConcurrencyShares") or 0
    if shares < 0:
        causes.append(invalid(f"{field}.nominalConcurrencyShares", shares, _NOT_NEGATIVE))
    lendable: int = level.get("lendablePercent") or 0
    if not 0 <= lendable <= 100:
        causes.append(invalid(f"{field}.lendablePercent", lendable, validation.inclusive_range(0, 100)))
    return causes


def _limited(field: str, limited: Document) -> list[Cause]:
    causes = _lending(field, limited)
    borrowing: int = limited.get("borrowingLimitPercent") or 0
    if borrowing < 0:
        problem = f"if specified, {_NOT_NEGATIVE}"
        causes.append(invalid(f"{field}.borrowingLimitPercent", borrowing, problem))
    response = section(limited, "limitResponse")
    kind: str = response.get("type") or ""
    queuing: Document | None = response.get("queuing")
    inner = f"{field}.limitResponse"
    if kind == "Reject":
        if queuing is not None:
            causes.append(forbidden(f"{inner}.queuing", "must be nil if limited.limitResponse.type is not Limited"))
    elif kind == "Queue":
        if queuing is None:
            problem = "must not be empty if limited.limitResponse.type is Limited"
            causes.append(required(f"{inner}.queuing", problem))
        else:
            causes += _queuing(f"{inner}.queuing", queuing)
    else:
        causes.append(unsupported(f"{inner}.type", kind, ("Queue", "Reject")))
    return causes


def _queuing(field: str, queuing: Document) -> list[Cause]:
    """Return what cannot be dealt: a hand of queues is drawn by the bits of a hash, of which there are 60."""
    causes: list[Cause] = []
    length: int = queuing.get("queueLengthLimit") or 0
    queues: int = queuing.get("queues") or 0
    hand: int = queuing.get("handSize") or 0
    if length <= 0:
        causes.append(invalid(f"{field}.queueLengthLimit", length, "must be positive"))
    if queues <= 0:
        causes.append(invalid(f"{field}.queues", queues, "must be positive"))
    elif queues > _MAX_QUEUES:
        causes.append(invalid(f"{field}.queues", queues, f"must not be greater than {_MAX_QUEUES}"))
    if hand <= 0:
        causes.append(invalid(f"{field}.handSize", hand, "must be positive"))
    elif hand > queues:
        causes.append(invalid(f"{field}.handSize", hand, f"should not be greater than queues ({queues})"))
    elif math.ceil(math.log2(queues) * hand) > _MAX_HASH_BITS:
        problem = (
            f"required entropy bits of deckSize {queues} and handSize {hand} should not be greater than "
            f"{_MAX_HASH_BITS}"
        )
        causes.append(invalid(f"{field}.handSize", hand, problem))
    return causes


# Tables ---------------------------------------------------------------------------------------------------------


def _missing_level(obj: Document, now: datetime) -> str:
    _ = now
    for condition in section(obj, "status").get("conditions") or ():
        if condition.get("type") == "Dangling":
            return condition.get("status") or ""
    return "?"


def _or_none(*path: str) -> Cell:
    def cell(obj: Document, now: datetime) -> Any:
        _ = now
        found = at(obj, path)
        return NONE if found is None else found

    return cell


def _queue_column(heading: str, name: str) -> Column:
    cell = _or_none("spec", "limited", "limitResponse", "queuing", name)
    return Column(heading, cell, description=f"{heading} of the queues that requests wait in.")


RESOURCES: Final = (
    Resource(
        group=GROUP,
        plural="flowschemas",
        singular="flowschema",
        kind="FlowSchema",
        namespaced=False,
        strategy=FlowSchemaStrategy(),
        columns=(
            NAME,
            Column(
                "PriorityLevel",
                text("spec", "priorityLevelConfiguration", "name"),
                description="The level that matching requests are of.",
            ),
            Column(
                "MatchingPrecedence",
                _or_none("spec", "matchingPrecedence"),
                type="integer",
                description="The lower, the earlier the schema is tried.",
            ),
            Column(
                "DistinguisherMethod",
                text("spec", "distinguisherMethod", "type", missing=NONE),
                description="What makes flows of requests.",
            ),
            AGE,
            Column("MissingPL", _missing_level, description="Whether the level does not exist."),
        ),
        subresources={"status": Subresource("FlowSchema", GROUP)},
    ),
    Resource(
        group=GROUP,
        plural="prioritylevelconfigurations",
        singular="prioritylevelconfiguration",
        kind="PriorityLevelConfiguration",
        namespaced=False,
        strategy=PriorityLevelStrategy(),
        columns=(
            NAME,
            Column("Type", text("spec", "type"), description="Whether requests are limited."),
            Column(
                "NominalConcurrencyShares",
                _or_none("spec", "limited", "nominalConcurrencyShares"),
                description="The level's part of what the server does at a time.",
            ),
            _queue_column("Queues", "queues"),
            _queue_column("HandSize", "handSize"),
            _queue_column("QueueLengthLimit", "queueLengthLimit"),
            AGE,
        ),
        subresources={"status": Subresource("PriorityLevelConfiguration", GROUP)},
    ),
)
