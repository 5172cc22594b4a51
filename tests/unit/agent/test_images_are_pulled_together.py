"""Pulls on one node: shared, bounded, held back together, given up when nothing comes, with the pod's credentials."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from orch.clock import ManualClock
from orch.objects.pods import Container
from orch_agent.pods.images import ImageProblemError, Images, PullSettings, go_milliseconds
from orch_agent.runtimes.protocol import Credentials, FoundImage, ImageError, ProgressHandler

REFUSED = "dial tcp 127.0.0.1:9: connect: connection refused"


class Registry:
    """A runtime of which pulls end when the test says how."""

    def __init__(self) -> None:
        self.here: dict[str, FoundImage] = {}
        self.pulls: list[tuple[str, str, asyncio.Future[None], ProgressHandler]] = []

    async def find_image(self, image: str) -> FoundImage | None:
        return self.here.get(image)

    async def pull(
        self, image: str, *, credentials: Credentials | None = None, on_progress: ProgressHandler | None = None
    ) -> FoundImage:
        assert on_progress is not None
        end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.pulls.append((image, credentials.username if credentials is not None else "", end, on_progress))
        await end
        return self.here.setdefault(image, FoundImage(f"id of {image}", f"{image}@sha256:0", 42))

    @property
    def open(self) -> list[str]:
        return [image for image, _, end, _ in self.pulls if not end.done()]

    def end(self, problem: str = "") -> None:
        end = next(end for _, _, end, _ in self.pulls if not end.done())
        if problem:
            end.set_exception(ImageError(problem))
        else:
            end.set_result(None)


class Node:
    """A node's images, and the pods that want them."""

    def __init__(self, node: Any) -> None:
        self.clock = ManualClock()
        self.registry = Registry()
        self.secrets = node.objects
        self.pod: Callable[..., Any] = node.pod
        self.told: list[tuple[str, str, str]] = []
        settings = PullSettings(max_parallel=2, progress_timeout=60)
        self.images = Images(self.registry, self.secrets, self.clock, settings)  # type: ignore[arg-type]

    def want(self, image: str = "nginx", *secrets: str, policy: str = "") -> asyncio.Task[FoundImage]:
        pod = self.pod(imagePullSecrets=[{"name": each} for each in secrets])
        container = Container(name="web", image=image, image_pull_policy=policy)
        return asyncio.create_task(self.images.ensure(pod, container, lambda *event: self.told.append(event)))

    async def settle(self) -> None:
        for _ in range(5):
            await self.clock.advance(0)

    async def problem(self, task: asyncio.Task[FoundImage]) -> ImageProblemError:
        await self.settle()
        with pytest.raises(ImageProblemError) as caught:
            await task
        return caught.value

    def keep(self, name: str, kind: str = "kubernetes.io/dockerconfigjson", **auths: str) -> None:
        entries = {
            host.replace("_", "."): {"auth": base64.b64encode(f"{who}:pw".encode()).decode()}
            for host, who in auths.items()
        }
        content = base64.b64encode(json.dumps({"auths": entries}).encode()).decode()
        self.secrets.held["secrets", "default", name] = {"type": kind, "data": {".dockerconfigjson": content}}


@pytest.fixture
def images(node: Any) -> Node:
    return Node(node)


async def test_many_that_want_one_image_share_a_pull(images: Node) -> None:
    first, second = images.want(), images.want()
    await images.settle()
    assert images.registry.open == ["nginx"]
    await images.clock.advance(1.5)
    images.registry.end()
    assert await first == await second == FoundImage("id of nginx", "nginx@sha256:0", 42)
    message = 'Successfully pulled image "nginx" in 1.5s (1.5s including waiting). Image size: 42 bytes.'
    assert images.told.count(("Normal", "Pulled", message)) == 2


async def test_a_pull_goes_on_while_somebody_wants_it_and_not_longer(images: Node) -> None:
    first, second = images.want(), images.want()
    await images.settle()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert images.registry.open == ["nginx"]
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    await images.settle()
    assert images.registry.open == []
    third = images.want()
    await images.settle()
    images.registry.end()
    assert (await third).id == "id of nginx"


async def test_a_few_are_pulled_at_a_time(images: Node) -> None:
    wanted = [images.want(each) for each in ("a", "b", "c")]
    await images.settle()
    assert images.registry.open == ["a", "b"]
    await images.clock.advance(2)
    images.registry.end()
    await images.settle()
    assert images.registry.open == ["b", "c"]
    await images.clock.advance(1)
    images.registry.end()
    images.registry.end()
    await asyncio.gather(*wanted)
    assert any("in 1s (3s including waiting)" in message for *_, message in images.told)


async def test_a_failure_holds_all_back_longer_each_time(images: Node) -> None:
    delays: list[float] = []
    for _ in range(7):
        task = images.want(policy="Always")
        await images.settle()
        images.registry.end("manifest unknown")
        failed = await images.problem(task)
        assert (failed.reason, str(failed)) == ("ErrImagePull", "manifest unknown")
        held = await images.problem(images.want("docker.io/library/nginx:latest"))
        assert held.reason == "ImagePullBackOff"
        name = "docker.io/library/nginx:latest"
        assert str(held) == f'Back-off pulling image "{name}": ErrImagePull: manifest unknown'
        assert images.told[-1] == ("Normal", "BackOff", f'Back-off pulling image "{name}"')
        assert failed.until == held.until
        assert failed.until is not None
        delays.append((failed.until - images.clock.now()).total_seconds())
        await images.clock.advance(delays[-1])
    assert delays == [10, 20, 40, 80, 160, 300, 300]
    task = images.want()
    await images.settle()
    images.registry.end()
    await task
    again = images.want(policy="Always")
    await images.settle()
    images.registry.end("manifest unknown")
    assert (await images.problem(again)).until == images.clock.now() + timedelta(seconds=10)


async def test_others_credentials_failures_hold_nobody_else_back(images: Node) -> None:
    images.keep("mine", docker_io="ana")
    failing = images.want()
    await images.settle()
    images.registry.end("unauthorized: authentication required")
    assert (await images.problem(failing)).reason == "ErrImagePull"
    task = images.want("nginx", "mine")
    await images.settle()
    assert images.registry.pulls[-1][1] == "ana"
    images.registry.end()
    await task


async def test_all_credentials_that_fit_are_tried_the_most_specific_first(images: Node) -> None:
    images.keep("wide", docker_io="wide")
    images.secrets.held["secrets", "default", "narrow"] = {
        "type": "kubernetes.io/dockercfg",
        "data": {
            ".dockercfg": base64.b64encode(
                b'{"docker.io/library": {"username": "narrow", "password": "x"}, "gcr.io": {"username": "no"}}'
            ).decode()
        },
    }
    task = images.want("nginx", "wide", "narrow")
    await images.settle()
    images.registry.end("unauthorized")
    await images.settle()
    images.registry.end("denied")
    failed = await images.problem(task)
    assert [who for _, who, *_ in images.registry.pulls] == ["narrow", "wide"]
    assert str(failed) == "[unauthorized, denied]"


async def test_secrets_that_are_missing_or_broken_are_told_and_done_without(images: Node) -> None:
    images.secrets.held["secrets", "default", "broken"] = {
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": "hunter2"},
    }
    task = images.want("nginx", "none", "broken", "nor-this")
    await images.settle()
    images.registry.end()
    await task
    complaints = [message for _, reason, message in images.told if reason == "FailedToRetrieveImagePullSecret"]
    assert complaints == [
        "Unable to retrieve some image pull secrets (none, nor-this); attempting to pull the image may not succeed.",
        'Image pull secret "broken" is of no use: its .dockerconfigjson cannot be read',
    ]


@pytest.mark.parametrize(
    ("words", "reason", "message"),
    [
        (
            "RegistryUnavailable: it sleeps",
            "RegistryUnavailable",
            "image pull failed for nginx because the registry is unavailable: it sleeps",
        ),
        (
            REFUSED,
            "RegistryUnavailable",
            f"image pull failed for nginx because the registry is unavailable: {REFUSED}",
        ),
        (
            "SignatureValidationFailed: unsigned",
            "SignatureValidationFailed",
            "image pull failed for nginx because the signature validation failed: unsigned",
        ),
        ("no image found in manifest list", "ErrImagePull", "no image found in manifest list"),
    ],
)
async def test_failures_have_kubelets_names(images: Node, words: str, reason: str, message: str) -> None:
    task = images.want()
    await images.settle()
    images.registry.end(words)
    failed = await images.problem(task)
    assert (failed.reason, str(failed)) == (reason, message)
    assert ("Warning", "Failed", f'Failed to pull image "nginx": {words}') in images.told


async def test_how_far_a_pull_is_is_told_now_and_then(images: Node) -> None:
    task = images.want()
    await images.settle()
    on_progress = images.registry.pulls[0][3]
    for second in range(50):
        on_progress(second * 1_000_000, 60_000_000)
        await images.clock.advance(1)
    said = [message for _, reason, message in images.told if reason == "Pulling"]
    assert said == [
        'Pulling image "nginx"',
        'Pulling image "nginx": 14.0 of 60.0 MB in 15s',
        'Pulling image "nginx": 44.0 of 60.0 MB in 45s',
    ]
    images.registry.end()
    await task


async def test_a_pull_of_which_nothing_comes_is_given_up(images: Node) -> None:
    task = images.want()
    await images.settle()
    on_progress = images.registry.pulls[0][3]
    on_progress(5_000_000, 60_000_000)
    for _ in range(70):
        await images.clock.advance(1)
        on_progress(9_000_000, 60_000_000)
    for _ in range(120):
        await images.clock.advance(1)
    failed = await images.problem(task)
    assert failed.reason == "ErrImagePull"
    assert "nothing of it came for 60s (9.0 of 60.0 MB in" in str(failed)
    assert images.registry.open == []


async def test_a_runtime_that_tells_nothing_is_waited_for(images: Node) -> None:
    task = images.want()
    await images.settle()
    for _ in range(20):
        await images.clock.advance(60)
    assert not task.done()
    images.registry.end()
    await task
    assert ("Normal", "Pulling", 'Pulling image "nginx": 15s so far') in images.told


def test_durations_are_shown_as_go_shows_them() -> None:
    assert [go_milliseconds(each) for each in (0, 0.25, 1, 1.5, 61.25)] == ["0s", "250ms", "1s", "1.5s", "1m1.25s"]
