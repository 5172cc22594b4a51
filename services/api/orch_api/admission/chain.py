"""The one chain that every write passes: plugins in order, each may change the document, then each may refuse it.

A plugin declares which requests it is about; a request that no plugin is about costs one look into a table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any, ClassVar, Final, Literal

import msgspec

from orch.errors import ApiError
from orch_api.admission.timing import TIMES, Kind
from orch_api.auth.audit_notes import NOTES
from orch_api.auth.identity import Caller
from orch_api.distribution import Distribution
from orch_api.registry import Resource

Operation = Literal["CREATE", "UPDATE", "DELETE", "CONNECT"]

CREATE: Final[Operation] = "CREATE"
UPDATE: Final[Operation] = "UPDATE"
DELETE: Final[Operation] = "DELETE"
CONNECT: Final[Operation] = "CONNECT"


class Notes:
    """What plugins leave behind beside the document: of one request, from the first plugin to the answer."""

    __slots__ = ("again", "again_wanted", "annotations", "memory", "warnings")

    def __init__(self) -> None:
        self.warnings: list[str] = []
        """What the answer's Warning headers say."""
        self.annotations: dict[str, str] = {}
        """What the audit event says, by `plugin/name`."""
        self.again_wanted = False
        """Set by a plugin that runs others' code and changed the document: the mutating plugins are run once more."""
        self.again = False
        """Whether this is that second run."""
        self.memory: dict[str, Any] = {}
        """What plugins, by their name, keep from one run to the other."""

    def warn(self, text: str) -> None:
        """Tell the client something, once."""
        if text not in self.warnings:
            self.warnings.append(text)


class Request(msgspec.Struct, frozen=True):
    """A write on its way. `document` is None for a deletion, `old` for a creation; `name` is "" until generated.

    For CONNECT the document is the kind that the subresource is opened with, such as PodExecOptions.
    """

    caller: Caller
    operation: Operation
    resource: Resource
    subresource: str
    namespace: str
    name: str
    document: dict[str, Any] | None
    old: dict[str, Any] | None
    dry_run: bool = False
    notes: Notes = msgspec.field(default_factory=Notes)
    options: Mapping[str, Any] | None = None
    """What else the client asks of the operation, as its CreateOptions, UpdateOptions or DeleteOptions say it."""


class Rule(msgspec.Struct, frozen=True):
    """Requests that a plugin is about.

    A resource is written "pods", "ingresses.networking.k8s.io" or, with a subresource, "pods/resize"; "*" is every
    resource without its subresources, "*/*" every subresource.
    """

    operations: tuple[Operation, ...]
    resources: tuple[str, ...]

    def covers(self, operation: Operation, resource: Resource, subresource: str) -> bool:
        """Return whether a request is one of these."""
        if operation not in self.operations:
            return False
        if not subresource:
            return "*" in self.resources or resource.qualified in self.resources
        return "*/*" in self.resources or f"{resource.qualified}/{subresource}" in self.resources


class Plugin:
    """One plugin. What it is not about, it is not asked."""

    name: ClassVar[str]
    """As settings, metrics and Kubernetes call it."""
    mutates: ClassVar[tuple[Rule, ...]] = ()
    validates: ClassVar[tuple[Rule, ...]] = ()
    changing: ClassVar[bool] = False
    """Whether what it is about changes as the api runs: then `wants` is asked, too, each time."""

    def wants(self, operation: Operation, resource: Resource, subresource: str) -> bool:
        """Return whether there is anything to do now for requests that the rules cover. It must be quick."""
        _ = operation, resource, subresource
        return True

    async def mutate(self, request: Request) -> None:
        """Change `request.document` in place. Raises ApiError to refuse."""

    async def validate(self, request: Request) -> None:
        """Look at the document as it will be stored. Raises ApiError to refuse."""


_Key = tuple[Operation, str, str, str]


class _Step(msgspec.Struct, frozen=True):
    """A plugin that is about a request, and the times that it took when it let requests pass and when it did not."""

    plugin: Plugin
    passed: Distribution
    refused: Distribution


class _Steps(msgspec.Struct, frozen=True):
    """The plugins that are about a request, in order, and the times that they took together."""

    each: tuple[_Step, ...]
    passed: Distribution
    refused: Distribution


class Chain:
    """The plugins in their order."""

    def __init__(self, plugins: Sequence[Plugin] = ()) -> None:
        self._plugins = tuple(plugins)
        self._mutating: dict[_Key, _Steps] = {}
        self._validating: dict[_Key, _Steps] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The plugins that are on, in their order."""
        return tuple(plugin.name for plugin in self._plugins)

    def concerns(self, operation: Operation, resource: Resource, subresource: str = "") -> bool:
        """Return whether any plugin is about such requests."""
        key = (operation, resource.group, resource.plural, subresource)
        steps = (*self._mutators(key, resource).each, *self._validators(key, resource).each)
        plugins = (step.plugin for step in steps)
        return any(not one.changing or one.wants(operation, resource, subresource) for one in plugins)

    async def mutate(self, request: Request) -> None:
        """Let each plugin change the document. Raises the first refusal."""
        resource = request.resource
        key = (request.operation, resource.group, resource.plural, request.subresource)
        steps = self._mutating.get(key) or self._mutators(key, resource)
        if not steps.each:
            return
        await _mutate(steps, request)
        notes = request.notes
        if notes.again_wanted and not notes.again:
            notes.again = True
            await _mutate(steps, request)

    async def validate(self, request: Request) -> None:
        """Let each plugin look at the result. Raises the first refusal."""
        resource = request.resource
        key = (request.operation, resource.group, resource.plural, request.subresource)
        steps = self._validating.get(key) or self._validators(key, resource)
        if steps.each:
            await _validate(steps, request)

    def _mutators(self, key: _Key, resource: Resource) -> _Steps:
        found = self._mutating.get(key)
        if found is None:
            about = [one for one in self._plugins if _is_about(one.mutates, key, resource)]
            found = self._mutating[key] = _steps(about, key[0], "admit")
        return found

    def _validators(self, key: _Key, resource: Resource) -> _Steps:
        found = self._validating.get(key)
        if found is None:
            about = [one for one in self._plugins if _is_about(one.validates, key, resource)]
            found = self._validating[key] = _steps(about, key[0], "validate")
        return found


async def _mutate(steps: _Steps, request: Request) -> None:
    started = began = perf_counter()
    for step in steps.each:
        plugin = step.plugin
        if plugin.changing and not plugin.wants(request.operation, request.resource, request.subresource):
            continue
        try:
            await plugin.mutate(request)
        except ApiError as error:
            _note_refusal(steps, step, started, began)
            _tell(request.notes, error)
            raise
        now = perf_counter()
        step.passed.observe(now - began)
        began = now
    steps.passed.observe(began - started)
    if request.notes.annotations:
        _tell(request.notes)


async def _validate(steps: _Steps, request: Request) -> None:
    started = began = perf_counter()
    for step in steps.each:
        plugin = step.plugin
        if plugin.changing and not plugin.wants(request.operation, request.resource, request.subresource):
            continue
        try:
            await plugin.validate(request)
        except ApiError as error:
            _note_refusal(steps, step, started, began)
            _tell(request.notes, error)
            raise
        now = perf_counter()
        step.passed.observe(now - began)
        began = now
    steps.passed.observe(began - started)
    if request.notes.annotations:
        _tell(request.notes)


def _tell(notes: Notes, refusal: ApiError | None = None) -> None:
    """Hand on what plugins left behind: to the audit event, and with a refusal to the client."""
    if (told := NOTES.get()) is not None:
        told.admission(notes.annotations, refused=refusal is not None)
    if refusal is not None and notes.warnings:
        refusal.warnings = (*refusal.warnings, *notes.warnings)


def _note_refusal(steps: _Steps, step: _Step, started: float, began: float) -> None:
    now = perf_counter()
    step.refused.observe(now - began)
    steps.refused.observe(now - started)


def _is_about(rules: Sequence[Rule], key: _Key, resource: Resource) -> bool:
    return any(rule.covers(key[0], resource, key[3]) for rule in rules)


def _steps(plugins: Sequence[Plugin], operation: Operation, kind: Kind) -> _Steps:
    each = tuple(
        _Step(
            plugin,
            TIMES.of_plugin(plugin.name, operation, kind, rejected=False),
            TIMES.of_plugin(plugin.name, operation, kind, rejected=True),
        )
        for plugin in plugins
    )
    passed = TIMES.of_step(operation, kind, rejected=False)
    return _Steps(each, passed, TIMES.of_step(operation, kind, rejected=True))
