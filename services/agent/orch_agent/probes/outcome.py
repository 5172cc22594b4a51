"""What a probe is made of and what it says, whoever makes it."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Protocol

import msgspec

from orch.errors import OrchError
from orch.objects.pods import Container, Pod, Probe
from orch_agent.network.sandbox import Sandbox


class ProbeError(OrchError):
    """The question could not be asked: it says nothing about the container."""


class ProbeKind(enum.Enum):
    """What is asked. The values are the words of kubelet's events."""

    STARTUP = "Startup"
    LIVENESS = "Liveness"
    READINESS = "Readiness"

    def of(self, container: Container) -> Probe | None:
        """Return the container's probe of this kind."""
        if self is ProbeKind.STARTUP:
            return container.startup_probe
        return container.liveness_probe if self is ProbeKind.LIVENESS else container.readiness_probe


class Outcome(enum.Enum):
    """What a container answered; a warning counts as success."""

    SUCCESS = "success"
    WARNING = "warning"
    FAILURE = "failure"


class ProbeResult(msgspec.Struct, frozen=True):
    """An answer, and its words."""

    outcome: Outcome
    output: str = ""


class ProbeTarget(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt of a container, as who asks or hooks it knows it. `id` is the runtime's."""

    pod: Pod
    container: Container
    id: str
    sandbox: Sandbox
    started_at: datetime


class Prober(Protocol):
    """Asks containers."""

    async def probe(self, target: ProbeTarget, kind: ProbeKind, probe: Probe) -> ProbeResult:
        """Ask once, within the probe's timeout. Raises ProbeError."""
        ...
