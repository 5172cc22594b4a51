"""The PodGroups of the cluster, where their definition is installed, and how many pods of each are on nodes."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from typing import Final

from prometheus_client import Counter

from orch.clock import Clock
from orch.errors import OrchError
from orch.objects.pods import Pod
from orch.objects.scheduling import POD_GROUP_LABEL, PodGroup
from orch.objects.scheme import POD_GROUPS
from orch.runtime.client import Client
from orch.runtime.informer import Change, Informer, Informers, Item
from orch_scheduler.queue import PodQueue
from orch_scheduler.waiting import Waiting

log = logging.getLogger(__name__)

FAILURES: Final = Counter(
    "scheduler_pod_group_discovery_failures", "Times that the api did not say whether there are PodGroups"
)

_PERIOD: Final = 5.0
_PAUSE: Final = 0.2
_PATIENCE: Final = 10.0
_FINISHED: Final = frozenset({"Succeeded", "Failed"})
_COMPLETE: Final = frozenset({"Scheduled", "Running", "Finished"})


def group_of(pod: Pod) -> str:
    """Return the group that the pod names by its label, as namespace/name; "" for none."""
    name = pod.metadata.labels.get(POD_GROUP_LABEL, "")
    return f"{pod.metadata.namespace}/{name}" if name else ""


class Groups:
    """Follows the groups and the pods that name them."""

    def __init__(self, informers: Informers, client: Client, queue: PodQueue, clock: Clock) -> None:
        self._informers = informers
        self._client = client
        self._queue = queue
        self._clock = clock
        self._informer: Informer[PodGroup] | None = None
        self._stop: Callable[[], None] | None = None
        self._asked_at = -math.inf
        self._ask = asyncio.Event()
        self._held: set[str] = set()
        self._started: Callable[[str], None] | None = None
        self._bound: dict[str, set[str]] = {}

    def follow(self, pods: Informer[Pod], started: Callable[[str], None]) -> None:
        """Count the groups' pods from now on; `started` is told of a group of which a pod came to a node."""
        self._started = started
        pods.on_change(self._on_pod)

    def holds(self, pod: Waiting) -> bool:
        """Return whether a pod must start together with others.

        Not where the cluster has no PodGroups: then the label means nothing. It waits until that is known for certain.
        """
        if not pod.group or (self._informer is None and self.known(pod)):
            return False
        return not self.complete(pod.group)

    def known(self, pod: Waiting) -> bool:
        """Return whether the api has been asked, since the pod came, if there are PodGroups; if not, have it asked."""
        if self._informer is not None or self._asked_at >= pod.since:
            return True
        self._held.add(pod.group)
        self._ask.set()
        return False

    def get(self, group: str) -> Item[PodGroup] | None:
        """Return a group by its namespace/name."""
        namespace, _, name = group.partition("/")
        return self._informer.get(namespace, name) if self._informer is not None else None

    def bound(self, group: str) -> int:
        """Return how many pods of a group are on nodes."""
        return len(self._bound.get(group, ()))

    def complete(self, group: str) -> bool:
        """Return whether a group has started once: pods that it gets later start by themselves."""
        item = self.get(group)
        return item is not None and (
            item.object.status.phase in _COMPLETE or self.bound(group) >= item.object.spec.min_member
        )

    async def run(self) -> None:
        """Ask, for ever, whether PodGroups are defined: now and then, and when a pod names a group."""
        while True:
            self._ask.clear()
            try:
                await self.look()
            except OrchError as error:
                FAILURES.inc()
                log.debug("whether there are PodGroups is not known: %s", error)
            await self._clock.sleep(_PAUSE)
            due = asyncio.ensure_future(self._clock.sleep(_PERIOD))
            asked = asyncio.ensure_future(self._ask.wait())
            try:
                await asyncio.wait((due, asked), return_when=asyncio.FIRST_COMPLETED)
            finally:
                due.cancel()
                asked.cancel()

    async def look(self) -> None:
        """Ask the api once. Raises OrchError, UnavailableError when the groups themselves do not come in time."""
        began = self._clock.monotonic()
        kinds = await self._client.kinds()
        served = any((one.group, one.resource) == (POD_GROUPS.group, POD_GROUPS.resource) for one in kinds)
        if served and self._informer is None:
            informer = self._informers.of(POD_GROUPS)
            await informer.wait_synced(_PATIENCE)
            self._informer = informer
            self._stop = informer.on_change(self._on_group)
        elif not served and self._informer is not None and self._stop is not None:
            self._stop()
            self._informer = self._stop = None
            self._held.update(self._queue.groups())
        self._asked_at = began
        held, self._held = self._held, set()
        for group in held:
            self._try(group)

    def _on_group(self, change: Change[PodGroup]) -> None:
        item = change.item
        if change.old is None or change.new is None or change.old.object.spec != change.new.object.spec:
            self._try(f"{item.namespace}/{item.name}")

    def _try(self, group: str) -> None:
        for pod in self._queue.members(group):
            self._queue.activate(pod.uid)

    def members(self, group: str) -> frozenset[str]:
        """Return the uids of a group's pods that are on nodes."""
        return frozenset(self._bound.get(group, ()))

    def _on_pod(self, change: Change[Pod]) -> None:
        for item, counts in ((change.old, False), (change.new, True)):
            if item is None or not (group := group_of(item.object)):
                continue
            if counts and item.object.spec.node_name and item.object.status.phase not in _FINISHED:
                bound = self._bound.setdefault(group, set())
                if item.uid not in bound:
                    bound.add(item.uid)
                    if self._started is not None:
                        self._started(group)
            elif (bound := self._bound.get(group)) is not None:
                bound.discard(item.uid)
                if not bound:
                    del self._bound[group]
