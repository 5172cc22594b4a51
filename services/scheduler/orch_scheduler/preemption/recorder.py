"""Takes down in the journal how preemption decided, so that it can be computed again."""

from __future__ import annotations

from orch_pb.v1.journal_pb2 import Contest, JournalEntry, Preempting, Round
from orch_scheduler.demand import Demand
from orch_scheduler.preemption.contests import Look
from orch_scheduler.replay.journal import Journal
from orch_scheduler.replay.recorded import RecordedDemands


class Recorder:
    """Writes entries, each in its place between what the columns were told."""

    def __init__(self, journal: Journal, demands: RecordedDemands) -> None:
        self._journal = journal
        self._demands = demands
        self._checkpoints = 0
        self._empty = False

    @property
    def stale(self) -> bool:
        """Whether a checkpoint was taken since the batch began."""
        return self._journal.recording and self._checkpoints != self._journal.checkpoints

    def began(self) -> None:
        """Take down that all contests are forgotten; where there were none, that goes without saying."""
        if not self._empty or self.stale:
            self._journal.entry(JournalEntry(round=Round()))
        self._empty = True
        self._checkpoints = self._journal.checkpoints

    def opened(self, profile: str, seed: int, demand: Demand, look: Look, now: float) -> None:
        """Take down that the nodes were looked at for a class of pods."""
        self._empty = False
        if self._journal.recording:
            contest = Contest(
                template=self._demands.template(demand),
                profile=profile,
                seed=seed,
                enough=look.enough,
                offset=look.offset,
                hopeful=look.hopeful,
                now=now,
            )
            self._journal.entry(JournalEntry(contest=contest))

    def decided(self, profile: str, demand: Demand, now: float, revision: int, record: bytes) -> None:
        """Take down what came of it for one pod."""
        if self._journal.recording:
            template = self._demands.template(demand)
            decided = Preempting(template=template, profile=profile, now=now, revision=revision, record=record)
            self._journal.entry(JournalEntry(preempting=decided))
