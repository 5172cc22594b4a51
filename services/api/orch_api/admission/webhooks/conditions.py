"""Whether a webhook's conditions hold of a request (webhook/matchconditions)."""

from __future__ import annotations

from orch_api.admission.chain import Request
from orch_api.admission.examination import Examination
from orch_api.admission.refusals import refused
from orch_api.admission.webhooks.configured import Hook
from orch_api.admission.webhooks.figures import CONDITION_ERRORS, CONDITION_EXCLUSIONS, Kind
from orch_api.extensions.expressions.admission import ExpressionError
from orch_api.resource import Resource


async def applies(hook: Hook, target: Resource, request: Request, examination: Examination, kind: Kind) -> bool:
    """Return whether all conditions hold. Raises ForbiddenError when that cannot be told and the webhook matters."""
    if not hook.conditions and not hook.problem:
        return True
    told = (hook.name, "webhook", kind, request.operation)
    problem = hook.problem
    holds = False
    if not problem:
        try:
            holds = await examination.meets(hook.conditions, await examination.inputs(target))
        except ExpressionError as error:
            problem = str(error)
    if problem:
        CONDITION_ERRORS.labels(*told).inc()
        if hook.fails_closed:
            raise refused(request, problem)
        return False
    if not holds:
        CONDITION_EXCLUSIONS.labels(*told).inc()
    return holds
