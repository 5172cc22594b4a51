"""An image that was pulled with credentials is for pods that bring them, also when it is here already."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orch.clock import ManualClock
from orch.errors import ConfigError
from orch.objects.pods import Container
from orch_agent.pods.image_access import AccessSettings, Policy
from orch_agent.pods.images import ImageProblemError, Images, PullSettings
from orch_agent.runtimes.protocol import Credentials, FoundImage, ImageError, StoredImage

PRIVATE = "registry.example/team/app:1"
PRESENT = 'Container image "{}" already present on machine and can be accessed by the pod'


class Registry:
    """A runtime over a registry that gives `team/…` to ana and ben alone; it is counted what it is asked."""

    def __init__(self) -> None:
        self.here: dict[str, FoundImage] = {}
        self.asked: list[str] = []
        self.broken = ""
        self.hangs = asyncio.Event()
        self.hangs.set()

    async def find_image(self, image: str) -> FoundImage | None:
        return self.here.get(image)

    async def pull(self, image: str, *, credentials: Credentials | None = None, on_progress: Any = None) -> FoundImage:
        self.asked.append(credentials.username if credentials is not None else "")
        await self.hangs.wait()
        if self.broken:
            raise ImageError(self.broken)
        if "/team/" in image and self.asked[-1] not in {"ana", "ben"}:
            raise ImageError("unauthorized")
        return self.here.setdefault(image, FoundImage(f"id of {image}", f"{image}@sha256:0", 42))

    async def images(self) -> list[StoredImage]:
        return [StoredImage(id=each.id) for each in self.here.values()]


class Node:
    """The images of a node whose agent can be started anew."""

    def __init__(self, node: Any, file: Path | None = None) -> None:
        self.node = node
        self.file = file
        self.clock = ManualClock()
        self.registry = Registry()
        self.told: list[str] = []
        self.restart()
        for who in ("ana", "ben", "eve"):
            self.keep(who, who)

    def restart(self, policy: Policy = "NeverVerifyPreloadedImages", *allowlist: str) -> None:
        settings = PullSettings(credentials=AccessSettings(policy=policy, allowlist=allowlist))
        self.images = Images(self.registry, self.node.objects, self.clock, settings, records=self.file)  # type: ignore[arg-type]

    def keep(self, name: str, who: str) -> None:
        auth = {"registry.example": {"auth": base64.b64encode(f"{who}:secret-of-{who}".encode()).decode()}}
        content = base64.b64encode(json.dumps({"auths": auth}).encode()).decode()
        kind = "kubernetes.io/dockerconfigjson"
        self.node.objects.held["secrets", "default", name] = {"type": kind, "data": {".dockerconfigjson": content}}

    async def want(self, *secrets: str, image: str = PRIVATE, policy: str = "", **pod: Any) -> str:
        """Return the last that was told, or the reason why there is no image."""
        made = self.node.pod(imagePullSecrets=[{"name": each} for each in secrets], **pod)
        container = Container(name="web", image=image, image_pull_policy=policy)
        try:
            await self.images.ensure(made, container, lambda _kind, _reason, message: self.told.append(message))
        except ImageProblemError as error:
            return error.reason
        return self.told[-1]


@pytest.fixture
def images(node: Any, tmp_path: Path) -> Node:
    return Node(node, tmp_path / "pulled-images.json")


async def test_it_is_for_those_alone_that_bring_its_credentials(images: Node) -> None:
    assert (await images.want("ana")).startswith("Successfully pulled")
    assert await images.want("ana") == PRESENT.format(PRIVATE)
    images.keep("copy", "ana")
    assert await images.want("eve", "copy") == PRESENT.format(PRIVATE)
    assert images.registry.asked == ["ana"]
    assert await images.want() == "ErrImagePull"
    assert await images.want("eve") == "ErrImagePull"
    assert await images.want(policy="Never") == "ErrImageNeverPull"
    assert images.told[-1].endswith("does not have the proper credentials to be used")
    assert (await images.want("ben")).startswith("Successfully pulled")
    assert await images.want("ben", policy="Never") == PRESENT.format(PRIVATE)


async def test_what_nobody_needs_credentials_for_is_for_all(images: Node) -> None:
    free = "registry.example/free:1"
    await images.want("ana", image=free)
    assert (await images.want(image=free)).startswith("Successfully pulled")
    assert await images.want("eve", image=free) == PRESENT.format(free)
    assert images.registry.asked == ["ana", ""]


async def test_what_was_here_before_is_for_all_unless_the_policy_says_otherwise(images: Node) -> None:
    images.registry.here[PRIVATE] = FoundImage("brought", "brought", 1)
    assert await images.want() == PRESENT.format(PRIVATE)
    images.restart("AlwaysVerify")
    assert await images.want() == "ErrImagePull"
    images.restart("NeverVerifyAllowlistedImages", "registry.example/team/*")
    assert await images.want() == PRESENT.format(PRIVATE)
    images.restart("NeverVerifyAllowlistedImages", "registry.example/team", "registry.example/team/ap")
    assert await images.want() == "ErrImagePull"
    images.restart("NeverVerifyAllowlistedImages", "registry.example/team/app")
    assert await images.want() == PRESENT.format(PRIVATE)


async def test_nothing_is_asked_when_nothing_is_to_be_verified(images: Node) -> None:
    images.restart("NeverVerify")
    await images.want("ana")
    assert await images.want() == PRESENT.format(PRIVATE)
    assert images.file is not None
    assert not images.file.exists()


async def test_a_new_process_knows_it_and_the_file_holds_no_secret(images: Node) -> None:
    await images.want("ana")
    images.restart()
    assert await images.want("ana") == PRESENT.format(PRIVATE)
    assert await images.want() == "ErrImagePull"
    assert images.file is not None
    assert "ana" not in images.file.read_text()
    assert images.file.stat().st_mode & 0o777 == 0o600


async def test_a_pull_whose_end_nobody_saw_leaves_nothing_for_all(images: Node) -> None:
    images.registry.hangs.clear()
    pulling = asyncio.create_task(images.want("ana"))
    while not images.registry.asked:  # noqa: ASYNC110 - files are written in threads: there is no one event
        await asyncio.sleep(0)
    pulling.cancel()
    await asyncio.gather(pulling, return_exceptions=True)
    images.registry.here[PRIVATE] = FoundImage("it came", "it came", 1)
    images.registry.hangs.set()
    for _ in range(2):
        assert await images.want() == "ErrImagePull"
        await images.clock.advance(600)
        images.restart()
    assert (await images.want("ana")).startswith("Successfully pulled")


async def test_a_file_that_cannot_be_read_opens_nothing(images: Node) -> None:
    await images.want("ana")
    assert images.file is not None
    images.file.write_text("{")
    images.restart()
    assert await images.want() == "ErrImagePull"
    assert (await images.want("ana")).startswith("Successfully pulled")


async def test_a_pull_that_cannot_be_noted_is_none(images: Node) -> None:
    assert images.file is not None
    images.file.with_suffix(".new").mkdir()
    assert await images.want("ana") == "ErrImagePull"
    assert images.registry.asked == []


async def test_a_container_that_has_run_an_image_goes_on_with_it(images: Node) -> None:
    await images.want("ana")
    known = images.registry.here[PRIVATE].ref
    status = {"containerStatuses": [{"name": "web", "imageID": known}]}
    images.node.objects.held.clear()
    assert await images.want("ana", status=status) == PRESENT.format(PRIVATE)
    other = {"containerStatuses": [{"name": "other", "imageID": known}]}
    assert await images.want("ana", status=other) == "ErrImagePull"


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (AccessSettings(allowlist=("a",)), "NeverVerifyAllowlistedImages alone"),
        (AccessSettings(policy="NeverVerifyAllowlistedImages", allowlist=("a", "b:1")), r"allowlist\[1\]: must be"),
        (AccessSettings(policy="NeverVerifyAllowlistedImages", allowlist=("*",)), "must be"),
        (AccessSettings(policy="NeverVerifyAllowlistedImages", allowlist=("a/b*",)), "must be"),
        (AccessSettings(policy="NeverVerifyAllowlistedImages", allowlist=("a@sha256:00",)), "must be"),
    ],
)
def test_settings_that_cannot_be_meant_are_told(settings: AccessSettings, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        msgspec.structs.replace(PullSettings(), credentials=settings).check("pods.pulls")
