"""The figures of priority and fairness, under Kubernetes' names (apiserver_flowcontrol_*)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from orch_api.distribution import Distribution

_WAITS: Final = (0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30)
_LABELS: Final = ("priority_level", "flow_schema")
_REFUSED: Final = (*_LABELS, "reason")
_WAITED: Final = (*_LABELS, "execute")


class FlowFigures:
    """The figures of one flow schema."""

    __slots__ = ("dispatched", "executing", "refused", "rejected", "seats", "served", "waiting")

    def __init__(self) -> None:
        self.dispatched = 0
        self.executing = 0
        self.seats = 0
        self.waiting = 0
        self.rejected: dict[str, int] = {}
        self.served = Distribution(_WAITS)
        self.refused = Distribution(_WAITS)

    def reject(self, reason: str) -> None:
        """Count a refused request."""
        self.rejected[reason] = self.rejected.get(reason, 0) + 1

    def waited(self, seconds: float, *, served: bool) -> None:
        """Count a wait that ended in a seat, or in a refusal."""
        (self.served if served else self.refused).observe(seconds)


class FlowMetrics(Collector):
    """The figures of all flow schemas of this process, by level and schema."""

    def __init__(self) -> None:
        self._flows: dict[tuple[str, str], FlowFigures] = {}
        self.limits: dict[str, int] = {}

    def of(self, level: str, schema: str) -> FlowFigures:
        """Return the figures of a schema."""
        return self._flows.setdefault((level, schema), FlowFigures())

    def collect(self) -> Iterable[Metric]:
        """Yield the families."""
        flows = list(self._flows.items())
        name = "apiserver_flowcontrol_"
        yield _gauge(f"{name}current_inqueue_requests", "Requests that wait for a seat", flows, "waiting")
        yield _gauge(f"{name}current_executing_requests", "Requests that have a seat", flows, "executing")
        yield _gauge(f"{name}current_executing_seats", "Seats that are taken", flows, "seats")
        dispatched = CounterMetricFamily(f"{name}dispatched_requests", "Requests that got a seat", labels=_LABELS)
        rejected = CounterMetricFamily(
            f"{name}rejected_requests", "Requests that were refused", labels=(*_LABELS, "reason")
        )
        waits = HistogramMetricFamily(
            f"{name}request_wait_duration_seconds",
            "Time in the queue, of those who had to wait",
            labels=(*_LABELS, "execute"),
        )
        for labels, figures in flows:
            dispatched.add_metric(labels, figures.dispatched)
            for reason, count in list(figures.rejected.items()):
                rejected.add_metric((*labels, reason), count)
            figures.served.add_to(waits, (*labels, "true"))
            figures.refused.add_to(waits, (*labels, "false"))
        yield dispatched
        yield rejected
        yield waits
        limits = GaugeMetricFamily(f"{name}nominal_limit_seats", "Seats of each level", labels=("priority_level",))
        for level, seats in list(self.limits.items()):
            limits.add_metric((level,), seats)
        yield limits


def _gauge(name: str, about: str, flows: Sequence[tuple[tuple[str, str], FlowFigures]], field: str) -> Metric:
    family = GaugeMetricFamily(name, about, labels=_LABELS)
    for labels, figures in flows:
        family.add_metric(labels, getattr(figures, field))
    return family


FLOWS: Final = FlowMetrics()
REGISTRY.register(FLOWS)
