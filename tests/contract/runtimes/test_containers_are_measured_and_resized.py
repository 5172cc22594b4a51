"""What runtimes tell of disks and images, and containers that are given more or less while they run."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from orch_agent.runtimes.cgroups import Hierarchy
from orch_agent.runtimes.protocol import ContainerError, Layers, Limits, State
from orch_agent.stats.disk import file_system

MI = 1 << 20


async def test_each_container_is_measured_until_it_is_removed(lab: Any) -> None:
    made = await lab.run()
    found = {each.id: each for each in await lab.runtime.layers()}
    assert found[made].identity.uid == lab.uid
    used = {each.id: each for each in await lab.runtime.usage()}
    assert used[made].memory_bytes > 0
    await lab.runtime.remove(made)
    assert made not in {each.id for each in await lab.runtime.layers()}


async def test_images_are_listed_with_their_names_and_sizes(lab: Any) -> None:
    made = await lab.run()
    info = await lab.runtime.inspect(made)
    images = {each.id: each for each in await lab.runtime.images()}
    assert images[info.image_id].size > 0
    assert any("behave" in name for name in images[info.image_id].names)


async def test_an_image_that_is_gone_is_removed(lab: Any) -> None:
    await lab.runtime.remove_image(f"sha256:{'0' * 64}")


async def test_a_running_container_is_given_more_and_less(lab: Any) -> None:
    made = await lab.run(limits=Limits(cpu_shares=102, cpu_quota=50_000, memory=64 * MI))
    for limits in (
        Limits(cpu_shares=1024, cpu_quota=80_000, memory=128 * MI, pids=100),
        Limits(cpu_shares=51, cpu_quota=20_000, memory=32 * MI, pids=100),
    ):
        await lab.runtime.resize(made, limits)
        info = await lab.runtime.inspect(made)
        assert info.state is State.RUNNING


async def test_a_container_that_is_gone_cannot_be_resized(lab: Any) -> None:
    made = await lab.run()
    await lab.runtime.remove(made)
    with pytest.raises(ContainerError):
        await lab.runtime.resize(made, Limits())


@pytest.mark.podman
async def test_a_container_lives_in_its_pods_group_and_its_monitor_does_not(podman_lab: Any) -> None:
    hierarchy, group = Hierarchy(), f"{podman_lab.group}/burstable/podx"
    hierarchy.make(group)
    made = await podman_lab.run(limits=Limits(memory=64 * MI), cgroup_parent=group)
    try:
        assert hierarchy.children(group) == [f"libpod-{made}"]
        await podman_lab.runtime.resize(made, Limits(cpu_shares=512, cpu_quota=70_000, memory=96 * MI))
        found = hierarchy.limits(f"{group}/libpod-{made}")
        assert found is not None
        assert (found.cpu_shares, found.cpu_quota, found.memory) == (512, 70_000, 96 * MI)
        assert (await podman_lab.runtime.inspect(made)).cgroup_parent == group
        used = next(each for each in await podman_lab.runtime.usage() if each.id == made)
        assert used.processes >= 1
        assert used.memory.usage >= used.memory.working_set > 0
    finally:
        await podman_lab.runtime.remove(made)
        hierarchy.remove(f"{podman_lab.group}/burstable")


@pytest.mark.podman
async def test_a_container_of_which_one_process_runs_out_of_memory_ends_as_a_whole(podman_lab: Any) -> None:
    script = "tail /dev/zero & sleep 1000; sleep 1000"
    made = await podman_lab.run(command=("sh", "-c", script), limits=Limits(memory=32 * MI))
    info = await podman_lab.until(made, State.EXITED)
    assert (info.exit_code, info.oom_killed) == (137, True)


@pytest.mark.podman
async def test_what_containers_write_is_counted(podman_lab: Any) -> None:
    made = await podman_lab.run(command=("sh", "-c", "cat /bin/busybox > /written; echo done; exec sleep 1000"))
    assert file_system(await podman_lab.runtime.image_file_system()).capacity > 0

    async def found() -> Layers:
        return next(each for each in await podman_lab.runtime.layers() if each.id == made)

    async with asyncio.timeout(20):
        while (await found()).layer.bytes < MI or not (await found()).logs.bytes:  # noqa: ASYNC110 - measured, not told
            await asyncio.sleep(0.05)
    assert (await found()).logs.inodes == 1
