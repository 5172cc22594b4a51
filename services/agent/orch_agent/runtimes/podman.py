"""Containers by Podman's REST service.

Requests go through podman-py's client in a few threads, streams (events, exec) over connections of our own, and logs
are read from the files that conmon writes.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import threading
from collections.abc import AsyncGenerator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import quote, urlencode

import podman
import requests
from podman.api.client import APIResponse
from podman.errors import APIError

from orch.clock import Clock
from orch.errors import UnavailableError
from orch_agent.runtimes.cgroups import OomWatch, usage
from orch_agent.runtimes.logfile import read_log
from orch_agent.runtimes.protocol import (
    LABEL_IMAGE,
    LABEL_NODE,
    LABEL_UID,
    ChangeHandler,
    ContainerError,
    ContainerInfo,
    ContainerSpec,
    ExecSession,
    ExecSpec,
    Identity,
    ImageError,
    LogLine,
    LogQuery,
    Session,
    State,
    Usage,
)
from orch_agent.runtimes.wire import Wire

_LOG: Final = logging.getLogger(__name__)
_API_VERSION: Final = "4.0.0"
_THREADS: Final = 8
_PULL_THREADS: Final = 4
_TIMEOUT: Final = 60.0
_PULL_TIMEOUT: Final = 600.0
_INSPECT_PAUSES: Final = (0.02, 0.05, 0.1, 0.2, 0.4)
_ENDED_MEANWHILE: Final = "no such process"
"""What Podman says of a container whose process ends while its control group is read: it is to be asked again."""
_FIRST_RETRY: Final = 0.2
_LONGEST_RETRY: Final = 5.0
_ASK_AGAIN: Final = 10.0
"""Seconds for which the containers that run are those that ran; the group of one that ended is gone by itself."""
_OOM_EXIT_CODE: Final = 137
_RESIZE_AGAIN: Final = 0.2

_STATES: Final[Mapping[str, State]] = {
    "configured": State.CREATED,
    "created": State.CREATED,
    "initialized": State.CREATED,
    "running": State.RUNNING,
    "paused": State.RUNNING,
    "stopping": State.RUNNING,
}
"""All other states of Podman mean that the container has ended."""

_Document = dict[str, Any]


class PodmanRuntime:
    """The runtime of one node."""

    def __init__(self, socket: Path, node: str, clock: Clock, *, cgroup_parent: str, log_size_max: int) -> None:
        self._socket = socket
        self._node = node
        self._clock = clock
        self._cgroup_parent = cgroup_parent
        self._log_size_max = log_size_max
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="podman")
        self._pull_threads = ThreadPoolExecutor(_PULL_THREADS, thread_name_prefix="podman-pull")
        self._local = threading.local()
        self._ooms = OomWatch()
        self._running: tuple[float, list[ContainerInfo]] | None = None
        self._starts = 0

    async def close(self) -> None:
        """Let go of threads and watches."""
        self._ooms.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._pull_threads.shutdown(wait=False, cancel_futures=True)

    async def run(self, on_change: ChangeHandler) -> None:
        """Follow Podman's events; whenever that had to begin anew, any container may have changed."""
        query = urlencode(
            {"stream": "true", "filters": json.dumps({"type": ["container"], "event": ["died", "remove"]})}
        )
        delay = _FIRST_RETRY
        while True:
            try:
                wire = await Wire.open(self._socket, "GET", f"/v{_API_VERSION}/libpod/events?{query}")
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
        document = await self._call("GET", "/version")
        return f"podman://{document['Version']}"

    # -- images --------------------------------------------------------------------------------------------------

    async def image_id(self, image: str) -> str:
        """Return sha256:<id>, "" when the image is not in the node's stores."""
        document = await self._image(image)
        return f"sha256:{document['Id'].removeprefix('sha256:')}" if document is not None else ""

    async def image_user(self, image: str) -> str:
        """Return the image's USER."""
        document = await self._image(image)
        config: _Document = (document or {}).get("Config") or {}
        return str(config.get("User") or "")

    async def pull(self, image: str) -> str:
        """Fetch the image by its full name, as Podman's own short names would ask."""
        reference = urlencode({"reference": qualified(image), "policy": "always"})
        loop = asyncio.get_running_loop()
        answer = await loop.run_in_executor(
            self._pull_threads, self._request, "POST", f"/images/pull?{reference}", None, _PULL_TIMEOUT
        )
        if answer.status_code >= 400:
            raise ImageError(_problem(answer))
        for line in answer.text.splitlines():
            report: _Document = json.loads(line)
            if report.get("error"):
                raise ImageError(str(report["error"]))
        found = await self.image_id(image)
        if not found:
            raise ImageError(f"{image} was pulled and is not there")
        return found

    async def _image(self, image: str) -> _Document | None:
        try:
            return await self._call("GET", f"/images/{quote(qualified(image), safe='')}/json")
        except _MissingError:
            return None

    # -- containers ----------------------------------------------------------------------------------------------

    async def create(self, spec: ContainerSpec) -> str:
        """Create the container; a cancelled call is waited for, so that what it made can be found."""
        document = self._document(spec)
        if spec.processes_of:
            document["pidns"] = {"nsmode": "path", "value": await self._process_namespace(spec.processes_of)}
        answer = await self._finish("POST", "/containers/create", document)
        return str(answer["Id"])

    async def start(self, container: str) -> None:
        """Start the container, watching from the first moment whether it runs out of memory."""
        await self._finish("POST", f"/containers/{container}/init")
        self._ooms.add(container, self._group_of(container))
        await self._finish("POST", f"/containers/{container}/start")
        self._starts += 1
        self._running = None

    async def terminate(self, container: str) -> None:
        """Send the container's stop signal."""
        document = await self._inspect(container)
        if document is not None and _state_of(document["State"]["Status"]) is State.RUNNING:
            await self._signal(container, str(document.get("Config", {}).get("StopSignal") or "SIGTERM"))

    async def kill(self, container: str) -> None:
        """Send SIGKILL."""
        await self._signal(container, "SIGKILL")

    async def remove(self, container: str) -> None:
        """Remove the container with its anonymous volumes and its log."""
        query = urlencode({"force": "true", "timeout": "0", "v": "true", "ignore": "true"})
        try:
            await self._finish("DELETE", f"/containers/{container}?{query}")
        except _MissingError:
            _LOG.debug("container %s was gone already", container)
        self._ooms.forget(container)

    async def containers(self, uid: str = "") -> Sequence[ContainerInfo]:
        """Return the node's containers that carry orch's labels."""
        label = f"{LABEL_UID}={uid}" if uid else LABEL_UID
        filters = json.dumps({"label": [label, f"{LABEL_NODE}={self._node}"]})
        listed = cast(
            "list[_Document]",
            await self._call("GET", f"/containers/json?{urlencode({'all': 'true', 'filters': filters})}"),
        )
        found = (self._from_list(document) for document in listed)
        return [info for info in found if info is not None]

    async def inspect(self, container: str) -> ContainerInfo | None:
        """Return the container's state."""
        document = await self._inspect(container)
        if document is None:
            return None
        labels: dict[str, str] = document["Config"].get("Labels") or {}
        identity = Identity.from_labels(labels)
        if identity is None:
            return None
        state: _Document = document["State"]
        code = int(state.get("ExitCode", 0))
        return ContainerInfo(
            id=document["Id"],
            identity=identity,
            state=_state_of(state["Status"]),
            image=labels.get(LABEL_IMAGE, ""),
            image_id=f"sha256:{document['Image']}",
            exit_code=code,
            oom_killed=self._ran_out_of_memory(container, code, told=bool(state.get("OOMKilled"))),
            started_at=_time(state.get("StartedAt", "")),
            finished_at=_time(state.get("FinishedAt", "")),
        )

    async def logs(self, container: str, query: LogQuery) -> AsyncGenerator[Sequence[LogLine]]:
        """Yield the lines of the container's log file."""
        document = await self._inspect(container)
        if document is None:
            raise ContainerError(f"no container with ID {container} found: no such container")

        async def ended() -> bool:
            info = await self.inspect(container)
            return info is None or info.state is not State.RUNNING

        path = Path(document["HostConfig"]["LogConfig"]["Path"])
        async with aclosing(read_log(path, query, self._clock, ended)) as batches:
            async for lines in batches:
                yield lines

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
        made = await self._call("POST", f"/containers/{container}/exec", body)
        session = str(made["Id"])
        path = f"/v{_API_VERSION}/libpod/exec/{session}/start"
        wire = await Wire.open(self._socket, "POST", path, {"Detach": False, "Tty": spec.tty})
        return _PodmanExec(self, session, wire, tty=spec.tty)

    async def attach(self, container: str, *, stdin: bool) -> Session:
        """Join the container over a hijacked connection."""
        document = await self._inspect(container)
        if document is None:
            raise ContainerError(f"no container with ID {container} found: no such container")
        if _state_of(document["State"]["Status"]) is not State.RUNNING:
            raise ContainerError("you can only attach to running containers: container state improper")
        config: _Document = document["Config"]
        takes_input = stdin and bool(config.get("OpenStdin"))
        wanted = {"logs": False, "stream": True, "stdin": takes_input, "stdout": True, "stderr": True}
        query = urlencode({**{name: str(value).lower() for name, value in wanted.items()}, "detachKeys": ""})
        path = f"/v{_API_VERSION}/libpod/containers/{container}/attach?{query}"
        wire = await Wire.open(self._socket, "POST", path, hijack=True)
        return _PodmanAttached(self, container, wire, tty=bool(config.get("Tty")), takes_input=takes_input)

    async def resize(self, where: str, width: int, height: int, *, later: bool = False) -> None:
        """Set the size of a terminal, named by the path of its container or command; `later`: after a moment."""
        if later:
            await self._clock.sleep(_RESIZE_AGAIN)
        await self._call("POST", f"{where}/resize?{urlencode({'w': width, 'h': height})}")

    async def exec_state(self, session: str) -> _Document:
        """Return what Podman knows of a command that was run by `exec`."""
        return await self._call("GET", f"/exec/{session}/json")

    async def usage(self) -> Sequence[Usage]:
        """Return what the control groups of the running containers say."""
        return await asyncio.to_thread(self._usage_of, await self._measured())

    def usage_moves(self) -> bool:
        """Return True: what runs for real uses now more, now less."""
        return True

    # -- how -----------------------------------------------------------------------------------------------------

    async def _measured(self) -> Sequence[ContainerInfo]:
        """Return what runs. Podman is asked now and then and when a container was started: use is read every second."""
        now, starts = self._clock.monotonic(), self._starts
        if self._running is not None and now - self._running[0] <= _ASK_AGAIN:
            return self._running[1]
        found = [info for info in await self.containers() if info.state is State.RUNNING]
        self._running = (now, found) if starts == self._starts else None
        return found

    def _usage_of(self, running: Sequence[ContainerInfo]) -> list[Usage]:
        measured = ((info, usage(self._group_of(info.id))) for info in running)
        return [Usage(info.identity, *amounts) for info, amounts in measured if amounts is not None]

    def _group_of(self, container: str) -> str:
        return f"{self._cgroup_parent}/libpod-{container}"

    async def _watch_running(self) -> None:
        """Watch for OOM events in containers that an earlier process started."""
        for info in await self.containers():
            if info.state is State.RUNNING:
                self._ooms.add(info.id, self._group_of(info.id))

    def _ran_out_of_memory(self, container: str, code: int, *, told: bool = False) -> bool:
        return told or (code == _OOM_EXIT_CODE and self._ooms.was_hit(container))

    def _from_list(self, document: _Document) -> ContainerInfo | None:
        labels: dict[str, str] = document.get("Labels") or {}
        identity = Identity.from_labels(labels)
        if identity is None:
            return None
        state, code = _state_of(document["State"]), int(document.get("ExitCode", 0))
        return ContainerInfo(
            id=document["Id"],
            identity=identity,
            state=state,
            image=labels.get(LABEL_IMAGE, ""),
            image_id=f"sha256:{document.get('ImageID', '')}",
            exit_code=code,
            oom_killed=self._ran_out_of_memory(document["Id"], code),
            started_at=_epoch(document.get("StartedAt", 0)),
            finished_at=_epoch(document.get("ExitedAt", 0)),
        )

    def _document(self, spec: ContainerSpec) -> _Document:
        """Return libpod's SpecGenerator for a container."""
        limits = spec.limits
        cpu: _Document = {"shares": limits.cpu_shares}
        if limits.cpu_quota:
            cpu |= {"quota": limits.cpu_quota, "period": limits.cpu_period}
        resources: _Document = {"cpu": cpu}
        if limits.memory:
            resources["memory"] = {"limit": limits.memory}
        if limits.pids:
            resources["pids"] = {"limit": limits.pids}
        network = {"nsmode": "path", "value": spec.network_namespace} if spec.network_namespace else {"nsmode": "host"}
        document: _Document = {
            "name": spec.identity.runtime_name,
            "image": qualified(spec.image),
            "labels": {**spec.identity.labels(), LABEL_IMAGE: spec.image},
            "env": dict(spec.env),
            "netns": network,
            "resource_limits": resources,
            "oom_score_adj": limits.oom_score_adj,
            "cgroup_parent": self._cgroup_parent,
            "log_configuration": {"driver": "k8s-file", "size": self._log_size_max},
            "restart_policy": "no",
            "privileged": spec.privileged,
            "read_only_filesystem": spec.read_only,
            "stdin": spec.stdin,
            "terminal": spec.tty,
            "groups": [str(group) for group in spec.supplemental_groups],
            "mounts": [
                {
                    "type": "bind",
                    "source": mount.source,
                    "destination": mount.target,
                    "options": ["rbind", "ro" if mount.read_only else "rw"],
                }
                for mount in spec.mounts
            ],
        }
        optional: _Document = {
            "entrypoint": list(spec.command),
            "command": list(spec.args),
            "work_dir": spec.working_dir,
            "create_working_dir": bool(spec.working_dir),
            "hostname": spec.hostname,
            "user": _user(spec.user, spec.group),
            "stop_signal": _signal_number(spec.stop_signal),
        }
        return document | {key: value for key, value in optional.items() if value}

    async def _process_namespace(self, container: str) -> str:
        """Return where a running container's processes are. Named by the container itself, it could not be removed."""
        document = await self._inspect(container)
        if document is None or not document["State"].get("Pid"):
            raise ContainerError(f"container {container} does not run: its processes cannot be shared")
        return f"/proc/{document['State']['Pid']}/ns/pid"

    async def _signal(self, container: str, name: str) -> None:
        try:
            await self._finish("POST", f"/containers/{container}/kill?{urlencode({'signal': name})}")
        except _MissingError:
            return
        except ContainerError:
            info = await self.inspect(container)
            if info is not None and info.state is State.RUNNING:
                raise

    async def _inspect(self, container: str) -> _Document | None:
        for pause in _INSPECT_PAUSES:
            try:
                return await self._call("GET", f"/containers/{container}/json")
            except _MissingError:
                return None
            except ContainerError as error:
                if _ENDED_MEANWHILE not in str(error):
                    raise
            await self._clock.sleep(pause)
        raise ContainerError(f"container {container} could not be read: its process ended each time it was looked at")

    async def _finish(self, method: str, path: str, body: _Document | None = None) -> _Document:
        """Make a request that changes something. When cancelled, wait for its end first: it cannot be called back."""
        call = asyncio.ensure_future(self._call(method, path, body))
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            await asyncio.wait([call])
            if not call.cancelled() and (error := call.exception()) is not None:
                _LOG.debug("a cancelled request failed: %s", error)
            raise

    async def _call(self, method: str, path: str, body: _Document | None = None) -> _Document:
        """Make a request and return the answer's document, {} when it has none."""
        loop = asyncio.get_running_loop()
        answer = await loop.run_in_executor(self._threads, self._request, method, path, body, _TIMEOUT)
        if answer.status_code == 404:
            raise _MissingError(_problem(answer))
        if answer.status_code >= 400:
            raise ContainerError(_problem(answer))
        return answer.json() if answer.content else {}

    def _request(self, method: str, path: str, body: _Document | None, timeout: float) -> APIResponse:
        """Make a request, in a thread. Each thread has a client of its own: sessions are not for sharing."""
        client: podman.PodmanClient | None = getattr(self._local, "client", None)
        if client is None:
            client = podman.PodmanClient(base_url=f"unix://{self._socket}", version=_API_VERSION, timeout=timeout)
            self._local.client = client
        data = json.dumps(body) if body is not None else None
        headers = {"Content-Type": "application/json"}
        try:
            # podman-py leaves its further arguments untyped, hence what pyright is told to ignore here.
            if method == "GET":
                return client.api.get(path, headers=headers, timeout=timeout)  # pyright: ignore[reportUnknownMemberType]
            if method == "DELETE":
                return client.api.delete(path, headers=headers, timeout=timeout)  # pyright: ignore[reportUnknownMemberType]
            return client.api.post(path, data=data, headers=headers, timeout=timeout)  # pyright: ignore[reportUnknownMemberType]
        except (APIError, requests.RequestException, OSError) as error:
            raise UnavailableError(f"Podman does not answer on {self._socket}: {error}") from error


class _MissingError(ContainerError):
    """What was asked for does not exist."""


class _PodmanSession:
    """A hijacked connection: a terminal's bytes, or frames of two outputs. `where` is what has the terminal."""

    def __init__(self, runtime: PodmanRuntime, wire: Wire, where: str, *, tty: bool) -> None:
        self._runtime = runtime
        self._wire = wire
        self._where = where
        self._tty = tty
        self._repeating: asyncio.Task[None] | None = None

    async def write(self, data: bytes) -> None:
        """Feed the standard input."""
        await self._wire.write(data)

    async def end_input(self) -> None:
        """Close the standard input."""
        await self._wire.end()

    async def resize(self, width: int, height: int) -> None:
        """Set the size of the terminal, and once more a moment later.

        Of two sizes that conmon reads at once it takes the first twice, and kubectl always begins with two.
        """
        if self._repeating is not None:
            self._repeating.cancel()
        await self._runtime.resize(self._where, width, height)
        self._repeating = asyncio.create_task(self._repeat(width, height), name="terminal's size")

    def output(self) -> AsyncGenerator[tuple[int, bytes]]:
        """Yield what is written until it ends."""
        return self._wire.raw() if self._tty else self._wire.frames()

    async def close(self) -> None:
        """Close the connection."""
        if self._repeating is not None:
            self._repeating.cancel()
            await asyncio.gather(self._repeating, return_exceptions=True)
        await self._wire.close()

    async def _repeat(self, width: int, height: int) -> None:
        try:
            await self._runtime.resize(self._where, width, height, later=True)
        except (ContainerError, UnavailableError) as error:
            _LOG.debug("a terminal's size was set once only: %s", error)


class _PodmanExec(_PodmanSession):
    """A command that runs inside a container, on its connection."""

    def __init__(self, runtime: PodmanRuntime, session: str, wire: Wire, *, tty: bool) -> None:
        super().__init__(runtime, wire, f"/exec/{session}", tty=tty)
        self._session = session

    async def exit_code(self) -> int:
        """Return its exit code."""
        state = await self._runtime.exec_state(self._session)
        return int(state.get("ExitCode") or 0)

    async def kill(self) -> None:
        """Kill its first process: Podman has no call for that, and lets a command go on whose caller has left."""
        try:
            state = await self._runtime.exec_state(self._session)
            if state.get("Running") and (pid := int(state.get("Pid") or 0)) > 1:
                os.kill(pid, signal.SIGKILL)
        except (ContainerError, UnavailableError, ProcessLookupError) as error:
            _LOG.debug("a command was not killed: %s", error)


class _PodmanAttached(_PodmanSession):
    """A container's own input and output."""

    def __init__(self, runtime: PodmanRuntime, container: str, wire: Wire, *, tty: bool, takes_input: bool) -> None:
        super().__init__(runtime, wire, f"/containers/{container}", tty=tty)
        self._takes_input = takes_input

    async def write(self, data: bytes) -> None:
        """Feed the standard input, if there is one: what nobody reads would break the connection in the end."""
        if self._takes_input:
            await super().write(data)

    async def end_input(self) -> None:
        """Close the standard input, if there is one."""
        if self._takes_input:
            await super().end_input()


def qualified(image: str) -> str:
    """Return an image's full name: `nginx` is docker.io/library/nginx:latest, as Kubernetes reads it."""
    first, slash, rest = image.partition("/")
    if not slash:
        host, path = "docker.io", f"library/{image}"
    elif "." in first or ":" in first or first == "localhost":
        host, path = first, rest
    else:
        host, path = "docker.io", image
    if "@" not in path and ":" not in path.rpartition("/")[2]:
        path = f"{path}:latest"
    return f"{host}/{path}"


def _state_of(name: str) -> State:
    return _STATES.get(name, State.EXITED)


def _signal_number(name: str) -> int:
    """Return the number of SIGTERM, SIGRTMIN+3 and the like; 0 for one that is not known here."""
    base, _, beyond = name.partition("+")
    known = getattr(signal, base, None)
    return int(known) + (int(beyond) if beyond.isdecimal() else 0) if isinstance(known, signal.Signals) else 0


def _user(user: int | None, group: int | None) -> str:
    if user is None and group is None:
        return ""
    return f"{user or 0}:{group}" if group is not None else str(user)


def _time(text: str) -> datetime | None:
    """Return a moment of Podman's; None for the zero of Go's time."""
    if not text or text.startswith("0001-"):
        return None
    return datetime.fromisoformat(text).astimezone(UTC)


def _epoch(seconds: int) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds > 0 else None


def _problem(answer: APIResponse) -> str:
    try:
        document: _Document = answer.json()
    except ValueError:
        return answer.text.strip() or f"HTTP {answer.status_code}"
    return str(document.get("message") or document.get("cause") or answer.text)
