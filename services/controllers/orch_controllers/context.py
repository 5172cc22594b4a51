"""What every controller is given."""

from __future__ import annotations

import msgspec

from orch.bus.protocol import Bus
from orch.clock import Clock
from orch.runtime.client import Client
from orch.runtime.informer import Informers
from orch_controllers.autoscaling.decisions import Decisions
from orch_controllers.autoscaling.usage import UsageTable
from orch_controllers.config import ControllersConfig
from orch_controllers.heartbeats import Heartbeats
from orch_controllers.recorders import Recorders
from orch_controllers.served_kinds import ServedKinds


class Context(msgspec.Struct, frozen=True):
    """The shared informers, this leader's client, and the rest of a controller's surroundings."""

    client: Client
    informers: Informers
    kinds: ServedKinds
    recorders: Recorders
    heartbeats: Heartbeats
    clock: Clock
    config: ControllersConfig
    bus: Bus
    usage: UsageTable
    decisions: Decisions
