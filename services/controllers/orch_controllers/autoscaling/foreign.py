"""Metrics that are not use of processors and memory: asked of the api, which has them from elsewhere."""

from __future__ import annotations

from typing import Final

import msgspec

from orch.bus import rpc
from orch.bus.protocol import Bus
from orch.errors import ApiError, OrchError
from orch.objects.autoscaling import MetricIdentifier, MetricSource, TargetReference
from orch.selectors import from_label_selector
from orch.telemetry import current_trace
from orch_pb.v1.autoscaling_pb2 import MetricsReply, MetricsRequest, MetricValue

_TIMEOUT: Final = 5.0


class Values(msgspec.Struct, frozen=True):
    """The newest values of a metric, or why there are none."""

    values: tuple[MetricValue, ...] = ()
    error: str = ""


class ForeignMetrics:
    """Asks for custom and external metrics; failures are answers, worded as Kubernetes' clients do."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def of_pods(self, namespace: str, selector: str, source: MetricSource) -> Values:
        """Return a metric of each pod that a selector selects."""
        request = MetricsRequest(namespace=namespace, resource="pods", selector=selector)
        return await self._ask(request, source.metric, "custom")

    async def of_object(self, namespace: str, reference: TargetReference, source: MetricSource) -> Values:
        """Return a metric of one object."""
        group = reference.api_version.rpartition("/")[0]
        request = MetricsRequest(namespace=namespace, group=group, kind=reference.kind, name=reference.name)
        return await self._ask(request, source.metric, "custom")

    async def external(self, namespace: str, source: MetricSource) -> Values:
        """Return the series of a metric that belongs to no object."""
        return await self._ask(MetricsRequest(namespace=namespace), source.metric, "external")

    async def _ask(self, request: MetricsRequest, metric: MetricIdentifier, api: str) -> Values:
        request.metric = metric.name
        try:
            if metric.selector is not None:
                request.metric_selector = str(from_label_selector(metric.selector))
        except ValueError as error:
            return Values(error=str(error))
        request.trace.CopyFrom(current_trace() or request.trace)
        try:
            reply = await rpc.call(self._bus, "metrics", request, MetricsReply, timeout=_TIMEOUT)
            if reply.status:
                raise ApiError.decode(reply.status)
        except OrchError as error:
            return Values(error=f"unable to fetch metrics from {api} metrics API: {error}")
        if not reply.values:
            return Values(error=f"no metrics returned from {api} metrics API")
        return Values(tuple(reply.values))
