"""A pod's containers wait for its volumes; what is wrong is told in kubelet's words, and tried again."""

from __future__ import annotations

from typing import Any

import pytest
from volume_node import VolumeNode, files_below

from orch.errors import ServiceUnavailableError

SETTINGS = {"name": "settings", "configMap": {"name": "app"}}


def downward(**source: Any) -> dict[str, Any]:
    return {"downwardAPI": {"items": [{"path": "a", **source}]}}


def complaint(volume: str, problem: str) -> str:
    return f'MountVolume.SetUp failed for volume "{volume}" : {problem}'


async def test_a_pod_waits_for_its_config_map(node: VolumeNode) -> None:
    pod = node.pod(SETTINGS)
    assert await node.volumes.prepare(pod) == 0.5
    assert node.events == [complaint("settings", 'configmap "app" not found')]
    version = node.api.config_map("app", colour="blue")
    node.volumes.changed(node.refer("configmaps", "app"), version)
    assert node.woken == ["u1"]
    assert files_below(await node.shown(pod, "settings")) == {"colour": "blue"}


async def test_failures_are_tried_again_less_and_less_often(node: VolumeNode) -> None:
    pod, waited = node.pod(SETTINGS), []
    for _ in range(10):
        waited.append(await node.volumes.prepare(pod))
        assert await node.volumes.prepare(pod) == waited[-1]  # it is not its turn: nothing is asked, nothing told
        await node.clock.advance(waited[-1] or 0)
    assert waited == [0.5, 1, 2, 4, 8, 16, 32, 64, 122, 122]
    assert len([each for each in node.events if each.startswith("MountVolume")]) == len(node.api.asked) == 10


async def test_after_two_minutes_it_is_said_what_is_missing(node: VolumeNode) -> None:
    pod = node.pod(SETTINGS, {"name": "keys", "secret": {"secretName": "none"}}, {"name": "data", "emptyDir": {}})
    await node.volumes.prepare(pod)
    await node.clock.advance(124)
    await node.volumes.prepare(pod)
    assert node.events[-1] == (
        "Unable to attach or mount volumes: unmounted volumes=[keys settings], unattached volumes=[], "
        "failed to process volumes=[]: context deadline exceeded"
    )


@pytest.mark.parametrize(
    ("volume", "problem"),
    [
        ({"secret": {"secretName": "none"}}, 'secret "none" not found'),
        (
            {"configMap": {"name": "there", "items": [{"key": "b", "path": "b"}]}},
            "configmap references non-existent config key: b",
        ),
        (
            {"secret": {"secretName": "there", "items": [{"key": "b", "path": "b"}]}},
            "references non-existent secret key: b",
        ),
        (downward(fieldRef={"fieldPath": "status.podIP"}), "unsupported fieldPath: status.podIP"),
        (
            downward(resourceFieldRef={"containerName": "x", "resource": "limits.cpu"}),
            "container x not found",
        ),
        (
            {"hostPath": {"path": "/dev/null", "type": "Directory"}},
            "hostPath type check failed: /dev/null is not a directory",
        ),
        ({"emptyDir": {"medium": "Tape"}}, 'unknown storage medium "Tape"'),
        (
            {"emptyDir": {"medium": "HugePages"}},
            "hugePages storage requested, but there is no resource request for huge pages",
        ),
        (
            {"projected": {"sources": [{"secret": {"name": "none"}}, {"configMap": {"name": "none"}}]}},
            '[secret "none" not found, configmap "none" not found]',
        ),
    ],
)
async def test_what_is_wrong_is_said(node: VolumeNode, volume: dict[str, Any], problem: str) -> None:
    node.api.config_map("there", a="1")
    node.api.secret("there", a="1")
    assert await node.volumes.prepare(node.pod({"name": "v", **volume})) == 0.5
    assert node.events == [complaint("v", problem)]


async def test_an_api_that_does_not_answer_is_waited_for(node: VolumeNode) -> None:
    node.api.config_map("app", a="1")
    node.api.refuses = ServiceUnavailableError("the api is away")
    assert await node.volumes.prepare(node.pod(SETTINGS)) == 0.5
    node.api.refuses = None
    await node.clock.advance(0.5)
    assert await node.volumes.prepare(node.pod(SETTINGS)) is None


async def test_what_may_be_absent_is_not_waited_for(node: VolumeNode) -> None:
    items = [{"key": "a", "path": "a"}, {"key": "b", "path": "b"}]
    node.api.secret("keys", a="1")
    pod = node.pod(
        {"name": "none", "configMap": {"name": "none", "optional": True}},
        {"name": "some", "secret": {"secretName": "keys", "optional": True, "items": items}},
    )
    assert files_below(await node.shown(pod, "none")) == {}
    assert files_below(await node.shown(pod, "some")) == {"a": "1"}


async def test_volumes_that_no_container_mounts_are_left_alone(node: VolumeNode) -> None:
    pod = node.pod(SETTINGS, {"name": "data", "emptyDir": {}}, mounts=[{"name": "data", "mountPath": "/data"}])
    assert [mount.target for mount in await node.mounts(pod)] == ["/data"]
    assert node.api.asked == []


def claim_complaint(problem: str) -> str:
    return (
        "Unable to attach or mount volumes: unmounted volumes=[data], unattached volumes=[], "
        f"failed to process volumes=[data]: {problem}"
    )


CLAIM = {"name": "data", "persistentVolumeClaim": {"claimName": "disk"}}


@pytest.mark.parametrize(
    ("volume", "claim", "problem"),
    [
        (
            CLAIM,
            None,
            (
                "error processing PVC default/disk: failed to fetch PVC from API server: "
                'persistentvolumeclaims "disk" not found'
            ),
        ),
        (CLAIM, {"status": {"phase": "Pending"}}, "error processing PVC default/disk: PVC is not bound"),
        (
            CLAIM,
            {"status": {"phase": "Bound"}, "spec": {"volumeName": "pv-1"}},
            'failed to get Plugin from volumeSpec for volume "pv-1" err=no volume plugin matched',
        ),
        (
            {"name": "data", "ephemeral": {"volumeClaimTemplate": {}}},
            {"status": {"phase": "Bound"}},
            (
                "error processing PVC default/web-1-data: PVC default/web-1-data was not created for pod "
                "default/web-1 (pod is not owner)"
            ),
        ),
        (
            {"name": "data", "nfs": {"server": "x", "path": "/"}},
            None,
            'failed to get Plugin from volumeSpec for volume "data" err=no volume plugin matched',
        ),
    ],
)
async def test_claims_are_waited_for(node: VolumeNode, volume: Any, claim: Any, problem: str) -> None:
    if claim is not None:
        node.api.put("persistentvolumeclaims", "disk" if volume is CLAIM else "web-1-data", **claim)
    assert await node.volumes.prepare(node.pod(volume)) is not None
    assert node.events == [claim_complaint(problem)]
