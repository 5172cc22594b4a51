"""MutatingAdmissionPolicies: expressions that say how a request's object is to be changed (plugin/policy/mutating)."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any, ClassVar, Final

import msgspec

from orch.errors import ApiError, Cause, InternalError, StatedError, StatusDetails
from orch_api.admission.asking_rights import Deciding
from orch_api.admission.chain import CONNECT, CREATE, UPDATE, Operation, Plugin, Request, Rule
from orch_api.admission.changes import ChangeError, Changes, merged
from orch_api.admission.examination import Examination
from orch_api.admission.matching import namespace_of
from orch_api.admission.policies.compiled import Bound, PolicyHook, PolicySource
from orch_api.admission.policies.figures import MUTATING
from orch_api.admission.policies.parameters import Parameters, ParametersError
from orch_api.admission.questions import ScaleForm, Shown
from orch_api.admission.reinvoking import Reinvocation
from orch_api.extensions.expressions.admission import ExhaustedBudgetError, ExpressionError, Program, as_json
from orch_api.patch import json_patch
from orch_api.registry import Registry, Resource
from orch_api.schema import Schemas
from orch_api.storage.cache import ObjectCache
from orch_api.strategy import Document, section

_EVERYTHING: Final = (Rule((CREATE, UPDATE, CONNECT), ("*", "*/*")),)
_APPLY: Final = "ApplyConfiguration"
_OPERATION: Final = ("op", "path", "from", "value")


class _Failure(msgspec.Struct, frozen=True):
    """Why a policy, or one of its bindings, could not do its work."""

    hook: PolicyHook
    binding: str
    message: str
    reason: str = "Forbidden"

    def __str__(self) -> str:
        if self.binding:
            return f"policy '{self.hook.name}' with binding '{self.binding}' denied request: {self.message}"
        return f'policy "{self.hook.name}" denied request: {self.message}'


class _Invocation(msgspec.Struct, frozen=True):
    """A policy to be evaluated for a binding, with one of its parameters."""

    hook: PolicyHook
    binding: Bound
    target: Resource
    params: Document | None

    @property
    def key(self) -> tuple[str, ...]:
        """What tells it from others."""
        metadata = section(self.params or {}, "metadata")
        param = f"{metadata.get('namespace') or ''}/{metadata.get('name') or ''}"
        return (self.hook.name, self.binding.name, param)


class MutatingPolicies(Plugin):
    """Changes objects as policies say."""

    name: ClassVar[str] = "MutatingAdmissionPolicy"
    mutates: ClassVar[tuple[Rule, ...]] = _EVERYTHING
    changing: ClassVar[bool] = True

    def __init__(
        self, cache: ObjectCache, registry: Registry, schemas: Schemas, authority: Deciding, scale: ScaleForm
    ) -> None:
        self._cache = cache
        self._authority = authority
        self._scale = scale
        self._changes = Changes(schemas)
        self._parameters = Parameters(cache, registry)
        source = PolicySource(cache, "mutatingadmissionpolicies", "mutatingadmissionpolicybindings")
        self._hooks = source.hooks(registry)

    def wants(self, operation: Operation, resource: Resource, subresource: str) -> bool:
        """Return whether any bound policy is about such requests."""
        return bool(self._hooks.about(operation, resource, subresource))

    async def mutate(self, request: Request) -> None:
        """Let every policy change the object, in order of their names. Raises ApiError when one cannot."""
        hooks = self._hooks.of(request)
        if not hooks:
            return
        failures: list[_Failure] = []
        invocations = [
            one for hook, target in hooks for one in await self._invocations(request, hook, target, failures)
        ]
        shown = Shown(request, self._scale)
        examination = Examination(request, shown, self._cache, self._authority)
        state = Reinvocation.of(request, self.name)
        for one in invocations:
            await self._invoke(request, one, shown, examination, state, failures)
        state.end(request)
        closed = [failure for failure in failures if failure.hook.fails_closed]
        if closed:
            raise _refused(request, closed)

    async def _invocations(
        self, request: Request, hook: PolicyHook, target: Resource, failures: list[_Failure]
    ) -> list[_Invocation]:
        if hook.policy.problem:
            failures.append(_Failure(hook, "", f"failed to configure policy: {hook.policy.problem}"))
            return []
        found: list[_Invocation] = []
        kind = hook.policy.view.spec.param_kind
        for binding in hook.bindings:
            if self._hooks.target(binding.matcher, request) is None:
                continue
            try:
                some = await self._parameters.collect(kind, binding.view.spec.param_ref, namespace_of(request))
            except ParametersError as error:
                failures.append(_Failure(hook, binding.name, f"failed to configure binding: {error}"))
                continue
            found += [_Invocation(hook, binding, target, params) for params in some]
        return found

    async def _invoke(
        self,
        request: Request,
        one: _Invocation,
        shown: Shown,
        examination: Examination,
        state: Reinvocation,
        failures: list[_Failure],
    ) -> None:
        """Evaluate one policy, whose mutations each see what those before them made."""
        hook, policy = one.hook, one.hook.policy
        try:
            inputs = await examination.inputs(one.target, one.params)
            if not await examination.meets(policy.conditions, inputs):
                return
        except ExpressionError as error:
            failures.append(_Failure(hook, one.binding.name, str(error), "Invalid"))
            return
        if not state.asked(request, one.key) or request.document is None:
            return
        changed = False
        for kind, program in policy.mutations:
            began = perf_counter()
            told = (hook.name, one.binding.name)
            try:
                changed |= await self._mutate(request, one, kind, program, shown, examination)
            except (ExpressionError, ChangeError) as error:
                failure = "out_of_budget" if isinstance(error, ExhaustedBudgetError) else "invalid_error"
                MUTATING.note(*told, failure, "deny" if hook.fails_closed else "allow", perf_counter() - began)
                failures.append(_Failure(hook, one.binding.name, str(error), "Invalid"))
            else:
                MUTATING.note(*told, "no_error", "allow", perf_counter() - began)
        if changed:
            state.changed(request)
        if policy.view.spec.reinvocation_policy == "IfNeeded":
            state.willing(one.key)

    async def _mutate(
        self,
        request: Request,
        one: _Invocation,
        kind: str,
        program: Program,
        shown: Shown,
        examination: Examination,
    ) -> bool:
        """Make one mutation; return whether it changed anything. Raises ExpressionError, ChangeError and ApiError."""
        before, _ = await shown.objects(one.target)
        if before is None:
            return False
        result = as_json(await examination.evaluate(program, await examination.inputs(one.target, one.params)))
        if kind == _APPLY:
            if not isinstance(result, dict):
                raise ChangeError(
                    f"unsupported return type from ApplyConfiguration expression: {type(result).__name__}"
                )
            fields = self._changes.schema(one.target, request.subresource).fields
            changed = merged(fields, before, result)  # pyright: ignore[reportUnknownArgumentType]
        else:
            changed = _patched(before, result)
        if changed is before:
            return False
        try:
            return await self._changes.take(request, shown, one.target, changed)
        except ApiError as error:
            raise InternalError(f"Internal error occurred: {error}") from error


def _patched(document: Document, result: Any) -> Document:
    """Return the document after a JSON patch; the very same when one of its tests fails. Raises ChangeError."""
    if not isinstance(result, list):
        raise ChangeError("type mismatch: JSONPatchType.expression should evaluate to array")
    operations: list[Document] = []
    for index, one in enumerate(result):  # pyright: ignore[reportUnknownVariableType,reportUnknownArgumentType]
        if not isinstance(one, dict):
            raise ChangeError("type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch")
        operation: Document = dict(one)  # pyright: ignore[reportUnknownArgumentType]
        if unknown := sorted(operation.keys() - set(_OPERATION)):
            raise ChangeError(f"type mismatch: JSONPatch[{index}] has no field {unknown[0]!r}")
        operations.append(operation)
    try:
        return json_patch.apply(document, operations)
    except ApiError as error:
        causes = error.details.causes if error.details is not None else ()
        problem = causes[0].message if causes else error.message
        if problem.endswith("test failed"):
            return document
        raise ChangeError(f"JSON Patch: {problem}") from error


def _refused(request: Request, failures: Sequence[_Failure]) -> ApiError:
    resource = request.resource
    causes = tuple(Cause(message=str(failure)) for failure in failures)
    details = StatusDetails(name=request.name, group=resource.group, kind=resource.plural, causes=causes)
    return StatedError(str(failures[0]), 403, failures[0].reason, details)
