"""The parameters of policies: the objects that a binding refers to (policy/generic's CollectParams)."""

from __future__ import annotations

from orch.errors import OrchError
from orch.objects.admissionregistration import ParamKind, ParamRef
from orch.selectors import from_label_selector
from orch.store.keys import ObjectKey
from orch_api.registry import Registry, Resource
from orch_api.storage.cache import ObjectCache
from orch_api.storage.objects import to_document
from orch_api.storage.versions import as_served
from orch_api.strategy import Document


class ParametersError(OrchError):
    """Parameters cannot be had; in Kubernetes' words."""


class Parameters:
    """Finds parameters by what the cache holds."""

    def __init__(self, cache: ObjectCache, registry: Registry) -> None:
        self._cache = cache
        self._registry = registry

    async def collect(
        self, kind: ParamKind | None, reference: ParamRef | None, namespace: str
    ) -> list[Document | None]:
        """Return with which parameters a policy is to be evaluated, once for each; None is a policy without any.

        Nothing is returned when there are none, and the binding does not mind. Raises ParametersError and ApiError.
        """
        if kind is None or reference is None:
            return [None]
        resource = self._resource(kind)
        where = _namespace(resource, reference, namespace)
        stored = resource.storage
        if reference.name:
            item = self._cache.get(ObjectKey(stored.group, stored.plural, where, reference.name))
            items = [] if item is None else [item]
        else:
            selector = from_label_selector(reference.selector)
            some = self._cache.select(stored.group, stored.plural, where)
            items = [one for one in some if selector.matches(one.labels)]
        if not items and reference.parameter_not_found_action == "Deny":
            raise ParametersError("no params found for policy binding with `Deny` parameterNotFoundAction")
        return [await as_served(resource, to_document(one.json)) for one in items]

    def _resource(self, kind: ParamKind) -> Resource:
        group, _, version = kind.api_version.rpartition("/")
        found = self._registry.of_kind(group, version, kind.kind)
        if found is None or not found.stored:
            shown = f"&ParamKind{{APIVersion:{kind.api_version},Kind:{kind.kind},}}"
            raise ParametersError(f"paramKind kind `{shown}` not known")
        return found


def _namespace(resource: Resource, reference: ParamRef, namespace: str) -> str:
    if not resource.namespaced:
        if reference.namespace:
            raise ParametersError("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
        return ""
    if not (reference.namespace or namespace):
        raise ParametersError("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources")
    return reference.namespace or namespace
