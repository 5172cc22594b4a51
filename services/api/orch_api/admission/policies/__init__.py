"""Admission policies in CEL: ValidatingAdmissionPolicies and MutatingAdmissionPolicies with their bindings."""

from orch_api.admission.policies.mutating import MutatingPolicies
from orch_api.admission.policies.validating import ValidatingPolicies

__all__ = ["MutatingPolicies", "ValidatingPolicies"]
