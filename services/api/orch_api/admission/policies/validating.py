"""ValidatingAdmissionPolicies: expressions that must hold of a request (plugin/policy/validating)."""

from __future__ import annotations

import json
from time import perf_counter
from typing import Any, ClassVar, Final

import msgspec

from orch.errors import ApiError, Cause, StatedError, StatusDetails
from orch_api.admission.asking_rights import Deciding
from orch_api.admission.chain import CONNECT, CREATE, DELETE, UPDATE, Operation, Plugin, Request, Rule
from orch_api.admission.examination import Examination
from orch_api.admission.matching import namespace_of
from orch_api.admission.policies.compiled import Bound, Check, PolicyHook, PolicySource, is_true
from orch_api.admission.policies.figures import VALIDATING, Failure
from orch_api.admission.policies.parameters import Parameters, ParametersError
from orch_api.admission.questions import ScaleForm, Shown
from orch_api.extensions.expressions.admission import ExhaustedBudgetError, ExpressionError, Inputs, Program
from orch_api.registry import Registry, Resource
from orch_api.storage.cache import ObjectCache
from orch_api.strategy import Document

_EVERYTHING: Final = (Rule((CREATE, UPDATE, DELETE, CONNECT), ("*", "*/*")),)
_CODES: Final = {"Forbidden": 403, "Unauthorized": 401, "RequestEntityTooLarge": 413, "Invalid": 422}
_FAILURES: Final = "validation.policy.admission.k8s.io/validation_failure"
_MAX_FAILURES: Final = 50
_MAX_MESSAGE: Final = 5 * 1024
_MAX_ANNOTATION: Final = 10 * 1024


class Decision(msgspec.Struct, frozen=True):
    """What became of one validation that did not hold or could not be evaluated."""

    index: int
    message: str
    reason: str = ""
    failure: Failure = "no_error"
    seconds: float = 0.0


class _Refusal(msgspec.Struct, frozen=True):
    """A decision that refuses the request. `binding` is "" when the policy itself cannot be used."""

    policy: str
    binding: str
    decision: Decision


class _Outcome:
    """What all policies came to."""

    def __init__(self) -> None:
        self.refusals: list[_Refusal] = []
        self.failures: list[Document] = []
        self.annotations: dict[str, list[str]] = {}

    def annotate(self, key: str, value: str) -> None:
        """Note the value of an audit annotation; values of several bindings stand beside one another."""
        values = self.annotations.setdefault(key, [])
        if value not in values:
            values.append(value)


class ValidatingPolicies(Plugin):
    """Refuses, warns of and annotates what policies say so of."""

    name: ClassVar[str] = "ValidatingAdmissionPolicy"
    validates: ClassVar[tuple[Rule, ...]] = _EVERYTHING
    changing: ClassVar[bool] = True

    def __init__(self, cache: ObjectCache, registry: Registry, authority: Deciding, scale: ScaleForm) -> None:
        self._cache = cache
        self._authority = authority
        self._scale = scale
        self._parameters = Parameters(cache, registry)
        source = PolicySource(cache, "validatingadmissionpolicies", "validatingadmissionpolicybindings")
        self._hooks = source.hooks(registry)

    def wants(self, operation: Operation, resource: Resource, subresource: str) -> bool:
        """Return whether any bound policy is about such requests."""
        return bool(self._hooks.about(operation, resource, subresource))

    async def validate(self, request: Request) -> None:
        """Let every policy look at the request. Raises ApiError in the words of the first that refuses."""
        hooks = self._hooks.of(request)
        if not hooks:
            return
        examination = Examination(request, Shown(request, self._scale), self._cache, self._authority)
        outcome = _Outcome()
        for hook, target in hooks:
            await self._policy(request, hook, target, examination, outcome)
        notes = request.notes
        for key, values in outcome.annotations.items():
            notes.annotations[key] = ", ".join(values)
        if outcome.failures:
            notes.annotations[_FAILURES] = json.dumps(outcome.failures[:_MAX_FAILURES], separators=(",", ":"))
        if outcome.refusals:
            raise _refused(request, outcome.refusals[0])

    async def _policy(
        self, request: Request, hook: PolicyHook, target: Resource, examination: Examination, outcome: _Outcome
    ) -> None:
        if hook.policy.problem:
            if hook.fails_closed:
                decision = Decision(0, f"failed to configure policy: {hook.policy.problem}", failure="compile_error")
                outcome.refusals.append(_Refusal(hook.name, "", decision))
            return
        for binding in hook.bindings:
            if self._hooks.target(binding.matcher, request) is None:
                continue
            try:
                await self._binding(request, hook, binding, target, examination, outcome)
            except (ParametersError, ExpressionError) as error:
                if hook.fails_closed:
                    decision = Decision(0, f"failed to configure binding: {error}", failure="invalid_error")
                    outcome.refusals.append(_Refusal(hook.name, binding.name, decision))

    async def _binding(
        self,
        request: Request,
        hook: PolicyHook,
        binding: Bound,
        target: Resource,
        examination: Examination,
        outcome: _Outcome,
    ) -> None:
        spec = hook.policy.view.spec
        namespace = namespace_of(request)
        for params in await self._parameters.collect(spec.param_kind, binding.view.spec.param_ref, namespace):
            inputs = await examination.inputs(target, params)
            try:
                if not await examination.meets(hook.policy.conditions, inputs):
                    continue
            except ExpressionError as error:
                decision = Decision(0, str(error), failure=_failure_of(error))
                self._enforce(request, hook, binding, [decision], outcome)
                continue
            decisions = [
                decision
                for index, check in enumerate(hook.policy.checks)
                if (decision := await _judge(index, check, examination, inputs)) is not None
            ]
            self._enforce(request, hook, binding, decisions, outcome)
            await self._annotate(hook, binding, examination, inputs, outcome)

    def _enforce(
        self, request: Request, hook: PolicyHook, binding: Bound, decisions: list[Decision], outcome: _Outcome
    ) -> None:
        """Do what the binding says about validations that did not hold."""
        actions = binding.view.spec.validation_actions
        for decision in decisions:
            told = (hook.name, binding.name, decision.failure)
            if decision.failure != "no_error" and not hook.fails_closed:
                VALIDATING.note(*told, "allow", decision.seconds)
                continue
            for action in actions:
                match action:
                    case "Deny":
                        outcome.refusals.append(_Refusal(hook.name, binding.name, decision))
                        VALIDATING.note(*told, "deny", decision.seconds)
                    case "Audit":
                        outcome.failures.append(_failure_value(hook, binding, decision))
                        VALIDATING.note(*told, "audit", decision.seconds)
                    case _:
                        request.notes.warn(
                            f"Validation failed for ValidatingAdmissionPolicy '{hook.name}' with binding "
                            f"'{binding.name}': {decision.message}"
                        )
                        VALIDATING.note(*told, "warn", decision.seconds)

    async def _annotate(
        self, hook: PolicyHook, binding: Bound, examination: Examination, inputs: Inputs, outcome: _Outcome
    ) -> None:
        """Note what the policy wants in the audit event."""
        for key, program in hook.policy.annotations:
            try:
                value = await _annotation(program, examination, inputs)
            except ExpressionError as error:
                if hook.fails_closed:
                    decision = Decision(0, str(error), failure=_failure_of(error))
                    outcome.refusals.append(_Refusal(hook.name, binding.name, decision))
                    VALIDATING.note(hook.name, binding.name, decision.failure, "deny", 0.0)
                continue
            if value:
                outcome.annotate(f"{hook.name}/{key}", value[:_MAX_ANNOTATION])


async def _annotation(program: Program, examination: Examination, inputs: Inputs) -> str:
    """Return an annotation's value, "" for none. Raises ExpressionError."""
    value = await examination.evaluate(program, inputs)
    if value is not None and not isinstance(value, str):
        raise ExpressionError(
            f"valueExpression '{program.text}' resulted in unsupported return type: {type(value).__name__}. "
            "Return type must be either string or null."
        )
    return (value or "").strip()


async def _judge(index: int, check: Check, examination: Examination, inputs: Inputs) -> Decision | None:
    """Return the decision on one validation, None when it holds."""
    began = perf_counter()
    try:
        if is_true(await examination.evaluate(check.expression, inputs)):
            return None
        message = await _message(check, examination, inputs)
    except ExpressionError as error:
        return Decision(index, str(error), failure=_failure_of(error), seconds=perf_counter() - began)
    return Decision(index, message, check.reason or "Invalid", seconds=perf_counter() - began)


async def _message(check: Check, examination: Examination, inputs: Inputs) -> str:
    """Return what is said about a validation that does not hold. Raises ExhaustedBudgetError."""
    made: Any = ""
    if check.message_expression is not None:
        try:
            made = await examination.evaluate(check.message_expression, inputs)
        except ExhaustedBudgetError as error:
            raise ExhaustedBudgetError(f"failed messageExpression: {error}") from error
        except ExpressionError:
            made = ""  # the plain message stands in, as in Kubernetes
    text = made.strip() if isinstance(made, str) else ""
    if "\n" in text or len(text.encode()) > _MAX_MESSAGE:
        text = ""
    return text or check.message or f"failed expression: {check.expression.text.strip()}"


def _failure_of(error: ExpressionError) -> Failure:
    return "out_of_budget" if isinstance(error, ExhaustedBudgetError) else "invalid_error"


def _failure_value(hook: PolicyHook, binding: Bound, decision: Decision) -> Document:
    return {
        "message": decision.message,
        "policy": hook.name,
        "binding": binding.name,
        "expressionIndex": decision.index,
        "validationActions": list(binding.view.spec.validation_actions),
    }


def _refused(request: Request, refusal: _Refusal) -> ApiError:
    by = f"ValidatingAdmissionPolicy '{refusal.policy}'"
    if refusal.binding:
        by += f" with binding '{refusal.binding}'"
    message = f"{by} denied request: {refusal.decision.message}"
    resource = request.resource
    quoted = f'{resource.qualified} "{request.name}"' if request.name else resource.qualified
    details = StatusDetails(
        name=request.name, group=resource.group, kind=resource.plural, causes=(Cause(message=message),)
    )
    reason = refusal.decision.reason or "Invalid"
    return StatedError(f"{quoted} is forbidden: {message}", _CODES.get(reason, 422), reason, details)
