"""ServiceAccounts, and below each the making of tokens."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from orch_api.kinds.columns import AGE, NAME
from orch_api.resource import Column, Resource, Subresource
from orch_api.strategy import Document, Strategy

TOKEN: Final = "token"


def _secrets(obj: Document, now: datetime) -> int:
    _ = now
    return len(obj.get("secrets") or ())


RESOURCES: Final = (
    Resource(
        plural="serviceaccounts",
        singular="serviceaccount",
        kind="ServiceAccount",
        short_names=("sa",),
        returns_deleted=True,
        strategy=Strategy(),
        columns=(NAME, Column("Secrets", _secrets, type="integer", description="Number of secrets."), AGE),
        subresources={TOKEN: Subresource("TokenRequest", "authentication.k8s.io", verbs=frozenset({"create"}))},
    ),
)
