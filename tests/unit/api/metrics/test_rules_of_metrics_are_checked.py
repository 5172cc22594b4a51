from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from orch.errors import ConfigError
from orch_api.foreign_metrics.rules import MetricsRules, read_rules

URL = {"url": "http://p:9090"}
QUEUE = {"metric": "queue", "query": "queue"}


def write(folder: Path, content: Any) -> str:
    file = folder / "rules.yaml"
    file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return str(file)


def test_no_file_is_no_rules() -> None:
    assert read_rules("") == MetricsRules()


def test_groups_belong_to_the_resource(tmp_path: Path) -> None:
    rule = {"metric": "hits", "resource": "ingresses.networking.k8s.io", "query": "hits"}
    (read,) = read_rules(write(tmp_path, {"prometheus": URL, "custom": [rule]})).custom
    assert (read.plural, read.group) == ("ingresses", "networking.k8s.io")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"external": [QUEUE]}, "prometheus.url: is needed by the query of external[0]"),
        ({"prometheus": {"url": "p:9090"}}, "prometheus.url: 'p:9090' is no address such as http://prometheus:9090"),
        ({"prometheus": URL, "external": [QUEUE, QUEUE]}, "external[1].metric: 'queue' is there twice"),
        ({"prometheus": URL, "external": [{"metric": "a b", "query": "a"}]}, "external[0].metric: 'a b' is no metric"),
        (
            {"prometheus": URL, "external": [{"metric": "a", "query": "a{$names}"}]},
            "external[0].query: $names stands for nothing; there are $matchers, $namespace",
        ),
        ({"custom": [{"metric": "a"}]}, "custom[0]: has to have either a query or a sample"),
        (
            {"custom": [{"metric": "a", "resource": "nodes", "sample": "cpu"}]},
            "custom[0].resource: samples are of pods",
        ),
        ({"custom": [{"metric": "a", "sample": "disk"}]}, "custom[0].sample"),
        ({"externals": []}, "externals"),
        ({"prometheus": {"url": "http://p", "timeout": "soon"}}, "prometheus.timeout"),
        ("custom: [", "is not valid YAML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, content: Any, problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read_rules(write(tmp_path, content))
    assert problem in str(raised.value)
