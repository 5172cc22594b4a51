"""Answers the controllers' questions for metrics on the bus: by the rules, or by whom an APIService names."""

from __future__ import annotations

from typing import Final

from orch.bus import rpc
from orch.bus.protocol import Bus, Subscription
from orch.errors import ApiError, NotFoundError, ServiceUnavailableError, UnavailableError
from orch_api.auth.authorizer import Authorizer
from orch_api.auth.identity import Caller, caller_on_bus
from orch_api.extensions.api_services import ApiServices
from orch_api.extensions.remote_resources import unknown_resource
from orch_api.foreign_metrics.remote import RemoteMetrics
from orch_api.foreign_metrics.sources import MetricSources, selected
from orch_api.registry import Registry
from orch_pb.v1.autoscaling_pb2 import MetricsReply, MetricsRequest, MetricValue

CUSTOM: Final[tuple[str, str]] = ("custom.metrics.k8s.io", "v1beta2")
EXTERNAL: Final[tuple[str, str]] = ("external.metrics.k8s.io", "v1beta1")
_ALL: Final = "*"


class MetricsEndpoint:
    """Serves the verb `metrics`."""

    def __init__(
        self, sources: MetricSources, registry: Registry, authorizer: Authorizer, services: ApiServices
    ) -> None:
        self._sources = sources
        self._registry = registry
        self._authorizer = authorizer
        self._services = services
        self._remote = RemoteMetrics(services)

    async def serve(self, bus: Bus) -> list[Subscription]:
        """Begin to answer; the caller stops the subscriptions."""
        return [await rpc.serve(bus, "metrics", MetricsRequest, self.metrics)]

    async def metrics(self, user: str, request: MetricsRequest) -> MetricsReply:
        """Answer with the newest values."""
        try:
            values = await self._find(caller_on_bus(user), request)
        except ApiError as error:
            return MetricsReply(status=error.encode())
        except UnavailableError as error:
            return MetricsReply(status=ServiceUnavailableError(str(error)).encode())
        return MetricsReply(values=values)

    async def _find(self, caller: Caller, request: MetricsRequest) -> list[MetricValue]:
        if request.resource or request.kind:
            return await self._custom(caller, request)
        group, version = EXTERNAL
        resource = unknown_resource(group, version, request.metric, namespaced=True)
        await self._authorizer.permit(caller, "list", resource, request.namespace, "")
        if (api := self._services.find(group, version)) is not None:
            place = f"namespaces/{request.namespace}/{request.metric}"
            return await self._remote.ask(caller, api, place, {"labelSelector": request.metric_selector})
        if not self._sources.external_rules:
            raise NotFoundError.path()
        series = selected(request.metric_selector)
        found = await self._sources.external(request.namespace, request.metric, series)
        return [MetricValue(value=one.value, at=one.at, window=one.window) for one in found]

    async def _custom(self, caller: Caller, request: MetricsRequest) -> list[MetricValue]:
        group, version = CUSTOM
        about = next(
            (
                one
                for one in self._registry.kept()
                if one.group == request.group
                and request.resource in {"", one.plural}
                and request.kind in {"", one.kind}
            ),
            None,
        )
        if about is None:
            raise NotFoundError.path()
        name = request.name or _ALL
        asked = unknown_resource(group, version, about.qualified, namespaced=about.namespaced)
        await self._authorizer.permit(caller, "get", asked, request.namespace, name, request.metric)
        if (api := self._services.find(group, version)) is not None:
            where = f"namespaces/{request.namespace}/" if about.namespaced else ""
            chosen = {"labelSelector": request.selector, "metricLabelSelector": request.metric_selector}
            return await self._remote.ask(caller, api, f"{where}{about.qualified}/{name}/{request.metric}", chosen)
        if not self._sources.custom_rules:
            raise NotFoundError.path()
        selector = selected(request.selector)
        series = selected(request.metric_selector)
        found = await self._sources.custom(about, request.namespace, name, selector, request.metric, series)
        return [
            MetricValue(name=one.item.key.name, value=one.value, at=one.at, window=one.window)
            for one in found
            if one.item is not None
        ]
