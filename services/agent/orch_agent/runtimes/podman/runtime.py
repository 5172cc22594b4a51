"""The runtime protocol by Podman: requests over a connection, streams over wires, logs from the files of conmon."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from types import MappingProxyType
from typing import Final, cast
from urllib.parse import urlencode

import msgspec

from orch.clock import Clock
from orch.errors import UnavailableError
from orch_agent.runtimes.cgroups import GroupError, Hierarchy
from orch_agent.runtimes.logfile import read_log
from orch_agent.runtimes.oom import OomWatch
from orch_agent.runtimes.podman.accounts import account_of
from orch_agent.runtimes.podman.answers import from_inspection, from_list, state_of
from orch_agent.runtimes.podman.connection import API_VERSION, Connection, Document, MissingError
from orch_agent.runtimes.podman.document import document_of, unified_settings
from orch_agent.runtimes.podman.exits import watching
from orch_agent.runtimes.podman.images import PodmanImages
from orch_agent.runtimes.podman.input import MonitorInput
from orch_agent.runtimes.podman.rotation import LogRotation
from orch_agent.runtimes.podman.sessions import PodmanAttached, PodmanExec, Terminals
from orch_agent.runtimes.podman.storage import PodmanStorage
from orch_agent.runtimes.podman.wire import Wire
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
    FoundImage,
    Identity,
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
from orch_agent.runtimes.readings import Measured, Readings

_LOG: Final = logging.getLogger(__name__)
_INSPECT_PAUSES: Final = (0.02, 0.05, 0.1, 0.2, 0.4)
_ENDED_MEANWHILE: Final = "no such process"
"""What Podman says of a container whose process ends while its control group is read: it is to be asked again."""
_FIRST_RETRY: Final = 0.2
_LONGEST_RETRY: Final = 5.0
_ASK_AGAIN: Final = 10.0
"""Seconds for which the containers that run are those that ran; the group of one that ended is gone by itself."""


class PodmanRuntime:
    """The runtime of one node."""

    def __init__(
        self,
        socket: Path,
        node: str,
        clock: Clock,
        *,
        cgroup_parent: str,
        log_size_max: int,
        log_files_max: int = 5,
        single_process_oom_kill: bool = False,
        handlers: Mapping[str, str] = MappingProxyType({}),
        exits_folder: Path | None = None,
    ) -> None:
        self._connection = Connection(socket)
        self._images = PodmanImages(self._connection)
        self._terminals = Terminals(self._connection, clock)
        self._node = node
        self._clock = clock
        self._cgroup_parent = cgroup_parent
        self._log_size_max = log_size_max
        self._handlers = handlers
        self._storage = PodmanStorage(self._connection)
        self._rotation = LogRotation(self._written_logs, clock, log_files_max)
        self._hierarchy = Hierarchy()
        self._ooms = OomWatch(self._hierarchy, whole=not single_process_oom_kill)
        self._whole = self._hierarchy.unified and not single_process_oom_kill
        self._parents: dict[str, str] = {}
        self._unlimited: set[str] = set()
        self._identities: dict[str, Identity] = {}
        self._exits_folder = exits_folder
        self._readings = Readings(self._hierarchy, clock)
        self._running: tuple[float, list[Measured]] | None = None
        self._starts = 0

    async def close(self) -> None:
        """Let go of watches."""
        self._ooms.close()

    async def run(self, on_change: ChangeHandler) -> None:
        """Tell changes for ever, and keep logs bounded."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._rotation.run(), name="rotation of logs")
            tasks.create_task(self._follow_events(on_change), name="events of containers")
            if self._exits_folder is not None:
                tasks.create_task(self._follow_exits(self._exits_folder, on_change), name="ends of containers")

    async def _follow_exits(self, folder: Path, on_change: ChangeHandler) -> None:
        """Tell of the ends of known containers before Podman's events do, which tell of all the others."""

        def ended(container: str) -> None:
            if container in self._identities:
                on_change(self._identities[container].uid)

        with watching(folder, ended):
            await asyncio.get_running_loop().create_future()

    async def _follow_events(self, on_change: ChangeHandler) -> None:
        """Follow Podman's events; whenever that had to begin anew, any container may have changed."""
        query = urlencode(
            {"stream": "true", "filters": json.dumps({"type": ["container"], "event": ["died", "remove"]})}
        )
        delay = _FIRST_RETRY
        while True:
            try:
                wire = await Wire.open(self._connection.socket, "GET", f"/v{API_VERSION}/libpod/events?{query}")
                try:
                    await self._watch_running()
                    on_change("")
                    delay = _FIRST_RETRY
                    async for line in wire.lines():
                        attributes = json.loads(line).get("Actor", {}).get("Attributes", {})
                        on_change(attributes.get(LABEL_UID, ""))
                finally:
                    await wire.close()
            except (UnavailableError, ContainerError, ValueError) as error:
                _LOG.warning("following Podman's events failed, again in %.1f s: %s", delay, error)
            await self._clock.sleep(delay)
            delay = min(delay * 2, _LONGEST_RETRY)

    async def version(self) -> str:
        """Return podman://<version of the service>."""
        document = await self._connection.call("GET", "/version")
        return f"podman://{document['Version']}"

    # -- images --------------------------------------------------------------------------------------------------

    async def find_image(self, image: str) -> FoundImage | None:
        """Return an image of the node's stores."""
        return await self._images.find(image)

    async def image_user(self, image: str) -> str:
        """Return the image's USER."""
        return await self._images.user(image)

    async def image_layers(self, image: str) -> Sequence[str]:
        """Return the folders of an image's layers, the topmost first."""
        return [str(layer) for layer in await self._images.layers(image)]

    async def pull(
        self, image: str, *, credentials: Credentials | None = None, on_progress: ProgressHandler | None = None
    ) -> FoundImage:
        """Fetch the image by its full name."""
        return await self._images.pull(image, credentials, on_progress)

    # -- containers ----------------------------------------------------------------------------------------------

    async def create(self, spec: ContainerSpec) -> str:
        """Create the container; a cancelled call is waited for, so that what it made can be found."""
        spec = await self._with_groups(spec)
        document = document_of(spec, cgroup_parent=self._cgroup_parent, log_size_max=self._log_size_max)
        if self._hierarchy.unified:
            document["unified"] = unified_settings(spec.limits, whole=self._whole)
        if spec.sandbox.handler:
            document["oci_runtime"] = self._oci_runtime(spec.sandbox.handler)
        if spec.processes_of:
            document["pidns"] = {"nsmode": "path", "value": await self._process_namespace(spec.processes_of)}
        answer = await self._connection.finish("POST", "/containers/create", document)
        made = str(answer["Id"])
        self._parents[made] = spec.cgroup_parent
        self._identities[made] = spec.identity
        if not spec.limits.memory:
            self._unlimited.add(made)
        return made

    async def start(self, container: str) -> None:
        """Start the container, watching from its first moment whether it runs out of the memory that it may use.

        That takes one request more, so that its group is there before it is; one without a limit is watched at once.
        """
        if container not in self._unlimited:
            await self._connection.finish("POST", f"/containers/{container}/init")
            self._ooms.add(container, self._group_of(container))
        await self._connection.finish("POST", f"/containers/{container}/start")
        self._ooms.add(container, self._group_of(container))
        self._unlimited.discard(container)
        self._count_in(container)

    async def terminate(self, container: str) -> None:
        """Send the container's stop signal."""
        document = await self._inspect(container)
        if document is not None and state_of(document["State"]["Status"]) is State.RUNNING:
            await self._signal(container, str(document.get("Config", {}).get("StopSignal") or "SIGTERM"))

    async def kill(self, container: str) -> None:
        """Send SIGKILL."""
        await self._signal(container, "SIGKILL")

    async def remove(self, container: str) -> None:
        """Remove the container with its anonymous volumes and its log."""
        query = urlencode({"force": "true", "timeout": "0", "v": "true", "ignore": "true"})
        try:
            await self._connection.finish("DELETE", f"/containers/{container}?{query}")
        except MissingError:
            _LOG.debug("container %s was gone already", container)
        self._ooms.forget(container)
        self._parents.pop(container, None)
        self._identities.pop(container, None)
        if self._running is not None:
            asked, running = self._running
            self._running = asked, [each for each in running if each.id != container]
        self._unlimited.discard(container)

    async def containers(self, uid: str = "") -> Sequence[ContainerInfo]:
        """Return the node's containers that carry orch's labels."""
        label = f"{LABEL_UID}={uid}" if uid else LABEL_UID
        filters = json.dumps({"label": [label, f"{LABEL_NODE}={self._node}"]})
        listed = cast(
            "list[Document]",
            await self._connection.call("GET", f"/containers/json?{urlencode({'all': 'true', 'filters': filters})}"),
        )
        found = [info for info in map(from_list, listed) if info is not None]
        self._parents.update((info.id, info.cgroup_parent) for info in found)
        self._identities.update((info.id, info.identity) for info in found)
        return [self._with_oom(info) for info in found]

    async def inspect(self, container: str) -> ContainerInfo | None:
        """Return the container's state."""
        document = await self._inspect(container)
        if document is None:
            return None
        info = from_inspection(document)
        return self._with_oom(info) if info is not None else None

    async def logs(self, container: str, query: LogQuery) -> AsyncGenerator[Sequence[LogLine]]:
        """Yield the lines of the container's log files."""
        path = await self.log_file(container)
        if path is None:
            raise ContainerError(f"no container with ID {container} found: no such container")

        async def ended() -> bool:
            info = await self.inspect(container)
            return info is None or info.state is not State.RUNNING

        async with aclosing(read_log(path, query, self._clock, ended)) as batches:
            async for lines in batches:
                yield lines

    async def log_file(self, container: str) -> Path | None:
        """Return the file of conmon's."""
        return await self._storage.log_file(container)

    async def exec(self, container: str, spec: ExecSpec) -> ExecSession:
        """Run a command over a hijacked connection."""
        body = {
            "AttachStdin": spec.stdin,
            "AttachStdout": True,
            "AttachStderr": True,
            "Tty": spec.tty,
            "Cmd": list(spec.command),
            "DetachKeys": "",
        }
        made = await self._connection.call("POST", f"/containers/{container}/exec", body)
        session = str(made["Id"])
        path = f"/v{API_VERSION}/libpod/exec/{session}/start"
        wire = await Wire.open(self._connection.socket, "POST", path, {"Detach": False, "Tty": spec.tty})
        folder = await self._storage.folder(container) if spec.stdin else None
        fed = MonitorInput(folder / session if folder is not None else None)
        return PodmanExec(self._terminals, session, wire, fed, tty=spec.tty)

    async def attach(self, container: str, *, stdin: bool) -> Session:
        """Join the container over a hijacked connection."""
        document = await self._inspect(container)
        if document is None:
            raise ContainerError(f"no container with ID {container} found: no such container")
        if state_of(document["State"]["Status"]) is not State.RUNNING:
            raise ContainerError("you can only attach to running containers: container state improper")
        config: Document = document["Config"]
        takes_input = stdin and bool(config.get("OpenStdin"))
        wanted = {"logs": False, "stream": True, "stdin": takes_input, "stdout": True, "stderr": True}
        query = urlencode({**{name: str(value).lower() for name, value in wanted.items()}, "detachKeys": ""})
        path = f"/v{API_VERSION}/libpod/containers/{container}/attach?{query}"
        wire = await Wire.open(self._connection.socket, "POST", path, hijack=True)
        fed = MonitorInput(await self._storage.folder(container) if takes_input else None)
        tty = bool(config.get("Tty"))
        return PodmanAttached(self._terminals, container, wire, fed, tty=tty, takes_input=takes_input)

    async def usage(self) -> Sequence[Usage]:
        """Return what the control groups of the running containers say."""
        return await asyncio.to_thread(self._readings.take, await self._measured())

    def usage_moves(self) -> bool:
        """Return True: what runs for real uses now more, now less."""
        return True

    # -- what it takes -------------------------------------------------------------------------------------------

    async def layers(self) -> Sequence[Layers]:
        """Measure the containers' own layers and logs."""
        return await self._storage.layers(await self.containers())

    async def resize(self, container: str, limits: Limits) -> None:
        """Set the container's group, which its OCI runtime made and leaves alone from then on."""
        try:
            await asyncio.to_thread(self._hierarchy.apply, self._group_of(container), limits)
        except GroupError as error:
            raise ContainerError(str(error)) from error

    async def images(self) -> Sequence[StoredImage]:
        """Return the images of the node's own store and of those that it shares."""
        return await self._storage.images()

    async def remove_image(self, image: str) -> None:
        """Remove an image of the node's own store."""
        await self._storage.remove_image(image)

    async def image_file_system(self) -> str:
        """Return the folder of the node's own store."""
        return await self._storage.file_system()

    # -- how -----------------------------------------------------------------------------------------------------

    async def _written_logs(self) -> Sequence[str]:
        """Return the logs of what runs."""
        return await self._storage.log_files([each.id for each in await self._measured()])

    def _count_in(self, container: str) -> None:
        """Have a container measured that was started: to ask Podman what runs takes long when that is much."""
        self._starts += 1  # an answer that is under way may not tell of it yet
        identity = self._identities.get(container)
        if identity is None or self._running is None:
            self._running = None
            return
        asked, running = self._running
        self._running = asked, [*running, Measured(container, identity, self._group_of(container))]

    async def _measured(self) -> Sequence[Measured]:
        """Return what runs. Podman is asked now and then: use is read every second."""
        now, starts = self._clock.monotonic(), self._starts
        if self._running is not None and now - self._running[0] <= _ASK_AGAIN:
            return self._running[1]
        found = [
            Measured(info.id, info.identity, self._group_of(info.id))
            for info in await self.containers()
            if info.state is State.RUNNING
        ]
        self._running = (now, found) if starts == self._starts else None
        return found

    def _group_of(self, container: str) -> str:
        return f"{self._parents.get(container) or self._cgroup_parent}/libpod-{container}"

    async def _watch_running(self) -> None:
        """Watch for OOM events in containers that an earlier process started."""
        for info in await self.containers():
            if info.state is State.RUNNING:
                self._ooms.add(info.id, self._group_of(info.id))

    def _with_oom(self, info: ContainerInfo) -> ContainerInfo:
        """Return the container with what its group's events told: Podman itself misses that memory ran out."""
        hit = info.state is State.EXITED and self._ooms.was_hit(info.id, info.exit_code)
        return msgspec.structs.replace(info, oom_killed=True) if hit else info

    def _oci_runtime(self, handler: str) -> str:
        if handler not in self._handlers:
            raise ContainerError(f'failed to get sandbox runtime: no runtime for "{handler}" is configured')
        return self._handlers[handler]

    async def _with_groups(self, spec: ContainerSpec) -> ContainerSpec:
        """Return the spec with user and groups that Podman takes as they are, where its own rule is not Kubernetes'."""
        if spec.group is None and not spec.only_these_groups:
            return spec
        user, username, group = spec.user, spec.username, spec.group
        if user is None and not username:
            name, _, of_image = (await self._images.user(spec.image)).partition(":")
            user, username = (int(name or 0), "") if not name or name.isdecimal() else (None, name)
            if group is None and of_image.isdecimal():
                group = int(of_image)
        layers = await self._images.layers(spec.image)
        account = await asyncio.to_thread(account_of, layers, user, username)
        if account is None:
            return spec
        more = () if spec.only_these_groups else account.groups
        return msgspec.structs.replace(
            spec,
            user=account.user,
            username="",
            group=account.group if group is None else group,
            supplemental_groups=tuple(dict.fromkeys((*spec.supplemental_groups, *more))),
        )

    async def _process_namespace(self, container: str) -> str:
        """Return where a running container's processes are. Named by the container itself, it could not be removed."""
        document = await self._inspect(container)
        if document is None or not document["State"].get("Pid"):
            raise ContainerError(f"container {container} does not run: its processes cannot be shared")
        return f"/proc/{document['State']['Pid']}/ns/pid"

    async def _signal(self, container: str, name: str) -> None:
        try:
            await self._connection.finish("POST", f"/containers/{container}/kill?{urlencode({'signal': name})}")
        except MissingError:
            return
        except ContainerError:
            info = await self.inspect(container)
            if info is not None and info.state is State.RUNNING:
                raise

    async def _inspect(self, container: str) -> Document | None:
        for pause in _INSPECT_PAUSES:
            try:
                document = await self._connection.call("GET", f"/containers/{container}/json")
            except MissingError:
                return None
            except ContainerError as error:
                if _ENDED_MEANWHILE not in str(error):
                    raise
            else:
                self._storage.take(container, document)
                return document
            await self._clock.sleep(pause)
        raise ContainerError(f"container {container} could not be read: its process ended each time it was looked at")
