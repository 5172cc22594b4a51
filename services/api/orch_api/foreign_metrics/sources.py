"""Values of custom and external metrics, by the rules: from queries, or from what nodes measure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from orch import quantity
from orch.clock import Clock, parse_rfc3339
from orch.errors import BadRequestError, NotFoundError
from orch.selectors import EVERYTHING, Requirement, Selector, parse_label_selector
from orch_api.foreign_metrics.prometheus import Prometheus
from orch_api.foreign_metrics.rules import CustomRule, ExternalRule, MetricsRules
from orch_api.registry import Registry
from orch_api.resource import Resource
from orch_api.storage.cache import ObjectCache
from orch_api.storage.objects import Cached
from orch_api.usage import Usage

_NANO: Final = 1_000_000_000
_NOT_A_LABEL: Final = re.compile(r"[^a-zA-Z0-9_]")
_ALL: Final = "*"


class Value(msgspec.Struct, frozen=True):
    """A value in thousandths; moments and times in nanoseconds. `labels` are an external series' own."""

    value: int
    at: int
    window: int = 0
    item: Cached | None = None
    labels: dict[str, str] = {}


class MetricSources:
    """Finds values."""

    def __init__(self, rules: MetricsRules, cache: ObjectCache, registry: Registry, usage: Usage, clock: Clock) -> None:
        self._custom = {(rule.resource, rule.metric): rule for rule in rules.custom}
        self._external = {rule.metric: rule for rule in rules.external}
        self._prometheus = Prometheus(rules.prometheus, clock) if rules.prometheus.url else None
        self._cache = cache
        self._registry = registry
        self._usage = usage

    @property
    def custom_rules(self) -> Sequence[CustomRule]:
        """The metrics about objects."""
        return tuple(self._custom.values())

    @property
    def external_rules(self) -> Sequence[ExternalRule]:
        """The metrics about nothing in the cluster."""
        return tuple(self._external.values())

    def resource(self, qualified: str) -> Resource:
        """Return the resource of that name ("pods", "deployments.apps"). Raises NotFoundError."""
        plural, _, group = qualified.partition(".")
        found = self._registry.stored(group, plural)
        if found is None:
            raise NotFoundError.path()
        return found

    async def custom(
        self, resource: Resource, namespace: str, name: str, selector: Selector, metric: str, series: Selector
    ) -> list[Value]:
        """Return a metric of one object, or of those that a selector selects when `name` is "*".

        Raises NotFoundError for a metric or an object that is not there, ServiceUnavailableError.
        """
        rule = self._custom.get((resource.qualified, metric))
        if rule is None:
            raise NotFoundError(f"the server could not find the metric {metric} for {resource.qualified}")
        await self._cache.catch_up()
        items = self._objects(resource, namespace, name, selector)
        if rule.sample:
            return self._sampled(rule, namespace, items)
        found = await self._queried(rule, resource, namespace, items, series)
        if not found and name != _ALL:
            raise NotFoundError(f"the server could not find the metric {metric} for {resource.qualified} {name}")
        return found

    async def external(self, namespace: str, metric: str, series: Selector) -> list[Value]:
        """Return the series of a metric. Raises NotFoundError and ServiceUnavailableError."""
        rule = self._external.get(metric)
        if rule is None or self._prometheus is None:
            raise NotFoundError(f"the server could not find the requested metric {metric}")
        query = _filled(rule.query, namespace=namespace, matchers=matchers(series))
        return [Value(one.value, one.at, labels=one.labels) for one in await self._prometheus.query(query)]

    def _objects(self, resource: Resource, namespace: str, name: str, selector: Selector) -> dict[str, Cached]:
        if name != _ALL:
            item = self._cache.get(resource.key(namespace, name))
            if item is None:
                raise NotFoundError.of(resource.plural, resource.group, name)
            return {name: item}
        storage = resource.storage
        found = self._cache.select(storage.group, storage.plural, namespace if resource.namespaced else "")
        return {item.key.name: item for item in found if selector.matches(item.labels)}

    async def _queried(
        self, rule: CustomRule, resource: Resource, namespace: str, items: dict[str, Cached], series: Selector
    ) -> list[Value]:
        if not items or self._prometheus is None:
            return []
        names = "|".join(_literal(name) for name in sorted(items))
        query = _filled(rule.query, namespace=namespace, names=names, matchers=matchers(series))
        label = rule.label or resource.singular
        values: list[Value] = []
        for one in await self._prometheus.query(query):
            item = items.get(one.labels.get(label, ""))
            if item is not None:
                values.append(Value(one.value, one.at, item=item))
        return values

    def _sampled(self, rule: CustomRule, namespace: str, items: dict[str, Cached]) -> list[Value]:
        measured = self._registry.find("metrics.k8s.io", "v1beta1", "pods")
        if measured is None:
            return []
        values: list[Value] = []
        for item, document in self._usage.documents(measured, namespace):
            if items.get(item.key.name) is item:
                amount = sum(quantity.milli(one["usage"][rule.sample]) for one in document["containers"])
                values.append(Value(amount, _nanos(parse_rfc3339(document["timestamp"])), _window(document), item))
        return values


def matchers(selector: Selector) -> str:
    """Return a selector as PromQL writes it between braces. Raises BadRequestError for what PromQL cannot say."""
    return ",".join(_matcher(requirement) for requirement in selector.requirements)


def _matcher(requirement: Requirement) -> str:
    key, values = _NOT_A_LABEL.sub("_", requirement.key), requirement.values
    match requirement.operator:
        case "=" | "==" | "in":
            return _compared(key, "=", values)
        case "!=" | "notin":
            return _compared(key, "!", values)
        case "exists":
            return f'{key}!=""'
        case "!":
            return f'{key}=""'
        case other:
            raise BadRequestError(f"metrics cannot be selected by {other}")


def _compared(key: str, operator: str, values: Sequence[str]) -> str:
    if len(values) == 1:
        return f'{key}{"=" if operator == "=" else "!="}"{_quoted(values[0])}"'
    return f'{key}{operator}~"{"|".join(_literal(value) for value in values)}"'


def _literal(text: str) -> str:
    """Return a text that is to be found as it is, within a pattern within quotes."""
    return _quoted(re.escape(text))


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _filled(query: str, **texts: str) -> str:
    return re.sub(r"\$(\w+)", lambda found: texts[found[1]], query)


def selected(text: str) -> Selector:
    """Return the selector that a parameter writes, everything when it is empty. Raises BadRequestError."""
    try:
        return parse_label_selector(text) if text else EVERYTHING
    except ValueError as error:
        raise BadRequestError(str(error)) from error


def _window(document: dict[str, Any]) -> int:
    return int(float(document["window"].removesuffix("s")) * _NANO)


def _nanos(moment: datetime) -> int:
    return int(moment.timestamp() * 1000) * 1_000_000
