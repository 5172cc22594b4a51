"""What kubectl says of a manifest that is wrong: Kubernetes' own words, the field's path among them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from local_cluster import LocalCluster

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: bad}
spec:
  selector: {matchLabels: {app: bad}}
  template:
    metadata: {labels: {app: bad}}
    spec:
      containers: [{name: main, image: nginx}]
"""
HANDLED = 'Deployment in version "v1" cannot be handled as a Deployment'


@pytest.fixture
def space(simulated: LocalCluster, namespace: Callable[[LocalCluster], str]) -> str:
    return namespace(simulated)


def changed(before: str, after: str) -> str:
    assert before in DEPLOYMENT
    return DEPLOYMENT.replace(before, after)


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        (changed("{name: bad}", "{name: bad"), "error converting YAML to JSON"),
        (
            changed("spec:\n  sel", "spec:\n  replicaz: 1\n  sel"),
            'strict decoding error: unknown field "spec.replicaz"',
        ),
        (
            changed("image: nginx", "image: nginx, imagePull: Never"),
            'unknown field "spec.template.spec.containers[0].imagePull"',
        ),
        (changed("spec:\n  sel", "spec:\n  replicas: two\n  sel"), "DeploymentSpec.spec.replicas of type int32"),
        (changed("name: bad}", "name: Bad_}"), 'metadata.name: Invalid value: "Bad_": a lowercase RFC 1123 subdomain'),
        (
            changed("image: nginx", "image: nginx, resources: {limits: {memory: 1Q}}"),
            f"{HANDLED}: spec.template.spec.containers[0].resources.limits.memory: quantities must match the regular",
        ),
        (changed("selector: {matchLabels: {app: bad}}", "paused: true"), "* spec.selector: Required value"),
        (changed("matchLabels: {app: bad}", "matchLabels: {app: b}"), "`selector` does not match template `labels`"),
        (changed("image: nginx", 'image: ""'), "spec.template.spec.containers[0].image: Required value"),
        (changed("apps/v1", "apps/v9"), 'no matches for kind "Deployment" in version "apps/v9"'),
    ],
)
def test_apply(simulated: LocalCluster, space: str, manifest: str, said: str) -> None:
    told = simulated.kubectl("-n", space, "apply", "-f", "-", stdin=manifest, check=False)
    assert said in told
    assert simulated.get("-n", space, "deployments") == []


def test_unknown_fields_are_warned_about_or_ignored(simulated: LocalCluster, space: str) -> None:
    manifest = changed("spec:\n  sel", "spec:\n  replicaz: 1\n  sel")
    warned = simulated.kubectl("-n", space, "apply", "--validate=warn", "-f", "-", stdin=manifest)
    assert 'Warning: unknown field "spec.replicaz"' in warned
    ignored = simulated.kubectl("-n", space, "apply", "--validate=ignore", "-f", "-", stdin=manifest)
    assert "Warning" not in ignored
    assert "replicaz" not in simulated.get("-n", space, "deployment", "bad")["spec"]


def test_what_may_not_change(simulated: LocalCluster, space: str) -> None:
    simulated.kubectl("-n", space, "apply", "-f", "-", stdin=DEPLOYMENT)
    other = DEPLOYMENT.replace("{app: bad}", "{app: other}")
    told = simulated.kubectl("-n", space, "apply", "-f", "-", stdin=other, check=False)
    assert 'The Deployment "bad" is invalid: ' in told
    assert "spec.selector: Invalid value: " in told
    assert told.rstrip().endswith("field is immutable")
    assert simulated.get("-n", space, "deployment", "bad")["spec"]["selector"] == {"matchLabels": {"app": "bad"}}


def test_a_stale_replace_conflicts(simulated: LocalCluster, space: str) -> None:
    simulated.kubectl("-n", space, "create", "configmap", "moving", "--from-literal=a=1")
    stale = simulated.kubectl("-n", space, "get", "configmap", "moving", "-o", "yaml")
    simulated.kubectl("-n", space, "patch", "configmap", "moving", "-p", '{"data": {"a": "2"}}')
    told = simulated.kubectl("-n", space, "replace", "-f", "-", stdin=stale, check=False)
    assert "Error from server (Conflict)" in told
    assert "the object has been modified; please apply your changes to the latest version and try again" in told


def test_names_and_places_that_are_not(simulated: LocalCluster, space: str) -> None:
    told = simulated.kubectl("-n", space, "get", "pod", "none", check=False)
    assert told == 'Error from server (NotFound): pods "none" not found\n'
    told = simulated.kubectl("-n", "nowhere", "create", "configmap", "a", check=False)
    assert 'namespaces "nowhere" not found' in told
    wrong = changed("Deployment", "Deploymint")
    told = simulated.kubectl("-n", space, "apply", "--validate=false", "-f", "-", stdin=wrong, check=False)
    assert 'no matches for kind "Deploymint" in version "apps/v1"' in told
    told = simulated.kubectl("get", "gizmos", check=False)
    assert told == 'error: the server doesn\'t have a resource type "gizmos"\n'
    simulated.kubectl("-n", space, "create", "configmap", "twice")
    told = simulated.kubectl("-n", space, "create", "configmap", "twice", check=False)
    assert 'configmaps "twice" already exists' in told
    assert simulated.kubectl("-n", space, "get", "pods") == f"No resources found in {space} namespace.\n"
