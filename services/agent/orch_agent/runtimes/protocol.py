"""What the agent needs of a container runtime. `podman` is the real one, `simulated` its twin.

One contract suite (tests/contract/runtimes) runs over both. A runtime knows containers and images; pods, restarts and
grace periods are the worker's business.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, Literal, Protocol

import msgspec

from orch.errors import OrchError
from orch.objects.pods import LinuxContainerUser
from orch_agent.stats.model import DiskUse, MemoryUse, Throttling

STDIN: Final = 0
STDOUT: Final = 1
STDERR: Final = 2

LABEL_NODE: Final = "orch.dev/node"
LABEL_NAMESPACE: Final = "orch.dev/pod-namespace"
LABEL_POD: Final = "orch.dev/pod-name"
LABEL_UID: Final = "orch.dev/pod-uid"
LABEL_CONTAINER: Final = "orch.dev/container-name"
LABEL_ATTEMPT: Final = "orch.dev/attempt"
LABEL_IMAGE: Final = "orch.dev/image"
LABEL_IMAGE_ID: Final = "orch.dev/image-id"
LABEL_IMAGE_REF: Final = "orch.dev/image-ref"
LABEL_GROUP: Final = "orch.dev/cgroup-parent"


class ContainerError(OrchError):
    """The runtime refused or failed an operation on a container; the message is the runtime's."""


class ImageError(OrchError):
    """An image cannot be had; the message is the runtime's."""


class Credentials(msgspec.Struct, frozen=True):
    """Who asks a registry for an image. Never shown."""

    username: str = ""
    password: str = ""

    def __repr__(self) -> str:
        """Return no secret."""
        return "Credentials(...)"


class FoundImage(msgspec.Struct, frozen=True, gc=False):
    """An image that is here. `ref` names it by the digest in its registry, or by its id if it came from none."""

    id: str
    ref: str
    size: int = 0


ProgressHandler = Callable[[int, int], None]
"""Called with how many bytes of an image have come, and of how many that are known of by then."""


class Identity(msgspec.Struct, frozen=True, gc=False):
    """Whose container it is. `attempt` counts from 0; each restart is a new container."""

    node: str
    namespace: str
    pod: str
    uid: str
    container: str
    attempt: int = 0

    def labels(self) -> dict[str, str]:
        """Return the labels that `from_labels` reads back."""
        return {
            LABEL_NODE: self.node,
            LABEL_NAMESPACE: self.namespace,
            LABEL_POD: self.pod,
            LABEL_UID: self.uid,
            LABEL_CONTAINER: self.container,
            LABEL_ATTEMPT: str(self.attempt),
        }

    @staticmethod
    def from_labels(labels: Mapping[str, str]) -> Identity | None:
        """Return the identity that a container's labels hold; None for a container that is not orch's."""
        if LABEL_UID not in labels or LABEL_CONTAINER not in labels:
            return None
        return Identity(
            node=labels.get(LABEL_NODE, ""),
            namespace=labels.get(LABEL_NAMESPACE, ""),
            pod=labels.get(LABEL_POD, ""),
            uid=labels[LABEL_UID],
            container=labels[LABEL_CONTAINER],
            attempt=int(labels.get(LABEL_ATTEMPT, "0")),
        )

    @property
    def runtime_name(self) -> str:
        """The container's name in the runtime, as dockershim used to write it."""
        return f"k8s_{self.container}_{self.pod}_{self.namespace}_{self.uid}_{self.attempt}"


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Cgroup settings. 0 means unlimited; quota and period in microseconds, memory in bytes.

    `memory_min` is kept for it, from `memory_high` on it is slowed down; both are known to cgroup v2 alone.
    """

    cpu_shares: int = 2
    cpu_quota: int = 0
    cpu_period: int = 100_000
    memory: int = 0
    memory_min: int = 0
    memory_high: int = 0
    pids: int = 0
    oom_score_adj: int = 0


Propagation = Literal["private", "slave", "shared"]


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """A file or folder of the node shown inside a container, with all that is mounted below it.

    `propagation`: what is mounted later is seen by neither side (private), by the container too (slave), or by both
    (shared). With `image` it is `image_path` in that image instead of `source`, for runtimes that mount images.
    """

    source: str
    target: str
    read_only: bool = False
    propagation: Propagation = "private"
    image: str = ""
    image_path: str = ""


UNCONFINED: Final = "unconfined"
"""In place of a profile's name or path: the kernel restrains nothing."""


class SandboxSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What all containers of a pod have in common, beside hostname and network; each container's spec repeats it.

    `handler` names the OCI runtime, "" the usual one; `privileged`: one of the containers is. A runtime that makes no
    namespaces for pods by itself is given paths of those that were made for it: `ipc_namespace` with `shared_memory`
    (what is at /dev/shm), and `process_namespace` when `shares_processes`.
    """

    handler: str = ""
    sysctls: tuple[tuple[str, str], ...] = ()
    host_processes: bool = False
    host_ipc: bool = False
    shares_processes: bool = False
    privileged: bool = False
    ipc_namespace: str = ""
    shared_memory: str = ""
    process_namespace: str = ""


class ContainerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a container shall be. An empty command or args is the image's own.

    `network_namespace` is a path, empty for the node's own network. `processes_of` is the id of the container whose
    processes this one shall see, empty for none but its own. `stop_signal` takes the place of the image's.
    `runs_to_completion` tells a simulation that nothing would ever come after this container unless it ends.
    `cgroup_parent` is the pod's control group, empty for the runtime's own choice. `found` is what `image` named when
    it was last looked for.

    Without `user` and `username` it is the image's, without `group` the user's own. Beside `supplemental_groups` the
    user is in those of the image's /etc/group, unless `only_these_groups`. `capabilities_added` and `_dropped` are
    names without CAP_, or "ALL"; what is both is dropped. `seccomp` is "" for the runtime's own profile, UNCONFINED, or
    a file of the node; `app_armor` likewise, or the name of a profile that is loaded. `unmasked` shows all of /proc.
    """

    identity: Identity
    image: str
    sandbox: SandboxSpec = SandboxSpec()
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    working_dir: str = ""
    hostname: str = ""
    network_namespace: str = ""
    processes_of: str = ""
    limits: Limits = Limits()
    user: int | None = None
    group: int | None = None
    username: str = ""
    supplemental_groups: tuple[int, ...] = ()
    only_these_groups: bool = False
    capabilities_added: tuple[str, ...] = ()
    capabilities_dropped: tuple[str, ...] = ()
    seccomp: str = ""
    app_armor: str = ""
    no_new_privileges: bool = False
    unmasked: bool = False
    privileged: bool = False
    read_only: bool = False
    stdin: bool = False
    tty: bool = False
    mounts: tuple[Mount, ...] = ()
    stop_signal: str = ""
    runs_to_completion: bool = False
    cgroup_parent: str = ""
    found: FoundImage | None = None


def image_labels(spec: ContainerSpec) -> dict[str, str]:
    """Return the labels by which a container's image is known when the image itself may be gone."""
    found = spec.found
    known = {LABEL_IMAGE_ID: found.id, LABEL_IMAGE_REF: found.ref} if found is not None else {}
    return {LABEL_IMAGE: spec.image, **known}


class State(enum.Enum):
    """Where a container is in its life."""

    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"


class ContainerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A container as the runtime sees it. Times are None until the moment has come.

    `image` is the name it was created by, `image_ref` what FoundImage says of it; `reason` is set when more is known of
    its end than the exit code says; `cgroup_parent` is what it was created with. `user`: as whom its first process was
    started, and `stop_signal` by its name, where the runtime tells that: an inspection may, a list need not.
    """

    id: str
    identity: Identity
    state: State
    image: str = ""
    image_id: str = ""
    image_ref: str = ""
    exit_code: int = 0
    oom_killed: bool = False
    started_at: datetime | None = None
    finished_at: datetime | None = None
    reason: str = ""
    message: str = ""
    cgroup_parent: str = ""
    user: LinuxContainerUser | None = None
    stop_signal: str = ""


class LogLine(msgspec.Struct, frozen=True, gc=False):
    """What a container wrote: a line with its newline, or a part of a very long one without.

    `time` is RFC 3339 with nanoseconds.
    """

    time: str
    stream: int
    data: bytes


class LogQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which lines. With `follow`, those to come as well, until the container ends. `tail` None: all there are."""

    follow: bool = False
    tail: int | None = None
    since: datetime | None = None


class ExecSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A command to run inside a running container. `whole`: its output may come as a whole, when it has ended."""

    command: tuple[str, ...]
    stdin: bool = False
    tty: bool = False
    whole: bool = False


class Session(Protocol):
    """The input and output of something that runs inside a container. With a terminal, all output is STDOUT."""

    async def write(self, data: bytes) -> None:
        """Feed its standard input."""
        ...

    async def end_input(self) -> None:
        """Close its standard input."""
        ...

    async def resize(self, width: int, height: int) -> None:
        """Set the size of its terminal."""
        ...

    def output(self) -> AsyncGenerator[tuple[int, bytes]]:
        """Yield what it writes as (STDOUT or STDERR, data) until it ends."""
        ...

    async def close(self) -> None:
        """Let go of it; its input and output are closed."""
        ...


class ExecSession(Session, Protocol):
    """A command that runs inside a container."""

    async def exit_code(self) -> int:
        """Return its exit code; to be asked once its output has ended."""
        ...

    async def kill(self) -> None:
        """End it by SIGKILL, without waiting for it; nothing if it has ended."""
        ...


class Usage(msgspec.Struct, frozen=True, gc=False):
    """What a container has used: CPU time since its start, and its memory's working set in bytes; more where known."""

    identity: Identity
    cpu_nanos: int
    memory_bytes: int
    id: str = ""
    memory: MemoryUse = MemoryUse()
    processes: int = 0
    throttling: Throttling = Throttling()


class Layers(msgspec.Struct, frozen=True, gc=False):
    """What a container, running or ended, takes of the disk: what it wrote into its own root, and its logs."""

    identity: Identity
    id: str
    layer: DiskUse
    logs: DiskUse


class StoredImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image that is here: all its names, those by digest among them. One that is `pinned` is not to be removed."""

    id: str
    names: tuple[str, ...] = ()
    size: int = 0
    pinned: bool = False


ChangeHandler = Callable[[str], None]
"""Called with the uid of a pod of which a container changed by itself; with "" when it could be any pod."""


class Features(msgspec.Struct, frozen=True, kw_only=True):
    """What not every runtime can. `handlers` are those of runtime classes, with "" for the usual one.

    `strict_groups`: it gives a container no groups of the image's where its pod does not want them.
    """

    handlers: tuple[str, ...] = ("",)
    strict_groups: bool = True


class Runtime(Protocol):
    """Runs containers on one node.

    Methods raise ContainerError or ImageError when the runtime refuses, UnavailableError when it cannot be reached.
    A cancelled create or start leaves a container that `containers` lists, or none.
    """

    async def run(self, on_change: ChangeHandler) -> None:
        """Watch the containers for ever and call `on_change`, from the event loop."""
        ...

    async def version(self) -> str:
        """Return name and version as in nodeInfo.containerRuntimeVersion: "podman://4.3.1"."""
        ...

    async def find_image(self, image: str) -> FoundImage | None:
        """Return an image that is here by its name, None when it is not."""
        ...

    async def image_user(self, image: str) -> str:
        """Return the user that an image's containers run as by default, "" for root."""
        ...

    async def pull(
        self,
        image: str,
        *,
        credentials: Credentials | None = None,
        on_progress: ProgressHandler | None = None,
    ) -> FoundImage:
        """Fetch an image. A runtime that knows how far it is says so. Raises ImageError."""
        ...

    async def create(self, spec: ContainerSpec) -> str:
        """Create a container and return its id."""
        ...

    async def start(self, container: str) -> None:
        """Start a created container."""
        ...

    async def terminate(self, container: str) -> None:
        """Ask a container to end by its stop signal (the image's, else SIGTERM); nothing if it has ended."""
        ...

    async def kill(self, container: str) -> None:
        """End a container by SIGKILL; nothing if it has ended."""
        ...

    async def remove(self, container: str) -> None:
        """Remove a container and its logs, ending it if it runs; nothing if it is gone."""
        ...

    async def containers(self, uid: str = "") -> Sequence[ContainerInfo]:
        """Return the containers of one pod, or ("") all that are orch's, in no order."""
        ...

    async def inspect(self, container: str) -> ContainerInfo | None:
        """Return the container's state, None when it is gone."""
        ...

    def logs(self, container: str, query: LogQuery) -> AsyncGenerator[Sequence[LogLine]]:
        """Yield what the container wrote, in order, as many lines at a time as are there."""
        ...

    async def log_file(self, container: str) -> Path | None:
        """Return the file that a container's log is written to now; None when it is gone or has none on a disk."""
        ...

    async def exec(self, container: str, spec: ExecSpec) -> ExecSession:
        """Run a command inside a running container."""
        ...

    async def attach(self, container: str, *, stdin: bool) -> Session:
        """Join a running container's own output from now on and, if it has one and `stdin` says so, its input.

        Closing that input is its end, as the container sees it.
        """
        ...

    async def usage(self) -> Sequence[Usage]:
        """Return what the running containers have used."""
        ...

    def usage_moves(self) -> bool:
        """Return whether the containers may use more or less than when this was asked last."""
        ...

    async def layers(self) -> Sequence[Layers]:
        """Return what the containers take of the disk. Measuring takes time: this is not to be asked each second."""
        ...

    async def resize(self, container: str, limits: Limits) -> None:
        """Let a running container use more or less from now on. Raises ContainerError."""
        ...

    async def images(self) -> Sequence[StoredImage]:
        """Return the images that are here."""
        ...

    async def remove_image(self, image: str) -> None:
        """Remove an image by its id, with all its names; nothing if it is gone. Raises ImageError when it is in use."""
        ...

    async def image_file_system(self) -> str:
        """Return a folder on the file system that holds images and containers' roots, "" for none."""
        ...
