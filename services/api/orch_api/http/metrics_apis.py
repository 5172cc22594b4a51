"""custom.metrics.k8s.io/v1beta2 and external.metrics.k8s.io/v1beta1, as autoscalers and `kubectl get --raw` read them.

    /apis/custom.metrics.k8s.io/v1beta2/namespaces/<ns>/<resource>/<name or *>/<metric>
    /apis/custom.metrics.k8s.io/v1beta2/namespaces/<ns>/metrics/<metric>          about the namespace itself
    /apis/custom.metrics.k8s.io/v1beta2/<resource>/<name or *>/<metric>
    /apis/external.metrics.k8s.io/v1beta1/namespaces/<ns>/<metric>

Both groups are served only when rules name metrics for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from orch import quantity
from orch.clock import rfc3339
from orch.errors import MethodNotAllowedError, NotFoundError
from orch_api.auth.authorizer import Authorizer
from orch_api.auth.identity import Caller
from orch_api.extensions.remote_resources import unknown_resource
from orch_api.foreign_metrics.endpoint import CUSTOM, EXTERNAL
from orch_api.foreign_metrics.sources import MetricSources, Value, selected
from orch_api.http.care import Care
from orch_api.http.exchange import Exchange
from orch_api.http.request import Call, parse_path, parse_query, text
from orch_api.registry import Registry
from orch_api.resource import Resource, Subresource
from orch_api.strategy import Strategy

_ORIGIN: Final = "metrics rules"
_NANO: Final = 1_000_000_000
_READ: Final = frozenset({"get"})
_NAMESPACE_METRICS: Final = "metrics"


def serve_metrics(sources: MetricSources, registry: Registry) -> None:
    """List in the registry what the rules offer, for discovery and OpenAPI."""
    group, version = CUSTOM
    below: dict[str, dict[str, Subresource]] = {}
    for rule in sources.custom_rules:
        below.setdefault(rule.resource, {})[rule.metric] = Subresource("MetricValueList", group, version, _READ)
    listed = [_listed(group, version, qualified, registry, metrics) for qualified, metrics in below.items()]
    if sources.external_rules:
        group, version = EXTERNAL
        listed.append(
            Resource(
                group=group,
                version=version,
                plural="externalmetrics",
                singular="",
                kind="ExternalMetricValueList",
                verbs=_READ,
                strategy=Strategy(),
                stored=False,
            )
        )
    if listed:
        registry.replace(_ORIGIN, listed)


def _listed(group: str, version: str, qualified: str, registry: Registry, metrics: dict[str, Subresource]) -> Resource:
    plural, _, of = qualified.partition(".")
    about = registry.stored(of, plural)
    return Resource(
        group=group,
        version=version,
        plural=qualified,
        singular="",
        kind=about.kind if about is not None else qualified,
        namespaced=about is None or about.namespaced,
        verbs=frozenset(),
        subresources=metrics,
        strategy=Strategy(),
        stored=False,
    )


class MetricsApis:
    """Answers requests for values."""

    def __init__(self, sources: MetricSources, authorizer: Authorizer) -> None:
        self._sources = sources
        self._authorizer = authorizer
        listed = ((CUSTOM, sources.custom_rules), (EXTERNAL, sources.external_rules))
        self._served = {where for where, rules in listed if rules}

    async def answer(self, exchange: Exchange, caller: Caller, care: Care) -> bool:
        """Answer a request whose path belongs to one of the groups; return whether it does. Raises ApiError."""
        if not self._served:
            return False
        target = parse_path(exchange.scope["path"])
        if target is None or (target.group, target.version) not in self._served:
            return False
        query = parse_query(exchange.scope["query_string"])
        resource = unknown_resource(target.group, target.version, target.resource, namespaced=bool(target.namespace))
        call = Call(caller, "get" if target.name else "list", resource, target, query)
        await care.resource(exchange, call, lambda: self._answer(exchange, call))
        return True

    async def _answer(self, exchange: Exchange, call: Call) -> None:
        if exchange.method not in {"GET", "HEAD"}:
            raise MethodNotAllowedError
        target = call.target
        await self._authorizer.permit(
            call.caller, call.verb, call.resource, target.namespace, target.name, target.subresource
        )
        if (target.group, target.version) == EXTERNAL:
            document = await self._external(call)
        else:
            document = await self._custom(call)
        await exchange.answer(200, msgspec.json.encode(document))

    async def _external(self, call: Call) -> dict[str, Any]:
        target = call.target
        if not target.namespace or target.name:
            raise NotFoundError.path()
        series = selected(text(call.query, "labelSelector"))
        values = await self._sources.external(target.namespace, target.resource, series)
        items = [
            {
                "metricName": target.resource,
                "metricLabels": {name: label for name, label in one.labels.items() if name != "__name__"},
                "timestamp": _moment(one.at),
                "value": _amount(one),
            }
            for one in values
        ]
        return _list_of("ExternalMetricValueList", EXTERNAL, items)

    async def _custom(self, call: Call) -> dict[str, Any]:
        target = call.target
        namespace, qualified, name, metric = target.namespace, target.resource, target.name, target.subresource
        if qualified == _NAMESPACE_METRICS and namespace and not metric:
            namespace, qualified, name, metric = "", "namespaces", namespace, name
        if not name or not metric or target.path:
            raise NotFoundError.path()
        about = self._sources.resource(qualified)
        if about.namespaced != bool(namespace):
            raise NotFoundError.path()
        selector = selected(text(call.query, "labelSelector"))
        written = text(call.query, "metricLabelSelector")
        series = selected(written)
        values = await self._sources.custom(about, namespace, name, selector, metric, series)
        return _list_of("MetricValueList", CUSTOM, _about_objects(about, metric, values))


def _about_objects(about: Resource, metric: str, values: Sequence[Value]) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    for one in values:
        if one.item is None:
            continue
        described = {"kind": about.kind, "name": one.item.key.name, "apiVersion": about.api_version}
        if one.item.key.namespace:
            described["namespace"] = one.item.key.namespace
        item: dict[str, Any] = {
            "describedObject": described,
            "metric": {"name": metric, "selector": None},
            "timestamp": _moment(one.at),
            "value": _amount(one),
        }
        if one.window:
            item["windowSeconds"] = max(round(one.window / _NANO), 1)
        items.append(item)
    return items


def _list_of(kind: str, where: tuple[str, str], items: list[dict[str, Any]]) -> dict[str, Any]:
    group, version = where
    return {"kind": kind, "apiVersion": f"{group}/{version}", "metadata": {}, "items": items}


def _amount(one: Value) -> str:
    return quantity.canonical(f"{one.value}m")


def _moment(nanos: int) -> str:
    return rfc3339(datetime.fromtimestamp(nanos / _NANO, UTC))
