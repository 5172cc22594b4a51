"""`kubectl get` in its forms of output and ways to choose, and the words in which it is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from local_cluster import LocalCluster
from space import Space


@pytest.fixture(scope="module")
def space(simulated: LocalCluster) -> Iterator[Space]:
    """A namespace with a Deployment of two pods, a service and three config maps."""
    simulated.kubectl("create", "namespace", "gets")
    made = Space(simulated, "gets")
    made.kubectl("create", "deployment", "web", "--image=web:1", "--replicas=2")
    made.kubectl("create", "service", "clusterip", "web", "--tcp=80")
    for number, name in enumerate(("gamma", "alpha", "beta")):
        made.kubectl("create", "configmap", name, f"--from-literal=rank={number}")
    made.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    yield made
    simulated.kubectl("delete", "namespace", "gets", "--wait=false")


def test_forms_of_output(space: Space) -> None:
    def get(form: str) -> str:
        return space.kubectl("get", "deployment", "web", "-o", form)

    assert get("name") == "deployment.apps/web\n"
    assert json.loads(get("json"))["spec"]["replicas"] == 2
    assert get("yaml").startswith("apiVersion: apps/v1\nkind: Deployment\n")
    assert get("kyaml").startswith('---\n{\n  apiVersion: "apps/v1",\n')
    assert get("jsonpath={.spec.replicas} {.metadata.name}") == "2 web"
    assert get("jsonpath-as-json={.spec.replicas}").split() == ["[", "2", "]"]
    assert get("go-template={{.spec.replicas}} {{.kind}}") == "2 Deployment"
    assert get("custom-columns=N:.metadata.name,X:.spec.none").split() == ["N", "X", "web", "<none>"]
    assert get("wide").splitlines()[0].split()[-3:] == ["CONTAINERS", "IMAGES", "SELECTOR"]
    assert re.search(r"web +app=web", space.kubectl("get", "deployment", "web", "--show-labels", "-L", "app"))
    # Without the server's tables, kubectl knows no more than names.
    told = space.kubectl("get", "deployment", "web", "--server-print=false").splitlines()
    assert told[0].split() == ["NAME", "AGE"]


def test_managed_fields_are_shown_when_asked_for(space: Space) -> None:
    assert "managedFields" not in space.kubectl("get", "configmap", "alpha", "-o", "yaml")
    shown = space.kubectl("get", "configmap", "alpha", "-o", "json", "--show-managed-fields")
    (entry,) = json.loads(shown)["metadata"]["managedFields"]
    assert (entry["manager"], entry["operation"]) == ("kubectl-create", "Update")
    assert entry["fieldsV1"] == {"f:data": {".": {}, "f:rank": {}}}


def test_several_kinds_at_once(space: Space) -> None:
    both = space.kubectl("get", "deployments,services", "-o", "name").split()
    assert both == ["deployment.apps/web", "service/web"]
    assert space.kubectl("get", "deploy/web", "svc/web", "-o", "name").split() == both
    everything = space.kubectl("get", "all", "-o", "name").split()
    assert {name.split("/")[0] for name in everything} == {"pod", "service", "deployment.apps", "replicaset.apps"}
    headed = space.kubectl("get", "deployments,services").splitlines()
    assert [line.split()[0] for line in headed if line] == ["NAME", "deployment.apps/web", "NAME", "service/web"]
    listed = json.loads(space.kubectl("get", "deployments,services", "-o", "json"))
    assert (listed["kind"], len(listed["items"])) == ("List", 2)
    manifest = json.dumps({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}})
    assert space.kubectl("get", "-f", "-", "-o", "name", stdin=manifest) == "service/web\n"
    for place in ("deployments.apps", "deployments.v1.apps", "deploy", "deployment"):
        assert space.kubectl("get", place, "web", "-o", "name") == "deployment.apps/web\n"


def test_order_and_choice(space: Space) -> None:
    def names(*options: str) -> list[str]:
        told = space.kubectl("get", "configmaps", "-o", "name", *options)
        return [line.removeprefix("configmap/") for line in told.split() if "root-ca" not in line]

    assert names() == ["alpha", "beta", "gamma"]
    assert names("--sort-by=.data.rank") == ["gamma", "alpha", "beta"]
    assert names("--sort-by={.metadata.name}") == ["alpha", "beta", "gamma"]
    assert names("--chunk-size=1") == ["alpha", "beta", "gamma"]
    assert names("--field-selector=metadata.name!=beta") == ["alpha", "gamma"]
    chosen = "--field-selector=status.phase=Running,spec.restartPolicy=Always,metadata.namespace=gets"
    assert len(space.kubectl("get", "pods", "-A", chosen, "-o", "name").split()) == 2
    assert "gets " in space.kubectl("get", "configmaps", "-A", "--no-headers")
    assert space.kubectl("get", "configmap", "none", "--ignore-not-found") == ""
    assert space.kubectl("get", "statefulsets") == "No resources found in gets namespace.\n"


def test_subresources(space: Space) -> None:
    scale = json.loads(space.kubectl("get", "deployment", "web", "--subresource=scale", "-o", "json"))
    assert (scale["kind"], scale["status"]) == ("Scale", {"replicas": 2, "selector": "app=web"})
    shown = space.kubectl("get", "deployment", "web", "--subresource=status", "-o", "jsonpath={.status.replicas}")
    assert shown == "2"


def test_raw_paths(space: Space) -> None:
    def raw(path: str, command: str = "get", **options: str) -> str:
        return space.kubectl(command, "--raw", path, *(("-f", "-") if options else ()), **options)

    assert raw("/healthz") == "ok"
    assert raw("/readyz?verbose").endswith("readyz check passed\n")
    assert json.loads(raw("/version"))["minor"] == "37"
    maps = "/api/v1/namespaces/gets/configmaps"
    assert len(json.loads(raw(f"{maps}?limit=1"))["items"]) == 1
    assert json.loads(raw(maps, "create", stdin='{"metadata": {"name": "raw"}}'))["kind"] == "ConfigMap"
    replaced = raw(f"{maps}/raw", "replace", stdin='{"metadata": {"name": "raw"}, "data": {"a": "b"}}')
    assert json.loads(replaced)["data"] == {"a": "b"}
    assert json.loads(raw(f"{maps}/raw", "delete"))["status"] == "Success"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("pods none", 'Error from server (NotFound): pods "none" not found'),
        ("deploy/none", 'Error from server (NotFound): deployments.apps "none" not found'),
        ("nothing", 'error: the server doesn\'t have a resource type "nothing"'),
        ("pods.example.org", 'error: the server doesn\'t have a resource type "pods" in group "example.org"'),
        ("--raw /nothing", "Error from server (NotFound): the server could not find the requested resource"),
        (
            "deployment web --subresource=none",
            "Error from server (NotFound): the server could not find the requested resource",
        ),
    ],
)
def test_what_is_not_there(space: Space, asked: str, said: str) -> None:
    assert space.code("get", *asked.split()) == (1, f"{said}\n")


@pytest.mark.parametrize(
    ("kind", "labels", "fields", "problem"),
    [
        ("pods", "", "spec.none=x", "field label not supported: spec.none"),
        (
            "configmaps",
            "",
            "data.rank=1",
            '"data.rank" is not a known field selector: only "metadata.name", "metadata.namespace"',
        ),
        ("pods", "a=b=c", "", "found '=', expected: ',' or 'end of string'"),
    ],
)
def test_selectors_that_select_nothing(space: Space, kind: str, labels: str, fields: str, problem: str) -> None:
    # kubectl says what it asked for, the server what is wrong with it.
    asked = f'Unable to find "/v1, Resource={kind}" that match label selector "{labels}", field selector "{fields}"'
    said = space.kubectl("get", kind, "-l", labels, "--field-selector", fields, check=False)
    assert said == f"Error from server (BadRequest): {asked}: {problem}\n"
