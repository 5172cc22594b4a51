"""Replication controllers, read as replica sets: what they do is the same, only their selector is written otherwise."""

from __future__ import annotations

from typing import Final

from orch.objects.apps import ReplicaSet, ReplicaSetSpec, ReplicationController
from orch.objects.meta import LabelSelector
from orch.objects.scheme import REPLICATION_CONTROLLERS
from orch_controllers.replicaset.reconciler import Flavour


def as_replica_set(controller: ReplicationController) -> ReplicaSet:
    """Return the replica set that a replication controller is."""
    spec = controller.spec
    return ReplicaSet(
        api_version=controller.api_version,
        kind=controller.kind,
        metadata=controller.metadata,
        spec=ReplicaSetSpec(
            replicas=spec.replicas,
            min_ready_seconds=spec.min_ready_seconds,
            selector=LabelSelector(match_labels=spec.selector),
            template=spec.template,
        ),
        status=controller.status,
    )


FLAVOUR: Final = Flavour(
    kind=REPLICATION_CONTROLLERS,
    component="replication-controller",
    read=as_replica_set,
    counts_terminating=False,
)
