"""The terms by which pods ask for, or refuse, neighbours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from orch.objects.pods import PodAffinityTerm
from orch.selectors import Selector, from_label_selector

NamespaceLabels = Mapping[str, Mapping[str, str]]
"""The labels of every namespace, by its name."""


class Term(msgspec.Struct, frozen=True):
    """Pods that are meant, and the label of nodes (`key`) whose equal values make a neighbourhood."""

    key: str
    pods: Selector
    namespaces: frozenset[str]
    of_namespaces: Selector | None = None

    def means(self, namespace: str, labels: Mapping[str, str], namespaces: NamespaceLabels) -> bool:
        """Return whether pods with these labels in this namespace are meant."""
        if not self.pods.matches(labels):
            return False
        if namespace in self.namespaces:
            return True
        return self.of_namespaces is not None and self.of_namespaces.matches(namespaces.get(namespace, {}))


def terms_of(terms: Iterable[PodAffinityTerm], namespace: str) -> tuple[Term, ...]:
    """Return terms as they are asked for by a pod of `namespace`.

    Without namespaces and without a selector of them, its own is meant. Raises ValueError for a malformed selector.
    """
    return tuple(
        Term(
            key=term.topology_key,
            pods=from_label_selector(term.label_selector),
            namespaces=frozenset(term.namespaces)
            if term.namespaces or term.namespace_selector is not None
            else frozenset((namespace,)),
            of_namespaces=from_label_selector(term.namespace_selector) if term.namespace_selector is not None else None,
        )
        for term in terms
    )
