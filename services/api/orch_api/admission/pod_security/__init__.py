"""PodSecurity: pods keep to the level that their namespace asks for (the Pod Security Standards)."""

from orch_api.admission.pod_security.plugin import PodSecurity

__all__ = ["PodSecurity"]
