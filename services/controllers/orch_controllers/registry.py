"""All controllers, in one list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from orch.objects.scheme import (
    CERTIFICATE_SIGNING_REQUESTS,
    CLUSTER_ROLES,
    CONFIG_MAPS,
    CONTROLLER_REVISIONS,
    CRON_JOBS,
    DAEMON_SETS,
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    EVENTS,
    HORIZONTAL_POD_AUTOSCALERS,
    IP_ADDRESSES,
    JOBS,
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    RESOURCE_QUOTAS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICE_CIDRS,
    SERVICES,
    STATEFUL_SETS,
    VOLUME_ATTRIBUTES_CLASSES,
    Kind,
)
from orch.runtime.controller import Controller, Watch, own_key
from orch.runtime.reconcile import Reconciler
from orch_controllers.autoscaling.reconciler import AutoscalerReconciler
from orch_controllers.bootstrap_tokens.cleaner import TokenCleaner
from orch_controllers.bootstrap_tokens.signer import BootstrapSigner
from orch_controllers.certificates.reconciler import CertificatesReconciler
from orch_controllers.claim_protection.reconciler import ClaimProtectionReconciler
from orch_controllers.clusterrole_aggregation.reconciler import AggregationReconciler
from orch_controllers.context import Context
from orch_controllers.cronjob.reconciler import CronJobReconciler
from orch_controllers.daemonset.reconciler import DaemonSetReconciler
from orch_controllers.deployment.reconciler import DeploymentReconciler
from orch_controllers.disruption.reconciler import DisruptionReconciler
from orch_controllers.disruption.stale import StaleDisruptionReconciler
from orch_controllers.endpoint_slices.mirroring import MirroringReconciler
from orch_controllers.endpoint_slices.reconciler import EndpointSliceReconciler
from orch_controllers.endpoint_slices.writing import index_slices
from orch_controllers.endpoints.reconciler import EndpointsReconciler
from orch_controllers.garbage.graph import Graph
from orch_controllers.garbage.reconciler import GarbageReconciler
from orch_controllers.job.orphans import JobOrphanReconciler
from orch_controllers.job.reconciler import JobReconciler
from orch_controllers.namespace.reconciler import NamespaceReconciler
from orch_controllers.node_ipam.reconciler import NodeIpamReconciler
from orch_controllers.node_lifecycle.eviction import EvictionReconciler
from orch_controllers.node_lifecycle.health import Health
from orch_controllers.node_lifecycle.leases import NodeLeases
from orch_controllers.node_lifecycle.monitor import NodeMonitor
from orch_controllers.node_lifecycle.reconciler import NodeLifecycleReconciler
from orch_controllers.pod_gc.reconciler import PodGarbageReconciler
from orch_controllers.recommendations.reconciler import RecommendationReconciler, keys_when_new
from orch_controllers.replicaset.reconciler import ReplicaSetReconciler
from orch_controllers.replication_controller.as_replica_set import FLAVOUR as REPLICATION_CONTROLLER
from orch_controllers.resource_quota.reconciler import ResourceQuotaReconciler
from orch_controllers.root_ca.reconciler import RootCAReconciler
from orch_controllers.service_account.reconciler import ServiceAccountReconciler
from orch_controllers.service_account.tokens import TokenReconciler
from orch_controllers.service_cidr.reconciler import ServiceCIDRReconciler
from orch_controllers.service_load_balancers.reconciler import LoadBalancerReconciler
from orch_controllers.service_pods import Selections
from orch_controllers.statefulset.reconciler import StatefulSetReconciler
from orch_controllers.ttl_after_finished.reconciler import FinishedJobReconciler
from orch_controllers.volume_attributes_protection.reconciler import VolumeAttributesProtectionReconciler
from orch_controllers.volume_protection.reconciler import VolumeProtectionReconciler

DOCUMENTS: Final[frozenset[Kind[Any]]] = frozenset({SERVICES})
"""The kinds of which a controller reads more than their view has."""

_COLLECTORS: Final = 20
"""Workers of the garbage collector, as many as kube-controller-manager's."""
_MANY_WORKERS: Final = 96
"""Jobs, deployments and replica sets come by the thousand, and each of their steps mostly waits for the api, which
commits what comes together."""
_RARE: Final = 300.0
"""Seconds between two looks at everything by controllers that see every pod of the cluster."""


def _controller(
    context: Context, name: str, reconciler: Reconciler, *watches: Watch, workers: int = 0, resync: float = 0
) -> Controller:
    return Controller(
        name,
        reconciler,
        watches,
        workers=workers or context.config.workers,
        resync=max(resync, context.config.resync_period),
    )


def _deployment(context: Context) -> Sequence[Controller]:
    reconciler = DeploymentReconciler(context)
    return [
        _controller(
            context,
            "deployment",
            reconciler,
            Watch(DEPLOYMENTS, own_key),
            Watch(REPLICA_SETS, reconciler.keys_of_set),
            Watch(PODS, reconciler.keys_of_pod),
            workers=max(context.config.workers, _MANY_WORKERS),
            resync=_RARE,
        )
    ]


def _replicaset(context: Context) -> Sequence[Controller]:
    reconciler = ReplicaSetReconciler(context)
    return [
        _controller(
            context,
            "replicaset",
            reconciler,
            Watch(REPLICA_SETS, own_key),
            Watch(PODS, reconciler.keys_of_pod),
            workers=max(context.config.workers, _MANY_WORKERS),
            resync=_RARE,
        )
    ]


def _replication_controller(context: Context) -> Sequence[Controller]:
    reconciler = ReplicaSetReconciler(context, REPLICATION_CONTROLLER)
    return [
        _controller(
            context,
            "replicationmanager",
            reconciler,
            Watch(REPLICATION_CONTROLLERS, own_key),
            Watch(PODS, reconciler.keys_of_pod),
            resync=_RARE,
        )
    ]


def _statefulset(context: Context) -> Sequence[Controller]:
    reconciler = StatefulSetReconciler(context)
    return [
        _controller(
            context,
            "statefulset",
            reconciler,
            Watch(STATEFUL_SETS, own_key),
            Watch(PODS, reconciler.keys_of_pod),
            Watch(PERSISTENT_VOLUME_CLAIMS, reconciler.keys_of_claim),
            Watch(CONTROLLER_REVISIONS, reconciler.keys_of_revision),
            resync=_RARE,
        )
    ]


def _daemonset(context: Context) -> Sequence[Controller]:
    reconciler = DaemonSetReconciler(context)
    return [
        _controller(
            context,
            "daemonset",
            reconciler,
            Watch(DAEMON_SETS, own_key),
            Watch(NODES, reconciler.keys_of_node),
            Watch(PODS, reconciler.keys_of_pod),
            Watch(CONTROLLER_REVISIONS, reconciler.keys_of_revision),
            resync=_RARE,
        )
    ]


def _node_lifecycle(context: Context) -> Sequence[Controller]:
    health = Health(context.heartbeats, context.informers, context.clock, context.config)
    lifecycle, eviction = NodeLifecycleReconciler(context, health), EvictionReconciler(context)
    monitor, leases = NodeMonitor(context, health, lifecycle), NodeLeases(context)
    return [
        _controller(context, "node-lifecycle", lifecycle, Watch(NODES, own_key), resync=_RARE),
        _controller(context, "node-monitor", monitor, Watch(NODES, monitor.keys_of_node), workers=1),
        _controller(context, "node-lease", leases, Watch(NODES, leases.keys_of_node), workers=1),
        _controller(
            context,
            "eviction",
            eviction,
            Watch(PODS, eviction.keys_of_pod),
            Watch(NODES, eviction.keys_of_node),
            resync=_RARE,
        ),
    ]


def _namespace(context: Context) -> Sequence[Controller]:
    return [_controller(context, "namespace", NamespaceReconciler(context), Watch(NAMESPACES, own_key))]


def _service_account(context: Context) -> Sequence[Controller]:
    reconciler = ServiceAccountReconciler(context)
    return [
        _controller(
            context,
            "service-account",
            reconciler,
            Watch(NAMESPACES, own_key),
            Watch(SERVICE_ACCOUNTS, reconciler.keys_of_account),
        )
    ]


def _garbage(context: Context) -> Sequence[Controller]:
    graph = Graph(context)
    reconciler = GarbageReconciler(context, graph)
    controller = _controller(context, "garbage-collector", reconciler, workers=_COLLECTORS, resync=_RARE)

    def added(kind: Kind[Any]) -> None:
        if graph.add(kind):
            controller.watch(Watch(kind, reconciler.keys_of(kind)))

    def removed(kind: Kind[Any]) -> None:
        graph.remove(kind)
        controller.unwatch(kind)

    context.kinds.listen(added, removed)
    return [controller]


def _endpoints(context: Context) -> Sequence[Controller]:
    selections = Selections(context.informers)
    index_slices(context.informers)
    endpoints = EndpointsReconciler(context, selections)
    slices = EndpointSliceReconciler(context, selections)
    mirroring = MirroringReconciler(context)
    return [
        _controller(
            context,
            "endpoint",
            endpoints,
            Watch(SERVICES, own_key),
            Watch(PODS, selections.keys_of_pod),
            Watch(ENDPOINTS, endpoints.keys_of_endpoints),
            resync=_RARE,
        ),
        _controller(
            context,
            "endpointslice",
            slices,
            Watch(SERVICES, own_key),
            Watch(PODS, selections.keys_of_pod),
            Watch(NODES, slices.keys_of_node),
            Watch(ENDPOINT_SLICES, slices.keys_of_slice),
            resync=_RARE,
        ),
        _controller(
            context,
            "endpointslice-mirroring",
            mirroring,
            Watch(ENDPOINTS, own_key),
            Watch(SERVICES, mirroring.keys_of_service),
            Watch(ENDPOINT_SLICES, mirroring.keys_of_slice),
            resync=_RARE,
        ),
    ]


def _job(context: Context) -> Sequence[Controller]:
    job, orphans = JobReconciler(context), JobOrphanReconciler(context)
    cron, finished = CronJobReconciler(context), FinishedJobReconciler(context)
    return [
        _controller(
            context,
            "job",
            job,
            Watch(JOBS, own_key),
            Watch(PODS, job.keys_of_pod),
            workers=max(context.config.workers, _MANY_WORKERS),
            resync=_RARE,
        ),
        _controller(
            context,
            "job-orphans",
            orphans,
            Watch(PODS, orphans.keys_of_pod),
            Watch(JOBS, orphans.keys_of_job),
            resync=_RARE,
        ),
        _controller(context, "cronjob", cron, Watch(CRON_JOBS, own_key), Watch(JOBS, cron.keys_of_job), resync=_RARE),
        _controller(context, "ttl-after-finished", finished, Watch(JOBS, finished.keys_of_job), resync=_RARE),
    ]


def _disruption(context: Context) -> Sequence[Controller]:
    budgets, stale = DisruptionReconciler(context), StaleDisruptionReconciler(context)
    scaled = (DEPLOYMENTS, REPLICA_SETS, REPLICATION_CONTROLLERS, STATEFUL_SETS)
    return [
        _controller(
            context,
            "disruption",
            budgets,
            Watch(DISRUPTION_BUDGETS, own_key),
            Watch(PODS, budgets.keys_of_pod),
            *(Watch(kind, budgets.keys_of_owner) for kind in scaled),
            resync=_RARE,
        ),
        _controller(context, "stale-disruption", stale, Watch(PODS, stale.keys_of_pod), resync=_RARE),
    ]


def _pod_gc(context: Context) -> Sequence[Controller]:
    reconciler = PodGarbageReconciler(context)
    return [_controller(context, "pod-garbage-collector", reconciler, Watch(PODS, reconciler.keys_of_pod))]


def _autoscaling(context: Context) -> Sequence[Controller]:
    if not context.config.horizontal_pod_autoscaling:
        return []
    reconciler = AutoscalerReconciler(context)
    targets = (DEPLOYMENTS, REPLICA_SETS, STATEFUL_SETS, REPLICATION_CONTROLLERS)
    controller = _controller(
        context,
        "horizontal-pod-autoscaler",
        reconciler,
        Watch(HORIZONTAL_POD_AUTOSCALERS, own_key),
        *(Watch(kind, reconciler.keys_of_target(kind)) for kind in targets),
    )
    reconciler.wake_by(controller.enqueue)
    return [controller]


def _recommendations(context: Context) -> Sequence[Controller]:
    reconciler = RecommendationReconciler(context)
    return [_controller(context, "recommender", reconciler, Watch(NODES, keys_when_new), workers=1, resync=_RARE)]


def _service_addresses(context: Context) -> Sequence[Controller]:
    balancers, ranges = LoadBalancerReconciler(context), ServiceCIDRReconciler(context)
    return [
        _controller(context, "service-lb", balancers, Watch(SERVICES, balancers.keys_of_service), workers=1),
        _controller(
            context,
            "service-cidr",
            ranges,
            Watch(SERVICE_CIDRS, own_key),
            Watch(IP_ADDRESSES, ranges.keys_of_address),
        ),
    ]


def _identities(context: Context) -> Sequence[Controller]:
    certificates, root_ca, tokens = CertificatesReconciler(context), RootCAReconciler(context), TokenReconciler(context)
    aggregation = AggregationReconciler(context)
    cleaner, signer = TokenCleaner(context), BootstrapSigner(context)
    return [
        _controller(context, "certificates", certificates, Watch(CERTIFICATE_SIGNING_REQUESTS, own_key)),
        _controller(
            context,
            "root-ca",
            root_ca,
            Watch(NAMESPACES, own_key),
            Watch(CONFIG_MAPS, root_ca.keys_of_config_map),
        ),
        _controller(
            context,
            "service-account-token",
            tokens,
            Watch(SECRETS, tokens.keys_of_secret),
            Watch(SERVICE_ACCOUNTS, tokens.keys_of_account),
            resync=_RARE,
        ),
        _controller(context, "clusterrole-aggregation", aggregation, Watch(CLUSTER_ROLES, aggregation.keys_of_role)),
        _controller(context, "token-cleaner", cleaner, Watch(SECRETS, cleaner.keys_of_secret), resync=_RARE),
        _controller(
            context,
            "bootstrap-signer",
            signer,
            Watch(SECRETS, signer.keys_of_secret),
            Watch(CONFIG_MAPS, signer.keys_of_config_map),
            workers=1,
        ),
    ]


def _node_ipam(context: Context) -> Sequence[Controller]:
    reconciler = NodeIpamReconciler(context)
    return [_controller(context, "node-ipam", reconciler, Watch(NODES, own_key), workers=1, resync=_RARE)]


def _storage_protection(context: Context) -> Sequence[Controller]:
    claims, volumes = ClaimProtectionReconciler(context), VolumeProtectionReconciler(context)
    attributes = VolumeAttributesProtectionReconciler(context)
    return [
        _controller(
            context,
            "pvc-protection",
            claims,
            Watch(PERSISTENT_VOLUME_CLAIMS, own_key),
            Watch(PODS, claims.keys_of_pod),
            resync=_RARE,
        ),
        _controller(context, "pv-protection", volumes, Watch(PERSISTENT_VOLUMES, own_key), resync=_RARE),
        _controller(
            context,
            "volumeattributesclass-protection",
            attributes,
            Watch(VOLUME_ATTRIBUTES_CLASSES, own_key),
            Watch(PERSISTENT_VOLUME_CLAIMS, attributes.keys_of_claim),
            Watch(PERSISTENT_VOLUMES, attributes.keys_of_volume),
            resync=_RARE,
        ),
    ]


def _resource_quota(context: Context) -> Sequence[Controller]:
    reconciler = ResourceQuotaReconciler(context)
    controller = _controller(context, "resourcequota", reconciler, Watch(RESOURCE_QUOTAS, own_key), resync=_RARE)

    def added(kind: Kind[Any]) -> None:
        if kind.namespaced and kind != EVENTS:
            controller.watch(Watch(kind, reconciler.keys_of_object))

    def removed(kind: Kind[Any]) -> None:
        if kind != RESOURCE_QUOTAS:
            controller.unwatch(kind)

    context.kinds.listen(added, removed)
    return [controller]


CONTROLLERS: Final[tuple[Callable[[Context], Sequence[Controller]], ...]] = (
    _deployment,
    _replicaset,
    _replication_controller,
    _statefulset,
    _daemonset,
    _node_lifecycle,
    _namespace,
    _garbage,
    _service_account,
    _endpoints,
    _service_addresses,
    _resource_quota,
    _identities,
    _node_ipam,
    _job,
    _disruption,
    _pod_gc,
    _autoscaling,
    _recommendations,
    _storage_protection,
)
"""Each entry makes the controllers of one topic."""


def controllers(context: Context) -> list[Controller]:
    """Return every controller."""
    return [controller for make in CONTROLLERS for controller in make(context)]
