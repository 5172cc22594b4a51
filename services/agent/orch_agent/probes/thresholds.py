"""How many equal answers in a row make a verdict (kubelet's prober worker)."""

from __future__ import annotations

from orch.objects.pods import Probe


class Tally:
    """The answers of one container to one probe, since it started."""

    def __init__(self, probe: Probe) -> None:
        self._needed = {True: max(probe.success_threshold, 1), False: max(probe.failure_threshold, 1)}
        self._last: bool | None = None
        self._run = 0

    def take(self, well: bool) -> bool | None:
        """Count an answer; return the verdict that holds from now on, None while the one before does."""
        self._run = self._run + 1 if well is self._last else 1
        self._last = well
        return well if self._run >= self._needed[well] else None


def next_delay(elapsed: float, period: float) -> float:
    """Return how long to wait after a probe that took `elapsed` seconds: turns that it missed are left out."""
    return period - elapsed % period
