"""What a kind of volume is to the node: the seam at which further kinds, persistent ones among them, are added."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Literal, ParamSpec, Protocol, TypeVar

import msgspec

from orch.errors import OrchError
from orch.objects.pods import Pod
from orch.objects.scheme import CONFIG_MAPS, SECRETS
from orch.objects.volumes import Volume

ParametersT = ParamSpec("ParametersT")
ResultT = TypeVar("ResultT")


class VolumeError(OrchError):
    """A volume cannot be set up or taken down now; the message is kubelet's, and goes into an event."""


class UnprocessedError(VolumeError):
    """What a volume is cannot even be said yet: its claim, for one, is not there."""


class Reference(msgspec.Struct, frozen=True, order=True):
    """An object whose content a volume shows; `resource` is "configmaps" or "secrets"."""

    resource: str
    namespace: str
    name: str


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """A volume that is set up.

    `path` is what containers see. `read_only`: they see it so, whatever their mounts say. At `stale_at` it is to be set
    up anew, if not an object that it refers to changes before. `image_id` is the image that it shows; with `image` the
    runtime mounts that by itself.
    """

    path: Path
    read_only: bool = False
    stale_at: datetime | None = None
    image: str = ""
    image_id: str = ""


def references_of(namespace: str, volume: Volume) -> frozenset[Reference]:
    """Return the objects whose content a volume shows."""
    projected = volume.projected.sources if volume.projected is not None else ()
    config_maps = [volume.config_map, *(part.config_map for part in projected)]
    names = [source.name for source in config_maps if source is not None]
    secrets = [volume.secret.secret_name] if volume.secret is not None else []
    secrets += [part.secret.name for part in projected if part.secret is not None]
    return frozenset(
        (
            *(Reference(CONFIG_MAPS.resource, namespace, name) for name in names),
            *(Reference(SECRETS.resource, namespace, name) for name in secrets),
        )
    )


def shows_pod(volume: Volume) -> bool:
    """Return whether a volume shows fields of the pod itself."""
    projected = volume.projected.sources if volume.projected is not None else ()
    return volume.downward_api is not None or any(part.downward_api is not None for part in projected)


class VolumePlugin(Protocol):
    """One kind of volume.

    `name` is Kubernetes' ("kubernetes.io/empty-dir"); `volatile` kinds have their folders in memory.
    """

    @property
    def name(self) -> str:
        """The kind's name."""
        ...

    @property
    def volatile(self) -> bool:
        """Whether the volume's folder must not be on a disk."""
        ...

    def handles(self, volume: Volume) -> bool:
        """Return whether a volume is of this kind."""
        ...

    async def set_up(self, pod: Pod, volume: Volume, folder: Path) -> Ready:
        """Bring the volume to what it shall be, at first, when it is stale, and after a restart of the agent.

        `folder` is the volume's own, and need not exist. Raises VolumeError; what exists stays then as it is.
        """
        ...

    async def tear_down(self, folder: Path) -> None:
        """Let go of a volume whose pod uses it no more, of which only the folder may be known.

        What is mounted below the folder is unmounted and the folder removed by who calls. Raises VolumeError.
        """
        ...


class Outlet(Protocol):
    """Where it is told what becomes of a pod's volumes."""

    def event(self, pod: Pod, container: str, kind: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        """Record an event about the pod."""
        ...


class NodeFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What volumes show or need of the node."""

    allocatable: Mapping[str, str]
    node: str = ""


async def in_thread(
    function: Callable[ParametersT, ResultT], *arguments: ParametersT.args, **named: ParametersT.kwargs
) -> ResultT:
    """Run what blocks in a thread. A cancelled call waits for it: nothing may write to folders behind one's back."""
    work = asyncio.ensure_future(asyncio.to_thread(function, *arguments, **named))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait((work,))
        raise
