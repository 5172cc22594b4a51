"""The pods that pods mean: groups, and the terms by which others must, or rather should, be near or away.

Groups and terms are interned, so that what the columns count for one pod serves all that ask for the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import Final, Protocol

import msgspec

from orch.objects.meta import LabelSelector, SelectorRequirement
from orch.objects.pods import PodAffinityTerm, TopologySpreadConstraint
from orch.selectors import Selector, from_label_selector

NamespaceLabels = Mapping[str, Mapping[str, str]]
"""The labels of every namespace, by its name."""

_NO_LABELS: Final[Mapping[str, str]] = {}


class Member(Protocol):
    """What of a class of pods decides whether it belongs to a group."""

    @property
    def namespace(self) -> str:
        """Its namespace."""
        ...

    @property
    def labels(self) -> Mapping[str, str]:
        """Its labels."""
        ...

    @property
    def terminating(self) -> bool:
        """Whether it is being deleted."""
        ...


class Meant(msgspec.Struct, frozen=True):
    """Pods with some labels, in named namespaces and in those with some labels."""

    pods: Selector
    namespaces: frozenset[str]
    of_namespaces: Selector | None = None

    def means(self, pod: Member, namespaces: NamespaceLabels) -> bool:
        """Return whether the pod is meant."""
        if not self.pods.matches(pod.labels):
            return False
        if pod.namespace in self.namespaces:
            return True
        return self.of_namespaces is not None and self.of_namespaces.matches(namespaces.get(pod.namespace, _NO_LABELS))


Anchor = tuple[str, str, str]
"""A namespace, a label and a value of it."""


class Group(msgspec.Struct, frozen=True, eq=False):
    """Pods that all of `meant` mean; with `living`, only those that are not being deleted.

    `anchor`: a label that all members have in the one namespace where they all are, if there is such; who looks for
    members, or for the groups of a pod, need not look at the others.
    """

    meant: tuple[Meant, ...]
    living: bool = False
    anchor: Anchor | None = None

    def means(self, pod: Member, namespaces: NamespaceLabels) -> bool:
        """Return whether the pod belongs to the group."""
        if self.living and pod.terminating:
            return False
        for each in self.meant:  # noqa: SIM110 - a generator would cost more than the comparisons
            if not each.means(pod, namespaces):
                return False
        return True

    @property
    def closed(self) -> frozenset[str] | None:
        """The only namespaces in which members may be; None: it depends on the namespaces' labels."""
        for each in self.meant:
            if each.of_namespaces is None:
                return each.namespaces
        return None

    @property
    def open(self) -> bool:
        """Whether the labels of namespaces decide."""
        return any(each.of_namespaces is not None for each in self.meant)


class Term(msgspec.Struct, frozen=True, eq=False):
    """A group, and the label of nodes whose equal values make a neighbourhood."""

    key: str
    group: Group


class Hold(Enum):
    """What a pod that is there wants of those who come: to stay away, to be near, or either with a weight."""

    AWAY = "away"
    NEAR = "near"
    RATHER = "rather"


class Held(msgspec.Struct, frozen=True, eq=False):
    """A term as pods hold it. `weight`: of a preference, negative when it is to stay away."""

    hold: Hold
    term: Term
    weight: int = 0


class Spread(msgspec.Struct, frozen=True, eq=False):
    """A constraint on how evenly a group lies over a label's values. `own`: whether the pod itself is of the group.

    `hard`: nodes that break it are refused; otherwise they score less. With `honors_affinity` only nodes that the pod's
    node affinity selects count, with `honors_taints` only those whose taints it tolerates.
    """

    key: str
    group: Group
    own: bool
    hard: bool
    max_skew: int
    min_domains: int = 1
    honors_affinity: bool = True
    honors_taints: bool = False


class Vocabulary:
    """Interns groups, terms and what is held."""

    def __init__(self) -> None:
        self._groups: dict[tuple[tuple[Meant, ...], bool], Group] = {}
        self._terms: dict[tuple[str, int], Term] = {}
        self._held: dict[tuple[Hold, int, int], Held] = {}

    def clear(self) -> None:
        """Forget everything; what is in use stays valid."""
        self._groups.clear()
        self._terms.clear()
        self._held.clear()

    def group(self, meant: tuple[Meant, ...], *, living: bool = False) -> Group:
        """Return the group."""
        return self._groups.setdefault((meant, living), Group(meant, living, anchor_of(meant)))

    def term(self, term: PodAffinityTerm, pod: Member) -> Term:
        """Return a term as the pod asks for it. Raises ValueError for a malformed selector.

        Without namespaces and without a selector of them, the pod's own is meant.
        """
        named = term.namespaces or term.namespace_selector is not None
        selector = _narrowed(term.label_selector, term.match_label_keys, term.mismatch_label_keys, pod.labels)
        meant = Meant(
            pods=from_label_selector(selector),
            namespaces=frozenset(term.namespaces) if named else frozenset((pod.namespace,)),
            of_namespaces=from_label_selector(term.namespace_selector) if term.namespace_selector is not None else None,
        )
        group = self.group((meant,))
        return self._terms.setdefault((term.topology_key, id(group)), Term(term.topology_key, group))

    def held(self, hold: Hold, term: Term, weight: int = 0) -> Held:
        """Return the term as something held."""
        return self._held.setdefault((hold, id(term), weight), Held(hold, term, weight))

    def all_of(self, terms: Iterable[Term]) -> Group:
        """Return the pods that every term means."""
        return self.group(tuple(meant for term in terms for meant in term.group.meant))

    def spread(self, constraint: TopologySpreadConstraint, pod: Member) -> Spread:
        """Return a constraint as the pod asks for it. Raises ValueError for a malformed selector."""
        selector = _narrowed(constraint.label_selector, constraint.match_label_keys, (), pod.labels)
        group = self.group((Meant(from_label_selector(selector), frozenset((pod.namespace,))),), living=True)
        return Spread(
            key=constraint.topology_key,
            group=group,
            own=group.meant[0].pods.matches(pod.labels),
            hard=constraint.when_unsatisfiable != "ScheduleAnyway",
            max_skew=constraint.max_skew,
            min_domains=constraint.min_domains or 1,
            honors_affinity=constraint.node_affinity_policy != "Ignore",
            honors_taints=constraint.node_taints_policy == "Honor",
        )


def anchors(pod: Member) -> Iterator[Anchor]:
    """Yield what a group's anchor may be for the pod to belong to it."""
    namespace = pod.namespace
    for key, value in pod.labels.items():
        yield namespace, key, value


def anchor_of(meant: tuple[Meant, ...]) -> Anchor | None:
    """Return the anchor of a group, None when its members need not have a label in common."""
    for each in meant:
        if each.of_namespaces is None and len(each.namespaces) == 1:
            (namespace,) = each.namespaces
            for requirement in each.pods.requirements:
                if requirement.operator in {"=", "==", "in"} and len(requirement.values) == 1:
                    return namespace, requirement.key, requirement.values[0]
    return None


def _narrowed(
    selector: LabelSelector | None, alike: Iterable[str], unlike: Iterable[str], labels: Mapping[str, str]
) -> LabelSelector | None:
    """Return the selector that also asks for the pod's own value of some labels, and for another one of others.

    The api writes that into the selectors of new pods; what is there says what the labels were then.
    """
    if selector is None:
        return None
    said = {(one.key, one.operator) for one in selector.match_expressions}
    more = [
        SelectorRequirement(key=key, operator=operator, values=(labels[key],))
        for keys, operator in ((alike, "In"), (unlike, "NotIn"))
        for key in keys
        if key in labels and (key, operator) not in said
    ]
    if not more:
        return selector
    return msgspec.structs.replace(selector, match_expressions=(*selector.match_expressions, *more))
