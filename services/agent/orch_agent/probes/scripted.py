"""Probes of simulated containers, answered by annotations of their pods.

    simulated.orch.dev/liveness: fail                       every liveness probe of the pod fails
    simulated.orch.dev/readiness: 0s=fail,20s=pass          by seconds since the container started
    simulated.orch.dev/startup.web: 0s=fail,5s=pass         of the container `web` alone

An answer is pass, warn, fail or hang (until the probe's timeout). Probes without a script are made as real ones are.
"""

from __future__ import annotations

import itertools
import re
from typing import Final

from orch.clock import Clock
from orch.objects.pods import Probe
from orch_agent.probes.outcome import Outcome, ProbeError, ProbeKind, Prober, ProbeResult, ProbeTarget
from orch_agent.runtimes.simulated_usage import PREFIX

_STEP: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)s?=(pass|warn|fail|hang)")
_ANSWERS: Final = {"pass": Outcome.SUCCESS, "warn": Outcome.WARNING, "fail": Outcome.FAILURE}
_HANG: Final = "hang"


class ScriptedProber:
    """Asks the annotations first."""

    def __init__(self, otherwise: Prober, clock: Clock) -> None:
        self._otherwise = otherwise
        self._clock = clock

    async def probe(self, target: ProbeTarget, kind: ProbeKind, probe: Probe) -> ProbeResult:
        """Answer as the script says at this moment."""
        annotations = target.pod.metadata.annotations
        name = f"{PREFIX}{kind.value.lower()}"
        script = annotations.get(f"{name}.{target.container.name}") or annotations.get(name)
        if script is None:
            return await self._otherwise.probe(target, kind, probe)
        seconds = (self._clock.now() - target.started_at).total_seconds()
        try:
            answer = answer_at(script, seconds)
        except ValueError as error:
            raise ProbeError(f"annotation {name}: {error}") from error
        if answer == _HANG:
            await self._clock.sleep(probe.timeout_seconds)
            return ProbeResult(Outcome.FAILURE, f"simulated: no answer within {probe.timeout_seconds}s")
        return ProbeResult(_ANSWERS[answer], f"simulated: {answer}")


def answer_at(script: str, seconds: float) -> str:
    """Return what a script answers. Raises ValueError when it cannot be read."""
    text = script.strip()
    steps: list[tuple[float, str]] = []
    for part in (text if "=" in text else f"0s={text}").split(","):
        match = _STEP.fullmatch(part.strip())
        if match is None:
            raise ValueError(f"{part.strip()!r} is no step such as 30s=fail")
        steps.append((float(match[1]), match[2]))
    if steps[0][0] != 0 or any(one[0] >= other[0] for one, other in itertools.pairwise(steps)):
        raise ValueError("the steps must begin at 0s and follow one another")
    return next(answer for begun, answer in reversed(steps) if begun <= max(seconds, 0))
