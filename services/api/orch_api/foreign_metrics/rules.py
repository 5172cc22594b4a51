"""The file that says which custom and external metrics there are, and where their values come from.

    prometheus: {url: "http://prometheus:9090", timeout: 2s, cache: 2s}
    custom:
    - metric: http_requests_per_second
      resource: pods
      query: sum by (pod) (rate(http_requests_total{namespace="$namespace",pod=~"$names",$matchers}[30s]))
    - {metric: memory_working_set, resource: pods, sample: memory}
    external:
    - metric: queue_depth
      query: sum(queue_depth{$matchers})

In a query `$namespace` stands for the namespace asked for, `$names` for a pattern of the objects' names, `$matchers`
for the metric's own selector. The label named like the resource in the singular says which object a series is about;
`label` names another one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec

from orch import config
from orch.config import Duration
from orch.errors import ConfigError

_NAME: Final = re.compile(r"[a-zA-Z0-9_:.][a-zA-Z0-9_:.-]{0,252}")
_PLACEHOLDER: Final = re.compile(r"\$(\w+)")
_KNOWN: Final = {"custom": {"namespace", "names", "matchers"}, "external": {"namespace", "matchers"}}


class PrometheusSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where queries go. `cache`: seconds for which an answer is used again."""

    url: str = ""
    timeout: Duration = 2.0
    cache: Duration = 2.0
    ca_file: str = ""
    bearer_token_file: str = ""


class CustomRule(msgspec.Struct, frozen=True, kw_only=True):
    """A metric about objects of a resource ("pods", "ingresses.networking.k8s.io"): a query, or what nodes measure."""

    metric: str
    resource: str = "pods"
    query: str = ""
    label: str = ""
    sample: Literal["", "cpu", "memory"] = ""

    @property
    def plural(self) -> str:
        """The resource without its group."""
        return self.resource.partition(".")[0]

    @property
    def group(self) -> str:
        """The resource's group."""
        return self.resource.partition(".")[2]


class ExternalRule(msgspec.Struct, frozen=True, kw_only=True):
    """A metric that is about no object of the cluster."""

    metric: str
    query: str


class MetricsRules(msgspec.Struct, frozen=True, kw_only=True):
    """What is served."""

    prometheus: PrometheusSettings = PrometheusSettings()
    custom: tuple[CustomRule, ...] = ()
    external: tuple[ExternalRule, ...] = ()


def read_rules(file: str) -> MetricsRules:
    """Return the rules of a file, none when it is "". Raises ConfigError with the place in it that is wrong."""
    if not file:
        return MetricsRules()
    rules = config.load(MetricsRules, service="metrics", file=Path(file), environ={})
    for place, problem in _problems(rules):
        raise ConfigError(f"{file}: {place}", problem)
    return rules


def _problems(rules: MetricsRules) -> Iterator[tuple[str, str]]:
    address = urlsplit(rules.prometheus.url)
    if rules.prometheus.url and (address.scheme not in {"http", "https"} or not address.hostname):
        yield "prometheus.url", f"{rules.prometheus.url!r} is no address such as http://prometheus:9090"
    seen: set[tuple[str, ...]] = set()
    for kind, listed in (("custom", rules.custom), ("external", rules.external)):
        for place, rule in enumerate(listed):
            at = f"{kind}[{place}]"
            if not _NAME.fullmatch(rule.metric):
                yield f"{at}.metric", f"{rule.metric!r} is no metric's name"
            name = (kind, rule.metric, rule.resource if isinstance(rule, CustomRule) else "")
            if name in seen:
                yield f"{at}.metric", f"{rule.metric!r} is there twice"
            seen.add(name)
            if isinstance(rule, CustomRule):
                yield from _custom_problems(at, rule)
            if rule.query and not rules.prometheus.url:
                yield "prometheus.url", f"is needed by the query of {at}"
            unknown = [found for found in _PLACEHOLDER.findall(rule.query) if found not in _KNOWN[kind]]
            if unknown:
                known = ", ".join(f"${one}" for one in sorted(_KNOWN[kind]))
                yield f"{at}.query", f"${unknown[0]} stands for nothing; there are {known}"


def _custom_problems(at: str, rule: CustomRule) -> Iterator[tuple[str, str]]:
    if bool(rule.query) == bool(rule.sample):
        yield at, "has to have either a query or a sample"
    if rule.sample and rule.resource != "pods":
        yield f"{at}.resource", "samples are of pods"
