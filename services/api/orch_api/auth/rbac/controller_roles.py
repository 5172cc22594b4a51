"""The roles of Kubernetes' controllers, each bound to its own service account in kube-system.

orch's controllers run as one user, who holds all of them together (see system_roles). The facts are those of
Kubernetes 1.37 (pkg/auth/authorizer/rbac/bootstrappolicy/controller_policy.go).
"""

from __future__ import annotations

from typing import Final

from orch.objects.rbac import PolicyRule
from orch_api.auth.rbac.definitions import (
    EVENTS,
    READ,
    READ_UPDATE,
    Binding,
    Role,
    account,
    rule,
)

_PREFIX: Final = "system:controller:"
_APPS: Final = ("apps", "extensions")
_BATCH: Final = "batch"
_CERTIFICATES: Final = "certificates.k8s.io"
_RESOURCE: Final = "resource.k8s.io"
_STORAGE: Final = "storage.k8s.io"
_NETWORKING: Final = "networking.k8s.io"
_SCHEDULING: Final = "scheduling.k8s.io"
_SIGNERS: Final = (
    "kubernetes.io/legacy-unknown",
    "kubernetes.io/kube-apiserver-client",
    "kubernetes.io/kube-apiserver-client-kubelet",
    "kubernetes.io/kubelet-serving",
)

_WORKLOADS: Final[dict[str, tuple[PolicyRule, ...]]] = {
    "cronjob-controller": (
        rule(f"{READ} update", "cronjobs", _BATCH),
        rule(f"{READ} create update delete patch", "jobs", _BATCH),
        rule("update", "cronjobs/status", _BATCH),
        rule("update", "cronjobs/finalizers", _BATCH),
        rule("list watch delete", "pods"),
        EVENTS,
    ),
    "daemon-set-controller": (
        rule(READ, "daemonsets", *_APPS),
        rule("update", "daemonsets/status", *_APPS),
        rule("update", "daemonsets/finalizers", *_APPS),
        rule("list watch", "nodes"),
        rule("list watch create delete patch", "pods"),
        rule("create", "pods/binding"),
        rule(f"{READ} create delete update patch", "controllerrevisions", "apps"),
        EVENTS,
    ),
    "deployment-controller": (
        rule(f"{READ} update", "deployments", *_APPS),
        rule("update", "deployments/status", *_APPS),
        rule("update", "deployments/finalizers", *_APPS),
        rule(f"{READ} create update patch delete", "replicasets", *_APPS),
        rule(f"{READ} update", "pods"),
        EVENTS,
    ),
    "horizontal-pod-autoscaler": (
        rule(READ, "horizontalpodautoscalers", "autoscaling"),
        rule("update", "horizontalpodautoscalers/status", "autoscaling"),
        rule("get update", "*/scale", "*"),
        rule("list watch", "pods"),
        rule("list watch", "pods", "metrics.k8s.io"),
        rule(READ, "*", "custom.metrics.k8s.io"),
        rule(READ, "*", "external.metrics.k8s.io"),
        EVENTS,
    ),
    "job-controller": (
        rule(READ_UPDATE, "jobs", _BATCH),
        rule("update", "jobs/status", _BATCH),
        rule("update", "jobs/finalizers", _BATCH),
        rule("list watch create delete patch", "pods"),
        EVENTS,
    ),
    "replicaset-controller": (
        rule(f"{READ} update", "replicasets", *_APPS),
        rule("update", "replicasets/status", *_APPS),
        rule("update", "replicasets/finalizers", *_APPS),
        rule("list watch patch create delete", "pods"),
        EVENTS,
    ),
    "replication-controller": (
        rule(f"{READ} update", "replicationcontrollers"),
        rule("update", "replicationcontrollers/status"),
        rule("update", "replicationcontrollers/finalizers"),
        rule("list watch patch create delete", "pods"),
        EVENTS,
    ),
    "statefulset-controller": (
        rule("list watch", "pods"),
        rule(READ, "statefulsets", "apps"),
        rule("update", "statefulsets/status", "apps"),
        rule("update", "statefulsets/finalizers", "apps"),
        rule("get create delete update patch", "pods"),
        rule("get create delete update patch list watch", "controllerrevisions", "apps"),
        rule("get create list watch", "persistentvolumeclaims"),
        rule("update delete", "persistentvolumeclaims"),
        rule("update", "pods/finalizers"),
        EVENTS,
    ),
    "ttl-after-finished-controller": (rule(f"{READ} delete", "jobs", _BATCH), EVENTS),
    "disruption-controller": (
        rule(READ, "deployments", *_APPS),
        rule(READ, "replicasets", *_APPS),
        rule(READ, "replicationcontrollers"),
        rule(READ, "poddisruptionbudgets", "policy"),
        rule(READ, "statefulsets", "apps"),
        rule("update", "poddisruptionbudgets/status", "policy"),
        rule("patch update", "pods/status"),
        rule("get", "*/scale", "*"),
        EVENTS,
    ),
}

_SERVICES: Final[dict[str, tuple[PolicyRule, ...]]] = {
    "endpoint-controller": (
        rule(READ, "services pods"),
        rule(f"{READ} create update delete", "endpoints"),
        rule("create", "endpoints/restricted"),
        EVENTS,
    ),
    "endpointslice-controller": (
        rule(READ, "services pods nodes"),
        rule("update", "services/finalizers"),
        rule(f"{READ} create update delete", "endpointslices", "discovery.k8s.io"),
        EVENTS,
    ),
    "endpointslicemirroring-controller": (
        rule(READ, "services endpoints"),
        rule("update", "services/finalizers"),
        rule("update", "endpoints/finalizers"),
        rule(f"{READ} create update delete", "endpointslices", "discovery.k8s.io"),
        EVENTS,
    ),
    "route-controller": (rule("list watch", "nodes"), rule("patch", "nodes/status"), EVENTS),
    "service-cidrs-controller": (
        rule(f"{READ} patch update", "servicecidrs", _NETWORKING),
        rule("patch update", "servicecidrs/finalizers", _NETWORKING),
        rule("patch update", "servicecidrs/status", _NETWORKING),
        rule(READ, "ipaddresses", _NETWORKING),
        EVENTS,
    ),
    "service-controller": (
        rule(READ, "services"),
        rule("patch update", "services/status"),
        rule("list watch", "nodes"),
        EVENTS,
    ),
}

_STORES: Final[dict[str, tuple[PolicyRule, ...]]] = {
    "attachdetach-controller": (
        rule("list watch", "persistentvolumes persistentvolumeclaims"),
        rule(READ, "nodes"),
        rule("patch update", "nodes/status"),
        rule("list watch", "pods"),
        EVENTS,
        rule("get create delete list watch", "volumeattachments", _STORAGE),
        rule("get watch list", "csidrivers", _STORAGE),
        rule("get watch list", "csinodes", _STORAGE),
    ),
    "expand-controller": (
        rule(READ_UPDATE, "persistentvolumes"),
        rule("update patch", "persistentvolumeclaims/status"),
        rule(READ, "persistentvolumeclaims"),
        EVENTS,
    ),
    "ephemeral-volume-controller": (
        rule(READ, "pods"),
        rule("update", "pods/finalizers"),
        rule(f"{READ} create", "persistentvolumeclaims"),
        EVENTS,
    ),
    "persistent-volume-binder": (
        rule(f"{READ} update create delete", "persistentvolumes"),
        rule("update", "persistentvolumes/status"),
        rule(f"{READ} update", "persistentvolumeclaims"),
        rule("update", "persistentvolumeclaims/status"),
        rule("list watch get create delete", "pods"),
        rule(READ, "storageclasses", _STORAGE),
        rule("list watch", "nodes"),
        EVENTS,
        rule("watch", "events"),
    ),
    "pv-protection-controller": (rule(f"{READ} update", "persistentvolumes"), EVENTS),
    "pvc-protection-controller": (
        rule(f"{READ} update", "persistentvolumeclaims"),
        rule("update", "persistentvolumeclaims/status"),
        rule("list watch get", "pods"),
        EVENTS,
    ),
    "selinux-warning-controller": (
        EVENTS,
        rule(READ, "persistentvolumes"),
        rule(READ, "persistentvolumeclaims"),
        rule(READ, "pods"),
        rule(READ, "csidrivers", _STORAGE),
    ),
    "volumeattributesclass-protection-controller": (
        rule("list watch get", "persistentvolumeclaims"),
        rule("list watch get", "persistentvolumes"),
        rule(f"{READ} update", "volumeattributesclasses", _STORAGE),
        EVENTS,
    ),
    "resource-claim-controller": (
        rule(READ, "pods"),
        rule("update", "pods/finalizers"),
        rule(f"{READ} create delete", "resourceclaims", _RESOURCE),
        rule("update patch", "resourceclaims resourceclaims/status", _RESOURCE),
        rule("update patch", "pods/status"),
        EVENTS,
        rule("update patch", "resourceclaims/binding", _RESOURCE),
    ),
    "device-taint-eviction-controller": (
        rule(f"{READ} delete", "pods"),
        rule("update patch", "pods/status"),
        rule(READ, "resourceclaims", _RESOURCE),
        rule(READ, "resourceslices", _RESOURCE),
        rule(READ, "deviceclasses", _RESOURCE),
        EVENTS,
        rule("update patch", "devicetaintrules/status", _RESOURCE),
        rule(READ, "devicetaintrules", _RESOURCE),
    ),
}

_CLUSTER: Final[dict[str, tuple[PolicyRule, ...]]] = {
    "certificate-controller": (
        rule(f"{READ} delete", "certificatesigningrequests", _CERTIFICATES),
        rule("update", "certificatesigningrequests/status certificatesigningrequests/approval", _CERTIFICATES),
        rule("approve", "signers", _CERTIFICATES, names=("kubernetes.io/kube-apiserver-client-kubelet",)),
        rule("sign", "signers", _CERTIFICATES, names=_SIGNERS),
        rule("create", "subjectaccessreviews", "authorization.k8s.io"),
        EVENTS,
    ),
    "clusterrole-aggregation-controller": (
        rule("escalate get list watch update patch", "clusterroles", "rbac.authorization.k8s.io"),
    ),
    "generic-garbage-collector": (rule(f"{READ} patch update delete", "*", "*"), EVENTS),
    "kube-apiserver-serving-clustertrustbundle-publisher": (
        rule("attest", "signers", _CERTIFICATES, names=("kubernetes.io/kube-apiserver-serving",)),
        rule("create update delete list watch", "clustertrustbundles", _CERTIFICATES),
        EVENTS,
    ),
    "legacy-service-account-token-cleaner": (
        rule("get", "configmaps", names=("kube-apiserver-legacy-service-account-token-tracking",)),
        rule("patch delete", "secrets"),
    ),
    "namespace-controller": (
        rule(f"{READ} delete", "namespaces"),
        rule("update", "namespaces/finalize namespaces/status"),
        rule(f"{READ} delete deletecollection", "*", "*"),
    ),
    "node-controller": (
        rule(f"{READ} update delete patch", "nodes"),
        rule("patch update", "nodes/status"),
        rule("patch update", "pods/status"),
        rule("list watch get delete", "pods"),
        rule(READ, "leases", "coordination.k8s.io"),
        EVENTS,
    ),
    "pod-garbage-collector": (
        rule("list watch delete", "pods"),
        rule(READ, "nodes"),
        rule("patch", "pods/status"),
    ),
    "podcertificaterequestcleaner": (rule(f"{READ} delete", "podcertificaterequests", _CERTIFICATES),),
    "podgroup-protection-controller": (
        rule(f"{READ} update", "podgroups", _SCHEDULING),
        rule(READ, "pods"),
    ),
    "resourcequota-controller": (
        rule("list watch", "*", "*"),
        rule("update", "resourcequotas/status"),
        EVENTS,
    ),
    "root-ca-cert-publisher": (rule("create update", "configmaps"), EVENTS),
    "service-account-controller": (rule("create", "serviceaccounts"), EVENTS),
    "storage-version-migrator-controller": (
        rule("list patch", "*", "*"),
        rule("get", "customresourcedefinitions", "apiextensions.k8s.io"),
        rule("patch", "customresourcedefinitions/status", "apiextensions.k8s.io"),
        rule("update", "storageversionmigrations/status", "storagemigration.k8s.io"),
    ),
    "ttl-controller": (rule("update patch list watch", "nodes"), EVENTS),
    "validatingadmissionpolicy-status-controller": (
        rule(READ, "validatingadmissionpolicies", "admissionregistration.k8s.io"),
        rule("get patch update", "validatingadmissionpolicies/status", "admissionregistration.k8s.io"),
        EVENTS,
    ),
}

_ALL: Final = {**_WORKLOADS, **_SERVICES, **_STORES, **_CLUSTER}

ROLES: Final = tuple(Role(name=f"{_PREFIX}{name}", rules=rules) for name, rules in _ALL.items())
BINDINGS: Final = tuple(
    Binding(name=f"{_PREFIX}{name}", role=f"{_PREFIX}{name}", subjects=(account(name),)) for name in _ALL
)
