"""Which images may run: by registry and repository, by digest, by signature."""

from orch_api.admission.images.policy import ImagePolicies

__all__ = ["ImagePolicies"]
