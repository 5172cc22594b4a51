"""The kinds that orch's own services read, each with its view. The api's registry lists all that it serves."""

from __future__ import annotations

from typing import Any, Final, Generic, TypeVar

import msgspec

from orch.objects import (
    apps,
    autoscaling,
    batch,
    certificates,
    cluster,
    discovery,
    meta,
    networking,
    pods,
    policy,
    quota,
    rbac,
    scheduling,
    storage,
)

ObjectT = TypeVar("ObjectT", bound=meta.Object)


class Kind(msgspec.Struct, Generic[ObjectT], frozen=True):
    """A kind of object: where the api serves it and how a service reads it."""

    group: str
    version: str
    resource: str
    name: str
    namespaced: bool
    view: type[ObjectT]

    @property
    def api_version(self) -> str:
        """The apiVersion in objects and owner references: "v1", "apps/v1"."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """The resource with its group, as Kubernetes writes it: "pods", "deployments.apps"."""
        return f"{self.resource}.{self.group}" if self.group else self.resource

    def with_view(self, view: type[meta.Object]) -> Kind[meta.Object]:
        """Return the kind read through another view."""
        return msgspec.structs.replace(self, view=view)  # type: ignore[return-value]


PODS: Final = Kind("", "v1", "pods", "Pod", True, pods.Pod)
NODES: Final = Kind("", "v1", "nodes", "Node", False, cluster.Node)
NAMESPACES: Final = Kind("", "v1", "namespaces", "Namespace", False, cluster.Namespace)
CONFIG_MAPS: Final = Kind("", "v1", "configmaps", "ConfigMap", True, cluster.ConfigMap)
SECRETS: Final = Kind("", "v1", "secrets", "Secret", True, cluster.Secret)
SERVICE_ACCOUNTS: Final = Kind("", "v1", "serviceaccounts", "ServiceAccount", True, cluster.ServiceAccount)
SERVICES: Final = Kind("", "v1", "services", "Service", True, networking.Service)
ENDPOINTS: Final = Kind("", "v1", "endpoints", "Endpoints", True, discovery.Endpoints)
ENDPOINT_SLICES: Final = Kind(
    "discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", True, discovery.EndpointSlice
)
IP_ADDRESSES: Final = Kind("networking.k8s.io", "v1", "ipaddresses", "IPAddress", False, meta.Object)
SERVICE_CIDRS: Final = Kind("networking.k8s.io", "v1", "servicecidrs", "ServiceCIDR", False, networking.ServiceCIDR)
CLUSTER_TRUST_BUNDLES: Final = Kind(
    "certificates.k8s.io",
    "v1",
    "clustertrustbundles",
    "ClusterTrustBundle",
    False,
    certificates.ClusterTrustBundle,
)
PERSISTENT_VOLUME_CLAIMS: Final = Kind(
    "", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", True, storage.PersistentVolumeClaim
)
PERSISTENT_VOLUMES: Final = Kind("", "v1", "persistentvolumes", "PersistentVolume", False, storage.PersistentVolume)
STORAGE_CLASSES: Final = Kind("storage.k8s.io", "v1", "storageclasses", "StorageClass", False, storage.StorageClass)
VOLUME_ATTRIBUTES_CLASSES: Final = Kind(
    "storage.k8s.io", "v1", "volumeattributesclasses", "VolumeAttributesClass", False, meta.Object
)
CSI_DRIVERS: Final = Kind("storage.k8s.io", "v1", "csidrivers", "CSIDriver", False, storage.CSIDriver)
CSI_STORAGE_CAPACITIES: Final = Kind(
    "storage.k8s.io", "v1", "csistoragecapacities", "CSIStorageCapacity", True, storage.CSIStorageCapacity
)
CSI_NODES: Final = Kind("storage.k8s.io", "v1", "csinodes", "CSINode", False, storage.CSINode)
RESOURCE_QUOTAS: Final = Kind("", "v1", "resourcequotas", "ResourceQuota", True, quota.ResourceQuota)
CLUSTER_ROLES: Final = Kind("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", False, rbac.ClusterRole)
CERTIFICATE_SIGNING_REQUESTS: Final = Kind(
    "certificates.k8s.io",
    "v1",
    "certificatesigningrequests",
    "CertificateSigningRequest",
    False,
    certificates.CertificateSigningRequest,
)
POD_CERTIFICATE_REQUESTS: Final = Kind(
    "certificates.k8s.io",
    "v1",
    "podcertificaterequests",
    "PodCertificateRequest",
    True,
    certificates.PodCertificateRequest,
)
EVENTS: Final = Kind("", "v1", "events", "Event", True, meta.Object)
RUNTIME_CLASSES: Final = Kind("node.k8s.io", "v1", "runtimeclasses", "RuntimeClass", False, cluster.RuntimeClass)
LEASES: Final = Kind("coordination.k8s.io", "v1", "leases", "Lease", True, meta.Object)
DEPLOYMENTS: Final = Kind("apps", "v1", "deployments", "Deployment", True, apps.Deployment)
REPLICA_SETS: Final = Kind("apps", "v1", "replicasets", "ReplicaSet", True, apps.ReplicaSet)
STATEFUL_SETS: Final = Kind("apps", "v1", "statefulsets", "StatefulSet", True, apps.StatefulSet)
DAEMON_SETS: Final = Kind("apps", "v1", "daemonsets", "DaemonSet", True, apps.DaemonSet)
CONTROLLER_REVISIONS: Final = Kind(
    "apps", "v1", "controllerrevisions", "ControllerRevision", True, apps.ControllerRevision
)
REPLICATION_CONTROLLERS: Final = Kind(
    "", "v1", "replicationcontrollers", "ReplicationController", True, apps.ReplicationController
)
JOBS: Final = Kind("batch", "v1", "jobs", "Job", True, batch.Job)
CRON_JOBS: Final = Kind("batch", "v1", "cronjobs", "CronJob", True, batch.CronJob)
DISRUPTION_BUDGETS: Final = Kind(
    "policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", True, policy.DisruptionBudget
)
HORIZONTAL_POD_AUTOSCALERS: Final = Kind(
    "autoscaling",
    "v2",
    "horizontalpodautoscalers",
    "HorizontalPodAutoscaler",
    True,
    autoscaling.HorizontalPodAutoscaler,
)
POD_GROUPS: Final = Kind("scheduling.x-k8s.io", "v1alpha1", "podgroups", "PodGroup", True, scheduling.PodGroup)
"""A custom resource: served where its definition (deploy/crds) is installed, and so none of `KINDS`."""

KINDS: Final[tuple[Kind[Any], ...]] = (
    PODS,
    NODES,
    NAMESPACES,
    CONFIG_MAPS,
    SECRETS,
    SERVICE_ACCOUNTS,
    RUNTIME_CLASSES,
    SERVICES,
    ENDPOINTS,
    ENDPOINT_SLICES,
    IP_ADDRESSES,
    SERVICE_CIDRS,
    RESOURCE_QUOTAS,
    CLUSTER_ROLES,
    CERTIFICATE_SIGNING_REQUESTS,
    CLUSTER_TRUST_BUNDLES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    STORAGE_CLASSES,
    VOLUME_ATTRIBUTES_CLASSES,
    CSI_DRIVERS,
    CSI_STORAGE_CAPACITIES,
    CSI_NODES,
    EVENTS,
    LEASES,
    DEPLOYMENTS,
    REPLICA_SETS,
    STATEFUL_SETS,
    DAEMON_SETS,
    CONTROLLER_REVISIONS,
    REPLICATION_CONTROLLERS,
    JOBS,
    CRON_JOBS,
    DISRUPTION_BUDGETS,
    HORIZONTAL_POD_AUTOSCALERS,
)
"""All of them."""
