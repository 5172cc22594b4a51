"""A kind of one's own, from `kubectl apply` of its definition to its end."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from local_cluster import LocalCluster

GROUP = "e2e.example.com"
NAME = f"crontabs.{GROUP}"
SPEC: dict[str, Any] = {
    "type": "object",
    "description": "what is wanted",
    "required": ["schedule"],
    "properties": {
        "schedule": {"type": "string", "description": "when to run", "pattern": r"^(\S+\s+){4}\S+$"},
        "replicas": {"type": "integer", "minimum": 0, "maximum": 10, "default": 1},
        "image": {"type": "string", "default": "busybox"},
    },
    "x-kubernetes-validations": [
        {"rule": "self.image != 'busybox' || self.replicas <= 3", "message": "no more than three busyboxes"},
        {"rule": "self.schedule == oldSelf.schedule", "message": "the schedule is for ever"},
    ],
}
STATUS = {"type": "object", "properties": {"replicas": {"type": "integer"}, "selector": {"type": "string"}}}
SCALE = {
    "specReplicasPath": ".spec.replicas",
    "statusReplicasPath": ".status.replicas",
    "labelSelectorPath": ".status.selector",
}
DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": NAME},
    "spec": {
        "group": GROUP,
        "scope": "Namespaced",
        "names": {
            "plural": "crontabs",
            "singular": "crontab",
            "kind": "CronTab",
            "shortNames": ["ct"],
            "categories": ["all"],
        },
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "description": "runs something again and again",
                        "properties": {"spec": SPEC, "status": STATUS},
                    }
                },
                "subresources": {"status": {}, "scale": SCALE},
                "selectableFields": [{"jsonPath": ".spec.image"}],
                "additionalPrinterColumns": [
                    {"name": "Schedule", "type": "string", "jsonPath": ".spec.schedule"},
                    {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"},
                    {"name": "Image", "type": "string", "jsonPath": ".spec.image", "priority": 1},
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                ],
            }
        ],
    },
}


def cron(name: str, **spec: Any) -> str:
    wanted = {"schedule": "* * * * *", **spec}
    body = {"apiVersion": f"{GROUP}/v1", "kind": "CronTab", "metadata": {"name": name}, "spec": wanted}
    return json.dumps(body)


@pytest.fixture(scope="module")
def kubectl(simulated: LocalCluster) -> Iterator[Callable[..., str]]:
    """kubectl in a namespace of its own, with the definition in place."""
    simulated.kubectl("create", "namespace", "custom")
    simulated.kubectl("apply", "-f", "-", stdin=json.dumps(DEFINITION))
    simulated.kubectl("wait", "--for=condition=established", "--timeout=20s", f"crd/{NAME}")
    yield lambda *arguments, **options: simulated.kubectl("-n", "custom", *arguments, **options)
    simulated.kubectl("delete", "crd", NAME, "--ignore-not-found", "--timeout=30s")


def test_objects_are_applied_and_shown(kubectl: Callable[..., str]) -> None:
    assert "created" in kubectl("apply", "-f", "-", stdin=cron("shown", replicas=2))
    heading, row = kubectl("get", "ct").splitlines()
    assert heading.split() == ["NAME", "SCHEDULE", "REPLICAS", "AGE"]
    assert re.fullmatch(r"shown +\* \* \* \* \* +2 +\d+s", row)
    assert kubectl("get", "crontabs", "-o", "wide").splitlines()[0].split()[3] == "IMAGE"
    assert "crontab.e2e.example.com/shown" in kubectl("get", "all")
    read = json.loads(kubectl("get", "crontab", "shown", "-o", "json"))
    assert read["spec"] == {"schedule": "* * * * *", "replicas": 2, "image": "busybox"}
    chosen = kubectl("get", "ct", "--field-selector=spec.image=busybox", "-o", "name").split()
    assert "crontab.e2e.example.com/shown" in chosen
    assert "Schedule:" in kubectl("describe", "ct", "shown")


def test_the_schema_is_explained(kubectl: Callable[..., str]) -> None:
    told = kubectl("explain", "crontabs.spec.schedule")
    assert "FIELD: schedule <string>" in told
    assert "when to run" in told
    assert "runs something again and again" in kubectl("explain", "ct")


def test_changes_by_every_way(kubectl: Callable[..., str]) -> None:
    kubectl("apply", "-f", "-", stdin=cron("changed"))
    kubectl("patch", "ct", "changed", "--type=merge", "-p", '{"spec":{"replicas":2}}')
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=cron("changed", replicas=3))
    kubectl("label", "ct", "changed", "a=b")
    kubectl("scale", "ct", "changed", "--replicas=1")
    read = json.loads(kubectl("get", "ct", "changed", "-o", "json"))
    assert read["spec"]["replicas"] == 1
    assert read["metadata"]["labels"] == {"a": "b"}
    assert read["metadata"]["generation"] == 4
    kubectl("patch", "ct", "changed", "--subresource=status", "--type=merge", "-p", '{"status":{"replicas":1}}')
    assert kubectl("get", "ct", "changed", "-o", "jsonpath={.status.replicas}") == "1"
    kubectl("wait", "ct/changed", "--for=jsonpath={.status.replicas}=1", "--timeout=10s")


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (cron("refused", replicas=9), "no more than three busyboxes"),
        (cron("refused", replicas=11, image="x"), "spec.replicas in body should be less than or equal to 10"),
        (cron("refused", schedule="often"), "spec.schedule in body should match"),
        (cron("refused", nonsense=1), 'unknown field "spec.nonsense"'),
    ],
)
def test_what_breaks_a_rule_is_refused(kubectl: Callable[..., str], document: str, problem: str) -> None:
    assert problem in kubectl("apply", "-f", "-", stdin=document, check=False)
    assert "NotFound" in kubectl("get", "ct", "refused", check=False)


def test_transitions_are_refused(kubectl: Callable[..., str]) -> None:
    kubectl("apply", "-f", "-", stdin=cron("kept"))
    said = kubectl("apply", "-f", "-", stdin=cron("kept", schedule="1 * * * *"), check=False)
    assert "the schedule is for ever" in said


def test_a_wrong_definition_is_refused(kubectl: Callable[..., str]) -> None:
    wrong = json.loads(json.dumps(DEFINITION).replace("crontabs", "others").replace("self.image !=", "self.nope !="))
    said = kubectl("apply", "-f", "-", stdin=json.dumps(wrong), check=False)
    assert "x-kubernetes-validations[0].rule" in said
    assert "undefined field 'nope'" in said


def test_the_kind_ends_with_its_definition(simulated: LocalCluster, kubectl: Callable[..., str]) -> None:
    plural = json.loads(
        json.dumps(DEFINITION).replace("crontab", "brief").replace("CronTab", "Brief").replace('"ct"', '"br"')
    )
    simulated.kubectl("apply", "-f", "-", stdin=json.dumps(plural))
    simulated.kubectl("wait", "--for=condition=established", "--timeout=20s", f"crd/briefs.{GROUP}")
    kubectl("apply", "-f", "-", stdin=cron("one").replace("CronTab", "Brief"))
    assert "one" in kubectl("get", "briefs")
    assert "deleted" in simulated.kubectl("delete", "crd", f"briefs.{GROUP}", "--timeout=30s")
    assert re.search(
        "could not find the requested resource|doesn't have a resource", kubectl("get", "briefs", check=False)
    )
    assert "NotFound" in simulated.kubectl("get", "crd", f"briefs.{GROUP}", check=False)
