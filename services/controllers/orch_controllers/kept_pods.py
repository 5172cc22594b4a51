"""What controllers keep of pods in memory: the fields that some controller reads, and what many pods share only once.

At 50,000 pods that is most of this process's memory. Pods of one template differ in little: their containers, labels,
tolerations and owners are one object each, and so are conditions that came about in the same second. What is left out
reads as if it were not set; who wants to read more of a pod has to keep it here first.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Final, TypeVar, cast

import msgspec

from orch.objects.pods import Container, ContainerStatus, Pod, PodSpec, PodStatus, Volume

ValueT = TypeVar("ValueT")

_MOST: Final = 16_384
"""Things that are shared with what comes; past that all are forgotten, which costs memory, and nothing else."""
_encode = msgspec.msgpack.Encoder().encode
_replace = msgspec.structs.replace


class KeptPods:
    """Makes of a pod, as it was read, the pod that is kept."""

    def __init__(self) -> None:
        self._shared: dict[Hashable, Any] = {}

    def __call__(self, pod: Pod) -> Pod:
        """Return the pod without what nobody reads, made of parts that others have too where they are the same."""
        meta = pod.metadata
        metadata = _replace(
            meta,
            namespace=self._one(meta.namespace, meta.namespace),
            generate_name=self._one(meta.generate_name, meta.generate_name),
            creation_timestamp=self._one(meta.creation_timestamp, meta.creation_timestamp),
            labels=self._one(("labels", *meta.labels.items()), meta.labels),
            annotations=self._one(("annotations", *meta.annotations.items()), meta.annotations),
            owner_references=self._one(meta.owner_references, meta.owner_references),
            finalizers=self._one(meta.finalizers, meta.finalizers),
        )
        return _replace(
            pod,
            api_version="",
            kind="",
            metadata=metadata,
            spec=self._spec(pod.spec),
            status=self._status(pod.status),
        )

    def _spec(self, spec: PodSpec) -> PodSpec:
        """Return the spec. What pods of one template have in common is found by what it says, written down."""
        common = PodSpec(
            node_selector=spec.node_selector,
            affinity=spec.affinity,
            tolerations=spec.tolerations,
            resources=spec.resources,
            priority=spec.priority,
            priority_class_name=spec.priority_class_name,
            containers=tuple(map(_container, spec.containers)),
            init_containers=tuple(map(_container, spec.init_containers)),
            overhead=spec.overhead,
            restart_policy=spec.restart_policy,
            termination_grace_period_seconds=spec.termination_grace_period_seconds,
            active_deadline_seconds=spec.active_deadline_seconds,
            host_network=spec.host_network,
        )
        common = self._one((PodSpec, _encode(common)), common)
        volumes = tuple(
            Volume(name=each.name, persistent_volume_claim=each.persistent_volume_claim, ephemeral=each.ephemeral)
            for each in spec.volumes
            if each.persistent_volume_claim is not None or each.ephemeral is not None
        )
        own = {"hostname": spec.hostname, "subdomain": self._one(spec.subdomain, spec.subdomain), "volumes": volumes}
        return _replace(common, node_name=self._one(spec.node_name, spec.node_name), **own)

    def _status(self, status: PodStatus) -> PodStatus:
        return PodStatus(
            phase=self._one(status.phase, status.phase),
            reason=status.reason,
            message=status.message,
            conditions=tuple([self._one(each, each) for each in status.conditions]),
            host_ip=self._one(status.host_ip, status.host_ip),
            pod_ip=status.pod_ip,
            pod_ips=status.pod_ips,
            start_time=self._one(status.start_time, status.start_time),
            init_container_statuses=tuple(map(self._container_status, status.init_container_statuses)),
            container_statuses=tuple(map(self._container_status, status.container_statuses)),
            qos_class=self._one(status.qos_class, status.qos_class),
        )

    def _container_status(self, status: ContainerStatus) -> ContainerStatus:
        kept = ContainerStatus(
            name=status.name,
            state=status.state,
            last_state=status.last_state,
            ready=status.ready,
            restart_count=status.restart_count,
            started=status.started,
        )
        return self._one((ContainerStatus, _encode(kept)), kept)

    def _one(self, key: Hashable, value: ValueT) -> ValueT:
        """Return what was given under the key first."""
        if len(self._shared) > _MOST:
            self._shared.clear()
        return cast("ValueT", self._shared.setdefault(key, value))


def _container(container: Container) -> Container:
    return Container(
        name=container.name,
        image=container.image,
        ports=container.ports,
        resources=container.resources,
        restart_policy=container.restart_policy,
    )
