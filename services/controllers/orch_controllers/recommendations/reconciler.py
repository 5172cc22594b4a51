"""Learns from what each node says of its pods' use, once a minute, and publishes what their workloads should request.

What is published is all that is known of a workload, so that the next leader, or this one after a restart, goes on from
there: what is lost is at most the last minute, and the peaks of the day, which count anew.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import aclosing
from typing import Any, Final

from google.protobuf.message import DecodeError
from prometheus_client import Counter, Gauge

from orch import quantity
from orch.bus.protocol import Message
from orch.bus.subjects import RECOMMENDATIONS, RECOMMENDATIONS_OF_ALL, recommendation_subject
from orch.errors import BusError, UnavailableError
from orch.objects.pods import Pod
from orch.objects.scheme import NODES, PODS
from orch.runtime.informer import Change, Item
from orch.runtime.reconcile import DONE, Key, Result
from orch_controllers.context import Context
from orch_controllers.recommendations.container import ContainerUse
from orch_controllers.recommendations.workloads import Workload, workload_of
from orch_pb.v1.autoscaling_pb2 import WorkloadRecommendation
from orch_pb.v1.node_pb2 import PodUsage, UsageSample

log = logging.getLogger(__name__)

_WORKLOADS: Final = Gauge("orch_recommender_workloads", "Workloads of which use is known.")
_FORGOTTEN: Final = Counter("orch_recommender_forgotten", "Workloads that were dropped because there were too many.")
_LOST: Final = Counter("orch_recommender_lost", "Recommendations that could not be published.")

_LOOK: Final = 15.0
"""Seconds between two looks at a node."""
_PERIOD: Final = 60.0
"""Seconds between two samples of a container, as with VPA; one of which hardly anything is known is sampled sooner."""
_YOUNG_PERIOD: Final = 10.0
_YOUNG: Final = 3
_ABSENCE: Final = 180.0
"""Seconds without a look at any node after which another leader may have learned more."""
_MOST_WORKLOADS: Final = 10_000
_MOST_CONTAINERS: Final = 64
_NANO: Final = 1_000_000_000

_Counters = dict[tuple[str, str], tuple[int, int]]


def keys_when_new(change: Change[Any]) -> Iterable[Key]:
    """Return the node's key when it comes or goes, not at each of its heartbeats' marks."""
    if change.old is not None and change.new is not None and change.old is not change.new:
        return ()
    return (Key("", change.item.name),)


class RecommendationReconciler:
    """Reconciles nodes: reads their newest samples."""

    def __init__(self, context: Context) -> None:
        self._informers = context.informers
        self._nodes = context.informers.of(NODES)
        self._pods = context.informers.of(PODS)
        self._usage = context.usage
        self._bus = context.bus
        self._clock = context.clock
        self._counted: dict[str, _Counters] = {}
        self._known: dict[Workload, dict[str, ContainerUse]] = {}
        self._published: dict[Workload, int] = {}
        self._loaded = False
        self._active = -_ABSENCE

    async def reconcile(self, key: Key) -> Result:
        """Take in what a node said last."""
        if self._nodes.get("", key.name) is None:
            self._counted.pop(key.name, None)
            return DONE
        now = self._clock.monotonic()
        if not self._loaded or now - self._active > _ABSENCE:
            await self._load()
        self._active = now
        data = self._usage.newest(key.name)
        if not data:
            return Result(_LOOK)
        try:
            sample = UsageSample.FromString(data)
        except DecodeError as error:
            log.warning("a sample of node %s is left out: %s", key.name, error)
            return Result(_LOOK)
        for workload in self._take(key.name, sample):
            await self._publish(workload, sample.unix_nanos)
        return Result(_LOOK)

    def _take(self, node: str, sample: UsageSample) -> list[Workload]:
        """Count what a node's pods used since they were looked at last; return the workloads concerned."""
        before, counted = self._counted.get(node, {}), _Counters()
        touched: dict[Workload, None] = {}
        for pod in sample.pods:
            item = self._pods.get(pod.namespace, pod.name)
            if item is None or item.uid != pod.uid:
                continue
            if self._count(item, pod, sample.unix_nanos, before, counted):
                touched[workload_of(self._informers, item)] = None
        self._counted[node] = counted
        return list(touched)

    def _count(self, item: Item[Pod], pod: PodUsage, at: int, before: _Counters, counted: _Counters) -> bool:
        known: dict[str, ContainerUse] = {}
        seen = False
        for each in pod.containers:
            name = (pod.uid, each.container)
            spent, since = counted[name] = before.get(name, (each.cpu_nanos, at))
            if at - since < _YOUNG_PERIOD * _NANO:
                continue
            known = known or self._of(workload_of(self._informers, item))
            use = known.get(each.container)
            if use is not None and use.samples > _YOUNG and at - since < _PERIOD * _NANO:
                continue
            counted[name] = (each.cpu_nanos, at)
            if each.cpu_nanos < spent or (use is None and len(known) >= _MOST_CONTAINERS):
                continue  # a container that was restarted in between, or one too many
            if use is None:
                use = known[each.container] = ContainerUse(each.container)
            cores = (each.cpu_nanos - spent) / (at - since)
            use.observe(pod.uid, cores, each.memory_bytes, _request(item.object, each.container), at / _NANO)
            seen = True
        return seen

    def _of(self, workload: Workload) -> dict[str, ContainerUse]:
        """Return what is known of a workload. Of too many, the one that was heard of least recently is dropped."""
        known = self._known.pop(workload, None)
        if known is None:
            known = {}
            if len(self._known) >= _MOST_WORKLOADS:
                oldest = next(iter(self._known))
                del self._known[oldest]
                self._published.pop(oldest, None)
                _FORGOTTEN.inc()
        self._known[workload] = known
        _WORKLOADS.set(len(self._known))
        return known

    async def _publish(self, workload: Workload, at: int) -> None:
        """Publish what is known of a workload, about once a minute however many nodes it runs on."""
        containers = list(self._known[workload].values())
        young = any(use.samples <= _YOUNG for use in containers)
        if at - self._published.get(workload, 0) < _PERIOD * _NANO and not young:
            return
        self._published[workload] = at
        message = WorkloadRecommendation(
            namespace=workload.namespace,
            kind=workload.kind,
            name=workload.name,
            at=at,
            containers=[use.recommendation(len(containers)) for use in containers],
        )
        subject = recommendation_subject(workload.namespace, workload.kind, workload.name)
        try:
            await self._bus.publish(subject, message.SerializeToString())
        except (UnavailableError, BusError) as error:
            _LOST.inc()
            log.debug("a recommendation was not published: %s", error)

    async def _load(self) -> None:
        """Go on from what was published before."""
        async with aclosing(self._bus.follow(RECOMMENDATIONS.name, [RECOMMENDATIONS_OF_ALL])) as messages:
            async for message in messages:
                if isinstance(message, Message):
                    self._restore(message)
                elif message.value == "synced":
                    break
        self._loaded = True

    def _restore(self, message: Message) -> None:
        try:
            saved = WorkloadRecommendation.FromString(message.data)
        except DecodeError as error:
            log.warning("the recommendation on %s is left out: %s", message.subject, error)
            return
        known = self._of(Workload(saved.namespace, saved.kind, saved.name))
        for one in saved.containers[:_MOST_CONTAINERS]:
            known[one.container] = ContainerUse(one.container)
            known[one.container].load(one)


def _request(pod: Pod, container: str) -> float:
    """Return the processors that a container requests."""
    spec = pod.spec
    for each in (*spec.containers, *spec.init_containers):
        if each.name == container and (request := each.resources.requests.get("cpu")):
            return quantity.milli(request) / 1000
    return 0.0
