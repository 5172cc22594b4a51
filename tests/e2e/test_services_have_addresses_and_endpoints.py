"""Services as kubectl shows them: addresses, node ports, load balancers, endpoints and slices, quotas and accounts."""

from __future__ import annotations

import base64
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from local_cluster import LocalCluster
from space import Space

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def space(simulated: LocalCluster, namespace: Callable[[LocalCluster], str]) -> Space:
    return Space(simulated, namespace(simulated))


def deployment(replicas: int, name: str = "web") -> dict[str, Any]:
    labels = {"app": name}
    port = {"name": "http", "containerPort": 8080}
    containers = [{"name": "web", "image": "nginx", "ports": [port]}]
    template = {"metadata": {"labels": labels}, "spec": {"containers": containers}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def service(name: str = "web", **spec: Any) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80, "targetPort": "http"}]
    spec = {"selector": {"app": "web"}, "ports": ports, **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def slices(space: Space, name: str = "web") -> list[dict[str, Any]]:
    return space.get("endpointslices", "-l", f"kubernetes.io/service-name={name}")


def addresses(space: Space, name: str = "web") -> list[str]:
    """Return the addresses of the endpoints that are ready."""
    return sorted(
        address
        for slice_ in slices(space, name)
        for each in slice_.get("endpoints") or ()
        if each["conditions"]["ready"]
        for address in each["addresses"]
    )


def pod_addresses(space: Space) -> list[str]:
    pods = space.get("pods", "-l", "app=web")
    return sorted(each["status"]["podIP"] for each in pods if "deletionTimestamp" not in each["metadata"])


def test_endpoints_follow_a_deployment(space: Space) -> None:
    space.apply(deployment(3), service())
    space.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    space.wait(lambda: len(addresses(space)) == 3 and addresses(space) == pod_addresses(space))
    (slice_,) = slices(space)
    assert slice_["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
    shown = space.kubectl("describe", "service", "web")
    assert all(f"{address}:8080" in shown for address in addresses(space)[:3])
    whole = space.kubectl("get", "endpoints", "web", "-o", "jsonpath={.subsets[*].addresses[*].ip}")
    assert all(address in whole for address in addresses(space))
    space.kubectl("scale", "deployment", "web", "--replicas=1")
    space.wait(lambda: len(addresses(space)) == 1 and addresses(space) == pod_addresses(space))
    space.kubectl("delete", "service", "web")
    space.wait(lambda: not slices(space) and "No resources found" in space.kubectl("get", "endpoints"))


def test_a_slice_has_a_hundred_endpoints_at_most(space: Space) -> None:
    space.apply(service(), deployment(130))
    space.wait(lambda: len(addresses(space)) == 130)
    assert len(slices(space)) == 2
    assert all(len(each["endpoints"]) <= 100 for each in slices(space))


def test_services_created_at_once_have_addresses_and_ports_of_their_own(space: Space) -> None:
    def create(number: int) -> None:
        space.apply(service(f"s{number}", type="NodePort"))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(create, range(12)))
    made = [each["spec"] for each in space.get("services")]
    assert len({each["clusterIP"] for each in made}) == len(made) == 12
    ports = [each["ports"][0]["nodePort"] for each in made]
    assert len(set(ports)) == 12
    assert all(30000 <= port <= 32767 for port in ports)
    held = {each["metadata"]["name"] for each in space.cluster.get("ipaddresses")}
    assert {each["clusterIP"] for each in made} <= held
    taken = space.cluster.apply(service("late", clusterIP=made[0]["clusterIP"]), check=False)
    assert "failed to allocate IP" in taken
    assert "provided IP is already allocated" in taken
    space.kubectl("delete", "services", "--all")
    left = {each["metadata"]["name"] for each in space.cluster.get("ipaddresses")}
    assert not {each["clusterIP"] for each in made} & left


def test_a_load_balancer_has_an_address_of_the_loopback_range(space: Space) -> None:
    space.apply(service(type="LoadBalancer", externalTrafficPolicy="Local"))
    condition = "--for=jsonpath={.status.loadBalancer.ingress[0].ip}"
    space.kubectl("wait", "service/web", condition, "--timeout=30s")
    found = space.get("service", "web")
    assert found["status"]["loadBalancer"]["ingress"][0]["ip"].startswith("127.64.")
    assert found["spec"]["healthCheckNodePort"] >= 30000
    assert "Ensured load balancer" in space.kubectl("describe", "service", "web")
    space.kubectl("delete", "service", "web", "--timeout=30s")


def test_a_namespace_has_its_account_certificate_and_tokens(space: Space) -> None:
    space.wait(lambda: space.get("configmap", "kube-root-ca.crt")["data"]["ca.crt"].startswith("-----BEGIN"))
    space.kubectl("create", "serviceaccount", "robot")
    annotations = {"kubernetes.io/service-account.name": "robot"}
    kind = "kubernetes.io/service-account-token"
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "key", "annotations": annotations},
        "type": kind,
    }
    space.apply(secret)
    token = space.wait(lambda: space.get("secret", "key")["data"]["token"])
    rest = space.cluster.rest("", token=base64.b64decode(token).decode())
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    answer = rest("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", review)
    assert answer.body["status"]["userInfo"]["username"] == f"system:serviceaccount:{space.name}:robot"


def test_nodes_have_leases_and_no_cut_of_all_at_once_moves_a_pod(simulated: LocalCluster, space: Space) -> None:
    simulated.wait(lambda: len(simulated.get("leases", "-n", "kube-node-lease")) == 3)
    space.apply(deployment(3))
    space.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    before = {each["metadata"]["uid"] for each in space.get("pods")}
    agent = simulated.pid("agent")
    assert agent is not None
    os.kill(agent.pid, signal.SIGSTOP)
    try:
        simulated.wait(lambda: simulated.kubectl("get", "nodes", "--no-headers").count("NotReady") == 3, timeout=30)
        time.sleep(4)  # longer than pods tolerate a lost node
        assert {each["metadata"]["uid"] for each in space.get("pods")} == before
    finally:
        os.kill(agent.pid, signal.SIGCONT)
    simulated.wait(lambda: "NotReady" not in simulated.kubectl("get", "nodes", "--no-headers"), timeout=30)
    assert {each["metadata"]["uid"] for each in space.get("pods")} == before
