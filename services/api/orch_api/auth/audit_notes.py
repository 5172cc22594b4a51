"""What a request's audit event says beside its outcome, noted by those who find it out: authorization and admission.

Keys and values are Kubernetes' (k8s.io/apiserver's authorization filter). A request is served in a context of its own;
where nothing is recorded there are no notes, and noting costs one look.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Final

DECISION: Final = "authorization.k8s.io/decision"
REASON: Final = "authorization.k8s.io/reason"


class AuditNotes:
    """The annotations of one request's audit event, and whether somebody refused it."""

    __slots__ = ("annotations", "denied")

    def __init__(self) -> None:
        self.annotations: dict[str, str] = {}
        self.denied = False
        """Whether it was refused in a way that its status need not tell: by admission, or as nobody decided."""

    def permitted(self, reason: str) -> None:
        """Note a permission. Of several the first is told: it is the one for what the request itself is."""
        if DECISION not in self.annotations:
            self.annotations[DECISION] = "allow"
            self.annotations[REASON] = reason

    def forbidden(self, reason: str) -> None:
        """Note that authorization refused; it outweighs a permission for another part of the request."""
        self.annotations[DECISION] = "forbid"
        self.annotations[REASON] = reason

    def undecided(self) -> None:
        """Note that authorization failed: nobody decided, so the request is refused."""
        self.annotations[REASON] = "internal error"
        self.denied = True

    def admission(self, annotations: Mapping[str, str], *, refused: bool) -> None:
        """Note what admission's plugins have to say."""
        self.annotations.update(annotations)
        self.denied = self.denied or refused


NOTES: Final[ContextVar[AuditNotes | None]] = ContextVar("audit notes", default=None)
"""The notes on the request that is being served; None where nothing is recorded."""
