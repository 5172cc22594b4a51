"""PodTopologyLabels: a pod learns in which zone and region it runs, from labels that it gets with its binding."""

from __future__ import annotations

from typing import ClassVar, Final

from orch.store.keys import ObjectKey
from orch_api.admission.chain import CREATE, Plugin, Request, Rule
from orch_api.storage.cache import ObjectCache
from orch_api.strategy import put_section, section

_LABELS: Final = ("topology.kubernetes.io/zone", "topology.kubernetes.io/region")


class PodTopologyLabels(Plugin):
    """Gives bindings the labels of their node, which the pod takes over."""

    name: ClassVar = "PodTopologyLabels"
    mutates: ClassVar = (Rule((CREATE,), ("pods/binding",)),)

    def __init__(self, cache: ObjectCache) -> None:
        self._cache = cache

    async def mutate(self, request: Request) -> None:
        """Copy the labels. A node that is not known yet has none to copy."""
        binding = request.document
        if binding is None:
            return
        node = self._cache.get(ObjectKey("", "nodes", "", section(binding, "target").get("name") or ""))
        if node is None:
            return
        found = {name: node.labels[name] for name in _LABELS if name in node.labels}
        if found:
            labels = put_section(put_section(binding, "metadata"), "labels")
            labels.update(found)
