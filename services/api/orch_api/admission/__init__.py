"""Admission: what may be said about a write beyond its own validity, and by whom."""

from orch_api.admission.chain import Admission, Chain, Request
from orch_api.admission.namespaces import NamespaceLifecycle
from orch_api.admission.priorities import Priorities

__all__ = ["Admission", "Chain", "NamespaceLifecycle", "Priorities", "Request"]
