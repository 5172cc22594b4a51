"""deploy/compose as its users bring it up: one `docker compose up`, then kubectl with the kubeconfig that it wrote."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from compose_project import ROOT, ComposeProject, wait_for
from cryptography import x509

from orch_cli.pki import LEAF_LIFETIME, Authority, Leaf

pytestmark = [pytest.mark.podman, pytest.mark.timeout(600)]

NODES = ("node-1", "node-2")
READ = "import sys, urllib.request; sys.stdout.write(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())"
READ_API = (
    "import ssl, sys, urllib.request; context = ssl.create_default_context(cafile=sys.argv[1] + '/ca.crt'); "
    "context.load_cert_chain(sys.argv[1] + '/client.crt', sys.argv[1] + '/client.key'); "
    "sys.stdout.write(urllib.request.urlopen(sys.argv[2], timeout=5, context=context).read().decode())"
)
HAS = "import importlib.util, sys; print(*[name for name in sys.argv[1:] if importlib.util.find_spec(name)])"
EXTRAS = {
    "api": {"grpc", "litestar", "cryptography"},
    "scheduler": {"grpc", "numpy"},
    "controllers": {"grpc", "cryptography"},
    "agent": {"cryptography"},
    "cli": {"grpc", "cryptography"},
}
"""Which of the packages that only some services need each image has."""


@pytest.fixture(scope="module")
def project(
    tmp_path_factory: pytest.TempPathFactory, service_images: Path, image_mirror: Path
) -> Iterator[ComposeProject]:
    project = ComposeProject(tmp_path_factory.mktemp("compose"), service_images, image_mirror)
    try:
        project.start()
        yield project
    finally:
        project.remove()


@pytest.fixture(scope="module")
def cluster(project: ComposeProject) -> ComposeProject:
    """The project, up. Compose itself waits until every health check is content."""
    try:
        project.compose("up", "--detach", "--wait", "--no-build", "--quiet-pull", timeout=150)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{project.compose('logs', '--tail=30')}") from error
    return project


def inside(cluster: ComposeProject, service: str, *argv: str, check: bool = True) -> str:
    """Return what a command that may be repeated prints: of short ones, Podman's service loses the output at times."""
    for _ in range(5):
        said = cluster.podman("exec", f"orch-{service}-1", "sh", "-c", '"$@"; echo "ended $?"', "sh", *argv)
        printed, whole, code = said.rpartition("ended ")
        if whole:
            assert int(code) == 0 or not check, said
            return printed
    raise AssertionError(f"{argv} in {service} printed nothing, five times")


@pytest.mark.parametrize("service", EXTRAS)
def test_an_image_has_only_what_its_service_needs(project: ComposeProject, service: str) -> None:
    known = sorted(set().union(*EXTRAS.values()))
    options = ("--rm", "--network", "none", "--entrypoint", "python3")
    found = project.podman("run", *options, f"localhost/orch/{service}:dev", "-c", HAS, *known)
    assert set(found.split()) & set(known) == EXTRAS[service]


def test_nodes_are_ready_for_kubectl(cluster: ComposeProject) -> None:
    wait_for(lambda: ready_nodes(cluster) == set(NODES), 30, "both nodes Ready")
    running = {each["Service"]: each["State"] for each in services(cluster)}
    assert running == dict.fromkeys(("keeper", "etcd", "nats", "api", "scheduler", "controllers", *NODES), "running")


def test_the_deployment_of_the_readme_runs_on_both_nodes(cluster: ComposeProject) -> None:
    cluster.kubectl("apply", "-f", str(ROOT / "examples/deployment.yaml"))
    cluster.kubectl("rollout", "status", "deployment/web-app", "--timeout=120s", timeout=130)
    pods = cluster.get("pods", "-l", "app=web")
    assert len(pods) == 3
    assert {pod["spec"]["nodeName"] for pod in pods} == set(NODES)
    for node in NODES:
        for pod in pods:
            page = inside(cluster, node, "python3", "-c", READ, f"http://{pod['status']['podIP']}/")
            assert "Welcome to nginx!" in page
    name = pods[0]["metadata"]["name"]
    assert cluster.kubectl("exec", name, "--", "cat", "/etc/hostname").strip() == name
    assert "GET / HTTP" in cluster.kubectl("logs", name)


def test_a_node_that_is_restarted_runs_its_pods_again(cluster: ComposeProject) -> None:
    before = {pod["metadata"]["name"]: started(pod) for pod in on_node(cluster, "node-1")}
    assert before
    cluster.compose("restart", "node-1")
    wait_for(
        lambda: (
            all(started(pod) != before.get(pod["metadata"]["name"]) for pod in on_node(cluster, "node-1"))
            and len(ready_pods(cluster)) == 3
        ),
        60,
        "3 pods ready, those of node-1 started anew",
    )


def test_nodes_and_pods_reach_the_bus_but_not_the_store(cluster: ComposeProject) -> None:
    for name in ("etcd", "api", "scheduler"):
        assert inside(cluster, "node-1", "getent", "hosts", name, check=False) == ""
    assert "nats" in inside(cluster, "node-1", "getent", "hosts", "nats")


def test_no_container_holds_the_keys_of_the_authorities(cluster: ComposeProject) -> None:
    for service in ("etcd", "nats", "api", "scheduler", "controllers", *NODES):
        files = inside(cluster, service, "ls", "/etc/orch").split()
        assert "ca.crt" in files
        assert "ca.key" not in files
    who = inside(cluster, "api", "python3", "-c", "import os; print(os.getuid())")
    assert who.strip() == "10001"


def test_certificates_are_made_anew_while_all_runs(cluster: ComposeProject) -> None:
    state = cluster.project / "state"
    past = datetime.now(UTC) - LEAF_LIFETIME + timedelta(minutes=1)
    leaf = Leaf(name="nats-server", common_name="nats", hosts=("localhost", "127.0.0.1", "nats"), server=True)
    Authority(state / "pki", "orch", now=past, renew=True).issue(leaf)
    wait_for(lambda: "Reloaded server configuration" in cluster.compose("logs", "nats"), 20, "NATS is told")
    shown = x509.load_pem_x509_certificate((state / "nats/server.crt").read_bytes())
    assert shown.not_valid_after_utc > datetime.now(UTC) + timedelta(days=300)
    assert {each["Service"]: each["State"] for each in services(cluster)}["keeper"] == "running"
    assert "ca.key" not in inside(cluster, "nats", "ls", "/etc/orch")


def test_every_figure_of_the_dashboard_is_told_to_prometheus(cluster: ComposeProject) -> None:
    monitor = str(cluster.project / "state/prometheus")
    texts = [cluster.python(READ_API, monitor, "https://127.0.0.1:6443/metrics")]
    for host, port in (("scheduler", 9100), ("controllers", 9100), ("etcd", 2381)):
        texts.append(inside(cluster, "scheduler", "python3", "-c", READ, f"http://{host}:{port}/metrics"))
    texts.append(inside(cluster, "node-1", "python3", "-c", READ, "http://node-2:9100/metrics"))
    told = set(re.findall(r"^# TYPE (\S+)", "\n".join(texts), re.MULTILINE))
    told |= {f"{name}_{part}" for name in told for part in ("bucket", "sum", "count")}
    assert len(asked_by_dashboard()) > 20
    assert asked_by_dashboard() - told == set()


def test_without_a_collector_nobody_complains_of_its_absence(cluster: ComposeProject) -> None:
    assert "spans cannot be sent" not in cluster.compose("logs", "api", "scheduler", "controllers", *NODES)


def test_down_and_up_resume_the_same_cluster_and_down_for_good_leaves_nothing(cluster: ComposeProject) -> None:
    kubeconfig = (cluster.project / "state/kubeconfig").read_bytes()
    uids = {pod["metadata"]["uid"] for pod in ready_pods(cluster)}
    cluster.compose("down", timeout=100)
    cluster.compose("up", "--detach", "--wait", "--no-build", "--quiet-pull", timeout=150)
    wait_for(lambda: {pod["metadata"]["uid"] for pod in ready_pods(cluster)} == uids, 60, "the same pods ready")
    assert (cluster.project / "state/kubeconfig").read_bytes() == kubeconfig
    cluster.compose("down", "--volumes", timeout=100)
    wait_for(lambda: nothing_left(cluster), 10, "nothing left")


def nothing_left(cluster: ComposeProject) -> bool:
    left = cluster.left()
    assert not any(left.values()), left
    return True


def services(cluster: ComposeProject) -> list[dict[str, Any]]:
    return [json.loads(line) for line in cluster.compose("ps", "--format", "json").splitlines()]


def ready_nodes(cluster: ComposeProject) -> set[str]:
    return {node["metadata"]["name"] for node in cluster.get("nodes") if condition(node) == "True"}


def ready_pods(cluster: ComposeProject) -> list[dict[str, Any]]:
    return [pod for pod in cluster.get("pods", "-l", "app=web") if condition(pod) == "True"]


def on_node(cluster: ComposeProject, node: str) -> list[dict[str, Any]]:
    return [pod for pod in cluster.get("pods", "-l", "app=web") if pod["spec"]["nodeName"] == node]


def condition(document: dict[str, Any]) -> str:
    return next(each["status"] for each in document["status"]["conditions"] if each["type"] == "Ready")


def started(pod: dict[str, Any]) -> str:
    return pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]


def asked_by_dashboard() -> set[str]:
    dashboard = json.loads((ROOT / "deploy/compose/grafana/dashboards/orch.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    bare = (re.sub(r"by \([^)]*\)|\[[^]]*]", "", expression) for expression in expressions)
    return {name for text in bare for name in re.findall(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)+", text)} - {
        "histogram_quantile"
    }
