"""NodeRestriction: a node changes itself and its own pods, and of itself only what does not gain it anything.

What nodes report on the bus is held to the same rules about labels (orch_api.reports).
Source: k8s.io/kubernetes plugin/pkg/admission/noderestriction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from orch.store.keys import ObjectKey
from orch_api.admission.chain import CREATE, DELETE, UPDATE, Plugin, Request, Rule
from orch_api.admission.node_pods import created_pod_problem
from orch_api.admission.refusals import refused
from orch_api.admission.rights import may
from orch_api.auth.authorizer import Attributes, Authorizer
from orch_api.kinds.certificate_rules import pem_blocks, plain
from orch_api.kinds.node_labels import not_for_nodes
from orch_api.storage.cache import Cached, ObjectCache
from orch_api.storage.objects import to_document
from orch_api.strategy import Document, section

_LEASES: Final = "leases.coordination.k8s.io"
_CSI_NODES: Final = "csinodes.storage.k8s.io"
_SLICES: Final = "resourceslices.resource.k8s.io"
_REQUESTS: Final = "certificatesigningrequests.certificates.k8s.io"
_LEASE_NAMESPACE: Final = "kube-node-lease"
_NODE_SIGNERS: Final = frozenset({"kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"})
_CLAIM_STATUS: Final = ("capacity", "conditions", "allocatedResources", "allocatedResourceStatuses")
_WRITES: Final = (CREATE, UPDATE, DELETE)


class NodeRestriction(Plugin):
    """Refuses nodes what is not theirs to do. Whoever is no node is not looked at."""

    name: ClassVar = "NodeRestriction"
    mutates: ClassVar = (
        Rule(_WRITES, ("pods", "pods/status", "pods/eviction", "pods/ephemeralcontainers", "pods/resize")),
        Rule(_WRITES, ("pods/binding", "nodes", "nodes/status", "persistentvolumeclaims")),
        Rule(_WRITES, ("persistentvolumeclaims/status", "serviceaccounts/token", _LEASES, _CSI_NODES, _SLICES)),
        Rule((CREATE,), (_REQUESTS,)),
    )

    def __init__(self, cache: ObjectCache, authorizer: Authorizer) -> None:
        self._cache = cache
        self._authorizer = authorizer

    async def mutate(self, request: Request) -> None:
        """Refuse before anything is made of the request. Raises ForbiddenError."""
        node = request.caller.node
        if not node:
            return
        problem = await self._problem(request, node)
        if problem:
            raise refused(request, problem)

    async def _problem(self, request: Request, node: str) -> str:
        resource = request.resource.qualified
        if resource == "pods":
            return await self._pod(request, node)
        if resource == "serviceaccounts":
            return await self._token(request, node)
        return _CHECKS[resource](request, node)

    # Pods -------------------------------------------------------------------------------------------------------

    async def _pod(self, request: Request, node: str) -> str:
        if request.subresource == "":
            if request.operation == CREATE:
                found = self._cache.get(ObjectKey("", "nodes", "", node))
                return created_pod_problem(request.document or {}, node, "" if found is None else found.uid)
            if request.operation == DELETE:
                return "" if _runs_on(request.old, node) else _only(node, "delete pods")
            return f'unexpected operation "{request.operation}", node "{node}" can only create and delete mirror pods'
        if request.subresource == "status":
            return _pod_status_problem(request, node)
        if request.subresource == "eviction":
            pod = await self._find("pods", request.namespace, request.name)
            return "" if pod is None or pod.node == node else _only(node, "evict pods")
        return f"unexpected pod subresource \"{request.subresource}\", only 'status' and 'eviction' are allowed"

    # Tokens -----------------------------------------------------------------------------------------------------

    async def _token(self, request: Request, node: str) -> str:
        spec = section(request.document or {}, "spec")
        bound: Mapping[str, Any] = spec.get("boundObjectRef") or {}
        name: str = bound.get("name") or ""
        if bound.get("apiVersion") != "v1" or bound.get("kind") != "Pod" or not name:
            return "node requested token not bound to a pod"
        uid: str = bound.get("uid") or ""
        if not uid:
            return "node requested token with a pod binding without a uid"
        pod = await self._find("pods", request.namespace, name)
        if pod is None:
            return f'pods "{name}" not found'
        if pod.uid != uid:
            return (
                f"the UID in the bound object reference ({uid}) does not match the UID in record. The object might "
                "have been deleted and then recreated"
            )
        if pod.node != node:
            return "node requested token bound to a pod scheduled on a different node"
        return await self._audiences(request, to_document(pod.json), spec.get("audiences") or [])

    async def _audiences(self, request: Request, pod: Document, audiences: list[str]) -> str:
        """Return which audience neither the pod's volumes nor the drivers of its volumes ask for."""
        volumes: list[Document] = section(pod, "spec").get("volumes") or []
        known = {""}
        for volume in volumes:
            for source in section(volume, "projected").get("sources") or ():
                if token := source.get("serviceAccountToken"):
                    known.add(token.get("audience") or "")
            if driver := section(volume, "csi").get("driver"):
                known |= self._driver_audiences(driver)
        for audience in audiences:
            if audience in known:
                continue
            wanted = Attributes(
                verb="request-serviceaccounts-token-audience",
                resource=audience,
                name=request.name,
                namespace=request.namespace,
            )
            if not (await may(self._authorizer, request.caller, wanted))[0]:
                return f'audience "{audience}" not found in pod spec volume'
        return ""

    def _driver_audiences(self, driver: str) -> set[str]:
        found = self._cache.get(ObjectKey("storage.k8s.io", "csidrivers", "", driver))
        if found is None:
            return set()
        asked: list[Document] = section(to_document(found.json), "spec").get("tokenRequests") or []
        return {one.get("audience") or "" for one in asked}

    async def _find(self, plural: str, namespace: str, name: str) -> Cached | None:
        key = ObjectKey("", plural, namespace, name)
        found = self._cache.get(key)
        if found is None:
            await self._cache.catch_up()
            found = self._cache.get(key)
        return found


def _only(node: str, what: str) -> str:
    return f'node "{node}" can only {what} with spec.nodeName set to itself'


def _runs_on(pod: Document | None, node: str) -> bool:
    return section(pod or {}, "spec").get("nodeName") == node


def _pod_status_problem(request: Request, node: str) -> str:
    if request.operation != UPDATE:
        return f'unexpected operation "{request.operation}"'
    if not _runs_on(request.old, node):
        return _only(node, "update pod status for pods")
    new, old = request.document or {}, request.old or {}
    if section(section(new, "metadata"), "labels") != section(section(old, "metadata"), "labels"):
        return f'node "{node}" cannot update labels through pod status'
    status, before = section(new, "status"), section(old, "status")
    for field, what in (
        ("resourceClaimStatuses", "resource claim statuses"),
        ("extendedResourceClaimStatus", "extended resource claim status"),
    ):
        if (status.get(field) or None) != (before.get(field) or None):
            return f'node "{node}" cannot update {what}'
    return ""


def _node_problem(request: Request, node: str) -> str:
    new, old = request.document or {}, request.old or {}
    name = request.name or section(new, "metadata").get("name") or ""
    if request.operation != DELETE:
        metadata, before = section(new, "metadata"), section(old, "metadata")
        labels = not_for_nodes(section(metadata, "labels"), section(before, "labels"))
        if request.operation == CREATE and labels:
            return f'node "{node}" is not allowed to set the following labels: {", ".join(labels)}'
        if request.operation == UPDATE:
            if (metadata.get("ownerReferences") or None) != (before.get("ownerReferences") or None):
                return f'node "{node}" is not allowed to modify ownerReferences'
            if (section(new, "spec").get("taints") or []) != (section(old, "spec").get("taints") or []):
                return f'node "{node}" is not allowed to modify taints'
            if labels:
                return f"is not allowed to modify labels: {', '.join(labels)}"
        elif metadata.get("ownerReferences"):
            return f'node "{node}" is not allowed to modify ownerReferences'
    return "" if name == node else f'node "{node}" is not allowed to modify node "{name}"'


def _claim_problem(request: Request, node: str) -> str:
    if request.subresource != "status" or request.operation != UPDATE:
        return "may only update PVC status"

    def rest(claim: Document | None) -> Document:
        """Return a claim without what its node may change."""
        whole = dict(claim or {})
        status = {name: value for name, value in section(whole, "status").items() if name not in _CLAIM_STATUS}
        metadata = {
            name: value
            for name, value in section(whole, "metadata").items()
            if name not in {"managedFields", "resourceVersion"}
        }
        return whole | {"status": status, "metadata": metadata}

    if rest(request.document) == rest(request.old):
        return ""
    return f'node "{node}" is not allowed to update fields other than status.capacity and status.conditions'


def _lease_problem(request: Request, node: str) -> str:
    if request.namespace != _LEASE_NAMESPACE:
        return f'can only access leases in the "{_LEASE_NAMESPACE}" system namespace'
    return _named_problem("node lease", request, node)


def _csi_problem(request: Request, node: str) -> str:
    return _named_problem("CSINode", request, node)


def _named_problem(what: str, request: Request, node: str) -> str:
    name = request.name or section(request.document or {}, "metadata").get("name")
    return "" if name == node else f"can only access {what} with the same name as the requesting node"


def _slice_problem(request: Request, node: str) -> str:
    verb = "create" if request.operation == CREATE else "delete"
    owner = section(request.document or request.old or {}, "spec").get("nodeName")
    return "" if owner == node else f"can only {verb} ResourceSlice with the same NodeName as the requesting node"


def _request_problem(request: Request, node: str) -> str:
    _ = node
    spec = section(request.document or {}, "spec")
    if spec.get("signerName") not in _NODE_SIGNERS:
        return ""
    blocks = pem_blocks(plain(spec.get("request") or ""))
    if not blocks:
        return "unable to parse csr"
    try:
        subject = x509.load_der_x509_csr(blocks[0].der).subject
    except ValueError as error:
        return f"unable to parse csr: {error}"
    names = [str(one.value) for one in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return "" if names == [request.caller.user] else f"can only create a node CSR with CN={request.caller.user}"


_CHECKS: Final[Mapping[str, Callable[[Request, str], str]]] = {
    "nodes": _node_problem,
    "persistentvolumeclaims": _claim_problem,
    _LEASES: _lease_problem,
    _CSI_NODES: _csi_problem,
    _SLICES: _slice_problem,
    _REQUESTS: _request_problem,
}
