from __future__ import annotations

import pytest

from orch_api.schema import KindSchema, MergeRule, Schemas

MERGE = frozenset({"merge"})


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("spec.template.spec.containers", MergeRule(MERGE, "name", "map", ("name",))),
        (
            "spec.template.spec.containers.ports",
            MergeRule(MERGE, "containerPort", "map", ("containerPort", "protocol")),
        ),
        ("spec.template.spec.volumes", MergeRule(frozenset({"merge", "retainKeys"}), "name", "map", ("name",))),
        ("spec.strategy", MergeRule(frozenset({"retainKeys"}))),
        ("spec.template.spec.tolerations", MergeRule(list_type="atomic")),
        ("metadata.finalizers", MergeRule(MERGE, "", "set")),
        ("metadata.ownerReferences", MergeRule(MERGE, "uid", "map", ("uid",))),
        ("metadata.labels", None),
        ("metadata.labels.anything", None),
        ("spec.replicas", None),
        ("spec.nothing.of.the.kind", None),
        ("status.conditions", MergeRule(MERGE, "type", "map", ("type",))),
    ],
)
def test_the_rule_of_a_field_is_found_by_its_path(deployment: KindSchema, path: str, rule: MergeRule | None) -> None:
    assert deployment.strategy_at(tuple(path.split("."))) == rule


def test_a_field_may_replace(schemas: Schemas) -> None:
    budget = schemas.of("policy", "v1", "PodDisruptionBudget")
    assert budget.strategy_at(("spec", "selector")) == MergeRule(frozenset({"replace"}))


def test_a_service_merges_its_ports_by_port(schemas: Schemas) -> None:
    rule = schemas.of("", "v1", "Service").strategy_at(("spec", "ports"))
    assert rule == MergeRule(MERGE, "port", "map", ("port", "protocol"))
