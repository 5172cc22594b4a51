"""The sandboxes of a CRI runtime: what the containers of one pod share.

A pod's network is not theirs: the agent has made it before (`network/sandbox`), and the runtime is given it by a
plug-in (`network`). So a sandbox is made when a pod's first container is, and removed with its last one; when its own
process died, the next one joins the same network, and the pod keeps its address.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import weakref
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

from orch.errors import UnavailableError
from orch_agent.runtimes.cri.configuration import log_folder, sandbox_config
from orch_agent.runtimes.cri.connection import (
    LIST_CONTAINERS,
    LIST_POD_SANDBOX,
    REMOVE_POD_SANDBOX,
    RUN_POD_SANDBOX,
    STOP_POD_SANDBOX,
    Connection,
    MissingError,
)
from orch_agent.runtimes.protocol import LABEL_NODE, LABEL_UID, ContainerError, ContainerSpec
from orch_pb.cri import api_pb2

_LOG: Final = logging.getLogger(__name__)


class PodSandboxes:
    """The sandboxes of one node."""

    def __init__(self, connection: Connection, node: str, *, cgroup_parent: str, handler: str, logs: Path) -> None:
        self._connection = connection
        self._node = node
        self._cgroup_parent = cgroup_parent
        self._handler = handler
        self._logs = logs
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    @contextlib.asynccontextmanager
    async def locked(self, uid: str) -> AsyncGenerator[None]:
        """Keep a pod's sandboxes as they are: neither is one made, nor removed as empty, within this context."""
        lock = self._locks.get(uid)
        if lock is None:
            lock = self._locks[uid] = asyncio.Lock()
        async with lock:
            yield

    async def ensure(self, spec: ContainerSpec) -> tuple[str, api_pb2.PodSandboxConfig]:
        """Return the pod's sandbox and what it was made from. To be called in `locked`."""
        existing = await self.of_pod(spec.identity.uid)
        ready = next((each for each in existing if each.state == api_pb2.SANDBOX_READY), None)
        latest = max((each.metadata.attempt for each in existing), default=-1)
        folder = self._logs / log_folder(spec.identity)
        config = sandbox_config(
            spec,
            ready.metadata.attempt if ready is not None else latest + 1,
            cgroup_parent=self._cgroup_parent,
            log_directory=str(folder),
        )
        if ready is not None:
            return ready.id, config
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        request = api_pb2.RunPodSandboxRequest(config=config, runtime_handler=spec.sandbox.handler or self._handler)
        made = await self._connection.finish(RUN_POD_SANDBOX, request)
        return made.pod_sandbox_id, config

    async def of_pod(self, uid: str) -> list[api_pb2.PodSandbox]:
        """Return the sandboxes of one pod, or ("") of all of this node's."""
        labels = {LABEL_NODE: self._node} | ({LABEL_UID: uid} if uid else {})
        request = api_pb2.ListPodSandboxRequest(filter=api_pb2.PodSandboxFilter(label_selector=labels))
        return list((await self._connection.call(LIST_POD_SANDBOX, request)).items)

    async def remove_empty(self, uid: str) -> None:
        """Remove a pod's sandboxes that have no container. To be called in `locked`."""
        sandboxes = await self.of_pod(uid)
        if not sandboxes:
            return
        labels = {LABEL_NODE: self._node, LABEL_UID: uid}
        request = api_pb2.ListContainersRequest(filter=api_pb2.ContainerFilter(label_selector=labels))
        used = {each.pod_sandbox_id for each in (await self._connection.call(LIST_CONTAINERS, request)).containers}
        for sandbox in sandboxes:
            if sandbox.id not in used:
                await self._remove(sandbox.id)
        if not used:
            metadata = sandboxes[0].metadata
            folder = self._logs / f"{metadata.namespace}_{metadata.name}_{metadata.uid}"
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def sweep(self) -> None:
        """Remove the sandboxes that an agent left behind which ended between a pod's sandbox and its container."""
        for uid in {sandbox.metadata.uid for sandbox in await self.of_pod("")}:
            try:
                async with self.locked(uid):
                    await self.remove_empty(uid)
            except (ContainerError, UnavailableError) as error:
                _LOG.warning("the empty sandboxes of pod %s stay: %s", uid, error)

    async def _remove(self, sandbox: str) -> None:
        try:
            await self._connection.finish(STOP_POD_SANDBOX, api_pb2.StopPodSandboxRequest(pod_sandbox_id=sandbox))
            await self._connection.finish(REMOVE_POD_SANDBOX, api_pb2.RemovePodSandboxRequest(pod_sandbox_id=sandbox))
        except MissingError:
            _LOG.debug("sandbox %s was gone already", sandbox)
