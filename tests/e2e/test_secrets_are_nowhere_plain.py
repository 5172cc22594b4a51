"""Secrets are planted in a cluster, used and changed; then every file that it keeps is searched for them.

Their keys are rotated, and nobody notices.
"""

from __future__ import annotations

import base64
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from local_cluster import LocalCluster

KEPT = ("data", "logs", "run", "config")


def files_with(cluster: LocalCluster, *texts: str) -> dict[str, set[str]]:
    """Return, for each text, the parts of the state folder in whose files it is."""
    found: dict[str, set[str]] = {text: set() for text in texts}
    for part in KEPT:
        for path in (cluster.state / part).rglob("*"):
            if not path.is_file():
                continue
            content = read(path)
            for text in texts:
                if text.encode() in content:
                    found[text].add(path.relative_to(cluster.state).parts[1] if part == "data" else part)
    return found


def token_of_an_account(cluster: LocalCluster, space: str) -> str:
    """Have the controllers write a token into a Secret, over the bus; return its signature."""
    kind = "kubernetes.io/service-account-token"
    meta = {"name": "token", "namespace": space, "annotations": {"kubernetes.io/service-account.name": "default"}}
    cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": kind})
    field = "jsonpath={.data.token}"
    token = cluster.wait(lambda: cluster.kubectl("get", "-n", space, "secret", "token", "-o", field), timeout=20)
    return base64.b64decode(token).decode().rpartition(".")[2]


def token_of_a_machine(cluster: LocalCluster) -> str:
    """Return the secret half of a token that machines join with."""
    token = cluster.orch("token", "create", "--ttl", "5m").partition("--token ")[2].split()[0]
    return token.partition(".")[2]


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:  # NATS has put another in its place meanwhile
        return b""


def test_no_file_of_a_cluster_holds_a_secret(simulated: LocalCluster, namespace: Callable[[LocalCluster], str]) -> None:
    space = namespace(simulated)
    planted, changed, public = (secrets.token_hex(16) for _ in range(3))
    hidden = [form for text in (planted, changed) for form in (text, base64.b64encode(text.encode()).decode())]
    meta = {"name": "planted", "namespace": space}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": {"password": planted}}
    variable = {"name": "P", "valueFrom": {"secretKeyRef": {"name": "planted", "key": "password"}}}
    container = {"name": "c", "image": "example.com/app", "env": [variable]}
    volume = {"name": "v", "secret": {"secretName": "planted"}}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta,
        "spec": {"containers": [container], "volumes": [volume]},
    }
    simulated.apply(secret, pod)
    simulated.kubectl("wait", "-n", space, "pod/planted", "--for=condition=Ready", "--timeout=30s")
    simulated.apply({**secret, "stringData": {"password": changed}})
    hidden += [token_of_an_account(simulated, space), token_of_a_machine(simulated)]
    told = simulated.kubectl("get", "-n", space, "secret", "planted", "-o", "jsonpath={.data.password}")
    assert base64.b64decode(told).decode() == changed
    simulated.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"p": public}})
    # what everybody may see is found in both, and was written last: so the search works, and nothing is still to come
    simulated.wait(lambda: files_with(simulated, public)[public] >= {"etcd", "nats"}, timeout=20)
    assert {text: places for text, places in files_with(simulated, *hidden).items() if places} == {}


@pytest.mark.podman
def test_a_node_keeps_secrets_in_memory_alone(podman: LocalCluster, namespace: Callable[[LocalCluster], str]) -> None:
    space = namespace(podman)
    planted, public = (secrets.token_hex(16) for _ in range(2))
    meta = {"name": "planted", "namespace": space}
    image = "docker.io/library/busybox:latest"
    mounts = [{"name": name, "mountPath": f"/{name}"} for name in ("s", "c")]
    container = {"name": "c", "image": image, "command": ["sleep", "1000"], "volumeMounts": mounts}
    volumes = [
        {"name": "s", "secret": {"secretName": "planted"}},
        {"name": "c", "configMap": {"name": "planted"}},
    ]
    podman.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": {"p": planted}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"p": public}},
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": meta,
            "spec": {"containers": [container], "volumes": volumes, "terminationGracePeriodSeconds": 0},
        },
    )
    podman.kubectl("wait", "-n", space, "pod/planted", "--for=condition=Ready", "--timeout=30s")
    assert podman.kubectl("exec", "-n", space, "planted", "--", "cat", "/s/p", "/c/p") == planted + public
    found = {
        text: [path for path in files_on_disk(podman.state) if text.encode() in read(path)]
        for text in (planted, public)
    }
    assert any("volumes" in path.parts for path in found[public]), "the search finds what is on the disk"
    assert found[planted] == []


def files_on_disk(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, those of images and of mounted file systems left out."""
    device = folder.stat().st_dev
    for place, folders, names in os.walk(folder):
        kept = [name for name in folders if name not in {"overlay", "images", "registry"}]
        folders[:] = [name for name in kept if os.lstat(os.path.join(place, name)).st_dev == device]  # noqa: PTH118
        yield from (path for name in names if stat.S_ISREG((path := Path(place, name)).lstat().st_mode))


def test_keys_are_rotated_while_all_runs(simulated: LocalCluster, namespace: Callable[[LocalCluster], str]) -> None:
    space = namespace(simulated)
    simulated.kubectl("create", "secret", "generic", "kept", "-n", space, "--from-literal=password=kept")
    (before,) = keys_of(simulated)
    said = simulated.orch("secrets", "rotate")
    (after,) = keys_of(simulated)
    assert before != after
    assert said.endswith(f"objects are encrypted with {after}; dropped: {before}\n")
    status = simulated.orch("secrets", "status").splitlines()
    assert len(status) == 2  # a heading, and one key
    assert status[1].startswith(f"aesgcm:{after}  writes  ")
    told = simulated.kubectl("get", "-n", space, "secret", "kept", "-o", "jsonpath={.data.password}")
    assert base64.b64decode(told) == b"kept"


def keys_of(cluster: LocalCluster) -> list[str]:
    """Return the names of the keys in the cluster's file, which nobody else may read."""
    file = cluster.layout.pki / "encryption.yaml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (entry,) = yaml.safe_load(file.read_text())["resources"]
    return [key["name"] for key in entry["providers"][0]["aesgcm"]["keys"]]
