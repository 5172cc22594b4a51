"""What is known of a running container's health, and why it must end, if it must."""

from __future__ import annotations

import msgspec

from orch.objects.pods import Container


class Doom(msgspec.Struct, frozen=True, kw_only=True):
    """Why a running container is to be stopped though its pod goes on.

    `message` is the event's; `grace` the seconds that it has, None for the pod's. `reason` and `complaint` are told as
    why it waits afterwards, until it is a crash loop; empty if nothing is to be told.
    """

    message: str
    grace: int | None = None
    reason: str = ""
    complaint: str = ""


class Health:
    """What probes found out about one attempt of a container. Without a probe it is well from the start."""

    __slots__ = ("doom", "ready", "started")

    def __init__(self, container: Container) -> None:
        self.started = container.startup_probe is None
        self.ready = container.readiness_probe is None
        self.doom: Doom | None = None
