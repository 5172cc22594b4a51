"""Several profiles in one process: each pod is decided by the one that its schedulerName names."""

from __future__ import annotations

import pytest
from orch_scheduler_fixtures import USER, working

from orch.errors import ConfigError
from orch.objects.scheme import PODS
from orch.runtime.events import EventRecorder
from orch.runtime.informer import Informers
from orch_scheduler.config import SchedulerConfig
from orch_scheduler.deciders import deciders_of
from orch_scheduler.loop import Scheduler

FILE = """
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
podInitialBackoffSeconds: 1
podMaxBackoffSeconds: 3
profiles:
- schedulerName: default-scheduler
- schedulerName: packing
  plugins:
    postFilter: {disabled: [{name: DefaultPreemption}]}
  pluginConfig:
  - name: NodeResourcesFit
    args: {scoringStrategy: {type: MostAllocated}}
"""


@pytest.fixture
def settings(tmp_path):
    def make(text, **more):
        path = tmp_path / "profiles.yaml"
        path.write_text(text)
        return SchedulerConfig(profiles=str(path), **more)

    return make


@pytest.fixture
async def packing(api, settings):
    clock, bus, client = api.core.clock, api.bus(USER), api.client(USER)
    informers, recorder = Informers(bus), EventRecorder(client, "default-scheduler", clock)
    made = Scheduler(client, bus, informers, recorder, clock, settings(FILE))
    async with working(informers.run(), recorder.run()):
        await informers.wait_synced(10)
        async with working(made.lead()):
            yield made


async def test_each_pod_is_decided_by_its_profile(packing, client, add_node, add_pod, bound, condition):
    for number in range(3):
        await add_node(f"n{number}", cpu="4")
    for number in range(3):
        await add_pod(f"s{number}", cpu="1")
    assert {await bound(f"s{number}") for number in range(3)} == {"n0", "n1", "n2"}
    packed = set()
    for number in range(3):
        await add_pod(f"p{number}", cpu="1", schedulerName="packing")
        packed.add(await bound(f"p{number}"))
    assert len(packed) == 1
    await add_pod("high", cpu="4", priority=10, schedulerName="packing")
    await condition("high", "0/3 nodes are available: 3 Insufficient cpu.")  # and nobody goes
    assert not any(pod.metadata.deletion_timestamp for pod in await client.list(PODS, "default"))


async def test_pods_of_no_profile_are_left_alone(packing, client, add_node, add_pod, bound):
    await add_node("n")
    await add_pod("theirs", schedulerName="nobody")
    await add_pod("ours", schedulerName="packing")
    await bound("ours")
    assert not (await client.get(PODS, "default", "theirs")).spec.node_name


def test_the_back_off_is_that_of_the_file(settings):
    found = deciders_of(settings(FILE))
    assert (found.backoff.first, found.backoff.most) == (1, 3)
    assert found.names == ("default-scheduler", "packing")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (FILE.replace("podMaxBackoffSeconds: 3", "podMaxBackoffSeconds: 0"), "podMaxBackoffSeconds"),
        (FILE.replace("podInitialBackoffSeconds: 1", "podInitialBackoffSeconds: 0"), "podInitialBackoffSeconds"),
        (FILE.replace("DefaultPreemption", "Preemption"), "profiles[1].plugins.postFilter.disabled[0].name"),
        (FILE.replace("MostAllocated", "Most"), "profiles[1].pluginConfig[0].args.scoringStrategy.type"),
        (FILE.replace("packing", "default-scheduler"), "profiles[1].schedulerName"),
    ],
)
def test_what_is_wrong_is_told_with_its_path(settings, text, path):
    with pytest.raises(ConfigError) as raised:
        deciders_of(settings(text))
    assert raised.value.path == path
