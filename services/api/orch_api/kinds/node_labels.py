"""Which labels a node may not give itself: by them, it is chosen for pods that trust it (NodeRestriction).

Source: k8s.io/kubernetes plugin/pkg/admission/noderestriction and pkg/kubelet/apis.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_RESTRICTED: Final = "node-restriction.kubernetes.io"
_RESERVED: Final = ("kubernetes.io", "k8s.io")
_OWN_DOMAINS: Final = ("kubelet.kubernetes.io", "node.kubernetes.io")
_OWN: Final = frozenset(
    {
        "beta.kubernetes.io/arch",
        "beta.kubernetes.io/instance-type",
        "beta.kubernetes.io/os",
        "failure-domain.beta.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "kubernetes.io/arch",
        "kubernetes.io/hostname",
        "kubernetes.io/os",
        "node.kubernetes.io/instance-type",
        "topology.kubernetes.io/region",
        "topology.kubernetes.io/zone",
    }
)


def not_for_nodes(new: Mapping[str, str], old: Mapping[str, str]) -> list[str]:
    """Return the labels that differ and that a node must not set, change or remove."""
    changed = (key for key in new.keys() | old.keys() if new.get(key) != old.get(key))
    return sorted(key for key in changed if _is_withheld(key))


def _is_withheld(label: str) -> bool:
    domain = label.partition("/")[0] if "/" in label else ""
    if _is_within(domain, (_RESTRICTED,)):
        return True
    return _is_within(domain, _RESERVED) and label not in _OWN and not _is_within(domain, _OWN_DOMAINS)


def _is_within(domain: str, parents: tuple[str, ...]) -> bool:
    return any(domain == parent or domain.endswith(f".{parent}") for parent in parents)
