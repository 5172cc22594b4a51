"""Starts one container: its image by policy, then the container as specified. What fails is left in its slot."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

import msgspec
from prometheus_client import Counter, Histogram

from orch import telemetry
from orch.errors import ApiError, UnavailableError
from orch.objects.pods import Pod
from orch_agent.network.sandbox import Sandbox
from orch_agent.pods.backoff import BackOff
from orch_agent.pods.environment import ConfigurationError
from orch_agent.pods.hooks import POST_START_ERROR, HookError
from orch_agent.pods.host import EventType, PodHost
from orch_agent.pods.images import ImageProblemError
from orch_agent.pods.slot import Retry, Slot
from orch_agent.pods.specification import Specifications
from orch_agent.probes.health import Doom
from orch_agent.probes.outcome import ProbeTarget
from orch_agent.runtimes.protocol import (
    ContainerError,
    ContainerInfo,
    ContainerSpec,
    FoundImage,
    Identity,
    State,
)

START_ERROR_CODE: Final = 128

_STARTED = Counter("orch_agent_containers_started_total", "Containers started.")
_FAILED = Counter("orch_agent_container_failures_total", "Container starts that failed, by step.", ["step"])
_START_SECONDS = Histogram(
    "orch_agent_container_start_seconds", "From the decision to start a container until it runs, pull included."
)


class Launcher:
    """Starts the containers of one pod. `tell` is called when the pod's status changed meanwhile."""

    def __init__(self, host: PodHost, tell: Callable[[], None]) -> None:
        self._host = host
        self._tell = tell
        self._specifications = Specifications(host)

    async def launch(self, pod: Pod, slot: Slot, sandbox: Sandbox, *, shared: Slot | None = None) -> None:
        """Try to start `slot`: afterwards it runs, or holds why not and when to try again.

        `shared` is the container whose processes it shall see.
        """
        host, name = self._host, slot.container.name
        begun = host.clock.monotonic()
        slot.count_restart(host.clock.now())
        if slot.current is not None and slot.current.state is State.CREATED:
            await host.runtime.remove(slot.current.id)
            slot.current, slot.previous = slot.previous, None
        try:
            with telemetry.span("agent.pull image", attributes={"container": name, "image": slot.container.image}):
                found = await self._have_image(pod, slot)
            spec = await self._specifications.of(pod, slot, sandbox)
            spec = msgspec.structs.replace(spec, found=found)
            if shared is not None:
                spec = msgspec.structs.replace(spec, processes_of=_running(shared))
        except ImageProblemError as error:
            self._image_failed(pod, slot, error)
            return
        except (ConfigurationError, ApiError, UnavailableError, OSError) as error:  # a file may find the disk full
            _FAILED.labels("configure").inc()
            self._event(pod, slot, "Warning", "Failed", f"Error: {error}")
            self._wait(slot, slot.settings, "CreateContainerConfigError", str(error))
            return
        if await self._create_and_start(pod, slot, spec, sandbox):
            _STARTED.inc()
            _START_SECONDS.observe(host.clock.monotonic() - begun)

    async def _have_image(self, pod: Pod, slot: Slot) -> FoundImage:
        def tell(kind: EventType, reason: str, message: str) -> None:
            self._event(pod, slot, kind, reason, message)
            self._tell()

        return await self._host.images.ensure(pod, slot.container, tell)

    def _image_failed(self, pod: Pod, slot: Slot, error: ImageProblemError) -> None:
        _FAILED.labels("pull").inc()
        self._event(pod, slot, "Warning", "Failed", f"Error: {error.reason}")
        if error.until is None:
            self._wait(slot, slot.pulls, error.reason, str(error))
        else:
            slot.retry = Retry(error.reason, str(error), self._host.clock.now(), error.until)

    async def _create_and_start(self, pod: Pod, slot: Slot, spec: ContainerSpec, sandbox: Sandbox) -> bool:
        runtime, name = self._host.runtime, slot.container.name
        attributes = {"container": name, "attempt": spec.identity.attempt}
        try:
            with telemetry.span("agent.create container", attributes=attributes):
                made = await runtime.create(spec)
        except ContainerError as error:
            _FAILED.labels("create").inc()
            await self._remove_unstarted(spec.identity)
            self._event(pod, slot, "Warning", "Failed", f"Error: {error}")
            self._wait(slot, slot.settings, "CreateContainerError", str(error))
            return False
        self._event(pod, slot, "Normal", "Created", "Container created")
        try:
            with telemetry.span("agent.start container", attributes=attributes):
                await runtime.start(made)
                info = await runtime.inspect(made)
        except ContainerError as error:
            _FAILED.labels("start").inc()
            await runtime.remove(made)
            self._event(pod, slot, "Warning", "Failed", f"Error: {error}")
            info = _never_started(made, spec, str(error), self._host.clock.now())
        else:
            self._event(pod, slot, "Normal", "Started", "Container started")
        doom = await self._after_start(pod, slot, info, sandbox)
        if _has_post_start(slot) and info is not None and info.state is State.RUNNING:
            info = await runtime.inspect(made) or info
        outdated = slot.previous
        if info is not None:
            slot.observe(info)
            slot.health.doom = doom
        slot.retry, slot.replace, slot.revive = None, False, False
        if outdated is not None and outdated is not slot.previous and outdated.id:
            await runtime.remove(outdated.id)
        return slot.running

    async def _after_start(self, pod: Pod, slot: Slot, info: ContainerInfo | None, sandbox: Sandbox) -> Doom | None:
        """Run the postStart hook, during which the container still counts as waiting; return its doom if that failed.

        A hook has no time limit of its own in Kubernetes: the pod's deletion ends it.
        """
        lifecycle = slot.container.lifecycle
        if lifecycle is None or lifecycle.post_start is None or info is None or info.state is not State.RUNNING:
            return None
        target = ProbeTarget(
            pod=pod,
            container=slot.container,
            id=info.id,
            sandbox=sandbox,
            started_at=info.started_at or self._host.clock.now(),
        )
        try:
            await self._host.hooks.run(target, lifecycle.post_start)
        except HookError as error:
            _FAILED.labels("postStart").inc()
            self._event(pod, slot, "Warning", "FailedPostStartHook", "PostStartHook failed")
            return Doom(message="FailedPostStartHook", reason=POST_START_ERROR, complaint=str(error))
        return None

    async def _remove_unstarted(self, identity: Identity) -> None:
        """Remove what a create that failed half way may have left under the same name."""
        for info in await self._host.runtime.containers(identity.uid):
            if info.identity == identity and info.state is State.CREATED:
                await self._host.runtime.remove(info.id)

    def _wait(self, slot: Slot, back_off: BackOff, reason: str, message: str) -> None:
        now = self._host.clock.now()
        back_off.next(slot.retry.until if slot.retry is not None else now, now)
        slot.retry = Retry(reason, message, now, back_off.due(now))

    def _event(self, pod: Pod, slot: Slot, kind: EventType, reason: str, message: str) -> None:
        self._host.outlet.event(pod, slot.container.name, kind, reason, message)


def _has_post_start(slot: Slot) -> bool:
    return slot.container.lifecycle is not None and slot.container.lifecycle.post_start is not None


def _running(target: Slot) -> str:
    """Return the id of a container that runs. Raises ConfigurationError."""
    if target.current is None or not target.running:
        raise ConfigurationError(f"target container {target.container.name} is not running")
    return target.current.id


def _never_started(made: str, spec: ContainerSpec, problem: str, now: datetime) -> ContainerInfo:
    """Return the end of a container that the runtime could not start, as containerd tells it."""
    return ContainerInfo(
        id=made,
        identity=spec.identity,
        state=State.EXITED,
        image=spec.image,
        image_id=spec.found.id if spec.found is not None else "",
        image_ref=spec.found.ref if spec.found is not None else "",
        exit_code=START_ERROR_CODE,
        reason="StartError",
        message=problem,
        finished_at=now,
    )
