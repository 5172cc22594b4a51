"""Who may ask for what: nobody without a name, nobody with a wrong one, a service only what is its business."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl

import pytest
from local_cluster import LocalCluster
from rest import Rest

from orch import config
from orch.config import EtcdConfig
from orch.errors import StoreError
from orch.runtime.service import connect_store
from orch.store.keys import leader_key
from orch_cli.state import load_state

SECRETS = "/api/v1/namespaces/default/secrets"


def test_the_anonymous_see_that_the_api_lives_and_no_more(simulated: LocalCluster) -> None:
    anonymous = simulated.rest("")
    assert [anonymous("GET", path).status for path in ("/livez", "/readyz", "/healthz", "/version")] == [200] * 4
    answer = anonymous("GET", SECRETS)
    assert (answer.status, answer.body["reason"]) == (403, "Forbidden")
    who = 'secrets is forbidden: User "system:anonymous" cannot list resource "secrets" in API group ""'
    assert answer.body["message"] == f'{who} in the namespace "default"'
    for path in ("/apis", "/openapi/v3", "/metrics"):
        assert anonymous("GET", path).status == 403
    assert anonymous("POST", "/api/v1/namespaces", {"metadata": {"name": "mine"}}).status == 403


def test_a_token_that_nobody_issued(simulated: LocalCluster) -> None:
    answer = simulated.rest("", token="made-up")("GET", SECRETS)
    assert (answer.status, answer.body["reason"], answer.body["message"]) == (401, "Unauthorized", "Unauthorized")
    told = simulated.kubectl("--kubeconfig=/dev/null", *flags(simulated), "--token=made-up", "get", "pods", check=False)
    # kubectl has words of its own for it when it has not remembered what the server has
    assert "error: You must be logged in to the server (" in told


def test_every_denial_is_in_the_audit_log(simulated: LocalCluster) -> None:
    path = "/api/v1/namespaces/nobody-asked-before/secrets"
    assert simulated.rest("")("GET", path).status == 403
    assert simulated.rest("", token="made-up")("GET", path).status == 401
    assert simulated.rest("scheduler")("GET", path).status == 403

    def told() -> list[tuple[str, int]]:
        lines = (simulated.layout.logs / "audit.log").read_text().splitlines()
        events = [event for event in map(json.loads, lines) if event["requestURI"] == path]
        return [(event["user"].get("username", ""), event["responseStatus"]["code"]) for event in events]

    denied = {("system:anonymous", 403), ("", 401), ("system:kube-scheduler", 403)}
    simulated.wait(lambda: set(told()) == denied, 10, "three events")


def flags(cluster: LocalCluster) -> tuple[str, ...]:
    authority = cluster.layout.pki / "ca.crt"
    return (f"--server=https://127.0.0.1:{cluster.port}", f"--certificate-authority={authority}")


def test_a_certificate_of_another_authority(simulated: LocalCluster) -> None:
    stranger = Rest(simulated.port, simulated.layout.pki, identity="etcd/api")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        stranger("GET", SECRETS)


def test_services_do_what_is_their_business(simulated: LocalCluster) -> None:
    scheduler = simulated.rest("scheduler")
    assert scheduler("GET", "/api/v1/pods").status == 200
    assert scheduler("GET", SECRETS).status == 403
    assert scheduler("DELETE", "/api/v1/nodes/node-1").status == 403
    assert simulated.rest("controllers")("GET", SECRETS).status == 200
    fleet = simulated.rest("fleet")
    assert fleet("DELETE", "/api/v1/namespaces/default/pods/any").status == 403


@pytest.mark.podman
def test_a_node_reads_its_own_pods_secrets_alone(podman: LocalCluster) -> None:
    podman.kubectl("create", "secret", "generic", "near", "--from-literal=a=1")
    podman.kubectl("create", "secret", "generic", "far", "--from-literal=a=1")
    for node, secret in (("node-1", "near"), ("node-2", "far")):
        variable = {"name": "A", "valueFrom": {"secretKeyRef": {"name": secret, "key": "a"}}}
        container = {"name": "main", "image": "docker.io/library/busybox:latest", "env": [variable]}
        container["command"] = ["sleep", "3600"]
        podman.apply(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": f"reader-of-{secret}"},
                "spec": {"nodeName": node, "terminationGracePeriodSeconds": 0, "containers": [container]},
            }
        )
    node = podman.rest("node-1")
    podman.wait(lambda: node("GET", f"{SECRETS}/near").status == 200, what="the node reads what its pod refers to")
    answer = node("GET", f"{SECRETS}/far")
    assert answer.status == 403
    assert 'User "system:node:node-1" cannot get resource "secrets"' in answer.body["message"]
    assert node("GET", SECRETS).status == 403
    assert node("GET", "/api/v1/nodes/node-2").status == 403
    assert node("PATCH", "/api/v1/nodes/node-2", {}, content_type="application/merge-patch+json").status == 403
    podman.kubectl("delete", "pod/reader-of-near", "pod/reader-of-far", "secret/near", "secret/far")
    podman.wait(lambda: node("GET", f"{SECRETS}/near").status == 403, what="the right ends with the pod")


async def test_a_service_reaches_its_own_keys_of_etcd_alone(simulated: LocalCluster) -> None:
    for service, mine, others in (("scheduler", "scheduler", "controllers"), ("controllers", "controllers", "relay")):
        settings = config.decode(EtcdConfig, config.read_tree(simulated.layout.config / f"{service}.yaml")["etcd"], "")
        store = await connect_store(settings)
        assert await store.get(leader_key(mine)) is not None
        for key in (leader_key(others), b"/orch/objects/core/namespaces/-/default"):
            with pytest.raises(StoreError, match="permission denied"):
                await store.get(key)
        await store.close()


def test_no_listener_serves_who_does_not_speak_tls(simulated: LocalCluster) -> None:
    state = load_state(simulated.layout)
    assert state is not None
    spoken = {
        "api": b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n",
        "etcd": b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n",
        "etcd_peer": b"GET /members HTTP/1.1\r\nHost: x\r\n\r\n",
        "nats": b'CONNECT {"verbose":true}\r\nSUB orch.> 1\r\nPING\r\n',
    }
    assert set(spoken) == set(state.ports.__struct_fields__), "a listener that is not known here"
    for name, said in spoken.items():
        with socket.create_connection(("127.0.0.1", getattr(state.ports, name)), timeout=10) as connection:
            connection.sendall(said)
            answer = bytearray()
            with contextlib.suppress(ConnectionResetError):
                while piece := connection.recv(65536):
                    answer += piece
        for served in (b"200 OK", b"etcdserver", b"PONG", b"+OK", b"MSG"):
            assert served not in answer, (name, bytes(answer))
