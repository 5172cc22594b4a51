"""Priority and fairness: who may be served at once, who waits for whose turn, and who is asked to come back later.

A simple form of Kubernetes' API Priority and Fairness with its suggested flow schemas and priority levels. A request is
sorted into a schema by who asks for what; the schema's level has a share of all seats. A level may fill the seats that
others lend and do not use, never those that they keep: so health checks, leaders and nodes are served however many
requests users send. What finds no seat waits in its level; there, flows (users, or namespaces) take turns.

Administrators (system:masters) are exempt, as in Kubernetes. Unlike there, the anonymous get the small catch-all level
instead of that of all other users. Where a PriorityLevelConfiguration of a level's name exists, its shares hold.
FlowSchemas that users make are looked at in order of their precedence, as far as they come before the suggested one of
a request; they may name levels that users made.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from orch.errors import StatusDetails, TooManyRequestsError
from orch_api.auth.identity import AUTHENTICATED, MASTERS, NODES, Caller
from orch_api.http.exchange import Header
from orch_api.http.flow_matching import Asked, Rule, read_rules
from orch_api.http.flow_metrics import FLOWS
from orch_api.http.request import Call, text
from orch_api.storage.cache import ObjectCache
from orch_api.storage.objects import to_document
from orch_api.strategy import section

GROUP: Final = "flowcontrol.apiserver.k8s.io"
_SCHEMAS_CHECKED_EVERY: Final = 1.0
_OBJECTS_PER_SEAT: Final = 100
_MAX_WIDTH: Final = 10
_RETRY_AFTER: Final = 1
_FLOW_QUEUE: Final = 300
_LEVEL_QUEUE: Final = 3200
_LONGEST_WAIT: Final = 60.0

_SERVICE_ACCOUNTS: Final = "system:serviceaccounts"
_KUBE_SYSTEM_ACCOUNT: Final = "system:serviceaccount:kube-system:"
_CONTROLLERS: Final = "system:kube-controller-manager"
_SCHEDULER: Final = "system:kube-scheduler"
_LEADS: Final = frozenset({"get", "create", "update"})
_PROBES: Final = frozenset({"/healthz", "/livez", "/readyz"})

By = Literal["user", "namespace", ""]
"""What tells the flows of a schema apart."""

_DISTINGUISHERS: Final[Mapping[str, By]] = {"ByUser": "user", "ByNamespace": "namespace"}


class LevelSpec(NamedTuple):
    """A priority level: its share of the seats, and how many percent of it others may use while it does not."""

    name: str
    shares: int
    lendable: int
    queues: bool = True


class SchemaSpec(NamedTuple):
    """A flow schema: the level of its requests, what tells its flows apart, and how early it is looked at."""

    name: str
    level: str
    by: By = "user"
    precedence: int = 0


LEVELS: Final = (
    LevelSpec("exempt", 0, 0),
    LevelSpec("leader-election", 10, 0),
    LevelSpec("node-high", 40, 25),
    LevelSpec("system", 30, 33),
    LevelSpec("workload-high", 40, 50),
    LevelSpec("workload-low", 100, 90),
    LevelSpec("global-default", 20, 50),
    LevelSpec("catch-all", 5, 0, queues=False),
)
SCHEMAS: Final = (
    SchemaSpec("exempt", "exempt", "", 1),
    SchemaSpec("probes", "exempt", "", 2),
    SchemaSpec("system-leader-election", "leader-election", "user", 100),
    SchemaSpec("system-node-high", "node-high", "user", 400),
    SchemaSpec("system-nodes", "system", "user", 500),
    SchemaSpec("kube-controller-manager", "workload-high", "namespace", 800),
    SchemaSpec("kube-scheduler", "workload-high", "namespace", 800),
    SchemaSpec("kube-system-service-accounts", "workload-high", "namespace", 900),
    SchemaSpec("service-accounts", "workload-low", "user", 9000),
    SchemaSpec("global-default", "global-default", "user", 9900),
    SchemaSpec("catch-all", "catch-all", "user", 10000),
)
"""Kubernetes' own names, shares and levels (k8s.io/apiserver's flowcontrol bootstrap)."""


def schema_of(caller: Caller, verb: str, group: str = "", resource: str = "", subresource: str = "") -> str:
    """Return the name of the schema of a request for a resource, or without one for a path that is none."""
    groups, user = caller.groups, caller.user
    if MASTERS in groups:
        return "exempt"
    leases = resource == "leases" and group == "coordination.k8s.io" and not subresource
    if NODES in groups:
        node = resource == "nodes" and not group and subresource in {"", "status"}
        return "system-node-high" if node or leases else "system-nodes"
    if user in {_CONTROLLERS, _SCHEDULER}:
        return "system-leader-election" if leases and verb in _LEADS else user.removeprefix("system:")
    if user.startswith(_KUBE_SYSTEM_ACCOUNT):
        return "system-leader-election" if leases and verb in _LEADS else "kube-system-service-accounts"
    if _SERVICE_ACCOUNTS in groups:
        return "service-accounts"
    return "global-default" if AUTHENTICATED in groups else "catch-all"


class RejectedError(TooManyRequestsError):
    """There is no seat, and no room to wait for one."""

    def __init__(self) -> None:
        words = "the server has received too many requests and has asked us to try again later"
        super().__init__(words, StatusDetails(retry_after_seconds=_RETRY_AFTER))


class _Level:
    """The seats of a level and those who wait for one."""

    __slots__ = ("exempt", "flows", "kept", "queues", "seats", "spec", "used", "waiting")

    def __init__(self, spec: LevelSpec) -> None:
        self.spec = spec
        self.exempt = spec.name == "exempt"
        self.queues = spec.queues
        self.seats = 1
        self.kept = 1
        self.used = 0
        self.waiting = 0
        self.flows: dict[str, deque[Ticket]] = {}


class _Schema:
    """A schema with what answers tell of it."""

    __slots__ = ("by", "figures", "headers", "level", "name", "precedence", "rules")

    def __init__(self, spec: SchemaSpec, level: _Level, rules: tuple[Rule, ...] = ()) -> None:
        self.name = spec.name
        self.precedence = spec.precedence
        self.rules = rules
        self.by = spec.by
        self.level = level
        self.figures = FLOWS.of(spec.level, spec.name)
        self.headers: Sequence[Header] = ()


class Ticket:
    """A request's claim to seats: granted at once, or after a wait; given back once."""

    __slots__ = ("_fairness", "flow", "granted", "schema", "turn", "waited", "width")

    def __init__(self, fairness: Fairness, schema: _Schema, flow: str, width: int) -> None:
        self._fairness = fairness
        self.schema = schema
        self.flow = flow
        self.width = width
        self.granted = False
        self.turn: asyncio.Future[None] | None = None
        self.waited = 0.0

    @property
    def headers(self) -> Sequence[Header]:
        """What the answer says of the request's schema and level."""
        return self.schema.headers

    def release(self) -> None:
        """Give the seats back, if they were granted and still are taken."""
        if self.granted:
            self.granted = False
            self._fairness.leave(self)


class Fairness:
    """The seats of this process. Everything is called from one event loop."""

    def __init__(self, cache: ObjectCache, seats: int) -> None:
        self._cache = cache
        self._total = seats
        self._levels = {spec.name: _Level(spec) for spec in LEVELS}
        self._schemas = {spec.name: _Schema(spec, self._levels[spec.level]) for spec in SCHEMAS}
        self._own: list[_Schema] = []  # what users made, in order of precedence
        self._limited = [level for level in self._levels.values() if not level.exempt]
        self._waiting = 0
        self._next_look = 0.0
        self._seen = (-1, -1)
        self._share({})

    def ticket(self, call: Call) -> Ticket:
        """Return a request's ticket: granted, unless it has to wait."""
        if time.monotonic() >= self._next_look:
            self._look()
        caller, resource, target = call.caller, call.resource, call.target
        schema = self._schemas[schema_of(caller, call.verb, resource.group, resource.plural, target.subresource)]
        if self._own:
            below = f"{resource.plural}/{target.subresource}" if target.subresource else resource.plural
            schema = self._earliest(schema, caller, Asked(call.verb, resource.group, below, target.namespace))
        level = schema.level
        flow = caller.user if schema.by == "user" else target.namespace if schema.by else ""
        width = 1 if level.exempt else min(self._width(call), level.seats)
        return self._admit(Ticket(self, schema, flow, width))

    def path_ticket(self, caller: Caller, verb: str, path: str) -> Ticket:
        """Return the ticket of a request for a path that is no resource's."""
        if time.monotonic() >= self._next_look:
            self._look()
        schema = self._schemas["probes" if path in _PROBES else schema_of(caller, verb)]
        if self._own:
            schema = self._earliest(schema, caller, Asked(verb, path=path))
        return self._admit(Ticket(self, schema, caller.user if schema.by == "user" else "", 1))

    def _earliest(self, suggested: _Schema, caller: Caller, asked: Asked) -> _Schema:
        """Return the schema that is looked at first of those that a request matches."""
        for schema in self._own:
            if (schema.precedence, schema.name) >= (suggested.precedence, suggested.name):
                break
            if any(rule.matches(caller, asked) for rule in schema.rules):
                return schema
        return suggested

    def _admit(self, ticket: Ticket) -> Ticket:
        level = ticket.schema.level
        if level.exempt or (not level.waiting and self._fits(level, ticket.width)):
            self._seat(ticket)
        return ticket

    async def wait(self, ticket: Ticket, timeout: float) -> None:
        """Wait for a ticket's turn. Raises RejectedError.

        `timeout` is the request's; at most a quarter of it is spent here.
        """
        schema, level = ticket.schema, ticket.schema.level
        if not level.queues:
            schema.figures.reject("concurrency-limit")
            raise RejectedError
        flow = level.flows.setdefault(ticket.flow, deque())
        if len(flow) >= _FLOW_QUEUE or level.waiting >= _LEVEL_QUEUE:
            schema.figures.reject("queue-full")
            raise RejectedError
        ticket.turn = asyncio.get_running_loop().create_future()
        flow.append(ticket)
        self._count_waiting(ticket, 1)
        started = time.monotonic()
        try:
            async with asyncio.timeout(min(timeout / 4, _LONGEST_WAIT)):
                await ticket.turn
        except TimeoutError:
            schema.figures.reject("time-out")
            raise RejectedError from None
        finally:
            ticket.waited = time.monotonic() - started
            schema.figures.waited(ticket.waited, served=ticket.granted)
            if not ticket.granted:
                self._withdraw(ticket)

    def leave(self, ticket: Ticket) -> None:
        """Take the seats back and give them to those who wait."""
        schema = ticket.schema
        schema.level.used -= ticket.width
        schema.figures.executing -= 1
        schema.figures.seats -= ticket.width
        if self._waiting:
            self._call_up(schema.level)

    # Seats ------------------------------------------------------------------------------------------------------

    def _fits(self, level: _Level, width: int) -> bool:
        """Return whether a level may take more seats: of its own, or of what the others lend and do not use."""
        if level.used + width <= level.seats:
            return True
        return sum(max(each.used, each.kept) for each in self._limited) + width <= self._total

    def _seat(self, ticket: Ticket) -> None:
        figures = ticket.schema.figures
        ticket.granted = True
        ticket.schema.level.used += ticket.width
        figures.executing += 1
        figures.seats += ticket.width
        figures.dispatched += 1

    def _call_up(self, first: _Level) -> None:
        """Seat those whose turn it is: of the level that gave a seat back, then of the others."""
        for level in (first, *self._limited):
            while level.waiting:
                name, flow = next(iter(level.flows.items()))
                ticket = flow[0]
                if not self._fits(level, ticket.width):
                    break
                flow.popleft()
                del level.flows[name]
                if flow:
                    level.flows[name] = flow  # at the end: the other flows come first
                self._count_waiting(ticket, -1)
                self._seat(ticket)
                if ticket.turn is not None and not ticket.turn.done():
                    ticket.turn.set_result(None)

    def _withdraw(self, ticket: Ticket) -> None:
        flows = ticket.schema.level.flows
        flow = flows[ticket.flow]
        flow.remove(ticket)
        if not flow:
            del flows[ticket.flow]
        self._count_waiting(ticket, -1)

    def _count_waiting(self, ticket: Ticket, change: int) -> None:
        self._waiting += change
        ticket.schema.level.waiting += change
        ticket.schema.figures.waiting += change

    def _width(self, call: Call) -> int:
        """Return how many seats a request takes: what begins with a list, by the objects that it looks at."""
        if call.verb not in {"list", "watch"} or call.target.name:
            return 1
        query = call.query
        lists = call.verb == "list" or "sendInitialEvents" in query or text(query, "resourceVersion") in {"", "0"}
        if not lists or text(query, "fieldSelector").startswith(("metadata.name=", "spec.nodeName=")):
            return 1
        storage = call.resource.storage
        count = self._cache.count(storage.group, storage.plural, call.target.namespace)
        limit = text(query, "limit")
        if call.verb == "list" and limit.isascii() and limit.isdecimal() and int(limit):
            count = min(count, int(limit))
        return max(1, min(math.ceil(count / _OBJECTS_PER_SEAT), _MAX_WIDTH))

    # Settings ---------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Look whether objects say how the seats are shared."""
        self._next_look = time.monotonic() + _SCHEMAS_CHECKED_EVERY
        seen = (self._cache.changed(GROUP, "flowschemas"), self._cache.changed(GROUP, "prioritylevelconfigurations"))
        if seen == self._seen:
            return
        self._seen = seen
        objects = self._objects("prioritylevelconfigurations")
        specs = {name: section(document, "spec") for name, (_, document) in objects.items()}
        self._read_levels(specs)
        self._share(specs)
        schemas = self._objects("flowschemas")
        self._read_schemas({name: section(document, "spec") for name, (_, document) in schemas.items()})
        for schema in (*self._schemas.values(), *self._own):
            name, level = schema.name, schema.level.spec.name
            if name in schemas and level in objects:
                schema.headers = (
                    (b"x-kubernetes-pf-flowschema-uid", schemas[name][0].encode()),
                    (b"x-kubernetes-pf-prioritylevel-uid", objects[level][0].encode()),
                )
            else:
                schema.headers = ()

    def _read_levels(self, specs: Mapping[str, Mapping[str, Any]]) -> None:
        """Have the levels that users made; requests that have a seat of one that is gone give it back to nobody."""
        suggested = {spec.name for spec in LEVELS}
        for name in self._levels.keys() - suggested - specs.keys():
            del self._levels[name]
        for name, spec in specs.items():
            if name not in self._levels and spec.get("type") == "Limited":
                self._levels[name] = _Level(LevelSpec(name, 0, 0))
        self._limited = [level for level in self._levels.values() if not level.exempt]

    def _read_schemas(self, specs: Mapping[str, Mapping[str, Any]]) -> None:
        """Have the schemas that users made, as far as their levels exist."""
        own: list[_Schema] = []
        for name, spec in specs.items():
            level = self._levels.get(section(spec, "priorityLevelConfiguration").get("name") or "")
            if name in self._schemas or level is None:
                continue
            by: By = _DISTINGUISHERS.get(section(spec, "distinguisherMethod").get("type") or "", "")
            made = SchemaSpec(name, level.spec.name, by, spec.get("matchingPrecedence") or 0)
            own.append(_Schema(made, level, read_rules(spec)))
        self._own = sorted(own, key=lambda one: (one.precedence, one.name))

    def _objects(self, plural: str) -> dict[str, tuple[str, dict[str, Any]]]:
        """Return uid and document of the objects that exist, by their names."""
        return {item.key.name: (item.uid, to_document(item.json)) for item in self._cache.select(GROUP, plural)}

    def _share(self, specs: Mapping[str, Mapping[str, Any]]) -> None:
        """Divide the seats by the levels' shares."""
        terms: dict[str, tuple[int, int]] = {}
        for level in self._limited:
            limited: Mapping[str, Any] = section(specs.get(level.spec.name, {}), "limited")
            shares = limited.get("nominalConcurrencyShares", level.spec.shares)
            terms[level.spec.name] = (int(shares), int(limited.get("lendablePercent", level.spec.lendable)))
            if limited:
                level.queues = section(limited, "limitResponse").get("type") != "Reject"
        whole = sum(shares for shares, _ in terms.values()) or 1
        for level in self._limited:
            shares, lendable = terms[level.spec.name]
            level.seats = max(math.ceil(self._total * shares / whole), 1)
            level.kept = level.seats - math.floor(level.seats * lendable / 100)
            FLOWS.limits[level.spec.name] = level.seats
