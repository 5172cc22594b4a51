"""Admission webhooks: servers of users that change requests and refuse them."""

from orch_api.admission.webhooks.mutating import MutatingWebhooks
from orch_api.admission.webhooks.validating import ValidatingWebhooks

__all__ = ["MutatingWebhooks", "ValidatingWebhooks"]
