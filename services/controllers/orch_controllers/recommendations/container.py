"""What is learned of one container of a workload, over all its pods, and what it should request.

The numbers are those of VerticalPodAutoscaler's recommender: processors by the distribution of their use, memory by
that of its daily peaks; target, lower and upper bound are the 90th, 50th and 95th percentile and a margin of 15 %; the
bounds lie the further apart the shorter the use is known.
"""

from __future__ import annotations

from typing import Final

from orch_controllers.recommendations.histogram import DAY, Histogram
from orch_pb.v1.autoscaling_pb2 import ContainerRecommendation

_NANO: Final = 1_000_000_000
_SAMPLES_A_DAY: Final = 24 * 60
_MARGIN: Final = 1.15
_TARGET: Final = 0.9
_LOWER: Final = 0.5
_UPPER: Final = 0.95
_LEAST_WEIGHT: Final = 0.1
_LEAST_MILLI: Final = 25
_LEAST_BYTES: Final = 250_000_000
_MOST_PEAKS: Final = 1024


class ContainerUse:
    """The use of a container's processors and memory."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._cpu = Histogram(0.01, 1000.0)
        self._memory = Histogram(1e7, 1e12)
        self._peaks: dict[str, tuple[float, float]] = {}
        self._samples = 0
        self._first = 0.0
        self._last = 0.0

    @property
    def samples(self) -> int:
        """How many samples were taken."""
        return self._samples

    def observe(self, uid: str, cores: float, memory: int, request: float, at: float) -> None:
        """Count what the container of a pod used at a moment; who requests more weighs more, as with VPA."""
        self._cpu.add(cores, max(request, _LEAST_WEIGHT), at)
        self._observe_peak(uid, float(memory), at)
        self._samples += 1
        self._first = min(self._first or at, at)
        self._last = max(self._last, at)

    def _observe_peak(self, uid: str, memory: float, at: float) -> None:
        """Count the highest use of each pod's day once."""
        begun, peak = self._peaks.get(uid, (0.0, 0.0))
        if begun and at - begun < DAY:
            if memory <= peak:
                return
            self._memory.subtract(peak, 1.0, begun)
        else:
            begun = at
        self._memory.add(memory, 1.0, begun)
        self._peaks.pop(uid, None)
        self._peaks[uid] = (begun, memory)
        if len(self._peaks) > _MOST_PEAKS:
            del self._peaks[next(iter(self._peaks))]

    def recommendation(self, containers: int) -> ContainerRecommendation:
        """Return what to request; `containers`: how many share the least that a pod is given."""
        confidence = max(min((self._last - self._first) / DAY, self._samples / _SAMPLES_A_DAY), 1e-6)
        lower, upper = (1 + 0.001 / confidence) ** -2, 1 + 1 / confidence

        def milli(share: float, factor: float) -> int:
            return round(max(self._cpu.percentile(share) * 1000 * _MARGIN * factor, _LEAST_MILLI / containers))

        def size(share: float, factor: float) -> int:
            return round(max(self._memory.percentile(share) * _MARGIN * factor, _LEAST_BYTES / containers))

        return ContainerRecommendation(
            container=self.name,
            cpu=self._cpu.save(),
            memory=self._memory.save(),
            samples=self._samples,
            first=int(self._first * _NANO),
            last=int(self._last * _NANO),
            target_cpu=milli(_TARGET, 1),
            lower_cpu=milli(_LOWER, lower),
            upper_cpu=milli(_UPPER, upper),
            target_memory=size(_TARGET, 1),
            lower_memory=size(_LOWER, lower),
            upper_memory=size(_UPPER, upper),
        )

    def load(self, saved: ContainerRecommendation) -> None:
        """Become what was saved. The peaks of the day are not among it: each pod's next one counts anew."""
        self._cpu.load(saved.cpu)
        self._memory.load(saved.memory)
        self._samples = saved.samples
        self._first, self._last = saved.first / _NANO, saved.last / _NANO
