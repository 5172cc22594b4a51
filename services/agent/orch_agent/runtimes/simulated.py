"""Containers as records moved by the clock: a runtime for thousands of nodes in one process, and for tests.

What a container does is scripted by variables and annotations: see simulated_behaviour.py; what it uses by annotations:
see simulated_usage.py. Without any it runs until it is stopped, or not at all if it is meant to run to completion. A
container that has an input writes what comes there, and ends with it. An image whose tag is `missing` cannot be pulled.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from orch.clock import Clock, rfc3339_micro
from orch.objects.pods import LinuxContainerUser, Pod
from orch.runtime.informer import Change
from orch_agent.runtimes.image_names import repository
from orch_agent.runtimes.protocol import (
    STDERR,
    STDOUT,
    ChangeHandler,
    ContainerError,
    ContainerInfo,
    ContainerSpec,
    Credentials,
    ExecSession,
    ExecSpec,
    FoundImage,
    ImageError,
    Layers,
    Limits,
    LogLine,
    LogQuery,
    ProgressHandler,
    Session,
    State,
    StoredImage,
    Usage,
)
from orch_agent.runtimes.simulated_behaviour import Behaviour, behaviour_of
from orch_agent.runtimes.simulated_usage import UsageScripts
from orch_agent.stats.model import DiskUse

_FOLLOW_INTERVAL: Final = 0.25
_LOG_LINES: Final = 1000
"""Lines of a container's log that are kept, from its beginning."""
_QUEUED: Final = 64
_KILLED: Final = 137
_IMAGE_SIZE: Final = 64 << 20


class _Container:
    """One simulated container: its record, its settings, what it wrote, and the task that will end it."""

    __slots__ = ("attached", "behaviour", "ending", "info", "lines", "spec")

    def __init__(self, spec: ContainerSpec, info: ContainerInfo) -> None:
        self.spec = spec
        self.info = info
        self.behaviour = Behaviour()
        self.lines: list[tuple[datetime, LogLine]] = []
        self.ending: asyncio.Task[None] | None = None
        self.attached: set[_SimulatedAttached] = set()


class SimulatedRuntime:
    """The runtime of one simulated node."""

    def __init__(self, clock: Clock, *, pull_seconds: float = 0, start_seconds: float = 0) -> None:
        self._clock = clock
        self._pull_seconds = pull_seconds
        self._start_seconds = start_seconds
        self._images: dict[str, str] = {}
        self._containers: dict[str, _Container] = {}
        self._by_uid: dict[str, dict[str, _Container]] = {}
        self._on_change: ChangeHandler = _ignore
        self._scripts = UsageScripts()
        self._annotations: dict[str, Mapping[str, str]] = {}
        self._limits: dict[str, Limits] = {}

    def follow_script(self, change: Change[Pod]) -> None:
        """Let the containers of a pod use and do what its annotations say."""
        self._scripts.take(change, self._clock.now())
        if change.new is not None and change.new.object.metadata.annotations:
            self._annotations[change.new.uid] = change.new.object.metadata.annotations
        elif self._annotations:
            self._annotations.pop(change.item.uid, None)

    async def run(self, on_change: ChangeHandler) -> None:
        """Report changes until cancelled, then leave no timer behind."""
        self._on_change = on_change
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self._on_change = _ignore
            for container in self._containers.values():
                if container.ending is not None:
                    container.ending.cancel()

    async def version(self) -> str:
        """Return simulated://1."""
        return "simulated://1"

    async def find_image(self, image: str) -> FoundImage | None:
        """Return an image that was pulled."""
        found = self._images.get(image)
        return FoundImage(found, f"{repository(image)}@{found}", _IMAGE_SIZE) if found is not None else None

    async def image_user(self, image: str) -> str:
        """Return "": simulated images run as root."""
        del image
        return ""

    async def pull(
        self, image: str, *, credentials: Credentials | None = None, on_progress: ProgressHandler | None = None
    ) -> FoundImage:
        """Know the image, after the time that a pull takes."""
        del credentials
        if on_progress is not None:
            on_progress(0, _IMAGE_SIZE)
        if self._pull_seconds:
            await self._clock.sleep(self._pull_seconds)
        if image.endswith(":missing"):
            raise ImageError(f"initializing source docker://{image}: manifest unknown")
        found = self._images.setdefault(image, f"sha256:{hashlib.sha256(image.encode()).hexdigest()}")
        return FoundImage(found, f"{repository(image)}@{found}", _IMAGE_SIZE)

    async def create(self, spec: ContainerSpec) -> str:
        """Add a record."""
        identity = spec.identity
        if spec.image not in self._images:
            raise ContainerError(f"{spec.image}: image not known")
        name = hashlib.sha256(identity.runtime_name.encode()).hexdigest()
        if name in self._containers:
            raise ContainerError(f'the container name "{identity.runtime_name}" is already in use')
        found = self._images[spec.image]
        info = ContainerInfo(
            id=name,
            identity=identity,
            state=State.CREATED,
            image=spec.image,
            image_id=found,
            image_ref=f"{repository(spec.image)}@{found}",
            user=_user(spec),
            stop_signal=spec.stop_signal or "SIGTERM",
        )
        container = _Container(spec, info)
        self._containers[name] = container
        self._by_uid.setdefault(identity.uid, {})[name] = container
        return name

    async def start(self, container: str) -> None:
        """Let it run; schedule its end if it has one."""
        record = self._require(container)
        identity = record.info.identity
        annotations = self._annotations.get(identity.uid, {})
        record.behaviour = behaviour_of(identity.container, identity.attempt, record.spec.env, annotations)
        if delay := self._start_seconds + record.behaviour.start_delay:
            await self._clock.sleep(delay)
        if record.behaviour.start_error:
            raise ContainerError(record.behaviour.start_error)
        now = self._clock.now()
        record.info = msgspec.structs.replace(record.info, state=State.RUNNING, started_at=now)
        self._scripts.start(identity.uid, record.info.id, identity.container, now)
        self._write(record, STDOUT, f"{record.info.identity.container} started\n".encode())
        seconds = record.behaviour.run_seconds
        if seconds is not None or record.spec.runs_to_completion:
            self._end_later(record, seconds or 0.0, record.behaviour.exit_code)

    async def terminate(self, container: str) -> None:
        """End it with code 0, after the time that it takes to stop."""
        record = self._require(container)
        if record.info.state is State.RUNNING:
            self._end_later(record, record.behaviour.stop_seconds, 0)

    async def kill(self, container: str) -> None:
        """End it with code 137."""
        record = self._require(container)
        if record.info.state is State.RUNNING:
            self._end(record, 137)

    async def remove(self, container: str) -> None:
        """Forget it."""
        record = self._containers.pop(container, None)
        if record is None:
            return
        if record.ending is not None:
            record.ending.cancel()
        record.info = msgspec.structs.replace(record.info, state=State.EXITED)
        self._scripts.end(record.info.identity.uid, container)
        self._limits.pop(container, None)
        for attached in record.attached:
            attached.wake.set()
        siblings = self._by_uid[record.info.identity.uid]
        del siblings[container]
        if not siblings:
            del self._by_uid[record.info.identity.uid]

    async def containers(self, uid: str = "") -> Sequence[ContainerInfo]:
        """Return the records."""
        found = self._by_uid.get(uid, {}) if uid else self._containers
        return [container.info for container in found.values()]

    async def inspect(self, container: str) -> ContainerInfo | None:
        """Return the record."""
        record = self._containers.get(container)
        return record.info if record is not None else None

    async def logs(self, container: str, query: LogQuery) -> AsyncGenerator[Sequence[LogLine]]:
        """Yield what the simulation wrote in the container's name."""
        record = self._require(container)
        since = query.since
        lines = [line for written, line in record.lines if since is None or written >= since]
        reached = len(record.lines)
        if query.tail is not None:
            lines = lines[max(len(lines) - query.tail, 0) :]
        if lines:
            yield lines
        while query.follow:
            ended = record.info.state is State.EXITED
            if lines := [line for _, line in record.lines[reached:]]:
                reached += len(lines)
                yield lines
            if ended:
                return
            await self._clock.sleep(_FOLLOW_INTERVAL)

    async def log_file(self, container: str) -> Path | None:
        """Return None: nothing lies on a disk."""
        del container
        return None

    async def exec(self, container: str, spec: ExecSpec) -> ExecSession:
        """Run `echo`, `cat`, `env`, `true`, `false` and `exit N`; anything else is not found."""
        record = self._require(container)
        if record.info.state is not State.RUNNING:
            raise ContainerError("can only create exec sessions on running containers: container state improper")
        return _SimulatedExec(spec, record.spec)

    async def attach(self, container: str, *, stdin: bool) -> Session:
        """Show what is written in the container's name from now on, and take its input."""
        record = self._require(container)
        if record.info.state is not State.RUNNING:
            raise ContainerError("you can only attach to running containers: container state improper")
        attached = _SimulatedAttached(self, record, takes_input=stdin and record.spec.stdin)
        record.attached.add(attached)
        return attached

    def say(self, record: _Container, data: bytes) -> None:
        """Write to a container's log."""
        if len(record.lines) < _LOG_LINES:
            self._write(record, STDOUT, data)

    async def usage(self) -> Sequence[Usage]:
        """Return what the scripts say; a steady, small use when there is none."""
        now, found = self._clock.now(), list[Usage]()
        for record in self._containers.values():
            info = record.info
            meter = self._scripts.meter(info.identity.uid, info.id)
            if meter is not None and info.state is State.RUNNING:
                found.append(Usage(info.identity, *meter.read(now), id=info.id, processes=meter.processes(now)))
        return found

    def is_scripted(self) -> bool:
        """Return whether annotations say what some pod uses."""
        return self._scripts.any

    def usage_moves(self) -> bool:
        """Return whether a container started, ended or is scripted."""
        return self._scripts.moves()

    async def layers(self) -> Sequence[Layers]:
        """Return what the scripts say."""
        now, found = self._clock.now(), list[Layers]()
        for record in self._containers.values():
            info = record.info
            meter = self._scripts.meter(info.identity.uid, info.id)
            layer, logs = meter.disk(now) if meter is not None else (0, 0)
            found.append(Layers(info.identity, info.id, DiskUse(layer, 1), DiskUse(logs, 1)))
        return found

    async def resize(self, container: str, limits: Limits) -> None:
        """Remember what it may use; nothing keeps it to that."""
        self._require(container)
        self._limits[container] = limits

    def limits(self, container: str) -> Limits:
        """Return what a container may use."""
        return self._limits.get(container, self._require(container).spec.limits)

    async def images(self) -> Sequence[StoredImage]:
        """Return what was pulled; all of it has the same size."""
        return [StoredImage(id=found, names=(name,), size=_IMAGE_SIZE) for name, found in self._images.items()]

    async def remove_image(self, image: str) -> None:
        """Forget it."""
        if any(record.info.image_id == image for record in self._containers.values()):
            raise ImageError(f"image {image} is in use by a container")
        self._images = {name: found for name, found in self._images.items() if found != image}

    async def image_file_system(self) -> str:
        """Return "": nothing lies on a disk."""
        return ""

    def _require(self, container: str) -> _Container:
        record = self._containers.get(container)
        if record is None:
            raise ContainerError(f"no container with ID {container} found: no such container")
        return record

    def _write(self, record: _Container, stream: int, data: bytes) -> None:
        now = self._clock.now()
        record.lines.append((now, LogLine(rfc3339_micro(now), stream, data)))

    def _end_later(self, record: _Container, seconds: float, code: int) -> None:
        if record.ending is not None:
            record.ending.cancel()
            record.ending = None
        if seconds <= 0:
            self._end(record, code)
        else:
            record.ending = asyncio.create_task(self._end_after(record, seconds, code))

    async def _end_after(self, record: _Container, seconds: float, code: int) -> None:
        await self._clock.sleep(seconds)
        record.ending = None
        self._end(record, code)

    def _end(self, record: _Container, code: int) -> None:
        if record.ending is not None:
            record.ending.cancel()
            record.ending = None
        self._scripts.end(record.info.identity.uid, record.info.id)
        oom = record.behaviour.oom
        record.info = msgspec.structs.replace(
            record.info,
            state=State.EXITED,
            exit_code=137 if oom else code,
            oom_killed=oom,
            finished_at=self._clock.now(),
        )
        for attached in record.attached:
            attached.wake.set()
        self._on_change(record.info.identity.uid)


class _SimulatedExec:
    """A command whose whole effect is computed when its output is read."""

    def __init__(self, spec: ExecSpec, container: ContainerSpec) -> None:
        self._spec = spec
        self._container = container
        self._input: asyncio.Queue[bytes] = asyncio.Queue(maxsize=64)
        self._code = 0

    async def write(self, data: bytes) -> None:
        """Queue input for `cat`."""
        await self._input.put(data)

    async def end_input(self) -> None:
        """Mark the end of the input."""
        await self._input.put(b"")

    async def resize(self, width: int, height: int) -> None:
        """Do nothing: there is no terminal."""

    async def output(self) -> AsyncGenerator[tuple[int, bytes]]:
        """Yield what the command writes."""
        program, *arguments = self._spec.command
        if program == "echo":
            yield STDOUT, (" ".join(arguments) + "\n").encode()
        elif program == "cat":
            while self._spec.stdin and (data := await self._input.get()):
                yield STDOUT, data
        elif program == "env":
            yield STDOUT, "".join(f"{name}={value}\n" for name, value in self._container.env).encode()
        elif program in {"true", "false"}:
            self._code = int(program == "false")
        elif program == "exit":
            self._code = int(arguments[0]) if arguments else 0
        else:
            self._code = 127
            yield STDERR, f"{program}: not found\n".encode()

    async def exit_code(self) -> int:
        """Return the code that the command chose."""
        return self._code

    async def kill(self) -> None:
        """Let `cat`, which alone waits for something, end."""
        self._code = _KILLED
        while not self._input.empty():
            self._input.get_nowait()
        self._input.put_nowait(b"")

    async def close(self) -> None:
        """Do nothing: nothing is held."""


class _SimulatedAttached:
    """A container's own input and output; the input goes to the output, and its end is the container's."""

    def __init__(self, runtime: SimulatedRuntime, record: _Container, *, takes_input: bool) -> None:
        self._runtime = runtime
        self._record = record
        self._takes_input = takes_input
        self._shown: asyncio.Queue[bytes] = asyncio.Queue(_QUEUED)
        self.wake = asyncio.Event()

    async def write(self, data: bytes) -> None:
        """Have it written, to all who are attached."""
        if not self._takes_input:
            return
        self._runtime.say(self._record, data)
        for attached in list(self._record.attached):
            await attached.show(data)

    async def show(self, data: bytes) -> None:
        """Let `output` yield it."""
        await self._shown.put(data)
        self.wake.set()

    async def end_input(self) -> None:
        """End the container, if it has an input to end."""
        if self._takes_input:
            await self._runtime.terminate(self._record.info.id)

    async def resize(self, width: int, height: int) -> None:
        """Do nothing: there is no terminal."""

    async def output(self) -> AsyncGenerator[tuple[int, bytes]]:
        """Yield what is written until the container ends."""
        while True:
            while not self._shown.empty():
                yield STDOUT, self._shown.get_nowait()
            if self._record.info.state is State.EXITED:
                return
            self.wake.clear()
            if self._shown.empty():
                await self.wake.wait()

    async def close(self) -> None:
        """Let go; nobody waits for this one any more."""
        self._record.attached.discard(self)
        while not self._shown.empty():
            self._shown.get_nowait()


def _ignore(_uid: str) -> None:
    """Stand in for a handler until there is one."""


def _user(spec: ContainerSpec) -> LinuxContainerUser:
    """Return as whom a simulated container runs: whom it names, else root."""
    group = spec.group or 0
    groups = tuple(dict.fromkeys((group, *spec.supplemental_groups)))
    return LinuxContainerUser(uid=spec.user or 0, gid=group, supplemental_groups=groups)
