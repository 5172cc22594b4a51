"""Leader election in real time over both stores."""

from __future__ import annotations

import asyncio
import time

from orch.runtime.leader import LeaderElector
from orch.store.protocol import Store


class _Candidate:
    def __init__(self, store: Store, component: str, name: str) -> None:
        self.elector = LeaderElector(store, component, name, ttl=3)
        self.leads = asyncio.Event()
        self.task = asyncio.create_task(self.elector.run(self._lead))

    async def _lead(self) -> None:
        self.leads.set()
        await asyncio.Event().wait()

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})


async def test_the_standby_leads_within_a_second_of_a_clean_stop(store: Store) -> None:
    component = f"takeover-{time.monotonic_ns()}"
    async with asyncio.timeout(20):
        first = _Candidate(store, component, "first")
        await first.leads.wait()
        others = [_Candidate(store, component, name) for name in ("second", "third")]
        # Past one refresh, so that a later key than the first is watched for.
        done, _ = await asyncio.wait({first.task, *(other.task for other in others)}, timeout=1.2)
        assert not done
        assert not any(other.leads.is_set() for other in others)
        await first.stop()
        stopped = time.monotonic()
        waits = [asyncio.create_task(other.leads.wait()) for other in others]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        assert time.monotonic() - stopped < 1
        assert sum(other.elector.leading for other in others) == 1
        for other in others:
            await other.stop()
        for wait in waits:
            wait.cancel()
