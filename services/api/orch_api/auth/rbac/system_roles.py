"""The roles of a cluster's own parts: scheduler, controllers, nodes, and those that kubeadm adds to them.

What Kubernetes has, is as it has it (1.37, pkg/auth/authorizer/rbac/bootstrappolicy, and kubeadm's clusterinfo and
node phases). Three roles are orch's own, as their names say: what the scheduler needs for the groups of pods that a
definition brings, the sum of the controllers' roles for the one user that all of them run as, and what a fleet of
simulated nodes reads, which share one identity and keep nothing from one another.
"""

from __future__ import annotations

from typing import Final

from orch.bus.permissions import CONTROLLERS, FLEET, SCHEDULER
from orch.objects.rbac import PolicyRule
from orch_api.auth.identity import NODES
from orch_api.auth.rbac import controller_roles
from orch_api.auth.rbac.definitions import (
    CORE,
    EVENTS,
    READ,
    READ_UPDATE,
    READ_WRITE,
    Binding,
    Role,
    account,
    group,
    rule,
    user,
)

_AUTHENTICATION: Final = "authentication.k8s.io"
_AUTHORIZATION: Final = "authorization.k8s.io"
_CERTIFICATES: Final = "certificates.k8s.io"
_COORDINATION: Final = "coordination.k8s.io"
_RESOURCE: Final = "resource.k8s.io"
_SCHEDULING: Final = "scheduling.k8s.io"
_STORAGE: Final = "storage.k8s.io"
_SYSTEM: Final = "kube-system"
_PUBLIC: Final = "kube-public"
_BOOTSTRAPPERS: Final = "system:bootstrappers:kubeadm:default-node-token"

NODE_RULES: Final = (
    rule("create", "tokenreviews", _AUTHENTICATION),
    rule("create", "subjectaccessreviews localsubjectaccessreviews", _AUTHORIZATION),
    rule(READ, "services"),
    rule("create get list watch", "nodes"),
    rule("update patch", "nodes/status"),
    rule("update patch", "nodes"),
    rule("create update patch", "events", CORE, "events.k8s.io"),
    rule(READ, "pods"),
    rule("create delete", "pods"),
    rule("update patch", "pods/status"),
    rule("create", "pods/eviction"),
    rule(READ, "secrets configmaps"),
    rule("get", "persistentvolumeclaims persistentvolumes"),
    rule("get", "endpoints"),
    rule("create get list watch", "certificatesigningrequests", _CERTIFICATES),
    rule("get create update patch delete", "leases", _COORDINATION),
    rule("get", "volumeattachments", _STORAGE),
    rule("create", "serviceaccounts/token"),
    rule("get update patch", "persistentvolumeclaims/status"),
    rule("get watch list", "csidrivers", _STORAGE),
    rule("get create update patch delete", "csinodes", _STORAGE),
    rule(READ, "runtimeclasses", "node.k8s.io"),
    rule("get", "resourceclaims", _RESOURCE),
    rule("deletecollection", "resourceslices", _RESOURCE),
    rule(READ, "clustertrustbundles", _CERTIFICATES),
    rule("get", "serviceaccounts"),
    rule(f"{READ} create", "podcertificaterequests", _CERTIFICATES),
)
"""What any node may; the node authorizer narrows most of it down to what the node's own pods need."""

_SCHEDULER_RULES: Final = (
    EVENTS,
    rule("create", "leases", _COORDINATION),
    rule("get update list watch", "leases", _COORDINATION, names=("kube-scheduler",)),
    rule(READ_WRITE, "leasecandidates", _COORDINATION),
    rule(READ, "nodes"),
    rule(f"{READ} delete", "pods"),
    rule("create", "pods/binding bindings"),
    rule("patch update", "pods/status"),
    rule(READ, "services replicationcontrollers"),
    rule(READ, "replicasets", "apps", "extensions"),
    rule(READ, "statefulsets", "apps"),
    rule(READ, "poddisruptionbudgets", "policy"),
    rule(READ, "persistentvolumeclaims persistentvolumes"),
    rule("create", "tokenreviews", _AUTHENTICATION),
    rule("create", "subjectaccessreviews", _AUTHORIZATION),
    rule(READ, "csinodes", _STORAGE),
    rule(READ, "volumeattachments", _STORAGE),
    rule(READ, "namespaces"),
    rule(READ, "csidrivers", _STORAGE),
    rule(READ, "csistoragecapacities", _STORAGE),
    rule(READ, "deviceclasses", _RESOURCE),
    rule(READ_UPDATE, "resourceclaims", _RESOURCE),
    rule(READ_UPDATE, "resourceclaims/status", _RESOURCE),
    rule("update", "pods/finalizers"),
    rule(READ, "resourceslices", _RESOURCE),
    rule("create delete", "resourceclaims", _RESOURCE),
    rule(READ, "devicetaintrules", _RESOURCE),
    rule("update patch", "resourceclaims/binding", _RESOURCE),
)

_CONTROLLER_RULES: Final = (
    EVENTS,
    rule("create", "leases", _COORDINATION),
    rule("get update", "leases", _COORDINATION, names=("kube-controller-manager",)),
    rule("create", "secrets serviceaccounts"),
    rule("delete", "secrets"),
    rule("get", "namespaces secrets serviceaccounts configmaps"),
    rule("update", "secrets serviceaccounts"),
    rule("create", "tokenreviews", _AUTHENTICATION),
    rule("create", "subjectaccessreviews", _AUTHORIZATION),
    rule("list watch", "*", "*"),
    rule("create", "serviceaccounts/token"),
)


def _approver(of: str, signer: str) -> Role:
    return Role(
        name=f"system:certificates.k8s.io:{of}-approver",
        rules=(rule("approve", "signers", _CERTIFICATES, names=(signer,)),),
    )


def _together() -> tuple[PolicyRule, ...]:
    """Return the rules of all controllers, none twice."""
    return tuple(dict.fromkeys(one for role in controller_roles.ROLES for one in role.rules))


_KUBERNETES: Final = (
    Role(
        name="system:heapster",
        rules=(rule(READ, "events pods nodes namespaces"), rule(READ, "deployments", "extensions")),
    ),
    Role(name="system:node", rules=NODE_RULES),
    Role(
        name="system:node-problem-detector",
        rules=(rule("get", "nodes"), rule("patch", "nodes/status"), EVENTS),
    ),
    Role(
        name="system:node-bootstrapper",
        rules=(rule("create get list watch", "certificatesigningrequests", _CERTIFICATES),),
    ),
    Role(
        name="system:auth-delegator",
        rules=(
            rule("create", "tokenreviews", _AUTHENTICATION),
            rule("create", "subjectaccessreviews", _AUTHORIZATION),
        ),
    ),
    Role(name="system:kube-aggregator", rules=(rule(READ, "services endpoints"),)),
    Role(name="system:kube-controller-manager", rules=_CONTROLLER_RULES),
    Role(name="system:kube-dns", rules=(rule("list watch", "endpoints services"),)),
    Role(
        name="system:persistent-volume-provisioner",
        rules=(
            rule("get list watch create delete", "persistentvolumes"),
            rule("get list watch update", "persistentvolumeclaims"),
            rule(READ, "storageclasses", _STORAGE),
            rule("watch", "events"),
            EVENTS,
        ),
    ),
    Role(
        name="system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        rules=(rule("create", "certificatesigningrequests/nodeclient", _CERTIFICATES),),
    ),
    Role(
        name="system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        rules=(rule("create", "certificatesigningrequests/selfnodeclient", _CERTIFICATES),),
    ),
    Role(
        name="system:volume-scheduler",
        rules=(
            rule(READ_UPDATE, "persistentvolumes"),
            rule(READ, "storageclasses", _STORAGE),
            rule(READ_UPDATE, "persistentvolumeclaims"),
        ),
    ),
    _approver("legacy-unknown", "kubernetes.io/legacy-unknown"),
    _approver("kubelet-serving", "kubernetes.io/kubelet-serving"),
    _approver("kube-apiserver-client", "kubernetes.io/kube-apiserver-client"),
    _approver("kube-apiserver-client-kubelet", "kubernetes.io/kube-apiserver-client-kubelet"),
    Role(
        name="system:kubelet-api-admin",
        rules=(
            rule(READ, "nodes"),
            rule("proxy", "nodes"),
            rule("*", "nodes/proxy nodes/metrics nodes/stats nodes/log"),
            rule("*", "nodes/pods nodes/healthz nodes/configz"),
        ),
    ),
    Role(
        name="system:node-proxier",
        rules=(
            rule("list watch", "services endpoints"),
            rule(READ, "nodes"),
            EVENTS,
            rule("list watch", "servicecidrs", "networking.k8s.io"),
            rule("list watch", "endpointslices", "discovery.k8s.io"),
        ),
    ),
    Role(name="system:kube-scheduler", rules=_SCHEDULER_RULES),
    Role(name="kubeadm:get-nodes", rules=(rule("get", "nodes"),)),
)

_ORCH: Final = (
    Role(
        name="orch:scheduler",
        rules=(
            rule(READ, "podgroups", _SCHEDULING, "scheduling.x-k8s.io"),
            rule("patch update", "podgroups/status", _SCHEDULING, "scheduling.x-k8s.io"),
        ),
    ),
    Role(name="orch:controllers", rules=_together()),
    Role(
        name="orch:simulated-nodes",
        rules=(rule("get", "nodes pods configmaps secrets"), EVENTS),
    ),
)

_NAMESPACED: Final = (
    Role(
        name="extension-apiserver-authentication-reader",
        namespace=_SYSTEM,
        rules=(rule(READ, "configmaps", names=("extension-apiserver-authentication",)),),
    ),
    Role(name="system:controller:bootstrap-signer", namespace=_SYSTEM, rules=(rule(READ, "secrets"),)),
    Role(
        name="system:controller:cloud-provider",
        namespace=_SYSTEM,
        rules=(rule("create get list watch", "configmaps"),),
    ),
    Role(
        name="system:controller:token-cleaner",
        namespace=_SYSTEM,
        rules=(rule("get list watch delete", "secrets"), EVENTS),
    ),
    *(
        Role(
            name=f"system::leader-locking-{one}",
            namespace=_SYSTEM,
            rules=(rule("watch", "configmaps"), rule("get update", "configmaps", names=(one,))),
        )
        for one in ("kube-controller-manager", "kube-scheduler")
    ),
    Role(
        name="system:controller:bootstrap-signer",
        namespace=_PUBLIC,
        rules=(
            rule(READ, "configmaps"),
            rule("update", "configmaps", names=("cluster-info",)),
            EVENTS,
        ),
    ),
)

ROLES: Final = (*_KUBERNETES, *controller_roles.ROLES, *_ORCH, *_NAMESPACED)

_IN_CLUSTER: Final = (
    Binding(name="system:node-proxier", role="system:node-proxier", subjects=(user("system:kube-proxy"),)),
    Binding(
        name="system:kube-controller-manager", role="system:kube-controller-manager", subjects=(user(CONTROLLERS),)
    ),
    Binding(name="system:kube-dns", role="system:kube-dns", subjects=(account("kube-dns"),)),
    Binding(name="system:kube-scheduler", role="system:kube-scheduler", subjects=(user(SCHEDULER),)),
    Binding(name="system:volume-scheduler", role="system:volume-scheduler", subjects=(user(SCHEDULER),)),
    # Nodes have their rights from the node authorizer; the binding stands empty, as in Kubernetes since 1.7.
    Binding(name="system:node", role="system:node"),
    Binding(name="kubeadm:cluster-admins", role="cluster-admin", subjects=(group("kubeadm:cluster-admins"),)),
    Binding(name="kubeadm:get-nodes", role="kubeadm:get-nodes", subjects=(group(_BOOTSTRAPPERS),)),
    Binding(name="kubeadm:kubelet-bootstrap", role="system:node-bootstrapper", subjects=(group(_BOOTSTRAPPERS),)),
    Binding(
        name="kubeadm:node-autoapprove-bootstrap",
        role="system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        subjects=(group(_BOOTSTRAPPERS),),
    ),
    Binding(
        name="kubeadm:node-autoapprove-certificate-rotation",
        role="system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        subjects=(group(NODES),),
    ),
    Binding(name="orch:scheduler", role="orch:scheduler", subjects=(user(SCHEDULER),)),
    Binding(name="orch:controllers", role="orch:controllers", subjects=(user(CONTROLLERS),)),
    Binding(name="orch:simulated-nodes", role="orch:simulated-nodes", subjects=(user(FLEET),)),
)

_IN_NAMESPACES: Final = (
    Binding(
        name="system::extension-apiserver-authentication-reader",
        role="extension-apiserver-authentication-reader",
        namespace=_SYSTEM,
        subjects=(user(CONTROLLERS), user(SCHEDULER)),
    ),
    *(
        Binding(
            name=f"system::leader-locking-{one}",
            role=f"system::leader-locking-{one}",
            namespace=_SYSTEM,
            subjects=(user(f"system:{one}"), account(one)),
        )
        for one in ("kube-controller-manager", "kube-scheduler")
    ),
    *(
        Binding(
            name=f"system:controller:{one}",
            role=f"system:controller:{one}",
            namespace=_SYSTEM,
            subjects=(account(one),),
        )
        for one in ("bootstrap-signer", "cloud-provider", "token-cleaner")
    ),
    Binding(
        name="system:controller:bootstrap-signer",
        role="system:controller:bootstrap-signer",
        namespace=_PUBLIC,
        subjects=(account("bootstrap-signer"),),
    ),
)

BINDINGS: Final = (*_IN_CLUSTER, *controller_roles.BINDINGS, *_IN_NAMESPACES)
