"""How Podman's answers about containers read."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from orch_agent.runtimes.podman.connection import Document
from orch_agent.runtimes.podman.first_user import first_user
from orch_agent.runtimes.protocol import LABEL_GROUP, LABEL_IMAGE, LABEL_IMAGE_REF, ContainerInfo, Identity, State

_STATES: Final[Mapping[str, State]] = {
    "configured": State.CREATED,
    "created": State.CREATED,
    "initialized": State.CREATED,
    "running": State.RUNNING,
    "paused": State.RUNNING,
    "stopping": State.RUNNING,
}
"""All other states of Podman mean that the container has ended."""


def state_of(name: str) -> State:
    """Return what Podman's name of a state means."""
    return _STATES.get(name, State.EXITED)


def from_list(document: Document) -> ContainerInfo | None:
    """Return a container of a list; None for one that is not orch's. A list does not tell who ran out of memory."""
    labels: dict[str, str] = document.get("Labels") or {}
    identity = Identity.from_labels(labels)
    if identity is None:
        return None
    return ContainerInfo(
        id=document["Id"],
        identity=identity,
        state=state_of(document["State"]),
        image=labels.get(LABEL_IMAGE, ""),
        image_ref=labels.get(LABEL_IMAGE_REF, ""),
        cgroup_parent=labels.get(LABEL_GROUP, ""),
        image_id=f"sha256:{document.get('ImageID', '')}",
        exit_code=int(document.get("ExitCode", 0)),
        started_at=_epoch(document.get("StartedAt", 0)),
        finished_at=_epoch(document.get("ExitedAt", 0)),
    )


def from_inspection(document: Document) -> ContainerInfo | None:
    """Return a container that was looked at; None for one that is not orch's."""
    labels: dict[str, str] = document["Config"].get("Labels") or {}
    identity = Identity.from_labels(labels)
    if identity is None:
        return None
    state: Document = document["State"]
    return ContainerInfo(
        id=document["Id"],
        identity=identity,
        state=state_of(state["Status"]),
        image=labels.get(LABEL_IMAGE, ""),
        image_ref=labels.get(LABEL_IMAGE_REF, ""),
        cgroup_parent=labels.get(LABEL_GROUP, ""),
        image_id=f"sha256:{document['Image']}",
        exit_code=int(state.get("ExitCode", 0)),
        oom_killed=bool(state.get("OOMKilled")),
        started_at=_time(state.get("StartedAt", "")),
        finished_at=_time(state.get("FinishedAt", "")),
        user=first_user(document),
        stop_signal=_signal(document["Config"].get("StopSignal")),
    )


def _signal(told: object) -> str:
    """Return the name of a signal that Podman tells by number or, in later versions, by name."""
    text = str(told or "")
    if not text.isdecimal():
        return text
    try:
        return signal.Signals(int(text)).name
    except ValueError:
        return ""  # one of the real-time signals between the named two


def _time(text: str) -> datetime | None:
    """Return a moment of Podman's; None for the zero of Go's time."""
    if not text or text.startswith("0001-"):
        return None
    return datetime.fromisoformat(text).astimezone(UTC)


def _epoch(seconds: int) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds > 0 else None
