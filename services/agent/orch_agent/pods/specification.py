"""What a container of a pod shall be, in the words of a runtime, by the pod's spec and kubelet's rules."""

from __future__ import annotations

from orch.objects.pods import Container, Pod, SecurityContext
from orch_agent.network.sandbox import Sandbox
from orch_agent.pods.environment import ConfigurationError, Facts, expand, resolve
from orch_agent.pods.host import PodHost
from orch_agent.pods.naming import describe, hostname_of
from orch_agent.pods.resources import limits_of
from orch_agent.pods.slot import Role, Slot
from orch_agent.runtimes.protocol import ContainerSpec, Identity


class Specifications:
    """Says what containers shall be on one node."""

    def __init__(self, host: PodHost) -> None:
        self._host = host

    async def of(self, pod: Pod, slot: Slot, sandbox: Sandbox) -> ContainerSpec:
        """Return what the slot's next container shall be. Raises ConfigurationError."""
        host, container = self._host, slot.container
        facts = Facts(host_ip=host.host_ip, pod_ip=sandbox.address, allocatable=host.allocatable)
        variables = await resolve(pod, container, facts, host.reader)
        context = container.security_context or SecurityContext()
        of_pod = pod.spec.security_context or SecurityContext()
        user = context.run_as_user if context.run_as_user is not None else of_pod.run_as_user
        group = context.run_as_group if context.run_as_group is not None else of_pod.run_as_group
        if context.run_as_non_root or of_pod.run_as_non_root:
            await self._refuse_root(pod, container, user)
        groups = of_pod.supplemental_groups
        if of_pod.fs_group is not None:
            groups = (*groups, of_pod.fs_group)
        hostname = hostname_of(pod)
        identity = Identity(
            node=host.node,
            namespace=pod.metadata.namespace,
            pod=pod.metadata.name,
            uid=pod.metadata.uid,
            container=container.name,
            attempt=slot.attempt + 1,
        )
        mounts = await host.files.prepare(
            pod.metadata.uid, container, identity.attempt, address=sandbox.address, hostname=hostname or host.node
        )
        mounts += await host.volumes.mounts(pod, container, variables)
        limits = limits_of(pod, container, host.groups.policy)
        return ContainerSpec(
            identity=identity,
            image=container.image,
            command=tuple(expand(part, variables) for part in container.command),
            args=tuple(expand(part, variables) for part in container.args),
            env=tuple(variables.items()),
            working_dir=container.working_dir,
            hostname=hostname,
            network_namespace=sandbox.namespace,
            limits=limits,
            user=user,
            group=group,
            supplemental_groups=groups,
            privileged=context.privileged,
            read_only=context.read_only_root_filesystem,
            stop_signal=container.lifecycle.stop_signal if container.lifecycle is not None else "",
            stdin=container.stdin,
            tty=container.tty,
            mounts=mounts,
            runs_to_completion=slot.role is Role.INIT,
            cgroup_parent=await host.groups.ensure(pod),
        )

    async def _refuse_root(self, pod: Pod, container: Container, user: int | None) -> None:
        """Raise ConfigurationError when a container that must not run as root would (kubelet's verifyRunAsNonRoot)."""
        where = f'(pod: "{describe(pod)}", container: {container.name})'
        if user is not None:
            if user == 0:
                raise ConfigurationError(f"container's runAsUser breaks non-root policy {where}")
            return
        of_image = (await self._host.runtime.image_user(container.image)).partition(":")[0]
        if of_image in {"", "0", "root"}:
            raise ConfigurationError(f"container has runAsNonRoot and image will run as root {where}")
        if not of_image.isdecimal():
            raise ConfigurationError(
                f"container has runAsNonRoot and image has non-numeric user ({of_image}), "
                f"cannot verify user is non-root {where}"
            )
