"""One container of a pod over all its attempts: what the runtime last said of it, and whether and when it may run."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

import msgspec

from orch.clock import parse_rfc3339, rfc3339
from orch.config import Duration
from orch.objects.pods import (
    Container,
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStateWaiting,
    ContainerStatus,
    ContainerUser,
    VolumeMountStatus,
)
from orch.objects.volumes import RECURSIVELY, VolumeMount
from orch_agent.pods.backoff import BackOff
from orch_agent.pods.restarts import restarts_after
from orch_agent.probes.health import Doom, Health
from orch_agent.runtimes.protocol import ContainerInfo, Identity, State

CRASH_LOOP: Final = "CrashLoopBackOff"
_HOOK_FAILED: Final = "PostStartHookError"
_PULL_FAILED: Final = frozenset({"ErrImagePull", "RegistryUnavailable", "SignatureValidationFailed"})
_AFTER_A_RUN: Final = frozenset({CRASH_LOOP, _HOOK_FAILED})
LOST_EXIT_CODE: Final = 137
LOST_REASON: Final = "ContainerStatusUnknown"
LOST_MESSAGE: Final = "The container could not be located when the pod was terminated"


class Role(enum.Enum):
    """What a container is to its pod."""

    INIT = "init"
    SIDECAR = "sidecar"
    MAIN = "main"
    EPHEMERAL = "ephemeral"


class Retry(msgspec.Struct, frozen=True):
    """Why a container waits, since when and until when."""

    reason: str
    message: str
    since: datetime
    until: datetime


class BackOffTimes(msgspec.Struct, frozen=True, kw_only=True):
    """The first and the longest delay of restarts, of pulls, and of settings that cannot be resolved yet."""

    restart_first: Duration = 10.0
    restart_longest: Duration = 300.0
    pull_first: Duration = 10.0
    pull_longest: Duration = 300.0
    settings_first: Duration = 2.0
    settings_longest: Duration = 60.0


class Slot:
    """A container's place in its pod."""

    def __init__(self, container: Container, role: Role, times: BackOffTimes) -> None:
        self.container = container
        self.role = role
        self.current: ContainerInfo | None = None
        self.previous: ContainerInfo | None = None
        self.retry: Retry | None = None
        self.replace = False
        """The running container is to give way to one made from a changed definition."""
        self.revive = False
        """What ended was stopped for its health: it runs again, even if it ended well."""
        self.health = Health(container)
        self.messages: dict[str, str] = {}
        """What ended containers left as termination message, by id."""
        self.restarts = BackOff(times.restart_first, times.restart_longest)
        self.pulls = BackOff(times.pull_first, times.pull_longest)
        self.settings = BackOff(times.settings_first, times.settings_longest)

    @property
    def attempt(self) -> int:
        """The number of the latest attempt; -1 before the first."""
        return self.current.identity.attempt if self.current is not None else -1

    @property
    def running(self) -> bool:
        """Whether the container runs."""
        return self.current is not None and self.current.state is State.RUNNING

    @property
    def started(self) -> bool:
        """Whether the container runs and its startup probe, if it has one, has succeeded."""
        return self.running and self.health.started and self.health.doom is None

    @property
    def ready(self) -> bool:
        """Whether the container is as far as its role asks for; of an ephemeral one nothing is asked."""
        if self.role is Role.EPHEMERAL:
            return False
        return self.succeeded if self.role is Role.INIT else self.started and self.health.ready

    @property
    def exited(self) -> ContainerInfo | None:
        """The latest attempt, if it has ended."""
        return self.current if self.current is not None and self.current.state is State.EXITED else None

    @property
    def succeeded(self) -> bool:
        """Whether the latest attempt ended with code 0."""
        return self.exited is not None and self.exited.exit_code == 0

    def observe(self, info: ContainerInfo) -> None:
        """Take in what the runtime says of the latest or a new attempt."""
        if self.current is None or info.identity.attempt != self.current.identity.attempt:
            self.previous = self.current
            self.health = Health(self.container)
        elif info.user is None:
            # A list tells less of a container than a look at it.
            info = msgspec.structs.replace(info, user=self.current.user, stop_signal=self.current.stop_signal)
        self.current = info

    def lose(self, now: datetime) -> None:
        """Record that the runtime no longer knows the container."""
        if self.current is not None:
            self.current = msgspec.structs.replace(
                self.current,
                state=State.EXITED,
                exit_code=LOST_EXIT_CODE,
                finished_at=self.current.finished_at or now,
                reason=LOST_REASON,
                message=LOST_MESSAGE,
            )

    def adopt(self, found: Iterable[ContainerInfo], known: ContainerStatus | None, identity: Identity) -> None:
        """Take over containers of an earlier agent process, oldest attempt first; else what the api knew of them."""
        for info in sorted(found, key=lambda each: each.identity.attempt):
            if self.current is not None:
                self.previous = self.current
            self.current = info
        if known is None:
            return
        if self.current is None:
            self.current = _from_status(known, identity)
        elif known.state.running is not None and known.container_id.rpartition("/")[2] == self.current.id:
            # What an earlier process found out holds until this one has asked.
            self.health.started |= bool(known.started)
            self.health.ready |= known.ready
            if self.current.user is None and known.user is not None:
                self.current = msgspec.structs.replace(
                    self.current, user=known.user.linux, stop_signal=known.stop_signal
                )

    def wants_start(self, policy: str) -> bool:
        """Tell whether the container is to be started by the pod's restart policy."""
        if self.current is None or self.current.state is State.CREATED:
            return True
        if self.current.state is State.RUNNING or self.role is Role.EPHEMERAL:
            return False
        if self.replace or self.revive or self.role is Role.SIDECAR:
            return True
        if self.role is Role.INIT and self.succeeded:
            return False
        code = self.current.exit_code
        if self.role is Role.INIT and not self.container.restart_policy:
            return policy != "Never"
        return restarts_after(self.container, policy, code)

    def revivable(self, policy: str) -> bool:
        """Tell whether the container runs again after it was stopped for its health."""
        return self.role is Role.SIDECAR or (self.container.restart_policy or policy) != "Never"

    def hook_failed(self, doom: Doom, now: datetime) -> None:
        """Tell why the container waits after its hook made it end, until that is a crash loop."""
        if self.exited is not None:
            self.retry = Retry(doom.reason, doom.complaint, now, self.restarts.due(self.exited.finished_at or now))

    def due(self, now: datetime) -> datetime | None:
        """Return when a start that is wanted may be tried; None: at once.

        A clock that was set back makes no wait longer than it was meant to be.
        """
        if self.retry is not None:
            if now < self.retry.since:
                until = now + (self.retry.until - self.retry.since)
                self.retry = msgspec.structs.replace(self.retry, since=now, until=until)
            return self.retry.until
        if self.exited is not None and self.exited.finished_at is not None and not self.replace:
            return self.restarts.due(min(self.exited.finished_at, now))
        return None

    def count_restart(self, now: datetime) -> None:
        """Lengthen the delay before the next restart, as one begins now."""
        exited = self.exited
        if exited is None or exited.finished_at is None or self.replace:
            return
        if self.retry is None or self.retry.reason in _AFTER_A_RUN:
            self.restarts.next(exited.finished_at, now)

    def hold_back(self, now: datetime, pod: str) -> str:
        """Turn to the reason that fits a wait that goes on; return it if it is new, else "".

        It is CrashLoopBackOff or ImagePullBackOff; a failed pull stays visible for its first seconds.
        """
        due = self.due(now)
        if due is None or due <= now:
            return ""
        if self.retry is None or self.retry.reason == _HOOK_FAILED:
            name = self.container.name
            message = f"back-off {go_duration(self.restarts.delay)} restarting failed container={name} pod={pod}"
            self.retry = Retry(CRASH_LOOP, message, now, due)
            return CRASH_LOOP
        if self.retry.reason in _PULL_FAILED and now >= self.turn_at(self.retry):
            image = self.container.image
            message = f'Back-off pulling image "{image}": {self.retry.reason}: {self.retry.message}'
            self.retry = Retry("ImagePullBackOff", message, now, due)
            return "ImagePullBackOff"
        return ""

    @staticmethod
    def turn_at(retry: Retry) -> datetime:
        """Return when a wait is to be looked at again: when its reason changes, else at its end."""
        if retry.reason not in _PULL_FAILED:
            return retry.until
        return retry.since + min(timedelta(seconds=2), (retry.until - retry.since) / 2)

    def status(self, default_reason: str, scheme: str, message_limit: int) -> ContainerStatus:
        """Return the containerStatus. `default_reason` is why it waits when it was never tried; `scheme` is podman.

        Termination messages are cut at `message_limit` bytes.
        """
        current = self.current if self.current is not None and self.current.state is not State.CREATED else None
        last = self._terminated(self.previous, scheme, message_limit)
        if current is not None and current.state is State.RUNNING:
            state = ContainerState(running=ContainerStateRunning(started_at=_time(current.started_at)))
        elif current is not None and self.retry is None:
            state = ContainerState(terminated=self._terminated(current, scheme, message_limit))
        else:
            reason, message = (self.retry.reason, self.retry.message) if self.retry else (default_reason, "")
            state = ContainerState(waiting=ContainerStateWaiting(reason=reason, message=message))
            last = self._terminated(current, scheme, message_limit) or last
        return ContainerStatus(
            name=self.container.name,
            state=state,
            last_state=ContainerState(terminated=last),
            ready=self.ready,
            restart_count=self._restart_count(),
            image=self.container.image,
            image_id=(current.image_ref or current.image_id) if current is not None else "",
            container_id=f"{scheme}://{current.id}" if current is not None and current.id else "",
            started=self.started,
            volume_mounts=tuple(map(_mounted, self.container.volume_mounts)),
            user=ContainerUser(linux=current.user) if current is not None and current.user is not None else None,
            stop_signal=current.stop_signal if current is not None else "",
        )

    def _restart_count(self) -> int:
        """Return the number of the latest attempt that came to be; one that never started will be made anew."""
        latest = self.previous if self.current is not None and self.current.state is State.CREATED else self.current
        return latest.identity.attempt if latest is not None else 0

    def _terminated(self, info: ContainerInfo | None, scheme: str, limit: int) -> ContainerStateTerminated | None:
        if info is None or info.state is not State.EXITED:
            return None
        return ContainerStateTerminated(
            exit_code=info.exit_code,
            reason=info.reason or _reason(info),
            message=_cut(info.message or self.messages.get(info.id, ""), limit),
            started_at=_time(info.started_at),
            finished_at=_time(info.finished_at),
            container_id=f"{scheme}://{info.id}" if info.id else "",
        )


def _mounted(mount: VolumeMount) -> VolumeMountStatus:
    """Return what is told of a volume's mount. What may be read alone is so to its depths if that was asked for."""
    deep = ("Enabled" if mount.recursive_read_only in RECURSIVELY else "Disabled") if mount.read_only else ""
    return VolumeMountStatus(
        name=mount.name, mount_path=mount.mount_path, read_only=mount.read_only, recursive_read_only=deep
    )


def _reason(info: ContainerInfo) -> str:
    if info.oom_killed:
        return "OOMKilled"
    return "Error" if info.exit_code else "Completed"


def _cut(text: str, limit: int) -> str:
    """Return what of a text fits into `limit` bytes."""
    return text if len(text) * 4 <= limit else text.encode()[:limit].decode(errors="ignore")


def _time(moment: datetime | None) -> str:
    return rfc3339(moment) if moment is not None else ""


def _moment(text: str) -> datetime | None:
    return parse_rfc3339(text) if text else None


def _from_status(known: ContainerStatus, identity: Identity) -> ContainerInfo | None:
    """Return the end of a container that the api knew and the runtime does not; None if it never ran."""
    ended = known.state.terminated
    if ended is None and known.state.running is None and known.last_state.terminated is None:
        return None
    ended = ended or known.last_state.terminated if known.state.running is None else None
    identity = msgspec.structs.replace(identity, attempt=known.restart_count)
    user = known.user.linux if known.user is not None else None
    if ended is None:
        return ContainerInfo(
            id=known.container_id.rpartition("/")[2],
            identity=identity,
            state=State.EXITED,
            image=known.image,
            image_ref=known.image_id,
            user=user,
            stop_signal=known.stop_signal,
            exit_code=LOST_EXIT_CODE,
            reason=LOST_REASON,
            message=LOST_MESSAGE,
            started_at=_moment(known.state.running.started_at if known.state.running is not None else ""),
        )
    return ContainerInfo(
        id=ended.container_id.rpartition("/")[2],
        identity=identity,
        state=State.EXITED,
        image=known.image,
        image_ref=known.image_id,
        user=user,
        stop_signal=known.stop_signal,
        exit_code=ended.exit_code,
        reason=ended.reason,
        message=ended.message,
        started_at=_moment(ended.started_at),
        finished_at=_moment(ended.finished_at),
    )


def go_duration(seconds: float) -> str:
    """Return a duration as Go prints it: 10s, 1m20s, 5m0s."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600}h{whole % 3600 // 60}m{whole % 60}s"
    return f"{whole // 60}m{whole % 60}s" if whole >= 60 else f"{whole}s"
