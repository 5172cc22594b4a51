"""`kubectl set`, and what `label`, `annotate`, `edit`, `scale` and `rollout` refuse."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from local_cluster import LocalCluster
from space import Space


@pytest.fixture(scope="module")
def space(simulated: LocalCluster) -> Iterator[Space]:
    """A namespace with a Deployment of two containers that nobody waits for."""
    simulated.kubectl("create", "namespace", "sets")
    made = Space(simulated, "sets")
    made.kubectl("create", "deployment", "web", "--image=web:1", "--image=side:1")
    yield made
    simulated.kubectl("delete", "namespace", "sets", "--wait=false")


def containers(space: Space) -> dict[str, dict[str, Any]]:
    template = space.get("deployment", "web")["spec"]["template"]
    return {each["name"]: each for each in template["spec"]["containers"]}


def test_images(space: Space) -> None:
    space.kubectl("set", "image", "deployment/web", "web=web:2", "side=side:2")
    assert [each["image"] for each in containers(space).values()] == ["web:2", "side:2"]
    space.kubectl("set", "image", "deployments", "*=any:1", "--all")
    assert {each["image"] for each in containers(space).values()} == {"any:1"}
    refused = space.kubectl("set", "image", "deployment/web", "none=x", check=False)
    assert refused == 'error: unable to find container named "none"\n'


def test_environment(space: Space) -> None:
    space.kubectl("create", "configmap", "settings", "--from-literal=colour=red")
    space.kubectl("set", "env", "deployment/web", "A=1", "B=2", "-c", "web")
    assert space.kubectl("set", "env", "deployment/web", "--list").splitlines() == [
        "# Deployment web, container web",
        "A=1",
        "B=2",
        "# Deployment web, container side",
    ]
    space.kubectl("set", "env", "deployment/web", "--from=configmap/settings", "--prefix=P_", "-c", "side")
    reference = {"configMapKeyRef": {"name": "settings", "key": "colour"}}
    assert containers(space)["side"]["env"] == [{"name": "P_COLOUR", "valueFrom": reference}]
    space.kubectl("set", "env", "deployment/web", "A-")
    assert containers(space)["web"]["env"] == [{"name": "B", "value": "2"}]


def test_resources(space: Space) -> None:
    limits = ("--limits=cpu=200m,memory=64Mi", "--requests=cpu=10m")
    space.kubectl("set", "resources", "deployment/web", "-c=web", *limits)
    wanted = {"limits": {"cpu": "200m", "memory": "64Mi"}, "requests": {"cpu": "10m"}}
    assert containers(space)["web"]["resources"] == wanted
    refused = space.kubectl("set", "resources", "deployment/web", "-c=web", "--requests=cpu=1", check=False)
    assert (
        'Deployment.apps "web" is invalid: spec.template.spec.containers[0].resources.requests: Invalid value: "1": '
        "must be less than or equal to cpu limit of 200m"
    ) in refused


def test_accounts_selectors_and_subjects(space: Space) -> None:
    space.kubectl("create", "serviceaccount", "robot")
    space.kubectl("set", "serviceaccount", "deployment/web", "robot")
    assert space.get("deployment", "web")["spec"]["template"]["spec"]["serviceAccountName"] == "robot"
    space.kubectl("create", "service", "clusterip", "front", "--tcp=80")
    space.kubectl("set", "selector", "service", "front", "tier=front")
    assert space.get("service", "front")["spec"]["selector"] == {"tier": "front"}
    space.kubectl("create", "rolebinding", "bound", "--clusterrole=view", "--user=a")
    space.kubectl("set", "subject", "rolebinding", "bound", "--user=b", "--group=c", "--serviceaccount=sets:robot")
    subjects = space.get("rolebinding", "bound")["subjects"]
    assert [(each["kind"], each["name"]) for each in subjects] == [
        ("User", "a"),
        ("User", "b"),
        ("Group", "c"),
        ("ServiceAccount", "robot"),
    ]


def test_labels_of_many_and_of_none(space: Space) -> None:
    for name in ("l1", "l2"):
        space.kubectl("create", "configmap", name)
        space.kubectl("label", "configmap", name, "mine=yes")
    assert (
        space.kubectl("label", "configmaps", "-l", "mine", "mine-")
        == "configmap/l1 unlabeled\nconfigmap/l2 unlabeled\n"
    )
    assert space.kubectl("label", "configmap", "l1", "mine-") == 'label "mine" not found.\nconfigmap/l1 not labeled\n'
    assert space.kubectl("label", "configmaps", "--all", "a=b", "--dry-run=server").count("(server dry run)") >= 2
    space.kubectl("annotate", "configmap", "l1", "note=a", "other=b")
    assert set(space.kubectl("annotate", "configmap", "l1", "--list").splitlines()) == {"note=a", "other=b"}
    local = '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "l1"}}'
    told = space.kubectl("label", "--local", "-f", "-", "-o", "json", "x=y", stdin=local)
    assert json.loads(told)["metadata"]["labels"] == {"x": "y"}
    assert "labels" not in space.get("configmap", "l1")["metadata"]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (
            ("annotate", "deployment", "web", "a=b", "--resource-version=1"),
            'Operation cannot be fulfilled on deployments.apps "web": the object has been modified; please apply your',
        ),
        (("label", "deployment", "web", "k=a b"), "a valid label must be an empty string or consist of alphanumeric"),
        (
            ("label", "deployment", "web", "bad key=x"),
            'metadata.labels: Invalid value: "bad key": name part must consist of alphanumeric characters',
        ),
        (
            ("scale", "deployment", "web", "--replicas=2", "--resource-version=1"),
            "Expected resource version to be 1",
        ),
        (("scale", "deployment", "none", "--replicas=2"), 'deployments.apps "none" not found'),
        (("scale", "serviceaccount", "default", "--replicas=2"), "could not find the requested resource"),
        (
            ("rollout", "undo", "deployment", "web", "--to-revision=99"),
            "unable to find specified revision 99",
        ),
        (("rollout", "history", "deployment", "web", "--revision=99"), "unable to find the specified revision"),
        (("rollout", "resume", "deployment", "web"), 'deployments.apps "web" is not paused'),
        (("rollout", "status", "configmap/none"), "not found"),
        (("patch", "deployment", "web", "-p", '{"spec": {"replicas": -1}}'), "must be greater than or equal to 0"),
        (
            ("patch", "deployment", "web", "-p", '{"spec": 1}'),
            'The request is invalid: patch: Invalid value: "map[spec:1]": cannot restore struct from: int64',
        ),
        (
            ("patch", "deployment", "web", "--type=json", "-p", '[{"op": "remove", "path": "/no"}]'),
            "request is invalid",
        ),
        (("patch", "deployment", "web", "--subresource=none", "-p", "{}"), "could not find the requested resource"),
        (("replace", "--raw", "/api/v1/none", "-f", "/dev/null"), "could not find the requested resource"),
    ],
)
def test_what_is_refused(space: Space, command: tuple[str, ...], said: str) -> None:
    assert said in space.kubectl(*command, check=False)


def test_a_paused_rollout(space: Space) -> None:
    paused = space.kubectl("rollout", "pause", "deployment", "web")
    assert paused == "deployment.apps/web paused\n"
    for command, said in (
        ("pause", 'error: deployments.apps "web" is already paused\n'),
        ("restart", 'error: deployments.apps "web" can\'t restart paused deployment (run rollout resume first)\n'),
    ):
        assert space.kubectl("rollout", command, "deployment", "web", check=False) == said
    assert space.kubectl("rollout", "resume", "deployment", "web") == "deployment.apps/web resumed\n"


def test_an_edit_that_is_refused_is_opened_again(space: Space) -> None:
    space.kubectl("create", "configmap", "edited", "--from-literal=a=1")
    # The second time, the editor leaves the file as it is, and kubectl gives up.
    told = space.kubectl("edit", "configmap", "edited", environ={"KUBE_EDITOR": "sed -i s/edited/E!/"}, check=False)
    assert "error: At least one of apiVersion, kind and name was changed" in told
    told = space.kubectl("edit", "configmap", "edited", environ={"KUBE_EDITOR": "sed -i s/a:.*/a:/"}, check=False)
    assert told == "configmap/edited edited\n"
    space.kubectl("patch", "configmap", "edited", "-p", '{"data": {"a": "1"}}')
    editor = {"KUBE_EDITOR": "sed -i 's/a: .1./a: 1/'"}
    told = space.kubectl("edit", "configmap", "edited", environ=editor, check=False)
    assert told.startswith('error: configmaps "edited" is invalid\n')
    assert space.get("configmap", "edited")["data"] == {"a": "1"}
    editor = {"KUBE_EDITOR": """sed -i 's/"a": .*/"a": "2"/'"""}
    told = space.kubectl("edit", "configmap/edited", "-o", "json", environ=editor)
    assert json.loads(told)["data"] == {"a": "2"}
    told = space.kubectl(
        "edit", "deployment", "web", "--subresource=status", environ={"KUBE_EDITOR": "sed -i /observedGeneration/d"}
    )
    assert told == "deployment.apps/web edited\n"
