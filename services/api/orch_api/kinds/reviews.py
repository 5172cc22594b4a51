"""Questions about who is who and who may what: posted, answered and never stored.

What is wrong with a question follows k8s.io/kubernetes/pkg/apis/authorization/validation; who answers is
`orch_api.pipeline.reviews`.
"""

from __future__ import annotations

from typing import Any, Final

from orch.errors import Cause
from orch_api import validation
from orch_api.resource import Resource
from orch_api.strategy import Document, Strategy, section
from orch_api.validation import check, forbidden, invalid, required

AUTHENTICATION: Final = "authentication.k8s.io"
AUTHORIZATION: Final = "authorization.k8s.io"

_WITH_VALUES: Final = frozenset({"In", "NotIn"})
_WITHOUT_VALUES: Final = frozenset({"Exists", "DoesNotExist"})


class SelfAccessStrategy(Strategy):
    """The rules of a SelfSubjectAccessReview."""

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the question."""
        spec = section(obj, "spec")
        return _attributes(spec) + _selectors(spec.get("resourceAttributes")) + self.metadata_problems(obj)

    def metadata_problems(self, obj: Document) -> list[Cause]:
        """Return what a question does not say of itself: anything."""
        said = _said(obj)
        return [invalid("metadata", said, "must be empty")] if said else []


class AccessStrategy(SelfAccessStrategy):
    """The rules of a SubjectAccessReview."""

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the question."""
        spec = section(obj, "spec")
        causes = _attributes(spec)
        if not spec.get("user") and not spec.get("groups"):
            problem = "at least one of user or group must be specified"
            causes.append(invalid("spec.user", spec.get("user") or "", problem))
        return causes + _selectors(spec.get("resourceAttributes")) + self.metadata_problems(obj)


class LocalAccessStrategy(AccessStrategy):
    """The rules of a LocalSubjectAccessReview."""

    def metadata_problems(self, obj: Document) -> list[Cause]:
        """Return what does not fit to a question about one namespace."""
        spec = section(obj, "spec")
        said = {name: value for name, value in _said(obj).items() if name != "namespace"}
        causes = [invalid("metadata", said, "must be empty except for namespace")] if said else []
        resource: Document | None = spec.get("resourceAttributes")
        namespace: str = section(obj, "metadata").get("namespace") or ""
        if resource is not None and (resource.get("namespace") or "") != namespace:
            problem = "must match metadata.namespace"
            causes.append(invalid("spec.resourceAttributes.namespace", resource.get("namespace") or "", problem))
        if (path := spec.get("nonResourceAttributes")) is not None:
            causes.append(invalid("spec.nonResourceAttributes", path, "disallowed on this kind of request"))
        return causes


def _said(obj: Document) -> dict[str, Any]:
    return {name: value for name, value in section(obj, "metadata").items() if value and name != "managedFields"}


def _attributes(spec: Document) -> list[Cause]:
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if resource is not None and path is not None:
        problem = "cannot be specified in combination with resourceAttributes"
        return [invalid("spec.nonResourceAttributes", path, problem)]
    if resource is None and path is None:
        problem = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        return [invalid("spec.resourceAttributes", None, problem)]
    return []


def _selectors(resource: Document | None) -> list[Cause]:
    causes: list[Cause] = []
    for name in ("fieldSelector", "labelSelector"):
        selector: Document | None = (resource or {}).get(name)
        if selector is not None:
            causes += _selector(f"spec.resourceAttributes.{name}", selector)
    return causes


def _selector(at: str, selector: Document) -> list[Cause]:
    raw: str = selector.get("rawSelector") or ""
    requirements: list[Document] = selector.get("requirements") or []
    causes: list[Cause] = []
    if raw and requirements:
        problem = "may not specified at the same time as requirements"
        causes.append(invalid(f"{at}.rawSelector", raw, problem))
    if not raw and not requirements:
        needed = f"when {at} is specified, requirements or rawSelector is required"
        causes.append(required(f"{at}.requirements", needed))
    for index, one in enumerate(requirements):
        causes += _requirement(f"{at}.requirements[{index}]", one, label=at.endswith("labelSelector"))
    return causes


def _requirement(at: str, one: Document, *, label: bool) -> list[Cause]:
    """Return what is wrong with a requirement; an operator that is not known is of a newer client, and passes."""
    operator: str = one.get("operator") or ""
    values: list[str] = one.get("values") or []
    causes: list[Cause] = []
    if operator in _WITH_VALUES and not values:
        causes.append(required(f"{at}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in _WITHOUT_VALUES and values:
        problem = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
        causes.append(forbidden(f"{at}.values", problem))
    elif not operator:
        causes.append(required(f"{at}.operator", "must be specified"))
    key: str = one.get("key") or ""
    if label:
        return causes + check(f"{at}.key", key, validation.qualified_name)
    return causes if key else [*causes, required(f"{at}.key", "must be specified")]


def _question(group: str, kind: str, strategy: Strategy, *, namespaced: bool = False) -> Resource:
    return Resource(
        group=group,
        plural=f"{kind.lower()}s",
        singular=kind.lower(),
        kind=kind,
        namespaced=namespaced,
        verbs=frozenset({"create"}),
        strategy=strategy,
        stored=False,
    )


RESOURCES: Final = (
    _question(AUTHENTICATION, "TokenReview", Strategy()),
    _question(AUTHENTICATION, "SelfSubjectReview", Strategy()),
    _question(AUTHORIZATION, "SubjectAccessReview", AccessStrategy()),
    _question(AUTHORIZATION, "LocalSubjectAccessReview", LocalAccessStrategy(), namespaced=True),
    _question(AUTHORIZATION, "SelfSubjectAccessReview", SelfAccessStrategy()),
    _question(AUTHORIZATION, "SelfSubjectRulesReview", Strategy()),
)
