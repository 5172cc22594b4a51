from __future__ import annotations

from typing import Any

import pytest

from orch.objects.pods import Container
from orch_agent.pods.images import pull_policy


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1.27", "IfNotPresent"),
        ("localhost:5000/nginx", "Always"),
        ("nginx@sha256:abc", "IfNotPresent"),
    ],
)
def test_the_default_depends_on_the_tag(image: str, policy: str) -> None:
    assert pull_policy(Container(image=image)) == policy


async def test_an_image_that_is_here_is_not_pulled_again(node: Any) -> None:
    await node.runtime.pull("nginx:1")
    async with node.running(node.pod()):
        words = 'Container image "nginx:1" already present on machine and can be accessed by the pod'
        assert ("Pulled", words) in node.told.events


async def test_never_means_that_a_missing_image_is_an_error(node: Any) -> None:
    async with node.running(node.pod({"name": "web", "imagePullPolicy": "Never"})):
        waiting = node.told.container("web")["state"]["waiting"]
        assert waiting["reason"] == "ErrImageNeverPull"
        assert node.told.status["phase"] == "Pending"


async def test_what_is_no_image_name_is_not_pulled(node: Any) -> None:
    async with node.running(node.pod({"name": "web", "image": "Not An Image"})):
        waiting = node.told.container("web")["state"]["waiting"]
        assert waiting["reason"] == "InvalidImageName"
        assert "invalid reference format" in waiting["message"]
        assert "Pulling" not in [reason for reason, _ in node.told.events]


@pytest.mark.parametrize(
    "image",
    [
        "nginx",
        "docker.io/library/nginx:1.27-alpine_x",
        "localhost:5000/a/b__c/d-e.f",
        "[::1]:5000/a",
        "Registry.Example/a@sha256:" + "0" * 64,
    ],
)
async def test_what_is_an_image_name_is_pulled(node: Any, image: str) -> None:
    async with node.running(node.pod({"name": "web", "image": image})):
        assert "Pulled" in [reason for reason, _ in node.told.events]


async def test_a_failed_pull_backs_off(node: Any) -> None:
    async with node.running(node.pod({"name": "web", "image": "nginx:missing"})):
        told = node.told
        assert told.container("web")["state"]["waiting"]["reason"] == "ErrImagePull"
        await node.clock.advance(3)
        assert told.container("web")["state"]["waiting"]["reason"] == "ImagePullBackOff"
        pulls = [reason for reason, _ in told.events].count("Pulling")
        await node.clock.advance(6)
        assert [reason for reason, _ in told.events].count("Pulling") == pulls
        await node.clock.advance(2)
        assert [reason for reason, _ in told.events].count("Pulling") == pulls + 1
        assert ("BackOff", 'Back-off pulling image "nginx:missing"') in told.events
