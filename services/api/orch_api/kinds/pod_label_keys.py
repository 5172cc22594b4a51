"""matchLabelKeys and mismatchLabelKeys of pods: the pod's own values of labels, asked for by its selectors.

As in Kubernetes, what they mean is written into the selectors when the pod is made (the features are called
MatchLabelKeysInPodAffinity, MatchLabelKeysInPodTopologySpreadSelectorMerge): labels that change later change nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from orch.errors import Cause
from orch_api import validation
from orch_api.strategy import Document
from orch_api.validation import check, forbidden, invalid

_REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED: Final = "preferredDuringSchedulingIgnoredDuringExecution"
_LIKE: Final = "matchLabelKeys"
_UNLIKE: Final = "mismatchLabelKeys"
_OPERATORS: Final = ((_LIKE, "In"), (_UNLIKE, "NotIn"))


def merge_label_keys(spec: Document, labels: Mapping[str, str]) -> None:
    """Write into a pod's selectors which values of its own labels they ask for; labels that it lacks are left out."""
    for rule in _rules(spec):
        selector: Document | None = rule.get("labelSelector")
        if selector is None:
            continue  # refused by validation
        merged = [
            {"key": key, "operator": operator, "values": [labels[key]]}
            for name, operator in _OPERATORS
            for key in rule.get(name) or ()
            if key in labels
        ]
        if merged:
            selector["matchExpressions"] = [*(selector.get("matchExpressions") or ()), *merged]


def label_keys(at: str, rule: Document) -> list[Cause]:
    """Return what is wrong with the keys of an affinity's term or of a constraint on spreading."""
    like: Sequence[str] = rule.get(_LIKE) or ()
    unlike: Sequence[str] = rule.get(_UNLIKE) or ()
    if not like and not unlike:
        return []
    selector: Document | None = rule.get("labelSelector")
    causes = [
        *_named(f"{at}.{_LIKE}", like, selector, _LIKE),
        *_named(f"{at}.{_UNLIKE}", unlike, selector, _UNLIKE),
    ]
    for index, key in enumerate(like):
        if key in unlike:
            problem = f"exists in both {_LIKE} and {_UNLIKE}"
            causes.append(invalid(f"{at}.{_LIKE}[{index}]", key, problem))
    return causes


def _named(at: str, keys: Sequence[str], selector: Document | None, name: str) -> list[Cause]:
    if not keys:
        return []
    if selector is None:
        return [forbidden(at, "must not be specified when labelSelector is not set")]
    causes: list[Cause] = []
    equal: Mapping[str, Any] = selector.get("matchLabels") or {}
    expressions: Sequence[Document] = selector.get("matchExpressions") or ()
    for index, key in enumerate(keys):
        causes += check(f"{at}[{index}]", key, validation.qualified_name)
        # Once is what the key itself was turned into.
        if (key in equal) + sum(one.get("key") == key for one in expressions) > 1:
            causes.append(invalid(f"{at}[{index}]", key, f"exists in both {name} and labelSelector"))
    return causes


def _rules(spec: Document) -> Iterator[Document]:
    """Yield all that may have such keys."""
    if affinity := spec.get("affinity"):
        for side in ("podAffinity", "podAntiAffinity"):
            if pods := affinity.get(side):
                yield from pods.get(_REQUIRED) or ()
                for preferred in pods.get(_PREFERRED) or ():
                    yield preferred.get("podAffinityTerm") or {}
    yield from spec.get("topologySpreadConstraints") or ()
