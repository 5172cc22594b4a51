"""What a pod's status says of its containers beside their states: users, mounts, signals, resources of the pod."""

from __future__ import annotations

from typing import Any

import msgspec

from orch_agent.runtimes.podman.answers import from_inspection
from orch_agent.runtimes.protocol import LABEL_CONTAINER, LABEL_UID


def mount(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "mountPath": f"/{name}", **fields}


async def test_it_is_told_as_whom_a_container_was_started(node: Any) -> None:
    plain, other = {"name": "web"}, {"name": "other", "securityContext": {"runAsUser": 1000, "runAsGroup": 2000}}
    async with node.running(node.pod(plain, other, securityContext={"supplementalGroups": [7], "fsGroup": 9})):
        await node.settle(lambda: node.told.phases[-1:] == ["Running"])
        assert node.told.container("web")["user"] == {"linux": {"uid": 0, "gid": 0, "supplementalGroups": [0, 9, 7]}}
        told = node.told.container("other")["user"]["linux"]
        assert (told["uid"], told["gid"], told["supplementalGroups"]) == (1000, 2000, [2000, 9, 7])


async def test_it_is_told_what_a_container_sees_of_volumes(node: Any) -> None:
    mounts = [
        mount("free"),
        mount("flat", readOnly=True),
        mount("deep", readOnly=True, recursiveReadOnly="Enabled"),
        mount("maybe", readOnly=True, recursiveReadOnly="IfPossible"),
    ]
    pod = node.pod({"name": "web", "image": "x:missing", "volumeMounts": mounts})
    async with node.running(pod):
        assert node.told.container("web")["volumeMounts"] == [
            {"name": "free", "mountPath": "/free"},
            {"name": "flat", "mountPath": "/flat", "readOnly": True, "recursiveReadOnly": "Disabled"},
            {"name": "deep", "mountPath": "/deep", "readOnly": True, "recursiveReadOnly": "Enabled"},
            {"name": "maybe", "mountPath": "/maybe", "readOnly": True, "recursiveReadOnly": "Enabled"},
        ]
        assert "user" not in node.told.container("web")


async def test_a_new_process_that_knows_less_of_containers_says_what_the_one_before_did(node: Any) -> None:
    pod = node.pod({"name": "web", "lifecycle": {"stopSignal": "SIGUSR1"}})
    async with node.running(pod):
        await node.settle(lambda: node.told.phases[-1:] == ["Running"])
        before = node.told.container("web")
    assert before["stopSignal"] == "SIGUSR1"
    known = msgspec.structs.replace(pod, status=msgspec.convert(node.told.status, type(pod.status)))
    [info] = await node.runtime.containers("u1")
    listed = msgspec.structs.replace(info, user=None, stop_signal="")
    async with node.running(known, found=[listed]):
        await node.clock.advance(1)
        assert node.told.container("web") == before
    ended = msgspec.structs.replace(known, status=known.status)
    async with node.running(ended, found=[]):
        assert node.told.container("web")["user"] == before["user"]


async def test_what_a_pod_has_as_a_whole_is_told_if_it_asks_as_one(node: Any) -> None:
    whole = {"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}
    async with node.running(node.pod(resources=whole)):
        assert (node.told.status["allocatedResources"], node.told.status["resources"]) == ({"cpu": "1"}, whole)
    async with node.running(node.pod(uid="u2")):
        assert "allocatedResources" not in node.told.status


def test_podman_tells_users_by_the_settings_of_its_oci_runtime(tmp_path: Any) -> None:
    settings = tmp_path / "config.json"
    settings.write_text('{"process": {"user": {"uid": 5, "gid": 6, "additionalGids": [6, 10]}, "args": ["x"]}}')
    document: dict[str, Any] = {
        "Id": "abc",
        "Image": "1",
        "OCIConfigPath": str(settings),
        "Config": {"Labels": {LABEL_UID: "u", LABEL_CONTAINER: "web"}, "StopSignal": 10},
        "State": {"Status": "running", "StartedAt": "2026-01-01T00:00:00Z"},
    }
    info = from_inspection(document)
    assert info is not None
    assert info.user is not None
    assert (info.user.uid, info.user.gid, info.user.supplemental_groups) == (5, 6, (6, 10))
    assert info.stop_signal == "SIGUSR1"
    unread = from_inspection(
        {**document, "OCIConfigPath": str(tmp_path / "gone"), "Config": {**document["Config"], "StopSignal": "SIGINT"}}
    )
    assert unread is not None
    assert (unread.user, unread.stop_signal) == (None, "SIGINT")
