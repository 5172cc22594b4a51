"""One pod's life on its node: a task that takes one step at a time, from what is wanted and what is seen.

    live ─▶ stop ─▶ settle ─▶ (wait for deletion) ─▶ remove

`live` starts and restarts containers until the pod is to end: it is deleted, it has completed, or its deadline has
passed. Each stage can be repeated, also by another agent process: what it finds done it leaves. A stage that fails
is tried again with back-off; a deletion interrupts whatever `live` is doing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Final

from prometheus_client import Counter

from orch import telemetry
from orch.clock import parse_rfc3339, rfc3339
from orch.errors import OrchError
from orch.objects.pods import EphemeralContainer, Pod, PodStatus
from orch_agent.eviction.verdict import Eviction
from orch_agent.network.sandbox import Sandbox
from orch_agent.pods import status
from orch_agent.pods.allocations import Refusal
from orch_agent.pods.ending import Endings, Surroundings
from orch_agent.pods.host import PodHost
from orch_agent.pods.launch import Launcher
from orch_agent.pods.messages import last_words
from orch_agent.pods.naming import describe
from orch_agent.pods.probing import PodProbes
from orch_agent.pods.sandboxing import PodSandboxes
from orch_agent.pods.slot import CRASH_LOOP, Role, Slot
from orch_agent.pods.tenancy import Tenancy
from orch_agent.probes.outcome import ProbeTarget
from orch_agent.runtimes.protocol import ContainerInfo, Identity, State
from orch_pb.v1 import object_pb2

_LOG: Final = logging.getLogger(__name__)
_RETRIES = Counter(
    "orch_agent_pod_retries_total", "Stages of pods that failed and were tried again, by stage.", ["stage"]
)

_FIRST_RETRY: Final = 1.0
_LONGEST_RETRY: Final = 60.0
_LOOK_AGAIN: Final = 60.0
"""A running pod is looked at this often even when nothing is heard of it."""
_LEAST_GRACE: Final = 1
_LEASE_POLL: Final = 1.0
_FOREVER: Final = 1 << 31


class PodWorker:
    """Brings one pod (one uid) to what it shall be.

    `update` and `vanish` say what is wanted; `wake` that a container may have changed.
    """

    def __init__(
        self,
        host: PodHost,
        pod: Pod,
        *,
        trace: object_pb2.TraceContext | None = None,
        found: Sequence[ContainerInfo] = (),
    ) -> None:
        self.host = host
        self._tenancy = Tenancy(host, pod, self._look_again)
        self.pod = pod = self._tenancy.take(pod)
        self._trace = trace
        self._adopted = bool(found) or bool(pod.status.container_statuses)
        self._wake = asyncio.Event()
        self._stale = True
        self._vanished = False
        self._interrupt: asyncio.Timeout | None = None
        self._end: status.End | None = None
        self._sandbox: Sandbox | None = None
        self._launcher = Launcher(host, self._tell)
        self._sandboxes = PodSandboxes(host)
        self._probes = PodProbes(host, self._target_of, self._wake.set)
        around = Surroundings(
            look=self._look,
            pause=self._pause,
            wake=self._wake.set,
            target_of=self._target_of,
            fenced=lambda: host.must_stop(self.pod),
        )
        self._endings = Endings(host, around)
        self._settled = False
        self._parted = False
        self._stop_announced: set[str] = set()
        self._before: PodStatus = pod.status
        self._told = b""
        self._start_time = pod.status.start_time or rfc3339(host.clock.now())
        self._slots = self._make_slots(found)
        if pod.status.phase in status.FINAL_PHASES:
            self._end = status.End(pod.status.phase, pod.status.reason, pod.status.message)

    # -- what is wanted ------------------------------------------------------------------------------------------

    def update(self, pod: Pod, trace: object_pb2.TraceContext | None) -> None:
        """Take in a newer state of the pod object."""
        self._trace = trace or self._trace
        self._take(self._tenancy.take(pod))
        self.host.volumes.update(pod)
        known = {slot.container.name for slot in self._slots}
        added = (each for each in pod.spec.ephemeral_containers if each.name not in known)
        self._slots += [Slot(each, Role.EPHEMERAL, self.host.settings.back_off) for each in added]
        if self._deleted:
            self._interrupt_step()
        self._wake.set()

    def _take(self, pod: Pod) -> None:
        """Go on with the pod as it is now, or as its node lets it be."""
        self.pod = pod
        containers = {container.name: container for container in (*pod.spec.init_containers, *pod.spec.containers)}
        for slot in self._slots:
            slot.container = containers.get(slot.container.name, slot.container)

    def evict(self, eviction: Eviction) -> bool:
        """End the pod for its node's sake; False if it has ended, or is to end anyway."""
        if self._ending:
            return False
        self._tenancy.evict(eviction)
        self._end = status.End("Failed", eviction.reason, eviction.message)
        self.recheck()
        return True

    @property
    def settled(self) -> bool:
        """Whether nothing of the pod runs, or will."""
        return self._settled

    @property
    def parted(self) -> bool:
        """Whether all has been told that is to be: of a pod that was deleted, that nothing of it is left, too."""
        return self._settled and (self._parted or self._vanished or not self._deleted)

    def vanish(self) -> None:
        """Take in that the pod object is gone: others count on its share of the node, as they see it no more."""
        self._vanished = True
        self._tenancy.release()
        self._interrupt_step()
        self._wake.set()

    def successor(self, found: Sequence[ContainerInfo]) -> PodWorker:
        """Return a worker that goes on from what is there, for one that failed."""
        worker = PodWorker(self.host, self.pod, trace=self._trace, found=found)
        if self._vanished:
            worker.vanish()
        return worker

    def wake(self) -> None:
        """Look at the containers again."""
        self._stale = True
        self._wake.set()

    def _look_again(self) -> None:
        self._wake.set()

    def recheck(self) -> None:
        """Leave the step that is under way: whether the pod may run has changed."""
        self._interrupt_step()
        self._wake.set()

    def container(self, name: str, *, previous: bool = False) -> ContainerInfo | None:
        """Return the latest attempt of a container, or the one before; None if there is none."""
        for slot in self._slots:
            if slot.container.name == name:
                return slot.previous if previous else slot.current
        return None

    @property
    def containers(self) -> list[ContainerInfo]:
        """The latest attempts of the pod's containers, each after the one before it."""
        known = (info for slot in self._slots for info in (slot.previous, slot.current))
        return [info for info in known if info is not None and info.id]

    @property
    def sandbox(self) -> Sandbox | None:
        """The pod's place in the network, None while it has none."""
        return self._sandbox

    def waiting_reason(self, name: str) -> str:
        """Return why a container has not started yet."""
        for slot in self._slots:
            if slot.container.name == name and slot.retry is not None:
                return slot.retry.reason
        return "PodInitializing" if self.pod.spec.init_containers else "ContainerCreating"

    @property
    def _deleted(self) -> bool:
        return self._vanished or bool(self.pod.metadata.deletion_timestamp)

    @property
    def _ending(self) -> bool:
        return self._deleted or self._end is not None

    # -- the life ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Live the pod's life; return when nothing of it is left, neither on this node nor in the api."""
        try:
            await self._run()
        finally:
            await self._probes.close()

    async def _run(self) -> None:
        refusal = None if self._ending else await self._admit()
        if refusal is not None:
            self._end = status.End("Failed", refusal.reason, refusal.message, refused=True)
        if not self._ending and not self._adopted:
            attributes = {"namespace": self.pod.metadata.namespace, "pod": self.pod.metadata.name}
            with telemetry.span("agent.start pod", parent=self._trace, attributes=attributes):
                await self._persist("start", self._live_until_started)
        await self._persist("live", self._live)
        await self._persist("stop", self._stop)
        await self._persist("settle", self._settle)
        while not self._deleted:
            await self._pause(_LOOK_AGAIN)
        await self._persist("remove", self._remove)
        while not self._vanished:
            self._tell(terminated=True)
            self._parted = True
            again = self.host.clock.now() + timedelta(seconds=_LOOK_AGAIN)
            while not self._vanished and (left := (again - self.host.clock.now()).total_seconds()) > 0:
                await self._pause(left)

    async def _admit(self) -> Refusal | None:
        """Return why the pod may not run here, if it is new and that is so."""
        if self._adopted:
            self.host.admission.take(self.pod)
            return await self._tenancy.admit(adopted=True)
        refusal = await self.host.admission.judge(self.pod)
        if refusal is None:
            return await self._tenancy.admit(adopted=False)
        self.host.outlet.event(self.pod, "", "Warning", refusal.reason, refusal.message)
        return Refusal(refusal.reason, f"Pod was rejected: {refusal.message}")

    async def _persist(self, name: str, stage: Callable[[], Awaitable[None]]) -> None:
        """Repeat a stage until it succeeds."""
        delay = _FIRST_RETRY
        while True:
            try:
                await stage()
            except OrchError as error:
                _RETRIES.labels(name).inc()
                _LOG.warning("pod %s: %s failed, next try in %.0f s: %s", describe(self.pod), name, delay, error)
                self._stale = True
                await self._pause(delay)
                delay = min(delay * 2, _LONGEST_RETRY)
            else:
                return

    async def _live_until_started(self) -> None:
        self._tell()
        while not self._ending and not all(slot.current for slot in self._slots if slot.role is Role.MAIN):
            await self._interruptible(self._step)
            if not self._ending:
                self._tell()

    async def _live(self) -> None:
        while not self._ending:
            await self._interruptible(self._step)
            if not self._ending:
                self._tell()

    async def _interruptible(self, step: Callable[[], Awaitable[None]]) -> None:
        """Take a step; a deletion ends it early, and the loop around it sees why."""
        try:
            async with asyncio.timeout(None) as self._interrupt:
                await step()
        except TimeoutError:
            if self._interrupt is None or not self._interrupt.expired():
                raise
        finally:
            self._interrupt = None

    def _interrupt_step(self) -> None:
        if self._interrupt is not None and not self._interrupt.expired():
            self._interrupt.reschedule(asyncio.get_running_loop().time())

    # -- live ----------------------------------------------------------------------------------------------------

    async def _step(self) -> None:
        """Do the first thing that is to be done, or wait until there may be one."""
        self._wake.clear()
        if self._stale:
            self._stale = False
            await self._refresh()
        self._probes.follow(self._slots)
        if self.host.must_stop(self.pod):
            await self._hold_off()
            return
        left = self._until_deadline()
        if left <= 0:
            message = "Pod was active on the node longer than the specified deadline"
            self.host.outlet.event(self.pod, "", "Normal", "DeadlineExceeded", message)
            self._end = status.End("Failed", "DeadlineExceeded", message)
            return
        phase = status.phase_of(self._slots, self.pod.spec.restart_policy)
        if phase in status.FINAL_PHASES:
            self._end = status.End(phase)
            return
        wait = await self.host.volumes.prepare(self.pod)
        if wait is not None:
            self._tell()
            await self._pause(min(left, wait))
            return
        if self._sandbox is None or not self._sandboxes.stands(self._sandbox):
            await self._make_sandbox()
            return
        if (changed := self._tenancy.decide()) is not None:
            self._take(changed)
        if (outgrown := await self._tenancy.apply(self._slots)) is not None:
            await self._replace(outgrown, f"Container {outgrown.container.name} resize requires restart")
            return
        slot = self._next_slot()
        if slot is None:
            self._tell()
            await self._pause(min(left, self._until_next_turn(), self._tenancy.retry_in()))
        elif slot.running:
            await self._replace(slot)
        else:
            await self._launcher.launch(self.pod, slot, self._sandbox, shared=self._shared_with(slot))

    async def _hold_off(self) -> None:
        """Kill what runs, and wait: the pod may be another node's by now."""
        await self._relist()
        running = [slot for slot in self._slots if slot.running]
        if running:
            message = "The node's lease is over: the pod may have been given to another node"
            self.host.outlet.event(self.pod, "", "Warning", "Fenced", message)
        await self._endings.end(running, self.host.clock.monotonic)
        self._tell()
        await self._pause(_LEASE_POLL)

    def _next_slot(self) -> Slot | None:
        """Return the container to start or to replace now.

        Ephemeral containers come first, as they may be there to find out why others do not start; then init
        containers in order, then all others.
        """
        policy = self.pod.spec.restart_policy
        for slot in self._slots:
            changed = slot.current is not None and slot.current.image != slot.container.image
            if slot.running and (changed or slot.health.doom is not None):
                return slot
            if slot.role is Role.EPHEMERAL and slot.wants_start(policy) and self._is_due(slot):
                return slot
        up = status.initialized(self._slots)
        for slot in self._slots:
            if slot.role is Role.EPHEMERAL:
                continue
            skipped = slot.role is Role.INIT and up
            if not skipped and slot.wants_start(policy) and self._is_due(slot):
                return slot
            done = slot.succeeded if slot.role is Role.INIT else slot.started
            if slot.role is not Role.MAIN and not up and not done:
                return None
        return None

    def _shared_with(self, slot: Slot) -> Slot | None:
        """Return the container whose processes an ephemeral one shall see."""
        name = slot.container.target_container_name if isinstance(slot.container, EphemeralContainer) else ""
        return next((each for each in self._slots if each.container.name == name), None)

    def _is_due(self, slot: Slot) -> bool:
        now = self.host.clock.now()
        turned = slot.hold_back(now, describe(self.pod))
        name, image = slot.container.name, slot.container.image
        if turned == CRASH_LOOP:
            message = f"Back-off restarting failed container {name} in pod {describe(self.pod)}"
            self.host.outlet.event(self.pod, name, "Warning", "BackOff", message)
        elif turned:
            self.host.outlet.event(self.pod, name, "Normal", "BackOff", f'Back-off pulling image "{image}"')
            self.host.outlet.event(self.pod, name, "Warning", "Failed", f"Error: {turned}")
        due = slot.due(now)
        return due is None or due <= now

    def _until_next_turn(self) -> float:
        now = self.host.clock.now()
        turns = [slot.turn_at(slot.retry) for slot in self._slots if slot.retry is not None]
        return min([_LOOK_AGAIN, *((turn - now).total_seconds() for turn in turns if turn > now)])

    def _until_deadline(self) -> float:
        seconds = self.pod.spec.active_deadline_seconds
        if seconds is None:
            return float(_FOREVER)
        end = parse_rfc3339(self._start_time) + timedelta(seconds=seconds)
        return (end - self.host.clock.now()).total_seconds()

    async def _make_sandbox(self) -> None:
        self._sandbox, renewed = await self._sandboxes.make(self.pod)
        if renewed:
            # Containers that still run do so in a network or beside processes that are gone: nobody can reach them.
            cut_off = [slot for slot in self._slots if slot.running]
            await self._endings.end(cut_off, self._graceful())

    async def _replace(self, slot: Slot, why: str = "") -> None:
        """End a container whose definition changed, or whose probe or hook failed; it may run again."""
        name, doom = slot.container.name, slot.health.doom
        if doom is None:
            message = why or f"Container {name} definition changed, will be restarted"
            self.host.outlet.event(self.pod, name, "Normal", "Killing", message)
            await self._endings.end([slot], self._graceful())
            slot.replace = True
            return
        again = slot.revivable(self.pod.spec.restart_policy)
        message = f"{doom.message}, will be restarted" if again and not doom.reason else doom.message
        self.host.outlet.event(self.pod, name, "Normal", "Killing", message)
        await self._endings.end([slot], self._graceful(doom.grace))
        slot.revive = again
        if again and doom.reason:
            slot.hook_failed(doom, self.host.clock.now())

    def _graceful(self, seconds: int | None = None) -> Callable[[], float]:
        """Return the deadline of a container that is to end from now on."""
        grace = self._grace_seconds() if seconds is None else seconds
        deadline = self.host.clock.monotonic() + grace
        return lambda: deadline

    async def _refresh(self) -> None:
        """Look again at the containers that were running."""
        for slot in self._slots:
            if slot.current is not None and slot.running:
                info = await self.host.runtime.inspect(slot.current.id)
                if info is None:
                    slot.lose(self.host.clock.now())
                else:
                    slot.observe(info)
                    await self._read_message(slot)

    async def _read_message(self, slot: Slot) -> None:
        exited = slot.exited
        if exited is not None and exited.id not in slot.messages:
            words = await last_words(self.host, slot.container, exited)
            slot.messages = {
                key: text for key, text in slot.messages.items() if slot.previous and key == slot.previous.id
            }
            slot.messages[exited.id] = words

    # -- the end -------------------------------------------------------------------------------------------------

    async def _stop(self) -> None:
        """End what runs."""
        await self._relist()
        began = self.host.clock.monotonic()
        running = [slot for slot in self._slots if slot.running]
        for slot in running:
            name = slot.container.name
            if name not in self._stop_announced:
                self._stop_announced.add(name)
                self.host.outlet.event(self.pod, name, "Normal", "Killing", f"Stopping container {name}")
        await self._endings.end(running, lambda: began + self._grace_seconds())

    def _grace_seconds(self) -> int:
        """Return the grace period as it is wanted now; a second deletion may shorten it while it runs."""
        meta, spec = self.pod.metadata, self.pod.spec
        grace = meta.deletion_grace_period_seconds if meta.deletion_timestamp else None
        if grace is None:
            grace = spec.termination_grace_period_seconds
        return self._tenancy.grace(max(30 if grace is None else grace, _LEAST_GRACE))

    async def _look(self) -> None:
        """See which containers still run while some are being ended."""
        self._wake.clear()
        self._stale = False
        await self._refresh()
        self._probes.follow(self._slots, ending=self._ending)
        if self._end is None and status.phase_of(self._slots, self.pod.spec.restart_policy) not in status.FINAL_PHASES:
            self._tell()

    def _target_of(self, slot: Slot) -> ProbeTarget | None:
        """Return a running container as who asks it knows it."""
        current = slot.current
        if current is None or not slot.running:
            return None
        return ProbeTarget(
            pod=self.pod,
            container=slot.container,
            id=current.id,
            sandbox=self._sandbox or Sandbox(address=self._before.pod_ip),
            started_at=current.started_at or self.host.clock.now(),
        )

    async def _relist(self) -> None:
        """Take in all containers of the pod, also one that an interrupted step left behind."""
        slots = {slot.container.name: slot for slot in self._slots}
        for info in sorted(
            await self.host.runtime.containers(self.pod.metadata.uid), key=lambda each: each.identity.attempt
        ):
            slot = slots.get(info.identity.container)
            if info.state is State.CREATED or slot is None:
                await self.host.runtime.remove(info.id)
            elif info.identity.attempt >= slot.attempt:
                slot.observe(info)
                await self._read_message(slot)

    async def _settle(self) -> None:
        """Take all down but the ended containers, which stay for their logs; tell the final state."""
        await self.host.volumes.remove(self.pod.metadata.uid)
        await self._sandboxes.remove(self.pod)
        self._sandbox = None
        for slot in self._slots:
            slot.retry = None
        if self._end is None:
            self._end = status.End(status.stopped_phase(self._slots), self.pod.status.reason, self.pod.status.message)
        await self.host.groups.remove(self.pod.metadata.uid)
        self._tenancy.release()
        self.host.admission.release(self.pod.metadata.uid)
        self._settled = True
        self._tell()

    async def _remove(self) -> None:
        await self.host.before_removal(self.containers)
        for info in await self.host.runtime.containers(self.pod.metadata.uid):
            await self.host.runtime.remove(info.id)
        await self.host.files.remove(self.pod.metadata.uid)

    # -- what is told --------------------------------------------------------------------------------------------

    def _tell(self, *, terminated: bool = False) -> None:
        """Report the pod's status if it changed and there is still an object to hold it."""
        if self._vanished:
            return
        address = self._sandbox.address if self._sandbox is not None else ""
        scene = status.Scene(
            slots=self._slots,
            scheme=self.host.scheme,
            host_ip=self.host.host_ip,
            address=address or (self._before.pod_ip if self._end is not None else ""),
            start_time=self._start_time,
            end=self._end,
            now=rfc3339(self.host.clock.now()),
            before=self._before,
        )
        self._before = self._tenancy.onto(status.compute(self.pod, scene), self._slots)
        told = status.encode(self.pod, self._before)
        if told == self._told and not terminated:
            return
        self._told = told
        trace = telemetry.current_trace() or self._trace
        self.host.outlet.report(self.host.node, self.pod, told, terminated=terminated, trace=trace)

    async def _pause(self, seconds: float) -> None:
        """Wait to be woken, at most `seconds`."""
        if self._wake.is_set() or seconds <= 0:
            self._wake.clear()
            return
        alarm = asyncio.ensure_future(self.host.clock.sleep(seconds))
        alarm.add_done_callback(self._alarmed)
        try:
            await self._wake.wait()
        finally:
            alarm.cancel()
        self._wake.clear()

    def _alarmed(self, alarm: asyncio.Future[None]) -> None:
        if not alarm.cancelled():
            self._stale = True
            self._wake.set()

    def _make_slots(self, found: Sequence[ContainerInfo]) -> list[Slot]:
        spec, times = self.pod.spec, self.host.settings.back_off
        slots = [
            Slot(container, Role.SIDECAR if container.restart_policy == "Always" else Role.INIT, times)
            for container in spec.init_containers
        ]
        slots += [Slot(container, Role.MAIN, times) for container in spec.containers]
        slots += [Slot(container, Role.EPHEMERAL, times) for container in spec.ephemeral_containers]
        told = self.pod.status
        statuses = (
            *told.init_container_statuses,
            *told.container_statuses,
            *told.ephemeral_container_statuses,
        )
        known = {each.name: each for each in statuses}
        meta = self.pod.metadata
        for slot in slots:
            name = slot.container.name
            identity = Identity(self.host.node, meta.namespace, meta.name, meta.uid, name)
            slot.adopt([info for info in found if info.identity.container == name], known.get(name), identity)
        return slots
