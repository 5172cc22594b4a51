"""The volumes of a node without a cluster: objects that a test changes, mounts that are only written down."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from orch.clock import ManualClock, rfc3339
from orch.errors import ApiError, NotFoundError
from orch.objects.pods import Pod
from orch_agent.runtimes.protocol import FoundImage, Mount
from orch_agent.volumes.node import NodeVolumes
from orch_agent.volumes.protocol import Reference
from orch_agent.volumes.upkeep import volumes_of


class WrittenMounts:
    """Remembers what would be mounted: (what, target), the oldest first."""

    def __init__(self) -> None:
        self.made: list[tuple[str, Path]] = []
        self.shared: list[Path] = []
        self.stuck: set[Path] = set()

    def below(self, folder: Path) -> list[Path]:
        return [target for _, target in self.made if target.is_relative_to(folder)]

    def tmpfs(self, target: Path, *, size: int = 0, mode: int = 0o755) -> None:
        self.made.append((f"tmpfs {size} {mode:o}", target))

    def huge_pages(self, target: Path, page_size: int) -> None:
        self.made.append((f"huge pages {page_size}", target))

    def overlay(self, target: Path, layers: Sequence[str]) -> None:
        self.made.append((f"overlay {':'.join(layers)}", target))

    def bind(self, source: int, target: Path, *, read_only: bool = False) -> None:
        assert target.exists()
        assert target.is_dir() == Path(f"/proc/self/fd/{source}").is_dir()
        self.made.append((f"{'ro' if read_only else 'rw'} {Path(f'/proc/self/fd/{source}').readlink()}", target))

    def share(self, target: Path) -> None:
        self.shared.append(target)

    def unmount(self, target: Path) -> None:
        if target not in self.stuck:
            index = max(index for index, (_, each) in enumerate(self.made) if each == target)
            del self.made[index]


class Api:
    """Objects by (resource, namespace, name), and a maker of tokens."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.asked: list[str] = []
        self.tokens: list[dict[str, Any]] = []
        self.refuses: ApiError | None = None
        self.version = 100

    def put(self, resource: str, name: str, namespace: str = "default", **content: Any) -> int:
        """Write an object; return its version."""
        self.version += 1
        meta = {"name": name, "namespace": namespace, "resourceVersion": str(self.version), "uid": f"uid-{name}"}
        self.objects[resource, namespace, name] = {"metadata": meta, **content}
        return self.version

    def config_map(self, name: str, **content: Any) -> int:
        data = {key: value for key, value in content.items() if isinstance(value, str)}
        return self.put("configmaps", name, data=data, immutable=content.get("immutable", False))

    def secret(self, name: str, **data: str) -> int:
        return self.put("secrets", name, data={key: _encoded(value) for key, value in data.items()})

    async def get(self, kind: Any, namespace: str, name: str) -> Any:
        self.asked.append(f"{kind.resource}/{name}")
        if self.refuses is not None:
            raise self.refuses
        found = self.objects.get((kind.resource, namespace, name))
        if found is None:
            raise NotFoundError.of(kind.resource, kind.group, name)
        return msgspec.convert(found, kind.view)

    async def list(self, kind: Any, namespace: str = "", *, label_selector: str = "", field_selector: str = "") -> Any:
        self.asked.append(f"{kind.resource}?{label_selector}&{field_selector}")
        found = [each for (resource, _, _), each in self.objects.items() if resource == kind.resource]
        return [msgspec.convert(each, kind.view) for each in found if each["metadata"]["namespace"] == namespace]

    async def create(
        self, kind: Any, namespace: str, body: Mapping[str, Any], *, name: str = "", subresource: str = ""
    ) -> Any:
        assert (kind.resource, subresource) == ("serviceaccounts", "token")
        if self.refuses is not None:
            raise self.refuses
        self.tokens.append({"namespace": namespace, "account": name, **body["spec"]})
        now, seconds = int(self.clock.now().timestamp()), body["spec"]["expirationSeconds"]
        claims = {"iat": now, "exp": now + seconds, "number": len(self.tokens)}
        payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
        end = rfc3339(self.clock.now() + timedelta(seconds=seconds))
        return msgspec.convert({"status": {"token": f"e30.{payload}.c2ln", "expirationTimestamp": end}}, kind.view)


class VolumeNode:
    """A node's volumes under a folder of the test's."""

    node = "node-1"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock()
        self.api = Api(self.clock)
        self.kernel = WrittenMounts()
        self.events: list[str] = []
        self.news: list[str] = []
        self.woken: list[str] = []
        self.layers: Mapping[str, Sequence[str]] = {}
        self.allocatable: Mapping[str, str] = {"cpu": "4", "memory": "1Gi"}
        self.runtime = self.images = self.outlet = self
        self.volumes = self.started_again()

    def started_again(self) -> NodeVolumes:
        """Return the volumes as another process finds them."""
        self.volumes = volumes_of(self, self.folder, self.api, self.kernel)
        self.volumes.wake = self.woken.append
        return self.volumes

    def event(self, pod: Pod, container: str, kind: str, reason: str, message: str) -> None:
        assert container == ""
        if kind == "Normal":
            self.news.append(message)
        else:
            assert reason == "FailedMount"
            self.events.append(message)

    async def find_image(self, image: str) -> FoundImage | None:
        return FoundImage(image, image) if image in self.layers else None

    async def ensure(self, pod: Pod, container: Any, tell: Any) -> FoundImage:
        tell("Normal", "Pulling", f'Pulling image "{container.image}"')
        return FoundImage(container.image, container.image)

    async def image_layers(self, image: str) -> Sequence[str]:
        return self.layers.get(image, ())

    def pod(self, *volumes: dict[str, Any], mounts: Any = None, meta: Any = None, uid: str = "u1", **spec: Any) -> Pod:
        """Return a pod whose only container mounts all of the volumes at /<name>, unless the test says otherwise."""
        if mounts is None:
            mounts = [{"name": each["name"], "mountPath": f"/{each['name']}"} for each in volumes]
        document = {
            "metadata": {"name": "web-1", "namespace": "default", "uid": uid, **(meta or {})},
            "spec": {"nodeName": self.node, "containers": [{"name": "web", "volumeMounts": mounts}], **spec},
        }
        document["spec"]["volumes"] = list(volumes)
        return msgspec.convert(document, Pod)

    async def mounts(self, pod: Pod, **variables: str) -> tuple[Mount, ...]:
        """Set the pod up and return what its container mounts."""
        assert await self.volumes.prepare(pod) is None, self.events
        return await self.volumes.mounts(pod, pod.spec.containers[0], variables)

    async def shown(self, pod: Pod, volume: str) -> Path:
        """Set the pod up and return what the container sees of one volume."""
        return next(Path(mount.source) for mount in await self.mounts(pod) if mount.target == f"/{volume}")

    @staticmethod
    def refer(resource: str, name: str) -> Reference:
        return Reference(resource, "default", name)


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def files_below(folder: Path) -> dict[str, str]:
    """Return what a reader sees: the content by path, without what begins with two dots."""
    found: dict[str, str] = {}
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith("..")]
        for name in names:
            path = Path(place) / name
            if not name.startswith(".."):
                found[str(path.relative_to(folder))] = path.read_text()
    return found
