"""How long to wait before a container is started or an image pulled again.

The rule is client-go's flowcontrol.Backoff as kubelet uses it: the first repetition comes at once, each further one
waits twice as long as the one before, counted from the end of the last run; who stayed well for twice the maximum
begins anew.
"""

from __future__ import annotations

from datetime import datetime, timedelta


class BackOff:
    """The delays of one container or image. Times are wall-clock moments, delays seconds."""

    def __init__(self, initial: float, maximum: float) -> None:
        self._initial = initial
        self._maximum = maximum
        self._updated: datetime | None = None
        self.delay = 0.0

    def due(self, ended: datetime) -> datetime:
        """Return when what ended at `ended` may run again."""
        return ended + timedelta(seconds=self.delay)

    def next(self, ended: datetime, now: datetime) -> None:
        """Lengthen the delay for the time after the run that starts now."""
        if self._updated is None or (ended - self._updated).total_seconds() > 2 * self._maximum:
            self.delay = self._initial
        else:
            self.delay = min(self.delay * 2, self._maximum)
        self._updated = now
