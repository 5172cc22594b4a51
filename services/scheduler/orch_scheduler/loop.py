"""The scheduler's loop: batches from the queue are planned, and what was decided is carried out."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from orch.bus.protocol import Bus
from orch.clock import Clock
from orch.objects.scheme import DISRUPTION_BUDGETS, PODS
from orch.runtime.client import Client
from orch.runtime.events import EventRecorder
from orch.runtime.informer import Informers
from orch_scheduler.binder import Bind, Binder
from orch_scheduler.config import SchedulerConfig
from orch_scheduler.deciders import Deciders, deciders_of
from orch_scheduler.decisions import Decisions
from orch_scheduler.gangs.groups import Groups
from orch_scheduler.gangs.progress import Progress
from orch_scheduler.observed import Observed
from orch_scheduler.outcomes import Outcomes
from orch_scheduler.planning import Planner
from orch_scheduler.preemption.budgets import follow_budgets
from orch_scheduler.preemption.evictions import Evictions
from orch_scheduler.preemption.nominations import Nominations
from orch_scheduler.preemption.preemptor import BY_NODE, Preemptor, nodes_of
from orch_scheduler.preemption.recorder import Recorder
from orch_scheduler.questions.desk import Desk
from orch_scheduler.questions.room import Room
from orch_scheduler.queue import PodQueue
from orch_scheduler.replay.journal import Journal
from orch_scheduler.replay.recorded import RecordedColumns, RecordedDemands
from orch_scheduler.reports import Reports
from orch_scheduler.turn import Turn
from orch_scheduler.volume_binder import VolumeBinder

log = logging.getLogger(__name__)

_SLICE: Final = 0.02
"""Seconds for which the loop plans before others get their turn."""
_FEWEST: Final = 8


class Scheduler:
    """Keeps columns and queue up to date at all times, and schedules while it leads.

    `binding` is the client whose bindings carry the turn as their fence; without a turn, this scheduler is alone.
    Raises ConfigError for a file of profiles that cannot be used.
    """

    def __init__(
        self,
        client: Client,
        bus: Bus,
        informers: Informers,
        recorder: EventRecorder,
        clock: Clock,
        config: SchedulerConfig,
        *,
        binding: Client | None = None,
        turn: Turn | None = None,
        deciders: Deciders | None = None,
    ) -> None:
        self._clock = clock
        self._config = config
        self._turn = turn
        self._limit = config.batch
        self._deciders = deciders or deciders_of(config)
        journal = Journal(bus, clock)
        demands = RecordedDemands(journal)
        self._columns = RecordedColumns(journal, demands, self._deciders.profiles)
        self._decisions = Decisions(bus, clock, journal, demands)
        self._queue = PodQueue(clock, by_priority=config.pod_priority, backoff=self._deciders.backoff)
        self._reports = Reports(client, clock)
        self._nominations = Nominations(self._columns)
        pods = informers.of(PODS)
        informers.index(PODS, BY_NODE, nodes_of)
        self._groups = Groups(informers, client, self._queue, clock)
        self._progress = Progress(self._groups, pods, client, recorder, clock)
        self._observed = Observed(informers, self._columns, demands, self._queue, clock, self._deciders.names)
        follow_budgets(informers.of(DISRUPTION_BUDGETS), self._columns.budgets)
        recorder_of_room = Recorder(journal, demands)
        self._preemptor = Preemptor(self._columns, self._queue, self._nominations, pods, clock, recorder_of_room)
        self._groups.follow(pods, self._progress.started)
        self._planner = Planner(
            self._columns, self._queue, self._nominations, self._groups, clock, self._decisions.planned
        )
        self._outcomes = Outcomes(
            self._queue,
            self._columns,
            self._nominations,
            self._preemptor,
            self._decisions,
            self._reports,
            self._progress,
            recorder,
            clock,
        )
        self._evictions = Evictions(client, recorder, clock, self._outcomes.victim_stays)
        self._outcomes.attach(self._observed, self._evictions)
        self._binder = Binder(binding or client, clock, self._on_bound, self._outcomes.bind_failed, self._turn_number)
        self._volumes = VolumeBinder(
            client,
            self._columns,
            clock,
            self._binder.bind,
            self._outcomes.bind_failed,
            lambda name: self._deciders.by_name[name].volume_seconds,
        )
        self._deciding = asyncio.Lock()
        self._desk = Desk(
            bus,
            {
                name: Room(name, one.hash, one.engine, self._columns, demands, self._queue, pods, clock)
                for name, one in self._deciders.by_name.items()
            },
        )

    async def answer(self) -> None:
        """Answer questions until cancelled, whether this scheduler leads or not."""
        await self._desk.run()

    async def lead(self) -> None:
        """Schedule until cancelled; what that interrupts is begun anew by the next term.

        A placement whose commit was interrupted may stand: then the pod's next event says so, or the api refuses the
        second one.
        """
        for pod in self._queue.reclaim():
            self._columns.remove(pod.uid)
        self._deciding = asyncio.Lock()
        self._binder.begin()
        async with asyncio.TaskGroup() as tasks:
            self._decisions.start(tasks)
            for work in (self._reports.run, self._evictions.run, self._progress.run, self._groups.run):
                tasks.create_task(work())
            if self._turn is not None:
                self._turn.begin()
                tasks.create_task(self._turn.watch(), name="turn")
                tasks.create_task(self._share(self._turn), name="turn")
            while True:
                await self._queue.wait()
                async with self._deciding:
                    if self._turn is not None:
                        await self._turn.take()
                    await self._step(tasks)
                await asyncio.sleep(0)

    async def _share(self, turn: Turn) -> None:
        """Pass the turn on, for ever, when another scheduler asks for it."""
        while True:
            await turn.wait_asked()
            async with self._deciding:
                await self._binder.wait_idle()
                await turn.pass_on()

    async def _step(self, tasks: asyncio.TaskGroup) -> None:
        batch = self._queue.pop(self._limit)
        self._preemptor.begin()
        for run in self._planner.runs(batch, self._deciders.by_name.__getitem__):
            started = self._clock.monotonic()
            decided = self._planner.decide(run)
            seconds = (self._clock.monotonic() - started) / len(run.pods)
            binds = self._outcomes.carry_out(decided, run.profile, seconds, run.group, self._turn_number())
            self._pace((self._clock.monotonic() - started) / len(run.pods))
            await self._binder.bind(self._volumes.hold_back(binds, tasks), tasks)
            await asyncio.sleep(0)

    def _turn_number(self) -> int:
        return self._turn.number() if self._turn is not None else 0

    def _on_bound(self, bind: Bind, version: int) -> None:
        if self._turn is not None:
            self._turn.bound(version)
        self._outcomes.bound(bind)

    def _pace(self, seconds: float) -> None:
        """Take as many pods at a time as can be decided in a slice, where one takes so long."""
        most = self._config.batch
        fit = int(_SLICE / seconds) if seconds > 0 else most
        self._limit = max(_FEWEST, min(most, fit, self._limit * 2))
