"""matchLabelKeys and mismatchLabelKeys: what new pods' selectors ask for by them, and what is refused."""

from __future__ import annotations

import copy

import pytest

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def term(**more):
    return {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "web"}}, **more}


def spread(**more):
    return {"maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", **term(**more)}


def pod(*, affinity=None, constraints=(), labels=None):
    spec = {"containers": [{"name": "c", "image": "i"}], "topologySpreadConstraints": list(constraints)}
    if affinity is not None:
        spec["affinity"] = affinity
    metadata = {"name": "p", "namespace": "d", "labels": labels or {"app": "web", "pod-template-hash": "abc"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def test_what_the_keys_mean_is_written_into_the_selectors_of_a_new_pod(created):
    like, unlike = term(matchLabelKeys=["pod-template-hash", "absent"]), term(mismatchLabelKeys=["app"])
    affinity = {
        "podAffinity": {
            REQUIRED: [copy.deepcopy(like)],
            PREFERRED: [{"weight": 1, "podAffinityTerm": copy.deepcopy(unlike)}],
        },
        "podAntiAffinity": {REQUIRED: [copy.deepcopy(unlike)]},
    }
    before = {"key": "tier", "operator": "Exists"}
    constraint = spread(matchLabelKeys=["pod-template-hash"])
    constraint["labelSelector"]["matchExpressions"] = [before]
    spec = created("pods", pod(affinity=affinity, constraints=[constraint]))["spec"]
    alike = {"key": "pod-template-hash", "operator": "In", "values": ["abc"]}
    other = {"key": "app", "operator": "NotIn", "values": ["web"]}
    assert spec["affinity"]["podAffinity"][REQUIRED][0]["labelSelector"]["matchExpressions"] == [alike]
    preferred = spec["affinity"]["podAffinity"][PREFERRED][0]["podAffinityTerm"]
    assert preferred["labelSelector"]["matchExpressions"] == [other]
    assert spec["affinity"]["podAntiAffinity"][REQUIRED][0]["labelSelector"]["matchExpressions"] == [other]
    (constraint,) = spec["topologySpreadConstraints"]
    assert constraint["labelSelector"]["matchExpressions"] == [before, alike]
    assert constraint["matchLabelKeys"] == ["pod-template-hash"]


def test_pods_with_such_keys_are_accepted(problems):
    assert problems("pods", pod(constraints=[spread(matchLabelKeys=["pod-template-hash"])])) == []
    affinity = {"podAffinity": {REQUIRED: [term(matchLabelKeys=["pod-template-hash"], mismatchLabelKeys=["x"])]}}
    assert problems("pods", pod(affinity=affinity)) == []


AT = f"spec.affinity.podAntiAffinity.{REQUIRED}[0]"
WRONG = [
    (
        {"matchLabelKeys": ["a"], "mismatchLabelKeys": ["b", "a"]},
        ['.matchLabelKeys[0]: Invalid value: "a": exists in both matchLabelKeys and mismatchLabelKeys'],
    ),
    (
        {"matchLabelKeys": ["app"]},
        ['.matchLabelKeys[0]: Invalid value: "app": exists in both matchLabelKeys and labelSelector'],
    ),
    (
        {"mismatchLabelKeys": ["a"], "labelSelector": None},
        [".mismatchLabelKeys: Forbidden: must not be specified when labelSelector is not set"],
    ),
]


@pytest.mark.parametrize(("more", "causes"), WRONG, ids=str)
def test_what_makes_no_sense_is_refused(problems, more, causes):
    found = problems("pods", pod(affinity={"podAntiAffinity": {REQUIRED: [term(**more)]}}))
    assert found == [AT + cause for cause in causes]


def test_constraints_on_spreading_are_looked_at_as_well(problems):
    (found,) = problems("pods", pod(constraints=[spread(matchLabelKeys=["a"], labelSelector=None)]))
    assert found.startswith("spec.topologySpreadConstraints[0].matchLabelKeys: Forbidden: must not be specified")
    (found,) = problems("pods", pod(constraints=[spread(matchLabelKeys=["-"])]))
    assert found.startswith("spec.topologySpreadConstraints[0].matchLabelKeys[0]: Invalid value")


def test_templates_keep_their_keys_for_the_pods_that_are_made_of_them(created):
    template = pod(constraints=[spread(matchLabelKeys=["app-version"])])
    labels = {"app": "web", "app-version": "2"}
    document = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d", "namespace": "d"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": labels}, "spec": template["spec"]},
        },
    }
    spec = created("deployments", document)["spec"]["template"]["spec"]
    assert "matchExpressions" not in spec["topologySpreadConstraints"][0]["labelSelector"]
