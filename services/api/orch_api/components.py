"""Whether the parts that an api process depends on, and those that depend on it, are well: ComponentStatuses.

The store and the bus are asked; the scheduler and the controllers are well while one of them leads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from orch.bus.protocol import Bus
from orch.bus.subjects import OBJECTS
from orch.errors import OrchError, UnavailableError
from orch.store.keys import leader_key
from orch.store.protocol import Store
from orch_api.kinds.component_statuses import HEALTHY, KIND

Document = dict[str, Any]
Look = Callable[[], Awaitable[object]]

_PATIENCE: Final = 5.0
_LEADERS: Final = {"controller-manager": "controllers", "scheduler": "scheduler"}


class Components:
    """Looks at the components."""

    def __init__(self, store: Store, bus: Bus) -> None:
        self._store = store
        looks: dict[str, Look] = {name: self._leader(component) for name, component in _LEADERS.items()}
        looks["etcd-0"] = store.revision
        looks["nats-0"] = lambda: bus.last_message(OBJECTS.name)
        self._looks: Mapping[str, Look] = dict(sorted(looks.items()))

    async def documents(self) -> list[Document]:
        """Return the ComponentStatus of every component, in order of their names."""
        return list(await asyncio.gather(*(self._look(name, look) for name, look in self._looks.items())))

    async def _look(self, name: str, look: Look) -> Document:
        condition = {"type": HEALTHY, "status": "True", "message": "ok"}
        try:
            async with asyncio.timeout(_PATIENCE):
                await look()
        except TimeoutError:
            condition |= {"status": "False", "message": "", "error": f"no answer within {_PATIENCE:g} seconds"}
        except OrchError as error:
            condition |= {"status": "False", "message": "", "error": str(error)}
        return {"kind": KIND, "apiVersion": "v1", "metadata": {"name": name}, "conditions": [condition]}

    def _leader(self, component: str) -> Look:
        async def look() -> None:
            if await self._store.get(leader_key(component)) is None:
                raise UnavailableError("none leads")

        return look
