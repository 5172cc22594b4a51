from __future__ import annotations

import re

import msgspec
import pytest
from workloads import deployment, replica_set, template

from orch.objects.pods import PodTemplate
from orch_controllers.deployment import revisions
from orch_controllers.deployment.revisions import REVISION, REVISION_HISTORY


def pod_template(image: str = "nginx:1", **labels: str) -> PodTemplate:
    return msgspec.json.decode(msgspec.json.encode(template(image, {"app": "web", **labels})), type=PodTemplate)


def test_the_hash_follows_the_template_and_the_collisions_only() -> None:
    one = revisions.template_hash(pod_template(), 0)
    assert revisions.template_hash(pod_template(**{"pod-template-hash": "abc"}), 0) == one
    others = {
        revisions.template_hash(pod_template("nginx:2"), 0),
        revisions.template_hash(pod_template(tier="front"), 0),
        revisions.template_hash(pod_template(), 1),
        revisions.template_hash(pod_template(), 2),
    }
    assert len(others | {one}) == 5
    assert all(re.fullmatch("[bcdfghjklmnpqrstvwxz2456789]{1,10}", each) for each in others)


def test_the_order_of_fields_does_not_make_another_template() -> None:
    spec = b'{"containers":[{"image":"nginx:1","name":"main"}]}'
    reordered = PodTemplate(metadata=pod_template().metadata, spec=msgspec.Raw(spec))
    assert revisions.same_template(pod_template(), reordered)
    assert revisions.template_hash(pod_template(), 0) == revisions.template_hash(reordered, 0)


def test_the_oldest_set_of_the_template_is_the_new_one() -> None:
    asked = deployment(image="nginx:2")
    sets = [
        replica_set("young-twin", image="nginx:2", created=3),
        replica_set("twin", image="nginx:2", created=2),
        replica_set("first", image="nginx:1", created=1),
    ]
    new, old = revisions.new_and_old(asked, sets)
    assert new is sets[1]
    assert [each.metadata.name for each in old] == ["first", "young-twin"]
    assert revisions.new_and_old(deployment(image="nginx:3"), sets)[0] is None


def test_the_next_revision_follows_all_others() -> None:
    sets = [replica_set(f"set-{text}", annotations={REVISION: text}) for text in ("3", "10", "what")]
    assert revisions.next_revision([*sets, replica_set("none")]) == 11
    assert revisions.next_revision([]) == 1


@pytest.mark.parametrize(
    ("former", "revision", "expected"),
    [
        ({}, 1, {REVISION: "1"}),
        ({REVISION: "1"}, 3, {REVISION: "3", REVISION_HISTORY: "1"}),
        ({REVISION: "3", REVISION_HISTORY: "1"}, 5, {REVISION: "5", REVISION_HISTORY: "1,3"}),
        ({REVISION: "3"}, 3, {REVISION: "3"}),
        ({REVISION: "7"}, 3, {REVISION: "7"}),
        ({REVISION: "odd"}, 3, {REVISION: "odd"}),
    ],
)
def test_a_set_that_comes_forward_is_renumbered(
    former: dict[str, str], revision: int, expected: dict[str, str]
) -> None:
    assert revisions.annotations_for(deployment(), replica_set(annotations=former), revision) == expected


def test_a_long_history_loses_its_beginning() -> None:
    history = ",".join(str(number) for number in range(1000, 1400))
    former = replica_set(annotations={REVISION: "1400", REVISION_HISTORY: history[:1999]})
    found = revisions.annotations_for(deployment(), former, 1402)[REVISION_HISTORY]
    assert len(found) <= 2000
    assert found.endswith(",1400")
    assert not found.startswith("1000,")


def test_annotations_of_the_deployment_are_copied_but_for_its_own() -> None:
    own = {
        "kubernetes.io/change-cause": "because",
        "kubectl.kubernetes.io/last-applied-configuration": "{}",
        REVISION: "9",
        REVISION_HISTORY: "8",
        "deployment.kubernetes.io/desired-replicas": "3",
        "deployment.kubernetes.io/max-replicas": "4",
    }
    found = revisions.annotations_for(deployment(annotations=own), None, 1)
    assert found == {"kubernetes.io/change-cause": "because", REVISION: "1"}


def test_a_set_is_made_of_the_whole_template() -> None:
    asked = deployment(minReadySeconds=5)
    body = revisions.replica_set_for(asked, "abc", 2, {REVISION: "1"})
    labels = {"app": "web", "pod-template-hash": "abc"}
    assert body["metadata"]["name"] == "web-abc"
    assert body["metadata"]["labels"] == labels
    assert body["spec"]["selector"]["matchLabels"] == labels
    assert body["spec"]["template"]["metadata"]["labels"] == labels
    assert body["spec"]["template"]["spec"] is asked.spec.template.spec
    assert (body["spec"]["replicas"], body["spec"]["minReadySeconds"]) == (2, 5)
    (owner,) = body["metadata"]["ownerReferences"]
    assert owner["controller"]
    assert owner["blockOwnerDeletion"]


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(None, []), (2**31 - 1, []), (4, []), (2, ["old-1"]), (1, ["old-1"]), (0, ["old-1", "old-4"])],
)
def test_empty_sets_past_the_history_limit_go_lowest_revision_first(limit: int | None, expected: list[str]) -> None:
    sets = [
        replica_set("old-4", 0, annotations={REVISION: "4"}, created=1),
        replica_set("old-1", 0, annotations={REVISION: "1"}, created=2),
        replica_set("old-2", 1, annotations={REVISION: "2"}, created=3),
        replica_set("old-3", 0, annotations={REVISION: "3"}, created=4, generation=2, observed=1),
    ]
    found = revisions.superfluous(deployment(revisionHistoryLimit=limit), sets)
    assert [each.metadata.name for each in found] == expected
