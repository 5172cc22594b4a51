"""What a pod needs before its first container: its network, what its containers share, its files about names.

Every step can be repeated, also by another agent process: what stands is kept.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from orch import telemetry
from orch.errors import ApiError, BusError, NotFoundError, OrchError, UnavailableError
from orch.objects.pods import Pod
from orch.objects.scheme import RUNTIME_CLASSES
from orch_agent.network.sandbox import NetworkError, Sandbox
from orch_agent.pods.host import PodHost
from orch_agent.pods.namespaces import NamespaceError
from orch_agent.pods.naming import NamingError, nodename_of
from orch_agent.pods.sysctls import normalized
from orch_agent.runtimes.protocol import SandboxSpec


class SandboxError(OrchError):
    """A pod's sandbox cannot be had now; an event has said why."""


class PodSandboxes:
    """Makes and removes the sandboxes of one node's pods."""

    def __init__(self, host: PodHost) -> None:
        self._host = host

    async def make(self, pod: Pod) -> tuple[Sandbox, bool]:
        """Return the pod's sandbox, and whether containers that still run have lost what they shared.

        Raises SandboxError.
        """
        try:
            with telemetry.span("agent.create sandbox"):
                return await self._make(pod)
        except (NetworkError, NamespaceError, NamingError, SandboxError, OSError) as error:
            message = f"Failed to create pod sandbox: {error}"
            self._host.outlet.event(pod, "", "Warning", "FailedCreatePodSandBox", message)
            raise SandboxError(message) from error

    @staticmethod
    def stands(sandbox: Sandbox) -> bool:
        """Return whether the first process of a pod that shares its processes is still there."""
        path = sandbox.shared.process_namespace
        return not path or Path(path).exists()

    async def remove(self, pod: Pod) -> None:
        """Take the pod's sandbox away; nothing if there is none. Its files go with the pod's others.

        Raises SandboxError, NetworkError, NamespaceError.
        """
        await self._host.namespaces.remove(pod.metadata.uid)
        if not pod.spec.host_network:
            try:
                await self._host.sandboxes.remove(pod.metadata.uid)
            except OSError as error:  # what is known of addresses cannot be written: the disk is full
                raise SandboxError(f"the pod's sandbox cannot be removed: {error}") from error

    async def _make(self, pod: Pod) -> tuple[Sandbox, bool]:
        host, uid = self._host, pod.metadata.uid
        if pod.spec.host_users is False:
            raise SandboxError("can't set `spec.hostUsers: false`, runtime does not support user namespaces")
        nodename_of(pod, host.node, host.settings.cluster_domain)
        wanted = shared_by(pod, await self._handler(pod))
        if pod.spec.host_network:
            sandbox, cut_off = Sandbox(address=host.host_ip), False
        else:
            sandbox, cut_off = await host.sandboxes.ensure(uid)
        if cut_off:
            await host.namespaces.remove(uid)  # what was set, and runs, in a network that is gone
        group = await host.groups.ensure(pod) if wanted.shares_processes else ""
        shared, renewed = await host.namespaces.ensure(uid, wanted, sandbox.namespace, group)
        for complaint in await host.network_files.write(pod, sandbox.address):
            host.outlet.event(pod, "", "Warning", complaint.reason, complaint.message)
        lost_processes = renewed and wanted.shares_processes
        return msgspec.structs.replace(sandbox, shared=shared), cut_off or lost_processes

    async def _handler(self, pod: Pod) -> str:
        """Return the handler of the pod's runtime class, "" for the node's usual runtime. Raises SandboxError."""
        name = pod.spec.runtime_class_name
        if not name:
            return ""
        try:
            handler = (await self._host.reader.get(RUNTIME_CLASSES, "", name)).handler
        except NotFoundError as error:
            raise SandboxError(f'runtimeclass.node.k8s.io "{name}" not found') from error
        except (ApiError, BusError, UnavailableError) as error:
            raise SandboxError(f'runtimeclass.node.k8s.io "{name}" cannot be read: {error}') from error
        if self._host.handlers is not None and handler not in self._host.handlers:
            raise SandboxError(f'failed to get sandbox runtime: no runtime for "{handler}" is configured')
        return handler


def shared_by(pod: Pod, handler: str) -> SandboxSpec:
    """Return what the pod's containers are to have in common."""
    spec = pod.spec
    sysctls = spec.security_context.sysctls if spec.security_context is not None else ()
    return SandboxSpec(
        handler=handler,
        sysctls=tuple((normalized(each.name), each.value) for each in sysctls),
        host_processes=spec.host_pid,
        host_ipc=spec.host_ipc,
        shares_processes=spec.share_process_namespace and not spec.host_pid,
        privileged=any(
            each.security_context is not None and each.security_context.privileged
            for each in (*spec.init_containers, *spec.containers, *spec.ephemeral_containers)
        ),
    )
