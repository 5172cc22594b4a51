"""The AuthorizationConfiguration is taken up when its file changes; a bad one changes nothing and is counted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY
from role_feed import Feed

from orch.clock import ManualClock
from orch.errors import ConfigError
from orch_api.auth.attributes import Attributes
from orch_api.auth.authorizer import Authorizer
from orch_api.auth.identity import Caller
from orch_api.auth.vigil import Vigil
from orch_api.auth.webhook.following import PERIOD, ChainFile

JANE = Caller("jane", ("dev",))
GET = Attributes(verb="watch", version="v1", resource="pods", namespace="a")
RBAC, NODE = {"type": "RBAC", "name": "rbac"}, {"type": "Node", "name": "node"}
ALLOW, DENY = {"type": "AlwaysAllow", "name": "all"}, {"type": "AlwaysDeny", "name": "none"}


def reloads(status: str) -> float:
    name = "apiserver_authorization_config_controller_automatic_reloads_total"
    return REGISTRY.get_sample_value(name, {"status": status}) or 0


class Followed:
    def __init__(self, file: Path, clock: ManualClock) -> None:
        self.file = file
        self.clock = clock
        self.write(RBAC)
        self.follower = ChainFile(str(file), clock)
        self.authorizer = Authorizer(Feed(), self.follower.chain)  # pyright: ignore[reportArgumentType]
        self.vigil = Vigil(self.authorizer, clock)

    def write(self, *authorizers: Any) -> None:
        head = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthorizationConfiguration"}
        self.file.write_text(yaml.safe_dump({**head, "authorizers": list(authorizers)}))

    async def decision(self) -> str:
        await self.clock.advance(PERIOD + 1)
        return (await self.authorizer.judge(JANE, GET)).decision


@pytest.fixture
async def followed(tmp_path: Path) -> AsyncIterator[Followed]:
    made = Followed(tmp_path / "authorization.yaml", ManualClock())
    tasks = [asyncio.create_task(made.follower.run(made.authorizer)), asyncio.create_task(made.vigil.run())]
    await asyncio.sleep(0)
    yield made
    for task in tasks:
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks)


async def test_a_changed_file_counts_at_once_and_ends_watches(followed: Followed) -> None:
    assert await followed.decision() == "none"
    before = reloads("success")
    followed.write(ALLOW, RBAC)
    assert await followed.decision() == "allow"
    last = "apiserver_authorization_config_controller_automatic_reload_last_timestamp_seconds"
    assert REGISTRY.get_sample_value(last, {"status": "success"}) == pytest.approx(
        followed.clock.now().timestamp(), abs=PERIOD
    )
    with followed.vigil.over(JANE, GET) as standing:
        followed.write(DENY, RBAC)
        assert await followed.decision() == "deny"
        await followed.clock.advance(1)
        assert standing.revoked.is_set()
    assert await followed.decision() == "deny"
    assert reloads("success") == before + 2


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda one: one.file.write_text("authorizers: ["), "authorization.yaml"),
        (lambda one: one.file.unlink(), "No such file"),
        (lambda one: one.write(), "at least one authorization mode must be defined"),
        (lambda one: one.write(ALLOW), "Node and RBAC can be neither added nor removed"),
        (lambda one: one.write(ALLOW, NODE, RBAC), "Node and RBAC can be neither added nor removed"),
        (lambda one: one.write(RBAC, RBAC), "authorizers[1].type: there is another of the type RBAC"),
    ],
)
async def test_a_bad_file_changes_nothing_and_is_tried_again(
    followed: Followed, caplog: pytest.LogCaptureFixture, change: Callable[[Followed], Any], problem: str
) -> None:
    before = reloads("failure")
    change(followed)
    assert await followed.decision() == "none"
    assert reloads("failure") == before + 1
    assert "the authorization configuration stays as it was" in caplog.text
    assert problem in caplog.text
    followed.write(ALLOW, RBAC)
    assert await followed.decision() == "allow"


def test_a_bad_file_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="authorization_config_file"):
        ChainFile(str(tmp_path / "none"), ManualClock())
