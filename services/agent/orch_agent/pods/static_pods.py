"""Runs the pods that files of this node say, and keeps what the api shows of them (their mirrors) true.

The folder is looked through every second. A pod's uid is its content's hash: a changed file is another pod of the same
name, which begins when the one before has ended. Nothing here waits for the api but the mirrors.
"""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
from prometheus_client import Counter, Gauge

from orch.clock import rfc3339
from orch.errors import AlreadyExistsError, ApiError, BusError, NotFoundError, UnavailableError
from orch.objects.pods import Pod
from orch.objects.scheme import NODES, PODS
from orch.runtime.client import Client
from orch.runtime.informer import Item
from orch_agent.pods.host import EventType, Outlet, PodHost
from orch_agent.pods.manifests import Manifest, ManifestError, read_manifest
from orch_agent.pods.static import CONFIG_MIRROR
from orch_pb.v1 import object_pb2

_LOG: Final = logging.getLogger(__name__)
_STATIC: Final = Gauge("orch_agent_static_pods", "Pods that files of the node say.")
_BAD: Final = Counter("orch_agent_static_pod_errors_total", "Files that hold no pod that the node can run.")
_RETRIES: Final = Counter("orch_agent_mirror_retries_total", "Writes of mirror pods that failed and are tried again.")

_PERIOD: Final = 1.0
_FIRST_RETRY: Final = 1.0
_LONGEST_RETRY: Final = 30.0
_UNSEEN: Final = 5.0
"""Seconds in which a mirror that was written is to be seen, before it is written again."""

Name = tuple[str, str]


class Worker(Protocol):
    """The worker of one pod."""

    def vanish(self) -> None:
        """Take in that the pod is wanted no more."""
        ...


class Workers(Protocol):
    """Where the workers of all pods are."""

    def worker(self, uid: str) -> Worker | None:
        """Return a pod's worker, None when nothing of it is left."""
        ...

    def start_static(self, host: PodHost, pod: Pod) -> None:
        """Start a worker for a pod of this node's own."""
        ...


class NodeEvents(Protocol):
    """Where it is told what a node met."""

    def node_event(self, node: str, kind: EventType, reason: str, message: str) -> None:
        """Record an event about the node."""
        ...


class _Mirrored:
    """Tells what becomes of static pods under the uids of their mirrors; what comes before there is one waits."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self._mirrors: dict[str, str] = {}
        self._last: dict[str, tuple[str, Pod, bytes]] = {}

    def report(
        self, node: str, pod: Pod, status: bytes, *, terminated: bool, trace: object_pb2.TraceContext | None
    ) -> None:
        """Pass the status on, if there is a mirror to hold it; its end is told by the mirror's deletion."""
        _ = terminated, trace
        self._last[pod.metadata.uid] = (node, pod, status)
        self._pass_on(pod.metadata.uid)

    def event(self, pod: Pod, container: str, kind: EventType, reason: str, message: str) -> None:
        """Record an event under the static pod's own uid: kubectl looks for it by the mirror's annotation."""
        self._outlet.event(pod, container, kind, reason, message)

    def mirror(self, uid: str, mirror_uid: str) -> None:
        """Take in under which uid the api shows a pod."""
        if self._mirrors.get(uid) != mirror_uid:
            self._mirrors[uid] = mirror_uid
            self._pass_on(uid)

    def forget(self, uid: str) -> None:
        """Let go of a pod of which nothing is left."""
        self._mirrors.pop(uid, None)
        self._last.pop(uid, None)

    def _pass_on(self, uid: str) -> None:
        mirror_uid, last = self._mirrors.get(uid), self._last.get(uid)
        if mirror_uid is not None and last is not None:
            node, pod, status = last
            meta = msgspec.structs.replace(pod.metadata, uid=mirror_uid)
            shown = msgspec.structs.replace(pod, metadata=meta)
            self._outlet.report(node, shown, status, terminated=False, trace=None)


class _Attempt(msgspec.Struct):
    """When a mirror's next write is due."""

    due: float = 0.0
    delay: float = _FIRST_RETRY


class StaticPods:
    """The static pods of one node. Without a folder there are none, and mirrors that are found are removed."""

    def __init__(self, folder: Path | None, host: PodHost, client: Client, events: NodeEvents) -> None:
        self.ready = asyncio.Event()
        self._folder = folder
        self._host = host
        self._client = client
        self._events = events
        self._mirrored = _Mirrored(host.outlet)
        self._files: dict[Path, tuple[tuple[int, int, int], Manifest | None]] = {}
        self._running: dict[Name, str] = {}
        self._leaving: set[str] = set()
        self._mirrors: dict[Name, Item[Pod]] = {}
        self._attempts: dict[Name, _Attempt] = {}
        self._node_uid = ""
        self._changed = asyncio.Event()

    async def run(self, workers: Workers) -> None:
        """Keep pods and mirrors as the files say, for ever. `ready` is set once all pods have their workers."""
        clock = self._host.clock
        if self._folder is not None:
            await asyncio.to_thread(self._folder.mkdir, parents=True, exist_ok=True)
        own = copy.copy(self._host)
        own.outlet = self._mirrored
        while True:
            wanted = await self._wanted()
            for name in {*wanted, *self._running}:
                self._keep_worker(workers, own, name, wanted.get(name))
            _STATIC.set(len(self._running))
            self.ready.set()
            for name in {*wanted, *self._mirrors}:
                await self._keep_mirror(name, wanted.get(name))
            self._attempts = {
                name: each for name, each in self._attempts.items() if name in wanted or name in self._mirrors
            }
            self._changed.clear()
            alarm = asyncio.ensure_future(clock.sleep(_PERIOD))
            alarm.add_done_callback(lambda _: self._changed.set())
            try:
                await self._changed.wait()
            finally:
                alarm.cancel()

    def mirror_changed(self, name: Name, mirror: Item[Pod] | None) -> None:
        """Take in what the api shows under a name, None for nothing any more."""
        if mirror is None:
            self._mirrors.pop(name, None)
        else:
            self._mirrors[name] = mirror
        self._attempts.pop(name, None)
        self._changed.set()

    # -- files ---------------------------------------------------------------------------------------------------

    async def _wanted(self) -> Mapping[Name, Manifest]:
        """Return the pods of all files that can be read; a file that is bad hurts none but its own pod."""
        if self._folder is None:
            return {}
        found = await asyncio.to_thread(_list, self._folder)
        if found is None:
            return self._by_name()
        for path, stamp in found.items():
            known = self._files.get(path)
            if known is None or known[0] != stamp:
                self._files[path] = (stamp, await self._read(path))
        self._files = {path: each for path, each in self._files.items() if path in found}
        return self._by_name()

    async def _read(self, path: Path) -> Manifest | None:
        now = rfc3339(self._host.clock.now())
        try:
            return await asyncio.to_thread(read_manifest, path, self._host.node, now)
        except ManifestError as error:
            self._complain(path, str(error))
            return None

    def _by_name(self) -> Mapping[Name, Manifest]:
        wanted: dict[Name, Manifest] = {}
        for path, (stamp, manifest) in sorted(self._files.items()):
            if manifest is None:
                continue
            if manifest.name in wanted:
                self._files[path] = (stamp, None)
                self._complain(path, f"another file has a pod of the name {'/'.join(manifest.name)}")
                continue
            wanted[manifest.name] = manifest
        return wanted

    def _complain(self, path: Path, problem: str) -> None:
        _BAD.inc()
        _LOG.warning("%s holds no static pod: %s", path, problem)
        self._events.node_event(self._host.node, "Warning", "InvalidStaticPod", f"{path.name}: {problem}")

    # -- workers -------------------------------------------------------------------------------------------------

    def _keep_worker(self, workers: Workers, own: PodHost, name: Name, wanted: Manifest | None) -> None:
        uid = self._running.get(name)
        worker = workers.worker(uid) if uid is not None else None
        if uid is not None and worker is None:
            del self._running[name]
            self._leaving.discard(uid)
            self._mirrored.forget(uid)
            uid = None
        if uid is not None and worker is not None and (wanted is None or wanted.uid != uid):
            if uid not in self._leaving:
                self._leaving.add(uid)
                worker.vanish()
            return
        if uid is None and wanted is not None:
            self._running[name] = wanted.uid
            workers.start_static(own, wanted.pod)

    # -- mirrors -------------------------------------------------------------------------------------------------

    async def _keep_mirror(self, name: Name, wanted: Manifest | None) -> None:
        mirror, uid = self._mirrors.get(name), self._running.get(name)
        if mirror is not None and not mirror.object.metadata.deletion_timestamp:
            shown = mirror.object.metadata.annotations.get(CONFIG_MIRROR)
            if uid is not None and shown == uid:
                self._mirrored.mirror(uid, mirror.uid)
                return
            if uid is not None and uid in self._leaving:
                return  # it is shown until nothing of it is left
        attempt = self._attempts.setdefault(name, _Attempt())
        now = self._host.clock.monotonic()
        if now < attempt.due:
            return
        try:
            if mirror is not None:
                await self._client.delete(PODS, *name, uid=mirror.uid, grace_period=0)
            elif wanted is not None:
                await self._create(wanted)
            attempt.due = now + _UNSEEN
        except (NotFoundError, AlreadyExistsError) as error:
            attempt.due = now + _UNSEEN
            _LOG.debug("mirror pod %s/%s: %s", *name, error)
        except (ApiError, BusError, UnavailableError) as error:
            _RETRIES.inc()
            _LOG.warning("mirror pod %s/%s is not as it should be, next try in %.0f s: %s", *name, attempt.delay, error)
            attempt.due, attempt.delay = now + attempt.delay, min(attempt.delay * 2, _LONGEST_RETRY)

    async def _create(self, wanted: Manifest) -> None:
        if not self._node_uid:
            self._node_uid = (await self._client.get(NODES, "", self._host.node)).metadata.uid
        owner = {
            "apiVersion": NODES.api_version,
            "kind": NODES.name,
            "name": self._host.node,
            "uid": self._node_uid,
            "controller": True,
        }
        metadata: dict[str, Any] = {**wanted.mirror["metadata"], "ownerReferences": [owner]}
        try:
            await self._client.create(PODS, wanted.name[0], {**wanted.mirror, "metadata": metadata})
        except ApiError:
            self._node_uid = ""  # the node's object may have been made anew
            raise


def _list(folder: Path) -> dict[Path, tuple[int, int, int]] | None:
    """Return the files with what changes when they do; None when the folder cannot be read now."""
    try:
        return dict(_stamped(sorted(folder.iterdir())))
    except FileNotFoundError:
        return {}
    except OSError as error:
        _LOG.warning("the folder of static pods cannot be read: %s", error)
        return None


def _stamped(paths: Iterable[Path]) -> Iterable[tuple[Path, tuple[int, int, int]]]:
    for path in paths:
        if path.name.startswith("."):
            continue
        try:
            about = path.stat()
        except OSError:
            continue
        if path.is_file():
            yield path, (about.st_mtime_ns, about.st_size, about.st_ino)
