"""Secrets are planted in a cluster, used and changed; then every file that it keeps is searched for them.

Their keys are rotated, and nobody notices.
"""

from __future__ import annotations

import base64
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

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
    told = simulated.kubectl("get", "-n", space, "secret", "planted", "-o", "jsonpath={.data.password}")
    assert base64.b64decode(told).decode() == changed
    simulated.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"p": public}})
    # what everybody may see is found in both, and was written last: so the search works, and nothing is still to come
    simulated.wait(lambda: files_with(simulated, public)[public] >= {"etcd", "nats"}, timeout=20)
    assert {text: places for text, places in files_with(simulated, *hidden).items() if places} == {}


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
