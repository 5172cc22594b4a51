from __future__ import annotations

import pytest

from orch.errors import OrchError
from orch_cli.templates import read_manifests

POD = {"containers": [{"name": "c", "image": "i"}]}


@pytest.fixture
def read(tmp_path):
    def make(text):
        (tmp_path / "m.yaml").write_text(text)
        return read_manifests(str(tmp_path / "m.yaml"), "default")

    return make


@pytest.mark.parametrize(
    ("manifest", "replicas"),
    [
        ("kind: Pod\nmetadata: {name: x}\nspec: {a: 1}", 1),
        ("kind: Deployment\nmetadata: {name: x}\nspec: {replicas: 3, template: {spec: {a: 1}}}", 3),
        ("kind: StatefulSet\nmetadata: {name: x}\nspec: {template: {metadata: null, spec: {a: 1}}}", 1),
        ("kind: Job\nmetadata: {name: x}\nspec: {parallelism: 4, template: {spec: {a: 1}}}", 4),
        (
            "kind: CronJob\nmetadata: {name: x}\nspec: {jobTemplate: {spec: {parallelism: 2, template: {spec: {}}}}}",
            2,
        ),
        ("kind: PodTemplate\nmetadata: {name: x}\ntemplate: {spec: {a: 1}}", 1),
    ],
)
def test_whatever_makes_pods_has_a_template(read, manifest, replicas):
    (wanted,) = read(manifest)
    assert (wanted.name, wanted.namespace, wanted.replicas) == ("x", "default", replicas)
    assert wanted.pod["spec"] in ({"a": 1}, {})


def test_labels_come_from_the_template_and_the_namespace_from_the_manifest(read):
    (wanted,) = read(
        "kind: Deployment\nmetadata: {name: x, namespace: other, labels: {not: this}}\n"
        "spec: {template: {metadata: {labels: {app: web}}, spec: {}}}"
    )
    assert wanted.namespace == "other"
    assert wanted.pod["metadata"]["labels"] == {"app": "web"}


def test_several_documents_and_lists(read):
    found = read("kind: Pod\nspec: {}\n---\n---\nkind: List\nitems: [{kind: Pod, spec: {}}, {kind: Pod, spec: {}}]")
    assert len(found) == 3


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "holds no manifest"),
        ("kind: Service\nspec: {}", "document 1: kind: Service makes no pods; expected one of Pod, "),
        ("just text", r"document 1: Expected `object`, got `str`"),
        ("kind: Pod\nspec: []", r"document 1: Expected `object`, got `array` - at `\$.spec`"),
        (
            "kind: Pod\nspec: {}\n---\nkind: Deployment\nspec: {replicas: -1, template: {spec: {}}}",
            r"document 2: .*\$.spec.replicas",
        ),
        ("kind: Deployment\nspec: {}", "missing required field `template`"),
        ("a: [", "m.yaml: while parsing"),
    ],
)
def test_anything_else_is_refused_with_its_place(read, text, problem):
    with pytest.raises(OrchError, match=problem):
        read(text)


def test_a_missing_file_is_named():
    with pytest.raises(OrchError, match=r"/nowhere/x\.yaml"):
        read_manifests("/nowhere/x.yaml", "default")
