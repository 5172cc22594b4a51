"""Taking over: what a new leader does before its first decision.

Its informers are warm, but may lag behind what the leader before it wrote last. It announces itself with an object of
its own, as Kubernetes' components do (`kubectl get leases -n kube-system`): that write is fenced, so no write of the
former leader comes after it, and once the informers have seen it, they have seen all of those.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final

from orch.clock import Clock, rfc3339_micro
from orch.errors import AlreadyExistsError, NotFoundError
from orch.objects.scheme import LEASES, Kind
from orch.runtime.client import Client
from orch.runtime.informer import Informers

log = logging.getLogger(__name__)

NAMESPACE: Final = "kube-system"
NAME: Final = "orch-controllers"
_PATIENCE: Final = 30.0


async def take_over(
    client: Client, informers: Informers, kinds: Sequence[Kind[Any]], identity: str, clock: Clock
) -> None:
    """Announce the new leader, and return when the informers know all that was before.

    Raises what the client raises, and UnavailableError when the informers do not get there in time.
    """
    version = await _announce(client, identity, clock)
    async with asyncio.TaskGroup() as tasks:
        for kind in kinds:
            tasks.create_task(informers.of(kind).wait_seen(version, _PATIENCE))
    log.info("%s leads; its informers have seen everything up to %d", identity, version)


async def _announce(client: Client, identity: str, clock: Clock) -> int:
    now = rfc3339_micro(clock.now())
    spec = {"holderIdentity": identity, "acquireTime": now, "renewTime": now}
    try:
        lease = await client.patch(LEASES, NAMESPACE, NAME, {"spec": spec})
    except NotFoundError:
        body = {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.name,
            "metadata": {"name": NAME},
            "spec": spec,
        }
        try:
            lease = await client.create(LEASES, NAMESPACE, body)
        except AlreadyExistsError:
            lease = await client.patch(LEASES, NAMESPACE, NAME, {"spec": spec})
    return int(lease.metadata.resource_version)
