"""What a CRI runtime says of containers, in the protocol's words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from orch.objects.pods import LinuxContainerUser
from orch_agent.runtimes.cri.configuration import ANNOTATION_STOP_SIGNAL
from orch_agent.runtimes.protocol import (
    LABEL_GROUP,
    LABEL_IMAGE,
    LABEL_IMAGE_ID,
    LABEL_IMAGE_REF,
    ContainerInfo,
    Identity,
    State,
)
from orch_pb.cri import api_pb2

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_OOM_KILLED: Final = "OOMKilled"
_TELLING: Final = frozenset({"ContainerCannotRun", "StartError"})
"""Reasons of an end that say more than the exit code, and that kubelet shows."""

STATES: Final[Mapping[int, State]] = {
    api_pb2.CONTAINER_CREATED: State.CREATED,
    api_pb2.CONTAINER_RUNNING: State.RUNNING,
}
"""All other states mean that the container has ended, or that nobody can say any more what became of it."""


def state_of(state: int) -> State:
    """Return a state of CRI's as one of ours."""
    return STATES.get(state, State.EXITED)


def from_status(status: api_pb2.ContainerStatus) -> ContainerInfo | None:
    """Return a container, None for one that is not orch's."""
    identity = Identity.from_labels(status.labels)
    if identity is None:
        return None
    state = state_of(status.state)
    ended = state is State.EXITED
    return ContainerInfo(
        id=status.id,
        identity=identity,
        state=state,
        image=status.labels.get(LABEL_IMAGE, ""),
        image_id=status.labels.get(LABEL_IMAGE_ID, "") or status.image_ref,
        image_ref=status.labels.get(LABEL_IMAGE_REF, "") or status.image_ref,
        exit_code=status.exit_code if ended else 0,
        oom_killed=ended and status.reason == _OOM_KILLED,
        started_at=_moment(status.started_at),
        finished_at=_moment(status.finished_at) if ended else None,
        reason=status.reason if ended and status.reason in _TELLING else "",
        message=status.message if ended else "",
        cgroup_parent=status.labels.get(LABEL_GROUP, ""),
        stop_signal=status.annotations.get(ANNOTATION_STOP_SIGNAL, ""),
        user=_user(status.user.linux) if status.user.HasField("linux") else None,
    )


def _user(told: api_pb2.LinuxContainerUser) -> LinuxContainerUser:
    return LinuxContainerUser(uid=told.uid, gid=told.gid, supplemental_groups=tuple(told.supplemental_groups))


def _moment(nanoseconds: int) -> datetime | None:
    return _EPOCH + timedelta(microseconds=nanoseconds // 1000) if nanoseconds > 0 else None
