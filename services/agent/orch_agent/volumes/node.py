"""The volumes of one node's pods: set up before containers start, followed while they run, gone when they have ended.

<folder>/disk/<pod uid>/volumes/<kind>/<volume>     what may be on a disk, and what is mounted for one volume
<folder>/disk/<pod uid>/subpaths/...                parts of volumes, as containers see them
<folder>/memory/<pod uid>/volumes/<kind>/<volume>   what must not: one tmpfs for all pods of the node
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from prometheus_client import Counter, Gauge

from orch.clock import Clock
from orch.errors import ApiError, BusError, UnavailableError
from orch.objects.pods import Container, Pod
from orch.objects.volumes import Volume
from orch_agent.runtimes.protocol import Mount
from orch_agent.volumes.container_mounts import ContainerMounts
from orch_agent.volumes.mounts import Mounts, remove_tree
from orch_agent.volumes.objects import ReferredObjects
from orch_agent.volumes.protocol import (
    Outlet,
    Ready,
    Reference,
    UnprocessedError,
    VolumeError,
    VolumePlugin,
    in_thread,
    references_of,
    shows_pod,
)
from orch_agent.volumes.unknown import UnknownVolumes
from orch_agent.volumes.usage import VolumeUsage, measure

_LOG: Final = logging.getLogger(__name__)
_SET_UP: Final = Gauge("orch_agent_volumes", "Volumes that are set up.")
_FAILED: Final = Counter(
    "orch_agent_volume_failures_total", "Volumes that could not be set up or renewed, by kind.", ["kind"]
)
_RENEWED: Final = Counter(
    "orch_agent_volume_renewals_total", "Volumes looked at again because what they show may have changed."
)

_FIRST_RETRY: Final = 0.5
_LONGEST_RETRY: Final = 122.0
_PATIENCE: Final = timedelta(seconds=123)
"""After so long without its volumes a pod's event says which are missing."""
_RENEWALS: Final = 8
_IDLE: Final = 60.0
_VOLUMES: Final = "volumes"


class _Held:
    """One volume of a pod, as far as it has come."""

    def __init__(self, spec: Volume, plugin: VolumePlugin, folder: Path, namespace: str) -> None:
        self.spec = spec
        self.plugin = plugin
        self.folder = folder
        self.refers_to = references_of(namespace, spec)
        self.ready: Ready | None = None
        self.due: datetime | None = None
        self.delay = 0.0
        self.problem: Exception | None = None

    def is_due(self, now: datetime) -> bool:
        """Tell whether to look at it now; a clock that was set back delays no further try."""
        if self.due is None or self.due <= now:
            return True
        return self.delay > 0 and self.due > now + timedelta(seconds=self.delay)


class _PodVolumes:
    """The volumes of one pod. Who holds the lock changes them."""

    def __init__(self, pod: Pod, since: datetime) -> None:
        self.pod = pod
        self.lock = asyncio.Lock()
        self.held: dict[str, _Held] = {}
        self.waiting_since = since
        self.settled: Pod | None = None


class NodeVolumes:
    """The volumes under `folder`. `wake` is called with a pod's uid when what it waits for may be there now."""

    def __init__(
        self,
        folder: Path,
        plugins: Sequence[VolumePlugin],
        objects: ReferredObjects,
        mounts: Mounts,
        outlet: Outlet,
        clock: Clock,
        wake: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._disk = folder / "disk"
        self._memory = folder / "memory"
        self._plugins = plugins
        self._objects = objects
        self._mounts = mounts
        self._outlet = outlet
        self._clock = clock
        self._pods: dict[str, _PodVolumes] = {}
        self._changed = asyncio.Event()
        self._memory_lock = asyncio.Lock()
        self._memory_is_there = False
        self.wake = wake

    # -- for a pod's worker --------------------------------------------------------------------------------------

    async def prepare(self, pod: Pod) -> float | None:
        """Set up what is missing, all at once; tell of what cannot be had, as kubelet does."""
        volumes = self._pods.get(pod.metadata.uid)
        if volumes is None:
            volumes = self._pods[pod.metadata.uid] = _PodVolumes(pod, self._clock.now())
        if volumes.settled is pod:
            return None
        async with volumes.lock:
            volumes.pod = pod
            wanted = [volume for volume in pod.spec.volumes if volume.name in _mounted(pod)]
            for volume in wanted:
                if volume.name not in volumes.held:
                    self._add(volumes, volume)
            missing = [volumes.held[volume.name] for volume in wanted if volumes.held[volume.name].ready is None]
            now = self._clock.now()
            await asyncio.gather(*(self._set_up(volumes, held) for held in missing if held.is_due(now)))
        left = [held for held in missing if held.ready is None]
        if not left:
            volumes.settled, volumes.waiting_since = pod, self._clock.now()
            return None
        self._complain(volumes, left)
        soonest = min(held.due for held in left if held.due is not None)
        return max((soonest - self._clock.now()).total_seconds(), 0.01)

    def update(self, pod: Pod) -> None:
        """Renew volumes that show the pod's labels and annotations, if those have changed."""
        volumes = self._pods.get(pod.metadata.uid)
        if volumes is None:
            return
        old, volumes.pod = volumes.pod.metadata, pod
        if (old.labels, old.annotations) != (pod.metadata.labels, pod.metadata.annotations):
            self._renew_soon(held for held in volumes.held.values() if shows_pod(held.spec))

    async def mounts(self, pod: Pod, container: Container, variables: Mapping[str, str]) -> tuple[Mount, ...]:
        """Return a container's mounts, with parts of volumes bound anew."""
        uid = pod.metadata.uid
        volumes = self._pods.get(uid)
        ready = {} if volumes is None else {name: held.ready for name, held in volumes.held.items() if held.ready}
        return await ContainerMounts(self._mounts, self._disk / uid, ready).of(container, variables)

    def path(self, uid: str, volume: str) -> Path | None:
        """Return where containers' own writing lands; who reads there must not be led out of it."""
        volumes = self._pods.get(uid)
        held = None if volumes is None else volumes.held.get(volume)
        return None if held is None or held.ready is None else held.ready.path

    def images(self) -> frozenset[str]:
        """Return the ids of the images that volumes show, which must stay."""
        return frozenset(held.ready.image_id for _, held in self._everything() if held.ready and held.ready.image_id)

    async def remove(self, uid: str) -> None:
        """Tear everything down that is there of the pod, by what lies in its folders."""
        volumes = self._pods.get(uid)
        async with volumes.lock if volumes is not None else asyncio.Lock():
            for root in (self._disk, self._memory):
                await self._remove(root / uid)
        self._pods.pop(uid, None)
        self._objects.keep_only(self._followed())
        self._count()

    async def owners(self) -> Sequence[str]:
        """Return who has folders here."""
        return await in_thread(lambda: sorted({*_children(self._disk), *_children(self._memory)}))

    async def usage(self, uid: str) -> Sequence[VolumeUsage]:
        """Measure the pod's volumes; one that is being made or removed meanwhile counts as far as it is there."""
        volumes = self._pods.get(uid)
        if volumes is None:
            return ()
        ready = [(held.spec, held.ready.path) for held in volumes.held.values() if held.ready is not None]
        return await in_thread(measure, ready)

    # -- what changes --------------------------------------------------------------------------------------------

    def changed(self, reference: Reference, version: int) -> None:
        """Take in that an object has a newer version, 0 if it may have any: who shows or awaits it looks at once."""
        if not self._objects.doubt(reference, version):
            return
        for uid, volumes in self._pods.items():
            concerned = [held for held in volumes.held.values() if reference in held.refers_to]
            self._renew_soon(concerned)
            if any(held.ready is None for held in concerned):
                self.wake(uid)

    def followed(self) -> Mapping[Reference, int]:
        """Return the objects that volumes show and that may change, with the versions shown; 0 for absent ones."""
        known = self._objects.versions()
        return {each: known.get(each, 0) for each in self._followed() if not self._objects.is_fixed(each)}

    async def run(self) -> None:
        """Renew volumes when they are due, for ever."""
        free = asyncio.Semaphore(_RENEWALS)
        while True:
            self._changed.clear()
            now = self._clock.now()
            due = [(pod, held) for pod, held in self._everything() if held.ready and held.due and held.is_due(now)]
            await asyncio.gather(*(self._renew(free, pod, held) for pod, held in due))
            await self._pause()

    async def _renew(self, free: asyncio.Semaphore, volumes: _PodVolumes, held: _Held) -> None:
        async with free, volumes.lock:
            if self._pods.get(volumes.pod.metadata.uid) is volumes:
                _RENEWED.inc()
                try:
                    await self._set_up(volumes, held)
                except Exception:  # noqa: BLE001 - a mistake about one volume must not end the others; logged and retried
                    _LOG.exception("volume %s of pod %s", held.spec.name, volumes.pod.metadata.name)
                    held.due = self._clock.now() + timedelta(seconds=_LONGEST_RETRY)

    async def _pause(self) -> None:
        now = self._clock.now()
        moments = [held.due for _, held in self._everything() if held.ready is not None and held.due is not None]
        seconds = min([_IDLE, *((moment - now).total_seconds() for moment in moments)])
        alarm = asyncio.ensure_future(self._clock.sleep(max(seconds, 0.01)))
        # Not when it is cancelled below: what woke this pause would then wake the next one, and so on for ever.
        alarm.add_done_callback(lambda rung: rung.cancelled() or self._changed.set())
        try:
            await self._changed.wait()
        finally:
            alarm.cancel()

    def _renew_soon(self, volumes: Iterable[_Held]) -> None:
        now = self._clock.now()
        for held in volumes:
            held.due, held.delay = now, 0.0
        self._changed.set()

    # -- one volume ----------------------------------------------------------------------------------------------

    def _add(self, volumes: _PodVolumes, volume: Volume) -> None:
        meta = volumes.pod.metadata
        plugin = next((plugin for plugin in self._plugins if plugin.handles(volume)), None) or UnknownVolumes()
        root = self._memory if plugin.volatile else self._disk
        folder = root / meta.uid / _VOLUMES / plugin.name.replace("/", "~") / volume.name
        held = volumes.held[volume.name] = _Held(volume, plugin, folder, meta.namespace)
        for reference in held.refers_to:  # a new pod sees what was written before it, whatever is still under way
            self._objects.doubt(reference)

    async def _set_up(self, volumes: _PodVolumes, held: _Held) -> None:
        """Set a volume up, or renew it; what fails is told and tried again later."""
        held.due = None
        try:
            if held.plugin.volatile:
                await self._have_memory()
            ready = await held.plugin.set_up(volumes.pod, held.spec, held.folder)
        except (VolumeError, ApiError, BusError, UnavailableError) as error:
            _FAILED.labels(held.plugin.name).inc()
            held.delay = min(held.delay * 2, _LONGEST_RETRY) or _FIRST_RETRY
            if held.due is None:  # it has not changed meanwhile
                held.due = self._clock.now() + timedelta(seconds=held.delay)
            held.problem = error
            if not isinstance(error, UnprocessedError):
                message = f'MountVolume.SetUp failed for volume "{held.spec.name}" : {error}'
                self._outlet.event(volumes.pod, "", "Warning", "FailedMount", message)
        else:
            held.ready, held.problem, held.delay = ready, None, 0.0
            if ready.stale_at is not None:
                held.due = min(held.due or ready.stale_at, ready.stale_at)
            self._count()
            self._changed.set()

    def _complain(self, volumes: _PodVolumes, left: Sequence[_Held]) -> None:
        """Say which volumes a pod waits for: at once when it cannot be said what they are, else now and then."""
        unknown = [held for held in left if isinstance(held.problem, UnprocessedError)]
        now = self._clock.now()
        if unknown:
            problem = "; ".join(str(held.problem) for held in unknown)
        elif now - volumes.waiting_since >= _PATIENCE:
            problem = "context deadline exceeded"
        else:
            return
        volumes.waiting_since = now
        message = (
            f"Unable to attach or mount volumes: unmounted volumes=[{_names(left)}], unattached volumes=[], "
            f"failed to process volumes=[{_names(unknown)}]: {problem}"
        )
        self._outlet.event(volumes.pod, "", "Warning", "FailedMount", message)

    async def _have_memory(self) -> None:
        """Mount the file system for what must not be on a disk, unless an earlier process did."""
        async with self._memory_lock:
            if not self._memory_is_there:
                await in_thread(self._mount_memory)
                self._memory_is_there = True

    def _mount_memory(self) -> None:
        try:
            self._memory.mkdir(parents=True, exist_ok=True)
            if self._memory not in self._mounts.below(self._memory):
                self._mounts.tmpfs(self._memory, mode=0o700)
        except OSError as error:
            raise VolumeError(f"no file system in memory at {self._memory}: {error.strerror}") from error

    async def _remove(self, folder: Path) -> None:
        plugins = {plugin.name.replace("/", "~"): plugin for plugin in self._plugins}
        for kind in await in_thread(_children, folder / _VOLUMES):
            plugin = plugins.get(kind)
            for name in await in_thread(_folders, folder / _VOLUMES / kind):
                if plugin is not None:
                    await plugin.tear_down(folder / _VOLUMES / kind / name)
        await in_thread(remove_tree, self._mounts, folder)

    def _everything(self) -> Iterator[tuple[_PodVolumes, _Held]]:
        for volumes in self._pods.values():
            for held in volumes.held.values():
                yield volumes, held

    def _followed(self) -> set[Reference]:
        return {reference for _, held in self._everything() for reference in held.refers_to}

    def _count(self) -> None:
        _SET_UP.set(sum(held.ready is not None for _, held in self._everything()))


def _mounted(pod: Pod) -> set[str]:
    """Return the names of the volumes that some container mounts or reads; kubelet leaves the others alone."""
    containers = (*pod.spec.init_containers, *pod.spec.containers, *pod.spec.ephemeral_containers)
    files = (
        variable.value_from.file_key_ref
        for container in containers
        for variable in container.env
        if variable.value_from is not None
    )
    mounted = {mount.name for container in containers for mount in container.volume_mounts}
    return mounted | {file.volume_name for file in files if file is not None}


def _names(volumes: Sequence[_Held]) -> str:
    return " ".join(sorted(held.spec.name for held in volumes))


def _children(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []


def _folders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []
