"""Whether tolerations cover a taint: one rule for whoever places pods and whoever evicts them."""

from __future__ import annotations

from collections.abc import Iterable

from orch.objects.cluster import Taint
from orch.objects.pods import Toleration


def covers(toleration: Toleration, taint: Taint) -> bool:
    """Return whether a toleration covers a taint (k8s.io/api/core/v1 Toleration.ToleratesTaint)."""
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    if toleration.operator == "Exists":
        return True
    return bool(toleration.key) and toleration.value == taint.value


def tolerates(tolerations: Iterable[Toleration], taint: Taint) -> bool:
    """Return whether one of the tolerations covers the taint."""
    return any(covers(toleration, taint) for toleration in tolerations)
