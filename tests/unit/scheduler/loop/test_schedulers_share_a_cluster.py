"""Several schedulers over one cluster, and leaders that lose their lease: nothing is overcommitted or bound twice."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from orch_scheduler_fixtures import USER, working
from overcommitment import CommitmentWatch, overcommitted

from orch.clock import ManualClock
from orch.errors import ApiError
from orch.objects.scheme import NODES, PODS
from orch.runtime.client import BusClient
from orch.runtime.events import EventRecorder
from orch.runtime.informer import Informers
from orch.runtime.leader import LeaderElector
from orch.store.keys import leader_key
from orch.store.memory import MemoryStore
from orch_pb.v1 import rpc_pb2
from orch_scheduler.config import SchedulerConfig
from orch_scheduler.loop import Scheduler
from orch_scheduler.turn import ASKED, TENURE, TURN, SeenByInformers, Turn


class Process:
    """A scheduler's process: its own connection, informers, election and turn."""

    def __init__(self, api, name, identity, ttl=5):
        clock, bus = api.core.clock, api.broker.connect(USER)
        config = SchedulerConfig(scheduler_name=name)
        self.bus = bus
        self.elector = LeaderElector(api.store, config.lease(name, identity), identity, ttl=ttl, clock=clock)
        self.informers = Informers(bus)
        self.client = BusClient(bus, fence=self.elector)
        self.recorder = EventRecorder(self.client, name, clock)
        self.turn = Turn(api.store, identity, self.elector, clock, SeenByInformers(self.informers))
        self.binding = BusClient(bus, fence=self.turn)
        self.scheduler = Scheduler(
            self.client, bus, self.informers, self.recorder, clock, config, binding=self.binding, turn=self.turn
        )

    async def lead(self):
        await self.elector.wait_informed(self.informers.wait_seen)
        await self.scheduler.lead()

    @contextlib.asynccontextmanager
    async def running(self):
        async with working(self.informers.run(), self.recorder.run()):
            await self.informers.wait_synced(10)
            async with working(self.elector.run(self.lead)):
                yield self
        await self.bus.close()


@pytest.fixture
async def watch(api):
    """Look at every change whether a node has more than it can take."""
    informers = Informers(api.bus("orch:admin"))
    pods, nodes = informers.of(PODS), informers.of(NODES)
    async with working(informers.run()):
        await informers.wait_synced(10)
        yield CommitmentWatch(pods, nodes)


async def counted(client):
    pods = await client.list(PODS, "default")
    return sum(bool(pod.spec.node_name) for pod in pods)


async def test_two_schedulers_never_promise_the_same_room(api, client, watch, add_node, add_pod, eventually):
    for number in range(5):
        await add_node(f"n{number}", cpu="4")
    async with Process(api, "default-scheduler", "a").running(), Process(api, "other", "b").running():
        await asyncio.gather(add_pod("first", cpu="0"), add_pod("second", cpu="0", schedulerName="other"))

        async def both_at_work():
            return await counted(client) == 2

        await eventually(both_at_work)

        async def come(name, scheduler):
            for number in range(40):
                await add_pod(f"{name}{number}", cpu="500m", schedulerName=scheduler)
                await asyncio.sleep(0)

        await asyncio.gather(come("a", "default-scheduler"), come("b", "other"))

        async def full():
            return await counted(client) == 42

        await eventually(full)

        async def settled():
            pods = await client.list(PODS, "default")
            return all(pod.spec.node_name or pod.status.condition("PodScheduled") for pod in pods) and pods

        pods = await eventually(settled)
    names = [pod.spec.scheduler_name for pod in pods if pod.spec.node_name]
    assert min(names.count("default-scheduler"), names.count("other")) > 1
    assert overcommitted(pods, await client.list(NODES)) == []
    assert watch.problems == []
    assert watch.looked >= 40


async def test_a_binding_of_a_past_turn_is_refused_and_the_pod_decided_again(
    api, client, watch, monkeypatch, add_node, add_pod, bound, eventually
):
    """The bindings of the first are held up on their way until the second has given the room away."""
    await add_node("n", cpu="1")
    first, second = Process(api, "default-scheduler", "a"), Process(api, "other", "b")
    held_up, go_on = asyncio.Event(), asyncio.Event()
    send = first.binding.bind

    async def slowly(bindings):
        late = BusClient(first.bus, fence=_Proof(first.turn))
        held_up.set()
        await go_on.wait()
        return await late.bind(bindings)

    async with first.running():
        with monkeypatch.context() as patched:
            patched.setattr(first.binding, "bind", slowly)
            await add_pod("mine", cpu="1")
            async with asyncio.timeout(10):
                await held_up.wait()
            await first.turn.pass_on()
            async with second.running():
                await add_pod("theirs", cpu="1", schedulerName="other")
                assert await bound("theirs") == "n"
                go_on.set()

                async def refused():
                    pod = await client.get(PODS, "default", "mine")
                    condition = pod.status.condition("PodScheduled")
                    return condition is not None and "Insufficient cpu" in condition.message

                patched.setattr(first.binding, "bind", send)
                await eventually(refused)
    assert watch.problems == []


class _Proof:
    """The proof of a turn, as it was at one time."""

    def __init__(self, turn):
        self._fence = turn.fence()

    def fence(self):
        return self._fence


async def test_a_lease_that_is_lost_in_mid_batch(api, client, watch, monkeypatch, add_node, add_pod, eventually):
    """The old leader's bindings arrive after the new one leads: none of them stands, and no pod is bound twice."""
    for number in range(4):
        await add_node(f"n{number}", cpu="10")
    old, new = Process(api, "default-scheduler", "old"), Process(api, "default-scheduler", "new")
    held_up: list[tuple[_Proof, list[rpc_pb2.Binding]]] = []
    nodes: dict[str, set[str]] = {}

    def note(change):
        if change.new is not None and change.new.object.spec.node_name:
            nodes.setdefault(change.new.uid, set()).add(change.new.object.spec.node_name)

    async def lose(bindings):
        held_up.append((_Proof(old.turn), list(bindings)))
        await asyncio.get_running_loop().create_future()

    new.informers.of(PODS).on_change(note)
    monkeypatch.setattr(old.binding, "bind", lose)
    async with old.running():
        await asyncio.gather(*(add_pod(f"p{number}", cpu="100m") for number in range(60)))

        async def on_the_way():
            return held_up

        await eventually(on_the_way)
        async with new.running():
            await api.store.lease_revoke(old.elector.lease)

            async def all_bound():
                return await counted(client) == 60

            await eventually(all_bound)
            # A pod that nobody has bound, so that nothing but the lost leadership can stand in the way.
            free = await add_pod("free", cpu="100m", schedulingGates=[{"name": "test/gate"}])
            extra = rpc_pb2.Binding(namespace="default", name="free", uid=free.metadata.uid, node="n0")
            for proof, bindings in held_up:
                late = BusClient(api.bus(USER), fence=proof)
                replies = await late.bind([extra, *bindings])
                assert all(ApiError.decode(reply.status).code == 409 for reply in replies)
                assert b"leadership" in replies[0].status
    assert not (await client.get(PODS, "default", "free")).spec.node_name
    assert all(len(where) == 1 for where in nodes.values())
    assert len(nodes) == 60
    assert watch.problems == []


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
async def store(clock):
    store = MemoryStore(clock)
    yield store
    await store.close()


class _Seen:
    """Has seen all there is, and remembers what was asked for."""

    def __init__(self):
        self.asked = []

    async def everything(self, version):
        self.asked.append(("everything", version))

    async def pods(self, version):
        self.asked.append(("pods", version))

    def newest_pod(self):
        return 7


class _Lease:
    def __init__(self, lease):
        self.lease = lease


@pytest.fixture
def turn_of(store, clock):
    async def make(identity):
        return Turn(store, identity, _Lease(await store.lease_grant(5)), clock, _Seen())

    return make


async def test_one_alone_keeps_the_turn(turn_of, store, clock):
    turn = await turn_of("a")
    await turn.take()
    fence = turn.fence()
    await turn.take()
    assert turn.fence() is fence
    assert (await store.get(leader_key(TURN))).value == b"a"
    assert await store.get(leader_key(ASKED)) is None


async def test_who_asks_gets_the_turn_after_the_others_while(turn_of, store, clock):
    first, second, third = [await turn_of(name) for name in "abc"]
    await first.take()
    async with working(first.watch()):
        asking = [asyncio.ensure_future(each.take()) for each in (second, third)]
        passed = asyncio.ensure_future(first.wait_asked())
        await clock.advance(TENURE)
        await passed
        await first.pass_on()
        await clock.advance(1)
        assert [task.done() for task in asking].count(True) == 1
        holder = second if second.held else third
        await holder.pass_on()
        await clock.advance(2)
        assert all(task.done() for task in asking)
    assert await store.get(leader_key(ASKED)) is None
    proofs = [each.fence().create_revision for each in (first, second, third)]
    assert len(set(proofs)) == 3


async def test_who_takes_over_waits_for_what_was_bound_and_no_more(turn_of, store):
    first, second = [await turn_of(name) for name in "ab"]
    await first.take()
    assert first._seen.asked == [("everything", first.fence().create_revision << 10 | 1023)]
    await first.pass_on()
    await second.take()
    assert second._seen.asked == [("pods", 7)]
    second.bound(9)
    await second.pass_on()
    await first.take()
    assert first._seen.asked[1:] == [("pods", 9)]


async def test_who_takes_over_a_lost_turn_waits_for_everything(turn_of, store):
    first, second = [await turn_of(name) for name in "ab"]
    await first.take()
    first.bound(9)
    await store.lease_revoke(first._lease.lease)
    await second.take()
    assert [what for what, _ in second._seen.asked] == ["everything"]


async def test_a_turn_ends_with_its_lease(turn_of, store, clock):
    first, second = [await turn_of(name) for name in "ab"]
    await first.take()
    asking = asyncio.ensure_future(second.take())
    await clock.advance(4.9)
    assert not asking.done()
    await clock.advance(2)
    assert second._lease.lease  # which has ended as well: it was never refreshed
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert await store.get(leader_key(TURN)) is None
