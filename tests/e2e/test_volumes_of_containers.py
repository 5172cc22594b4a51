"""Real containers and their volumes: what they see, what changes under them, and that nothing is left."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from local_cluster import LocalCluster
from manifests import BUSYBOX, config_map, container, pod, secret
from space import Space

pytestmark = [pytest.mark.podman, pytest.mark.timeout(240)]

FOREVER = "trap 'exit 0' TERM; while :; do sleep 0.1; done"


@pytest.fixture
def space(podman: LocalCluster, namespace: Callable[[LocalCluster], str]) -> Iterator[Space]:
    """A namespace of the shared cluster. With its pods, their mounts and folders must go."""
    space = Space(podman, namespace(podman))
    yield space
    uids = [each["metadata"]["uid"] for each in space.get("pods")]
    space.kubectl("delete", "pods", "--all", "--wait", timeout=60)
    space.wait(lambda: not left_of(podman, uids), timeout=5, what="mounts and folders of the pods are gone")


def left_of(cluster: LocalCluster, uids: list[str]) -> list[str]:
    """Return the mounts and the folders that name one of the pods."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    folders = [str(path) for path in cluster.layout.nodes.glob("*/volumes/*/*")]
    return [line for line in (*mounts, *folders) if any(uid in line for uid in uids)]


def web(
    *volumes: dict[str, Any], mounts: Any = (), script: str = FOREVER, env: Any = (), **spec: Any
) -> dict[str, Any]:
    """Return a pod named web whose container mounts each volume at /<name>, and more at `mounts`."""
    at = [{"name": each["name"], "mountPath": f"/{each['name']}"} for each in volumes]
    main = container(script, volumeMounts=[*at, *mounts], env=list(env))
    return pod("web", main, volumes=list(volumes), node="node-1", **spec)


def seen(space: Space, command: str) -> str:
    return space.kubectl("exec", "web", "--", "sh", "-c", command).strip()


def refused(space: Space, *command: str) -> str:
    return space.kubectl("exec", "web", "--", *command, check=False)


def test_folders_of_the_pod_the_node_and_an_image(space: Space, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("the node's")
    space.apply(
        web(
            {"name": "disk", "emptyDir": {}},
            {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            {"name": "host", "hostPath": {"path": str(tmp_path), "type": "Directory"}},
            {"name": "made", "hostPath": {"path": str(tmp_path / "made"), "type": "DirectoryOrCreate"}},
            {"name": "image", "image": {"reference": BUSYBOX, "pullPolicy": "IfNotPresent"}},
            mounts=[
                {"name": "disk", "mountPath": "/part", "subPathExpr": "logs/$(NAME)"},
                {"name": "host", "mountPath": "/one", "subPath": "file"},
                {"name": "host", "mountPath": "/sealed", "readOnly": True, "recursiveReadOnly": "Enabled"},
                {"name": "disk", "mountPath": "/spread", "mountPropagation": "HostToContainer"},
                {"name": "image", "mountPath": "/programs", "subPath": "bin"},
            ],
            env=[{"name": "NAME", "value": "web"}],
            script=f"echo mine > /part/log; {FOREVER}",
            securityContext={"fsGroup": 2345, "runAsUser": 1234},
        )
    )
    space.running("web")
    assert seen(space, "cat /disk/logs/web/log /spread/logs/web/log /one") == "mine\nmine\nthe node's"
    assert seen(space, "stat -c '%a %g' /disk /memory /disk/logs/web").split("\n")[:2] == ["2777 2345", "2777 2345"]
    assert seen(space, "stat -c %g /disk/logs/web/log") == "2345"
    refused(space, "sh", "-c", "head -c 2000000 /dev/zero > /memory/big")
    assert seen(space, "stat -c %s /memory/big") == str(1 << 20)
    assert (tmp_path / "made").is_dir()
    assert "busybox" in seen(space, "ls /image/bin")
    options = {line.split()[1]: line.split()[3].split(",") for line in seen(space, "cat /proc/mounts").splitlines()}
    assert ["ro" in options[place] for place in ("/sealed", "/image", "/programs", "/one")] == [True, True, True, False]
    assert "ermission denied" in refused(space, "/programs/busybox", "true")


def test_a_part_of_a_volume_leads_nowhere_else(space: Space, tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to("/etc")
    host = {"name": "host", "hostPath": {"path": str(tmp_path)}}
    space.apply(web(host, mounts=[{"name": "host", "mountPath": "/inside", "subPath": "out"}]))
    space.wait(lambda: space.container("web")["state"]["waiting"]["reason"] == "CreateContainerConfigError")
    message = space.container("web")["state"]["waiting"]["message"]
    assert message == 'failed to prepare subPath for volumeMount "host" of container "main"'


def test_objects_as_files_follow_their_objects(space: Space, podman: LocalCluster) -> None:
    items = [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]
    space.apply(
        config_map("settings", colour="blue"),
        secret("keys", token="s3cret"),
        web(
            {"name": "settings", "configMap": {"name": "settings", "defaultMode": 0o755}},
            {"name": "keys", "secret": {"secretName": "keys", "defaultMode": 0o400}},
            {"name": "me", "downwardAPI": {"items": items}},
            mounts=[{"name": "settings", "mountPath": "/fixed", "subPath": "colour"}],
            tolerations=[{"operator": "Exists"}],  # on a busy machine the node may be missed while its agent starts
        ),
    )
    space.running("web")
    assert seen(space, "cat /settings/colour /keys/token; stat -L -c ' %a' /settings/colour /keys/token") == (
        "blues3cret 755\n 400"
    )
    assert "Read-only file system" in refused(space, "touch", "/settings/x")
    in_memory = podman.layout.nodes / "node-1/volumes/memory"
    assert any(in_memory.glob("*/volumes/*/keys/token"))
    assert f" {in_memory} " in Path("/proc/self/mountinfo").read_text()
    space.apply(config_map("settings", colour="green"), secret("keys", token="other"))
    space.kubectl("label", "pod", "web", "tier=front")
    shown = 'greenotherapp="web"\ntier="front"'
    space.wait(lambda: seen(space, "cat /settings/colour /keys/token /me/labels") == shown, timeout=2)
    assert seen(space, "cat /fixed") == "blue"  # a part stays what it was when the container started
    pid = podman.kill("agent-node-1", signal.SIGKILL)
    space.wait(lambda: podman.restarted("agent-node-1", since=pid))
    space.apply(config_map("settings", colour="red"))
    space.wait(lambda: seen(space, "cat /settings/colour") == "red", timeout=10)
    assert space.container("web")["restartCount"] == 0


def test_the_token_of_its_account(space: Space, podman: LocalCluster) -> None:
    sources = [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]
    space.wait(lambda: space.kubectl("get", "serviceaccount/default", "configmap/kube-root-ca.crt"))
    space.apply(web({"name": "access", "projected": {"sources": sources}}, serviceAccountName="default"))
    space.running("web")
    assert seen(space, "cat /access/namespace") == space.name
    assert seen(space, "cat /access/ca.crt").startswith("-----BEGIN CERTIFICATE-----")
    token = seen(space, "cat /access/token")
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    answer = podman.rest("", token=token)("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", review)
    who = answer.body["status"]["userInfo"]
    assert who["username"] == f"system:serviceaccount:{space.name}:default"
    assert who["extra"]["authentication.kubernetes.io/pod-name"] == ["web"]
    assert token not in "".join(path.read_text(errors="replace") for path in podman.layout.logs.glob("*.log"))


def test_pods_wait_for_what_is_not_there(space: Space) -> None:
    space.apply(
        web({"name": "late", "configMap": {"name": "late"}}),
        {**pod("bound", container(FOREVER, volumeMounts=[{"name": "disk", "mountPath": "/disk"}]), node="node-1",
               volumes=[{"name": "disk", "persistentVolumeClaim": {"claimName": "none"}}])},
    )  # fmt: skip
    claim = f"error processing PVC {space.name}/none: failed to fetch PVC from API server: "
    told = (
        'MountVolume.SetUp failed for volume "late" : configmap "late" not found',
        f"unmounted volumes=[disk], unattached volumes=[], failed to process volumes=[disk]: {claim}",
    )
    for words in told:
        space.wait(lambda words=words: words in space.kubectl("events"), what=words)
    assert space.container("web")["state"]["waiting"]["reason"] == "ContainerCreating"
    space.apply(config_map("late", a="b"))
    space.running("web")
    assert seen(space, "cat /late/a") == "b"
