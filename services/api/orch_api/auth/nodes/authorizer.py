"""The node authorizer (k8s.io/kubernetes/plugin/pkg/auth/authorizer/node): a node reads what its own pods need.

What a node may write it may only to objects of its own; where the request does not tell which that is, such as the
name of what is created, admission looks (the NodeRestriction plugin).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from orch.store.keys import ObjectKey
from orch_api.auth.attributes import ALLOWED, NO_OPINION, Attributes, Verdict
from orch_api.auth.identity import NODES, Caller
from orch_api.auth.nodes.graph import NodeGraph
from orch_api.auth.nodes.references import ACCOUNT, CLAIM, CONFIG_MAP, RESOURCE_CLAIM, SECRET
from orch_api.auth.rbac.rules import compiled, keys_of
from orch_api.auth.rbac.system_roles import NODE_RULES
from orch_api.storage.cache import ObjectCache

_LEASES: Final = "kube-node-lease"
_READ: Final = frozenset({"get", "list", "watch"})
_OWN: Final = frozenset({"get", "create", "update", "patch", "delete"})
_SELECTED: Final = frozenset({"list", "watch", "deletecollection"})
_CHANGE: Final = frozenset({"update", "patch"})
_POD_WRITES: Final = {"status": _CHANGE, "eviction": frozenset({"create"})}
_PREFIX: Final = "system:node:"

_Judge = Callable[[str, Attributes], Verdict]


class NodeAuthorizer:
    """Has an opinion on nodes only, and only to permit."""

    name: Final = "Node"

    def __init__(self, cache: ObjectCache) -> None:
        self._cache = cache
        self._graph = NodeGraph(cache)
        self._rules = compiled(NODE_RULES)
        self._judges: dict[tuple[str, str], _Judge] = {
            ("", SECRET): self._content,
            ("", CONFIG_MAP): self._content,
            ("", CLAIM): self._claim,
            ("", "persistentvolumes"): self._volume,
            ("", ACCOUNT): self._account,
            ("", "nodes"): self._node,
            ("", "pods"): self._pod,
            ("resource.k8s.io", RESOURCE_CLAIM): self._resource_claim,
            ("resource.k8s.io", "resourceslices"): self._slice,
            ("storage.k8s.io", "volumeattachments"): self._attachment,
            ("storage.k8s.io", "csinodes"): self._csi_node,
            ("coordination.k8s.io", "leases"): self._lease,
            ("certificates.k8s.io", "podcertificaterequests"): self._certificate,
        }

    def decide(self, caller: Caller, wanted: Attributes) -> Verdict:
        """Return whether a node may; nothing is said of others."""
        if NODES not in caller.groups or not caller.user.startswith(_PREFIX):
            return NO_OPINION
        node = caller.node
        if not node:
            return Verdict("none", f'unknown node for user "{caller.user}"')
        if wanted.path is not None:
            return NO_OPINION
        judge = self._judges.get((wanted.group, wanted.resource))
        if judge is not None:
            return judge(node, wanted)
        keys = keys_of(wanted.group, wanted.resource, wanted.subresource)
        return NO_OPINION if self._rules.find(keys, wanted.verb, wanted.name) is None else ALLOWED

    # What pods need ---------------------------------------------------------------------------------------------

    def _content(self, node: str, wanted: Attributes) -> Verdict:
        """Secrets and ConfigMaps."""
        if wanted.verb not in _READ:
            return _no("can only read resources of this type")
        if wanted.subresource:
            return _no("cannot read subresource")
        if not wanted.namespace:
            return _no("can only read namespaced object of this type")
        return self._needed(node, wanted)

    def _claim(self, node: str, wanted: Attributes) -> Verdict:
        if wanted.subresource == "status":
            if wanted.verb not in {"get", *_CHANGE}:
                return _no("can only get/update/patch this type")
            return self._needed(node, wanted)
        return self._only_get(wanted) or self._needed(node, wanted)

    def _resource_claim(self, node: str, wanted: Attributes) -> Verdict:
        return self._only_get(wanted) or self._needed(node, wanted)

    def _volume(self, node: str, wanted: Attributes) -> Verdict:
        refused = self._only_get(wanted)
        return refused or _related(node, wanted, there=self._graph.mounts(node, wanted.name))

    def _attachment(self, node: str, wanted: Attributes) -> Verdict:
        refused = self._only_get(wanted)
        return refused or _related(node, wanted, there=self._graph.names(node, _key(wanted)))

    def _account(self, node: str, wanted: Attributes) -> Verdict:
        if wanted.subresource == "token":
            if wanted.verb != "create" or not wanted.name:
                return _no("can only create tokens for individual service accounts")
            return self._needed(node, wanted)
        if wanted.verb == "create":
            return _no("can only create token subresource of serviceaccount")
        return self._only_get(wanted) or self._needed(node, wanted)

    def _needed(self, node: str, wanted: Attributes) -> Verdict:
        there = self._graph.needs(node, wanted.resource, wanted.namespace, wanted.name)
        return _related(node, wanted, there=there)

    def _only_get(self, wanted: Attributes) -> Verdict | None:
        if wanted.verb != "get":
            return _no("can only get individual resources of this type")
        return _no("cannot get subresource") if wanted.subresource else None

    # Pods -------------------------------------------------------------------------------------------------------

    def _pod(self, node: str, wanted: Attributes) -> Verdict:
        if wanted.subresource:
            return ALLOWED if wanted.verb in _POD_WRITES.get(wanted.subresource, ()) else NO_OPINION
        match wanted.verb:
            case "create" | "delete":
                return ALLOWED
            case "get":
                return _related(node, wanted, there=self._own_or_gone(node, wanted))
            case "list" | "watch":
                return self._pods(node, wanted)
            case _:
                return NO_OPINION

    def _pods(self, node: str, wanted: Attributes) -> Verdict:
        if _selects(wanted, "spec.nodeName", node):
            return ALLOWED
        if wanted.name:
            return _related(node, wanted, there=self._graph.runs(node, _key(wanted)))
        return _no("can only list/watch pods with spec.nodeName field selector")

    def _own_or_gone(self, node: str, wanted: Attributes) -> bool:
        """Return whether a pod is the node's. That one is gone is told to any node, whose agent clears away by it."""
        key = _key(wanted)
        return self._graph.runs(node, key) or self._cache.get(key) is None

    # What is the node's own -------------------------------------------------------------------------------------

    def _node(self, node: str, wanted: Attributes) -> Verdict:
        if wanted.subresource == "status":
            return ALLOWED if wanted.verb in _CHANGE else NO_OPINION
        if wanted.subresource:
            return NO_OPINION
        if wanted.verb in {"create", *_CHANGE}:
            return ALLOWED
        if wanted.verb not in _READ:
            return NO_OPINION
        if wanted.name == node or (wanted.verb != "get" and _selects(wanted, "metadata.name", node)):
            return ALLOWED
        which = f"'{wanted.name}'" if wanted.name else "all nodes"
        return _no(f"node '{node}' cannot read {which}, only its own Node object")

    def _lease(self, node: str, wanted: Attributes) -> Verdict:
        if wanted.verb not in _OWN:
            return _no("can only get, create, update, patch, or delete a node lease")
        if wanted.namespace != _LEASES:
            return _no(f'can only access leases in the "{_LEASES}" system namespace')
        if wanted.verb != "create" and wanted.name != node:
            return _no("can only access node lease with the same name as the requesting node")
        return ALLOWED

    def _csi_node(self, node: str, wanted: Attributes) -> Verdict:
        if wanted.verb not in _OWN:
            return _no("can only get, create, update, patch, or delete a CSINode")
        if wanted.subresource:
            return _no("cannot authorize CSINode subresources")
        if wanted.verb != "create" and wanted.name != node:
            return _no("can only access CSINode with the same name as the requesting node")
        return ALLOWED

    def _slice(self, node: str, wanted: Attributes) -> Verdict:
        if wanted.subresource:
            return _no("cannot authorize ResourceSlice subresources")
        if wanted.verb == "create":
            return ALLOWED
        if wanted.verb in _OWN:
            return _related(node, wanted, there=self._graph.names(node, _key(wanted)))
        if wanted.verb in _SELECTED:
            if _selects(wanted, "spec.nodeName", node):
                return ALLOWED
            return _no("can only list/watch/deletecollection resourceslices with nodeName field selector")
        verbs = "get, watch, list, create, update, patch, delete, deletecollection"
        return _no(f"only the following verbs are allowed for a ResourceSlice: {verbs}")

    def _certificate(self, node: str, wanted: Attributes) -> Verdict:
        if wanted.subresource:
            return _no("cannot authorize PodCertificateRequest subresources")
        if wanted.verb == "create":
            return ALLOWED
        if wanted.verb == "get":
            return _related(node, wanted, there=self._graph.names(node, _key(wanted)))
        if wanted.verb in _READ:
            if _selects(wanted, "spec.nodeName", node):
                return ALLOWED
            return _no("can only list/watch podcertificaterequests with spec.nodeName field selector")
        return _no("only the following verbs are allowed for a PodCertificateRequest: get, list, watch, create")


def _key(wanted: Attributes) -> ObjectKey:
    return ObjectKey(wanted.group, wanted.resource, wanted.namespace, wanted.name)


def _selects(wanted: Attributes, field: str, value: str) -> bool:
    return any(one.is_exactly(field, value) for one in wanted.fields)


def _related(node: str, wanted: Attributes, *, there: bool) -> Verdict:
    if not wanted.name:
        return _no("No Object name found")
    return ALLOWED if there else _no(f"no relationship found between node '{node}' and this object")


def _no(reason: str) -> Verdict:
    return Verdict("none", reason)
