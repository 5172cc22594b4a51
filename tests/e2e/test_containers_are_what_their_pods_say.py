"""Real containers: names, resolver, services, rights and namespaces are what their pods' specs say; static pods."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from local_cluster import LocalCluster
from manifests import config_map, container, pod
from space import Space

pytestmark = [pytest.mark.podman, pytest.mark.timeout(240)]

FOREVER = "trap 'exit 0' TERM; while :; do sleep 0.1; done"


@pytest.fixture
def space(podman: LocalCluster, namespace: Callable[[LocalCluster], str]) -> Space:
    return Space(podman, namespace(podman))


def service(name: str) -> dict[str, Any]:
    ports = [{"name": "web", "port": 80, "targetPort": 8080}]
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": ports}}


def test_a_pod_knows_names_services_and_itself(space: Space) -> None:
    space.apply(config_map("settings", GREETING="hello"), service("shop-front"))
    address = space.get("service", "shop-front")["spec"]["clusterIP"]
    env = [
        {"name": "ME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
        {"name": "WHERE", "value": "$(SHOP_FRONT_PORT) $$(ME) $(GREETING)"},
    ]
    script = "env; echo args: $1; hostname; cat /etc/hosts /etc/resolv.conf"
    main = container(
        script, env=env, envFrom=[{"configMapRef": {"name": "settings"}}], resources={"limits": {"cpu": "50m"}}
    )
    main |= {"command": ["sh", "-c", script, "sh"], "args": ["$(ME)/$(GREETING)"]}
    space.apply(
        pod(
            "speaking",
            main,
            restartPolicy="Never",
            hostname="web",
            subdomain="shop",
            hostAliases=[{"ip": "192.0.2.7", "hostnames": ["old.example", "older.example"]}],
            dnsConfig={"nameservers": ["192.0.2.53"], "searches": ["example.org"], "options": [{"name": "edns0"}]},
        )
    )
    space.ended("speaking", "Succeeded")
    said = space.kubectl("logs", "speaking").splitlines()
    own = space.status("speaking")["podIP"]
    domain = f"shop.{space.name}.svc.cluster.local"
    for line in (
        "ME=speaking",
        "APP=speaking",
        "CPU=50",
        f"WHERE=tcp://{address}:80 $(ME) hello",
        f"SHOP_FRONT_SERVICE_HOST={address}",
        "SHOP_FRONT_SERVICE_PORT_WEB=80",
        f"SHOP_FRONT_PORT_80_TCP_ADDR={address}",
        "args: speaking/hello",
        "web",
        f"{own}\tweb.{domain}\tweb",
        "192.0.2.7\told.example\tolder.example",
        f"search {space.name}.svc.cluster.local svc.cluster.local cluster.local example.org",
        "nameserver 192.0.2.53",
        "options ndots:5 edns0",
    ):
        assert line in said, (line, said)
    assert any(line.startswith("KUBERNETES_SERVICE_HOST=") for line in said)


def test_a_container_has_the_rights_of_its_context(space: Space) -> None:
    script = "id; grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status; cat /proc/sys/net/ipv4/ip_local_port_range"
    context = {
        "runAsUser": 1234,
        "runAsGroup": 3000,
        "fsGroup": 2000,
        "supplementalGroups": [4000],
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
        "sysctls": [{"name": "net.ipv4.ip_local_port_range", "value": "20000 30000"}],
    }
    own = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}
    space.apply(pod("confined", container(script, securityContext=own), securityContext=context, restartPolicy="Never"))
    space.ended("confined", "Succeeded")
    said = space.kubectl("logs", "confined")
    assert re.match(r"uid=1234(\(1234\))? gid=3000(\(3000\))? groups=", said)
    assert {"2000", "4000"} <= set(said.splitlines()[0].partition("groups=")[2].split(","))
    assert "CapEff:\t0000000000000000" in said
    assert "NoNewPrivs:\t1" in said
    assert "Seccomp:\t2" in said
    assert "20000\t30000" in said


def test_containers_of_a_pod_share_what_it_says(space: Space) -> None:
    reading = (
        "sleep 1; cat /proc/1/cmdline; echo; cat /dev/shm/note; cat /proc/[0-9]*/cmdline | tr '\\0' ' '; sleep 600"
    )
    space.apply(
        pod(
            "sharing",
            container("echo shared > /dev/shm/note; exec sleep 1234", name="writer"),
            container(reading, name="reader"),
            shareProcessNamespace=True,
        )
    )
    space.wait(lambda: "sleep 1234" in space.kubectl("logs", "sharing", "-c", "reader"))
    said = space.kubectl("logs", "sharing", "-c", "reader")
    assert said.startswith("/pause")
    assert "shared" in said


def test_a_node_refuses_what_it_cannot_run(space: Space, podman: LocalCluster) -> None:
    node = podman.get("nodes")[0]["metadata"]["name"]
    sysctl = {"sysctls": [{"name": "kernel.msgmax", "value": "65536"}]}
    space.apply(
        pod("unsafe", container("true"), securityContext=sysctl, node=node),
        pod("elsewhere", container("true"), nodeSelector={"no-such": "label"}, node=node),
        pod("windows", container("true"), os={"name": "windows"}, node=node),
        pod("huge", container("true", resources={"requests": {"cpu": "500"}}), node=node),
    )
    podman.apply(
        {
            "apiVersion": "node.k8s.io/v1",
            "kind": "RuntimeClass",
            "metadata": {"name": f"{space.name}-class"},
            "handler": "unheard-of",
        }
    )
    space.apply(pod("classy", container("true"), runtimeClassName=f"{space.name}-class", node=node))
    reasons = {"unsafe": "SysctlForbidden", "elsewhere": "NodeAffinity", "windows": "PodOSNotSupported"}
    for name, reason in (reasons | {"huge": "OutOfcpu"}).items():
        space.wait(lambda name=name: space.status(name)["phase"] == "Failed", what=name)
        status = space.status(name)
        assert status["reason"] == reason
        assert status["message"].startswith("Pod was rejected: ")
        assert "containerStatuses" not in status
    assert space.status("unsafe")["message"] == ('Pod was rejected: forbidden sysctl: "kernel.msgmax" not allowlisted')
    refused = 'Failed to create pod sandbox: failed to get sandbox runtime: no runtime for "unheard-of" is configured'
    space.wait(lambda: refused in space.kubectl("events", "--for=pod/classy"))
    podman.kubectl("delete", "runtimeclass", f"{space.name}-class")


def test_a_node_runs_the_pods_of_its_files(podman: LocalCluster, space: Space) -> None:
    node = podman.get("nodes")[0]["metadata"]["name"]
    folder = podman.layout.nodes / node / "static-pods"
    name = f"keeper-{node}"
    manifest = pod("keeper", container(f"echo first; {FOREVER}"))
    manifest["metadata"]["namespace"] = space.name
    file = folder / "keeper.yaml"
    (folder / "broken.yaml").write_text("kind: [")
    file.write_text(json.dumps(manifest))
    space.wait(lambda: space.status(name)["phase"] == "Running", what="the mirror tells that the pod runs")
    mirror = space.get("pod", name)
    uid = mirror["metadata"]["annotations"]["kubernetes.io/config.mirror"]
    assert mirror["metadata"]["annotations"]["kubernetes.io/config.source"] == "file"
    assert mirror["metadata"]["ownerReferences"][0]["kind"] == "Node"
    assert space.kubectl("logs", name) == "first\n"
    container_id = space.container(name)["containerID"]
    space.kubectl("delete", "pod", name)
    space.wait(lambda: space.get("pod", name)["metadata"]["uid"] != mirror["metadata"]["uid"])
    space.wait(lambda: space.container(name)["containerID"] == container_id, what="the container stayed")
    manifest["spec"]["containers"][0]["command"][2] = f"echo second; {FOREVER}"
    file.write_text(json.dumps(manifest))
    space.wait(lambda: space.get("pod", name)["metadata"]["annotations"]["kubernetes.io/config.mirror"] != uid)
    space.wait(lambda: space.kubectl("logs", name, check=False) == "second\n")
    file.unlink()
    space.wait(lambda: space.get("pods") == [], what="pod and mirror are gone")
    (folder / "broken.yaml").unlink()
    assert "broken.yaml" in podman.kubectl("get", "events", "-A", "--field-selector=reason=InvalidStaticPod")
