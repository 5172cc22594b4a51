"""What a container of a pod shall be, in the words of a runtime, by the pod's spec and kubelet's rules."""

from __future__ import annotations

import asyncio

import msgspec

from orch.objects.pods import Pod
from orch_agent.network.sandbox import Sandbox
from orch_agent.pods.env_files import read_beneath
from orch_agent.pods.environment import Facts, expand, resolve
from orch_agent.pods.host import PodHost
from orch_agent.pods.naming import nodename_of
from orch_agent.pods.resources import limits_of
from orch_agent.pods.security import rights_of
from orch_agent.pods.slot import Role, Slot
from orch_agent.pods.static import is_static
from orch_agent.runtimes.protocol import ContainerSpec, Identity


class Specifications:
    """Says what containers shall be on one node."""

    def __init__(self, host: PodHost) -> None:
        self._host = host

    async def of(self, pod: Pod, slot: Slot, sandbox: Sandbox) -> ContainerSpec:
        """Return what the slot's next container shall be. Raises ConfigurationError."""
        host, container = self._host, slot.container
        facts = Facts(
            host_ip=host.host_ip,
            pod_ip=sandbox.address,
            allocatable=host.allocatable,
            files=self._read,
            services=await host.services.variables(pod, may_be_unknown=is_static(pod)),
        )
        variables = await resolve(pod, container, facts, host.reader)
        rights = await rights_of(pod, container, host.security, host.runtime.image_user)
        identity = Identity(
            node=host.node,
            namespace=pod.metadata.namespace,
            pod=pod.metadata.name,
            uid=pod.metadata.uid,
            container=container.name,
            attempt=slot.attempt + 1,
        )
        mounts = await host.files.prepare(pod.metadata.uid, container, identity.attempt)
        mounts += await host.volumes.mounts(pod, container, variables)
        mounts += host.network_files.mounts(pod, container, mounts)
        limits = limits_of(pod, container, host.groups.policy)
        return ContainerSpec(
            identity=identity,
            image=container.image,
            command=tuple(expand(part, variables) for part in container.command),
            args=tuple(expand(part, variables) for part in container.args),
            env=tuple(variables.items()),
            working_dir=container.working_dir,
            hostname=nodename_of(pod, host.node, host.settings.cluster_domain),
            network_namespace=sandbox.namespace,
            sandbox=sandbox.shared,
            limits=limits,
            **msgspec.structs.asdict(rights),
            stop_signal=container.lifecycle.stop_signal if container.lifecycle is not None else "",
            stdin=container.stdin,
            tty=container.tty,
            mounts=mounts,
            runs_to_completion=slot.role is Role.INIT,
            cgroup_parent=await host.groups.ensure(pod),
        )

    async def _read(self, pod: Pod, volume: str, path: str) -> str | None:
        """Return a file of a volume, None if either is not there. Raises EnvFileError."""
        folder = self._host.volumes.path(pod.metadata.uid, volume)
        return await asyncio.to_thread(read_beneath, folder, path) if folder is not None else None
