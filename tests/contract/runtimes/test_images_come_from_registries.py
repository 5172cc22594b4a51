"""Pulls by real runtimes, from a registry that asks who it is, and that does not always keep what it promises."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from image_registry import HOST, PASSWORD, USER, ImageRegistry

from orch_agent.runtimes.protocol import Credentials, ImageError

IMAGE = "localhost/orch/behave:1"


@pytest.fixture(
    params=[pytest.param("podman", marks=pytest.mark.podman), pytest.param("cri", marks=pytest.mark.containerd)]
)
def lab(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(f"{request.param}_lab")


@pytest.fixture
def registry(lab: Any) -> Iterator[ImageRegistry]:
    with ImageRegistry(lab.namespace) as made:
        yield made


async def pull(lab: Any, image: str, **options: Any) -> Any:
    async with asyncio.timeout(30):
        return await lab.runtime.pull(image, **options)


async def test_an_image_is_named_by_the_digest_in_its_registry(lab: Any, registry: ImageRegistry) -> None:
    image = f"{HOST}/public/a:1"
    digest = registry.add("public/a", config={"User": "1234"})
    found = await pull(lab, image)
    assert found == await lab.runtime.find_image(image)
    assert found.ref == f"{HOST}/public/a@{digest}"
    assert found.id.startswith("sha256:")
    assert found.id != digest
    assert await lab.runtime.image_user(image) == "1234"
    assert await lab.runtime.find_image(f"{HOST}/public/a@{digest}") == found
    await lab.runtime.remove_image(found.id)
    assert await lab.runtime.find_image(image) is None


async def test_private_images_are_for_who_has_the_password(lab: Any, registry: ImageRegistry) -> None:
    image = f"{HOST}/private/b:1"
    registry.add("private/b")
    for credentials in (None, Credentials(USER, "wrong")):
        with pytest.raises(ImageError, match=r"(?i)unauthorized|authorization failed|denied"):
            await pull(lab, image, credentials=credentials)
    found = await pull(lab, image, credentials=Credentials(USER, PASSWORD))
    assert found.ref.startswith(f"{HOST}/private/b@sha256:")
    await lab.runtime.remove_image(found.id)


async def test_what_is_wrong_with_an_image_is_said(lab: Any, registry: ImageRegistry) -> None:
    registry.add("corrupt", corrupt=True)
    registry.add("elsewhere", architecture="s390x")
    with pytest.raises(ImageError, match=r"manifest unknown|not found"):
        await pull(lab, f"{HOST}/none:1")
    with pytest.raises(ImageError, match=r"did not match|does not match|unexpected commit digest"):
        await pull(lab, f"{HOST}/corrupt:1")
    with pytest.raises(ImageError, match=r"no image found in (manifest|image index).* amd64|no match for platform"):
        await pull(lab, f"{HOST}/elsewhere:1")
    with pytest.raises(ImageError, match="connection refused"):
        await pull(lab, "127.0.0.1:9/none:1")


async def test_containers_keep_knowing_what_they_were_made_from(lab: Any) -> None:
    found = await lab.runtime.find_image(IMAGE)
    named = msgspec.structs.replace(found, ref="localhost/orch/behave@sha256:0")
    made = await lab.runtime.create(lab.spec(found=named))
    for info in (await lab.inspect(made), *await lab.runtime.containers(lab.uid)):
        assert (info.id, info.image, info.image_id, info.image_ref) == (made, IMAGE, found.id, named.ref)


@pytest.mark.podman
async def test_podman_tells_how_far_a_pull_is(podman_lab: Any) -> None:
    said: list[tuple[int, int]] = []
    with ImageRegistry(podman_lab.namespace) as registry:
        registry.add("slow", slow=True, size=2_000_000)
        found = await pull(podman_lab, f"{HOST}/slow:1", on_progress=lambda *each: said.append(each))
    assert any(0 < done < total and total > 2_000_000 for done, total in said), said
    await podman_lab.runtime.remove_image(found.id)
