from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orch_agent.runtimes.protocol import ContainerError, ImageError, LogQuery, State

IMAGE = "localhost/orch/behave:1"


async def test_the_runtime_says_what_it_is(lab: Any) -> None:
    name, _, version = (await lab.runtime.version()).partition("://")
    assert name in {"simulated", "podman", "containerd"}
    assert version


async def test_images_are_known_by_id_or_not_at_all(lab: Any) -> None:
    found = await lab.runtime.find_image(IMAGE)
    assert found.id.startswith("sha256:")
    assert found.ref == found.id or found.ref.startswith("localhost/orch/behave@sha256:")
    assert found.size > 0
    assert await lab.runtime.find_image("localhost/orch/none:1") is None
    assert await lab.runtime.image_user(IMAGE) == ""


async def test_an_image_that_does_not_exist_cannot_be_pulled(lab: Any) -> None:
    with pytest.raises(ImageError):
        await lab.runtime.pull("127.0.0.1:9/orch/none:missing")


async def test_a_container_is_created_started_and_ends_by_itself(lab: Any) -> None:
    before = datetime.now(UTC) - timedelta(seconds=2)
    made = await lab.runtime.create(lab.spec(SIMULATED_RUN_SECONDS=0.3, SIMULATED_EXIT_CODE=3))
    info = await lab.inspect(made)
    assert info.state is State.CREATED
    assert info.started_at is None
    await lab.runtime.start(made)
    info = await lab.inspect(made)
    assert info.state is State.RUNNING
    assert info.image == IMAGE
    assert info.identity == lab.spec().identity
    info = await lab.until(made, State.EXITED)
    assert info.exit_code == 3
    assert not info.oom_killed
    assert before < info.started_at < info.finished_at
    await lab.until_true(lambda: lab.uid in lab.changed)


async def test_the_stop_signal_ends_a_container_gracefully(lab: Any) -> None:
    made = await lab.run()
    async for _ in lab.runtime.logs(made, LogQuery(follow=True)):
        break
    await lab.runtime.terminate(made)
    info = await lab.until(made, State.EXITED)
    assert info.exit_code == 0
    await lab.runtime.terminate(made)
    await lab.runtime.kill(made)


async def test_who_ignores_the_stop_signal_is_killed(lab: Any) -> None:
    made = await lab.run(SIMULATED_STOP_SECONDS=60)
    async for _ in lab.runtime.logs(made, LogQuery(follow=True)):  # a signal before its trap is set ends it otherwise
        break
    await lab.runtime.terminate(made)
    assert (await lab.inspect(made)).state is State.RUNNING
    await lab.runtime.kill(made)
    info = await lab.until(made, State.EXITED)
    assert info.exit_code == 137
    assert not info.oom_killed


async def test_containers_are_listed_by_pod_until_they_are_removed(lab: Any) -> None:
    first = await lab.run("first")
    second = await lab.runtime.create(lab.spec("second"))
    listed = {info.id: info for info in await lab.runtime.containers(lab.uid)}
    assert set(listed) == {first, second}
    assert listed[first].state is State.RUNNING
    assert listed[first].identity == lab.spec("first").identity
    assert listed[second].state is State.CREATED
    assert await lab.runtime.containers("another-uid") == []
    await lab.runtime.remove(first)
    await lab.runtime.remove(second)
    await lab.runtime.remove(first)
    assert await lab.runtime.containers(lab.uid) == []
    assert await lab.runtime.inspect(first) is None


async def test_a_name_cannot_be_taken_twice(lab: Any) -> None:
    await lab.runtime.create(lab.spec())
    with pytest.raises(ContainerError):
        await lab.runtime.create(lab.spec())


async def test_a_container_that_is_gone_cannot_be_started(lab: Any) -> None:
    with pytest.raises(ContainerError):
        await lab.runtime.start("0123456789ab")


async def test_running_containers_use_something(lab: Any) -> None:
    await lab.run("first")
    [usage] = await lab.runtime.usage()
    assert usage.identity == lab.spec("first").identity
    assert usage.cpu_nanos >= 0
    assert usage.memory_bytes > 0
