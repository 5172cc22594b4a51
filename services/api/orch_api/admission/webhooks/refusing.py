"""How webhooks refuse: with the Status that they answer, put into words as Kubernetes does (webhook/errors)."""

from __future__ import annotations

from orch.errors import ApiError, BadRequestError, Cause, InternalError, StatedError, StatusDetails
from orch_api.admission.webhooks.calling import CallError
from orch_api.admission.webhooks.configured import Hook
from orch_api.admission.webhooks.reviews import Stated


def denied(hook: Hook, stated: Stated) -> ApiError:
    """Return a webhook's refusal."""
    by = f'admission webhook "{hook.name}" denied the request'
    if stated.message:
        message = f"{by}: {stated.message}"
    elif stated.reason:
        message = f"{by}: {stated.reason}"
    else:
        message = f"{by} without explanation"
    code = stated.code or 0
    return StatedError(message, code if 400 <= code < 600 else 400, stated.reason or "", stated.details)


def unreachable(error: CallError) -> ApiError:
    """Return the refusal of a request since a webhook could not be asked."""
    details = StatusDetails(causes=(Cause(message=str(error)),))
    return InternalError(f"Internal error occurred: {error}", details)


def no_dry_run(hook: Hook) -> ApiError:
    """Return the refusal of a dry run since a webhook may have effects of its own."""
    return BadRequestError(f'admission webhook "{hook.name}" does not support dry run')
