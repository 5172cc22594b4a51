"""Admission: what may be said about a write beyond its own validity, and by whom."""

from orch_api.admission.chain import CONNECT, CREATE, DELETE, UPDATE, Chain, Notes, Plugin, Request, Rule

__all__ = ["CONNECT", "CREATE", "DELETE", "UPDATE", "Chain", "Notes", "Plugin", "Request", "Rule"]
