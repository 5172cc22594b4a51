"""The runtime protocol by CRI: calls over gRPC, streams over SPDY, logs from the files that the runtime writes."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Final

from orch.clock import Clock
from orch.errors import UnavailableError
from orch_agent.runtimes.cri import processes
from orch_agent.runtimes.cri.answers import from_status, state_of
from orch_agent.runtimes.cri.configuration import (
    ANNOTATION_INPUT,
    ANNOTATION_STOP_SIGNAL,
    ANNOTATION_TERMINAL,
    container_config,
)
from orch_agent.runtimes.cri.connection import (
    ATTACH,
    CONTAINER_STATUS,
    CREATE_CONTAINER,
    EXEC,
    EXEC_SYNC,
    LIST_CONTAINERS,
    REMOVE_CONTAINER,
    START_CONTAINER,
    STATUS,
    STOP_CONTAINER,
    VERSION,
    Connection,
    MissingError,
)
from orch_agent.runtimes.cri.events import ContainerEvents
from orch_agent.runtimes.cri.images import CriImages
from orch_agent.runtimes.cri.measures import Measures
from orch_agent.runtimes.cri.rotation import LogRotation, remove_logs
from orch_agent.runtimes.cri.sandboxes import PodSandboxes
from orch_agent.runtimes.cri.sessions import CriExec, CriSession, CriWholeCommand
from orch_agent.runtimes.cri.settings import CriSettings
from orch_agent.runtimes.logfile import read_log
from orch_agent.runtimes.protocol import (
    LABEL_NODE,
    LABEL_UID,
    ChangeHandler,
    ContainerError,
    ContainerInfo,
    ContainerSpec,
    Credentials,
    ExecSession,
    ExecSpec,
    Features,
    FoundImage,
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
from orch_pb.cri import api_pb2

_LOG: Final = logging.getLogger(__name__)
_START_TIMEOUT: Final = 20.0
_POLL: Final = 0.2
_SIGNALLED: Final = 0.1
"""Seconds to wait for a runtime to refuse to stop a container; one that obeys answers when it has ended."""
_JOINING: Final = 0.05
"""Seconds to wait after streams were accepted: a runtime joins them to the container only then, and tells nobody."""
_EVER: Final = 1 << 30
"""Seconds of grace: when the time for SIGKILL has come is the worker's to say."""
_PARALLEL: Final = 16


class CriRuntime:
    """The runtime of one node.

    `streams_in` is the network namespace in which the runtime's streaming server listens, a path ("": our own).
    """

    def __init__(
        self,
        settings: CriSettings,
        node: str,
        clock: Clock,
        *,
        cgroup_parent: str,
        logs: Path,
        streams_in: str,
        log_max_size: int = 10 << 20,
        log_max_files: int = 5,
    ) -> None:
        self._clock = clock
        self._node = node
        self._streams_in = streams_in
        self._connection = Connection(settings.endpoint, settings.request_timeout)
        self._image_connection = (
            Connection(settings.image_endpoint, settings.request_timeout) if settings.image_endpoint else None
        )
        self._images = CriImages(self._image_connection or self._connection)
        self._sandboxes = PodSandboxes(
            self._connection, node, cgroup_parent=cgroup_parent, handler=settings.handler, logs=logs
        )
        self._measures = Measures(self._connection, node, clock, cgroup_parent=cgroup_parent, logs=logs)
        self._rotation = LogRotation(
            self._connection,
            node,
            clock,
            logs,
            most_bytes=log_max_size,
            most_files=log_max_files,
        )
        self._events = ContainerEvents(self._connection, node, clock)
        self._stopping: dict[str, asyncio.Task[None]] = {}
        self._asking = asyncio.Semaphore(_PARALLEL)

    async def close(self) -> None:
        """Let go of connections and of stops that were not waited for."""
        self._measures.close()
        for task in self._stopping.values():
            task.cancel()
        await asyncio.gather(*self._stopping.values(), return_exceptions=True)
        for connection in (self._connection, self._image_connection):
            if connection is not None:
                await connection.close()

    async def run(self, on_change: ChangeHandler) -> None:
        """Tell changes for ever, after what an earlier agent left half made is gone."""
        try:
            await self._sandboxes.sweep()
        except (ContainerError, UnavailableError) as error:
            _LOG.warning("sandboxes that are left over may stay: %s", error)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._rotation.run(), name="rotation of logs")
            tasks.create_task(self._events.run(on_change), name="events of containers")

    async def version(self) -> str:
        """Return <name>://<version> of the runtime, such as containerd://1.6.20."""
        answer = await self._connection.call(VERSION, api_pb2.VersionRequest(version="v1"))
        return f"{answer.runtime_name}://{answer.runtime_version.removeprefix('v')}"

    async def wait_ready(self) -> str:
        """Return the version once the runtime answers. Raises UnavailableError after 20 s."""
        deadline = self._clock.monotonic() + _START_TIMEOUT
        while True:
            try:
                version = await self.version()
            except UnavailableError:
                if self._clock.monotonic() >= deadline:
                    raise
                await self._clock.sleep(_POLL)
                continue
            for complaint in await self.conditions():
                _LOG.warning("%s is not ready: %s", version, complaint)
            return version

    async def conditions(self) -> Sequence[str]:
        """Return what keeps the runtime or its network from being ready, in the runtime's words."""
        answer = await self._connection.call(STATUS, api_pb2.StatusRequest())
        return [f"{each.type}: {each.reason} {each.message}" for each in answer.status.conditions if not each.status]

    async def features(self) -> Features:
        """Return what the runtime says that it can; one from before CRI could ask says nothing."""
        answer = await self._connection.call(STATUS, api_pb2.StatusRequest())
        names = {each.name for each in answer.runtime_handlers}
        return Features(handlers=tuple(sorted({"", *names})), strict_groups=answer.features.supplemental_groups_policy)

    # -- images --------------------------------------------------------------------------------------------------

    async def find_image(self, image: str) -> FoundImage | None:
        """Return one of the runtime's images."""
        return await self._images.find(image)

    async def image_user(self, image: str) -> str:
        """Return the image's USER."""
        return await self._images.user(image)

    async def pull(
        self, image: str, *, credentials: Credentials | None = None, on_progress: ProgressHandler | None = None
    ) -> FoundImage:
        """Fetch the image. CRI does not tell how far it is, and gives up by itself a pull that does not move."""
        del on_progress
        return await self._images.pull(image, credentials)

    # -- containers ----------------------------------------------------------------------------------------------

    async def create(self, spec: ContainerSpec) -> str:
        """Create the container, and before it the sandbox of its pod if it is the first one."""
        uid = spec.identity.uid
        async with self._sandboxes.locked(uid):
            sandbox, config = await self._sandboxes.ensure(spec)
            request = api_pb2.CreateContainerRequest(
                pod_sandbox_id=sandbox,
                config=container_config(spec, unified=self._measures.unified),
                sandbox_config=config,
            )
            try:
                made = await self._connection.finish(CREATE_CONTAINER, request)
            except ContainerError:
                await self._sandboxes.remove_empty(uid)
                raise
        self._measures.created(made.container_id, spec)
        return made.container_id

    async def start(self, container: str) -> None:
        """Start the container."""
        await self._connection.finish(START_CONTAINER, api_pb2.StartContainerRequest(container_id=container))
        self._events.expect()
        await self._measures.started(container)

    async def terminate(self, container: str) -> None:
        """Have the container's stop signal sent; that it ends is not waited for."""
        status = await self._status(container)
        if status is None or state_of(status.state) is not State.RUNNING:
            return
        self._events.expect()
        number = processes.signal_named(status.annotations.get(ANNOTATION_STOP_SIGNAL, ""))
        pid = await self._pid(container) if number else 0
        if pid:
            processes.send(pid, number)
            return
        task = self._stopping.get(container)
        if task is None:
            task = asyncio.create_task(self._stop(container, _EVER), name=f"stop of {container}")
            self._stopping[container] = task
            task.add_done_callback(lambda _: self._stopping.pop(container, None))
        done, _ = await asyncio.wait([task], timeout=_SIGNALLED)
        if done:
            task.result()

    async def kill(self, container: str) -> None:
        """Have SIGKILL sent."""
        self._events.expect()
        await self._stop(container, 0)

    async def remove(self, container: str) -> None:
        """Remove the container with its log, and its pod's sandbox with the last one."""
        status = await self._status(container)
        if status is None:
            return
        uid = status.labels.get(LABEL_UID, "")
        async with self._sandboxes.locked(uid):
            await self._stop(container, 0)
            with suppress(MissingError):
                request = api_pb2.RemoveContainerRequest(container_id=container)
                await self._connection.finish(REMOVE_CONTAINER, request)
            if status.log_path:
                await asyncio.to_thread(remove_logs, Path(status.log_path))
            await self._sandboxes.remove_empty(uid)
        self._measures.removed(container)

    async def containers(self, uid: str = "") -> Sequence[ContainerInfo]:
        """Return the node's containers. Listing tells neither times nor exit codes: each is asked for them."""
        labels = {LABEL_NODE: self._node} | ({LABEL_UID: uid} if uid else {})
        request = api_pb2.ListContainersRequest(filter=api_pb2.ContainerFilter(label_selector=labels))
        listed = (await self._connection.call(LIST_CONTAINERS, request)).containers
        found = await asyncio.gather(*(self.inspect(each.id) for each in listed))
        return [info for info in found if info is not None]

    async def inspect(self, container: str) -> ContainerInfo | None:
        """Return the container's state."""
        async with self._asking:
            status = await self._status(container)
        info = from_status(status) if status is not None else None
        return self._measures.with_oom(info) if info is not None else None

    async def logs(self, container: str, query: LogQuery) -> AsyncGenerator[Sequence[LogLine]]:
        """Yield the lines of the container's log file."""
        status = await self._require(container)

        async def ended() -> bool:
            info = await self.inspect(container)
            return info is None or info.state is not State.RUNNING

        async with aclosing(read_log(Path(status.log_path), query, self._clock, ended)) as batches:
            async for lines in batches:
                yield lines

    async def log_file(self, container: str) -> Path | None:
        """Return the file that the runtime was told to write."""
        status = await self._status(container)
        return Path(status.log_path) if status is not None and status.log_path else None

    async def exec(self, container: str, spec: ExecSpec) -> ExecSession:
        """Run a command over streams, or, when its output is wanted as a whole, by one call."""
        if spec.whole and not spec.stdin and not spec.tty:
            return CriWholeCommand(lambda: self._exec_whole(container, spec))
        request = api_pb2.ExecRequest(
            container_id=container, cmd=spec.command, tty=spec.tty, stdin=spec.stdin, stdout=True, stderr=not spec.tty
        )
        since = processes.uptime()
        answer = await self._connection.call(EXEC, request)
        session = await CriExec.open(answer.url, self._streams_in, stdin=spec.stdin, tty=spec.tty)
        return session.found_by(lambda: self._process_of(container, spec, since))

    async def attach(self, container: str, *, stdin: bool) -> Session:
        """Join the container over streams."""
        status = await self._require(container)
        if state_of(status.state) is not State.RUNNING:
            raise ContainerError(f"container {container} does not run")
        takes_input = stdin and ANNOTATION_INPUT in status.annotations
        tty = ANNOTATION_TERMINAL in status.annotations
        request = api_pb2.AttachRequest(container_id=container, stdin=takes_input, tty=tty, stdout=True, stderr=not tty)
        answer = await self._connection.call(ATTACH, request)
        session = await CriSession.open(answer.url, self._streams_in, stdin=takes_input, tty=tty)
        await self._clock.sleep(_JOINING)
        return session

    async def usage(self) -> Sequence[Usage]:
        """Return what the control groups of the running containers say."""
        return await self._measures.usage()

    def usage_moves(self) -> bool:
        """Return True: what runs for real uses now more, now less."""
        return True

    # -- what it takes -------------------------------------------------------------------------------------------

    async def layers(self) -> Sequence[Layers]:
        """Measure the containers' own layers and logs."""
        return await self._measures.layers()

    async def resize(self, container: str, limits: Limits) -> None:
        """Set the container's group, which its OCI runtime made and leaves alone from then on."""
        await self._measures.resize(container, limits)

    async def images(self) -> Sequence[StoredImage]:
        """Return the runtime's images."""
        return await self._images.all(await self._sandbox_image())

    async def remove_image(self, image: str) -> None:
        """Remove an image."""
        await self._images.remove(image)

    async def image_file_system(self) -> str:
        """Return the folder in which the runtime keeps images."""
        return await self._images.file_system()

    # -- how -----------------------------------------------------------------------------------------------------

    async def _sandbox_image(self) -> str:
        """Return the image of sandboxes' own processes, "" when the runtime does not tell it."""
        answer = await self._connection.call(STATUS, api_pb2.StatusRequest(verbose=True))
        try:
            return str(json.loads(answer.info.get("config", "{}")).get("sandboxImage", ""))
        except ValueError:
            return ""

    async def _exec_whole(self, container: str, spec: ExecSpec) -> tuple[bytes, bytes, int]:
        request = api_pb2.ExecSyncRequest(container_id=container, cmd=spec.command)
        answer = await self._connection.call(EXEC_SYNC, request)
        return answer.stdout, answer.stderr, answer.exit_code

    async def _process_of(self, container: str, spec: ExecSpec, since: float) -> int:
        """Return the process of a command that was begun at `since`, 0 if it cannot be told."""
        init = await self._pid(container)
        return await asyncio.to_thread(processes.entered, init, spec.command, since) if init else 0

    async def _stop(self, container: str, seconds: int) -> None:
        request = api_pb2.StopContainerRequest(container_id=container, timeout=seconds)
        try:
            if seconds:
                await self._connection.call(STOP_CONTAINER, request, timeout=seconds)
            else:
                await self._connection.finish(STOP_CONTAINER, request)
        except MissingError:
            return

    async def _status(self, container: str) -> api_pb2.ContainerStatus | None:
        try:
            request = api_pb2.ContainerStatusRequest(container_id=container)
            return (await self._connection.call(CONTAINER_STATUS, request)).status
        except MissingError:
            return None

    async def _require(self, container: str) -> api_pb2.ContainerStatus:
        status = await self._status(container)
        if status is None:
            raise ContainerError(f"no container with ID {container} found: no such container")
        return status

    async def _pid(self, container: str) -> int:
        """Return a running container's process on this machine, 0 when the runtime does not tell."""
        request = api_pb2.ContainerStatusRequest(container_id=container, verbose=True)
        try:
            answer = await self._connection.call(CONTAINER_STATUS, request)
            return int(json.loads(answer.info.get("info", "{}")).get("pid") or 0)
        except (MissingError, ValueError):
            return 0
