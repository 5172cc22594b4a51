"""One event recorder for each component, so that `kubectl describe` says which of the controllers speaks."""

from __future__ import annotations

import asyncio

from orch.clock import Clock
from orch.runtime.client import Client
from orch.runtime.events import EventRecorder


class Recorders:
    """The controllers' event recorders; all are asked for before `run`."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._recorders: dict[str, EventRecorder] = {}

    def of(self, component: str) -> EventRecorder:
        """Return the recorder of a component such as `deployment-controller`."""
        recorder = self._recorders.get(component)
        if recorder is None:
            recorder = self._recorders[component] = EventRecorder(self._client, component, self._clock)
        return recorder

    async def run(self) -> None:
        """Write events for ever."""
        async with asyncio.TaskGroup() as tasks:
            for component, recorder in self._recorders.items():
                tasks.create_task(recorder.run(), name=f"events of {component}")
