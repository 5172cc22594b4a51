"""How long admission takes, by plugin and as a whole, under the names that dashboards made for Kubernetes ask for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

from prometheus_client import REGISTRY
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from orch_api.distribution import Distribution

Kind = Literal["admit", "validate"]

_SECONDS: Final = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5)
_PLUGIN: Final = "apiserver_admission_controller_admission_duration_seconds"
_STEP: Final = "apiserver_admission_step_admission_duration_seconds"
_LABELS: Final = ("type", "operation", "rejected")


class AdmissionTimes(Collector):
    """The times of all chains of this process."""

    def __init__(self) -> None:
        self._plugins: dict[tuple[str, ...], Distribution] = {}
        self._steps: dict[tuple[str, ...], Distribution] = {}

    def of_plugin(self, name: str, operation: str, kind: Kind, *, rejected: bool) -> Distribution:
        """Return where the times of a plugin are counted."""
        labels = (name, kind, operation, str(rejected).lower())
        return self._plugins.setdefault(labels, Distribution(_SECONDS))

    def of_step(self, operation: str, kind: Kind, *, rejected: bool) -> Distribution:
        """Return where the times of a whole phase are counted."""
        return self._steps.setdefault((kind, operation, str(rejected).lower()), Distribution(_SECONDS))

    def collect(self) -> Iterable[Metric]:
        """Yield the families."""
        by_plugin = HistogramMetricFamily(
            _PLUGIN, "Time that an admission plugin took, by name, operation and outcome", labels=("name", *_LABELS)
        )
        for labels, times in self._plugins.items():
            times.add_to(by_plugin, labels)
        yield by_plugin
        as_a_whole = HistogramMetricFamily(
            _STEP, "Time that a phase of admission took with all its plugins", labels=_LABELS
        )
        for labels, times in self._steps.items():
            times.add_to(as_a_whole, labels)
        yield as_a_whole


TIMES: Final = AdmissionTimes()
REGISTRY.register(TIMES)
