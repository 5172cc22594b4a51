from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from at_once import AtOnce

from orch.errors import NotFoundError, UnavailableError
from orch.objects.pods import Pod
from orch.runtime.informer import Item
from orch_agent.pods.manifests import ManifestError, read_manifest
from orch_agent.pods.static_pods import StaticPods
from orch_agent.pods.worker import PodWorker

NOW = "2026-01-01T00:00:00Z"
MIRROR = "kubernetes.io/config.mirror"


def manifest(name: str = "etcd", image: str = "etcd:3", **spec: Any) -> dict[str, Any]:
    containers = [{"name": "main", "image": image, "resources": {"requests": {"cpu": 1}}}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"tier": "control"}},
        "spec": {"containers": containers, **spec},
    }


def written(folder: Path, file: str, document: Any) -> Path:
    path = folder / file
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def test_a_pod_of_a_file_is_named_and_marked_as_kubelet_does(tmp_path: Path) -> None:
    found = read_manifest(written(tmp_path, "etcd.json", manifest()), "Node-1", NOW)
    pod = found.pod
    assert (pod.metadata.name, pod.metadata.namespace, pod.spec.node_name) == ("etcd-node-1", "default", "Node-1")
    assert pod.metadata.annotations == {
        "kubernetes.io/config.hash": found.uid,
        "kubernetes.io/config.seen": NOW,
        "kubernetes.io/config.source": "file",
    }
    assert [(each.operator, each.effect) for each in pod.spec.tolerations] == [("Exists", "NoExecute")]
    assert pod.spec.containers[0].resources.requests == {"cpu": "1"}
    assert pod.status.qos_class == "Burstable"
    assert found.mirror["metadata"]["annotations"][MIRROR] == found.uid
    assert "uid" not in found.mirror["metadata"]


def test_its_uid_follows_its_content_its_file_and_its_node_alone(tmp_path: Path) -> None:
    first = read_manifest(written(tmp_path, "a.json", manifest()), "node-1", NOW).uid
    as_yaml = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: etcd\n  labels: {tier: control}\nspec:\n  containers:\n"
    as_yaml += "  - {name: main, image: 'etcd:3', resources: {requests: {cpu: 1}}}\n"
    assert read_manifest(written(tmp_path, "a.json", as_yaml), "node-1", "2027-01-01T00:00:00Z").uid == first
    assert read_manifest(tmp_path / "a.json", "node-2", NOW).uid != first
    assert read_manifest(written(tmp_path, "b.json", manifest()), "node-1", NOW).uid != first
    assert read_manifest(written(tmp_path, "a.json", manifest(image="etcd:4")), "node-1", NOW).uid != first


_LAUGHS = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)
)
_NAMELESS = {**manifest(), "metadata": {}}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "couldn't parse as pod"),
        ("a: [1, 2", "couldn't parse as pod"),
        ("a: 1\n---\nb: 2\n", "expected a single document"),
        ("- 1", "it is not an object"),
        ("a: &a {b: *a}\n", "more than 100000 values"),
        (_LAUGHS, "more than 100000 values"),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {containers: [{name: x, image: 2024-01-01}]}",
            "Expected",
        ),
        ({**manifest(), "kind": "Service"}, "it is v1 Service, not v1 Pod"),
        (_NAMELESS, r"metadata\.name: Required value"),
        (manifest("Etcd"), r'metadata\.name: Invalid value: "Etcd-node-1"'),
        ({**manifest(), "metadata": {"name": "x", "namespace": "../etc"}}, r"metadata\.namespace: Invalid value"),
        (manifest(containers=[]), r"spec\.containers: Required value"),
        (manifest(containers=3), r"spec\.containers is not a list"),
        (manifest(containers=[{"name": "../x", "image": "a"}]), r"spec\.containers\[0\]\.name: Invalid value"),
        (manifest(containers=[{"name": "x"}]), r"spec\.containers\[0\]\.image: Required value"),
        (manifest(initContainers=[{"name": "main", "image": "a"}]), 'Duplicate value: "main"'),
        (manifest(hostNetwork="yes"), r"Expected `bool`, got `str` - at `\$\.spec\.hostNetwork`"),
        (
            manifest(containers=[{"name": "x", "image": "a", "resources": {"limits": {"cpu": "much"}}}]),
            r"limits\[cpu\]: Inv",
        ),
        (manifest(volumes=[{"name": "v", "secret": {"secretName": "s"}}]), "static pods may not reference secrets"),
        (manifest(serviceAccountName="robot"), "static pods may not reference serviceaccounts"),
        (
            manifest(containers=[{"name": "x", "image": "a", "envFrom": [{"configMapRef": {"name": "c"}}]}]),
            "static pods may not reference configmaps",
        ),
    ],
)
def test_what_is_no_pod_is_told(tmp_path: Path, content: Any, problem: str) -> None:
    with pytest.raises(ManifestError, match=problem):
        read_manifest(written(tmp_path, "bad.yaml", content), "node-1", NOW)


class Api:
    """Mirrors, as the api would hold them."""

    def __init__(self) -> None:
        self.mirrors: dict[tuple[str, str], dict[str, Any]] = {}
        self.deleted: list[str] = []
        self.down = False
        self.made = 0

    async def get(self, kind: Any, namespace: str, name: str, *, subresource: str = "") -> Any:
        if self.down:
            raise UnavailableError("nobody answers")
        return kind.view(metadata=type(Pod().metadata)(name=name, uid="uid-of-node"))

    async def create(self, kind: Any, namespace: str, body: Any, **_: Any) -> Any:
        if self.down:
            raise UnavailableError("nobody answers")
        self.made += 1
        self.mirrors[namespace, body["metadata"]["name"]] = {**body, "made": self.made}
        return kind.view()

    async def delete(self, kind: Any, namespace: str, name: str, *, uid: str = "", grace_period: Any = None) -> None:
        assert grace_period == 0
        if self.mirrors.pop((namespace, name), None) is None:
            raise NotFoundError.of("pods", "", name)
        self.deleted.append(uid)


async def settled() -> None:
    """Let every task do what it can without time passing."""
    for _ in range(50):
        await asyncio.sleep(0)


class StaticNode:
    """The static pods of a simulated node."""

    def __init__(self, node: Any, folder: Path) -> None:
        self.node = node
        self.api = Api()
        self.complaints: list[str] = []
        self.shown: set[tuple[str, str]] = set()
        self.workers: dict[str, PodWorker] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.static = StaticPods(folder, node.host, self.api, self)

    def node_event(self, node: str, kind: str, reason: str, message: str) -> None:
        self.complaints.append(message)

    def worker(self, uid: str) -> PodWorker | None:
        return self.workers.get(uid)

    def start_static(self, host: Any, pod: Pod) -> None:
        worker = self.workers[pod.metadata.uid] = self.node.workers[pod.metadata.uid] = PodWorker(host, pod)
        task = self.tasks[pod.metadata.uid] = asyncio.create_task(worker.run())
        task.add_done_callback(lambda _: self.workers.pop(pod.metadata.uid, None))

    async def turns(self, seconds: int = 2) -> None:
        """Let seconds pass; each shows the node the mirrors as they are then."""
        for _ in range(seconds):
            await settled()
            for name in self.shown - self.api.mirrors.keys():
                self.static.mirror_changed(name, None)
            for name, body in self.api.mirrors.items():
                self.show(name, body)
            self.shown = set(self.api.mirrors)
            await self.node.clock.advance(1)
            await settled()
            for _ in range(5):
                await self.node.clock.advance(0)

    def show(self, name: tuple[str, str], body: dict[str, Any], **meta: str) -> None:
        uid = f"mirror-{body['made']}"
        pod = msgspec.convert({**body, "metadata": {**body["metadata"], "uid": uid, **meta}}, Pod)
        self.static.mirror_changed(name, Item(*name, uid, 1, {}, None, b"", pod))


@pytest.fixture
async def static(node: Any, tmp_path: Path) -> Any:
    asyncio.get_running_loop().set_default_executor(AtOnce())
    made = StaticNode(node, tmp_path)
    tasks = [asyncio.create_task(made.static.run(made)), asyncio.create_task(node.runtime.run(node.wake))]
    yield made
    for task in (*tasks, *made.tasks.values()):
        task.cancel()
    await asyncio.gather(*tasks, *made.tasks.values(), return_exceptions=True)


async def test_a_file_becomes_a_pod_and_its_mirror_tells_of_it(static: Any, tmp_path: Path) -> None:
    written(tmp_path, "etcd.json", manifest())
    await static.turns(3)
    [mirror] = static.api.mirrors.values()
    assert mirror["metadata"]["ownerReferences"][0]["uid"] == "uid-of-node"
    uid, status, terminated = static.node.told.reports[-1]
    assert (uid, status["phase"], terminated) == ("mirror-1", "Running", False)
    assert any(each["type"] == "PodScheduled" for each in status["conditions"])


async def test_it_runs_without_the_api_and_is_shown_once_there_is_one(static: Any, tmp_path: Path) -> None:
    static.api.down = True
    written(tmp_path, "etcd.json", manifest())
    await static.turns(3)
    assert len(static.workers) == 1
    assert static.node.told.reports == []
    static.api.down = False
    await static.turns(6)
    assert static.node.told.status["phase"] == "Running"


async def test_a_changed_file_is_another_pod_after_the_one_before(static: Any, tmp_path: Path) -> None:
    written(tmp_path, "etcd.json", manifest())
    await static.turns(3)
    [before] = static.workers
    written(tmp_path, "etcd.json", manifest(image="etcd:4.0"))
    await static.turns(10)
    [after] = static.workers
    assert after != before
    assert static.api.deleted == ["mirror-1"]
    [mirror] = static.api.mirrors.values()
    assert mirror["metadata"]["annotations"][MIRROR] == after


async def test_a_file_that_goes_takes_pod_and_mirror_with_it(static: Any, tmp_path: Path) -> None:
    path = written(tmp_path, "etcd.json", manifest())
    await static.turns(3)
    path.unlink()
    await static.turns(10)
    assert static.workers == {}
    assert static.api.mirrors == {}


async def test_a_mirror_that_is_deleted_comes_back_and_the_pod_stays(static: Any, tmp_path: Path) -> None:
    written(tmp_path, "etcd.json", manifest())
    await static.turns(3)
    [uid] = static.workers
    [(name, body)] = static.api.mirrors.items()
    static.show(name, body, deletionTimestamp=NOW)
    await settled()
    static.static.mirror_changed(name, None)
    await static.turns(8)
    assert static.api.deleted == ["mirror-1"]
    assert len(static.api.mirrors) == 1
    assert list(static.workers) == [uid]


async def test_bad_files_hurt_nothing_else(static: Any, tmp_path: Path) -> None:
    written(tmp_path, "bad.yaml", "{")
    written(tmp_path, ".hidden.yaml", manifest("hidden"))
    written(tmp_path, "etcd.json", manifest())
    written(tmp_path, "twin.json", manifest())
    (tmp_path / "folder").mkdir()
    await static.turns(4)
    assert len(static.workers) == 1
    assert [each.partition(":")[0] for each in static.complaints] == ["bad.yaml", "twin.json"]
