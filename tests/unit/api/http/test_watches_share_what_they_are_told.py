"""Watches of the same are told together: once they have caught up, as long as they keep up."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from orch_api.http.audience import FELL_BEHIND, MEMBERS, PUSH

PATH = "/api/v1/namespaces/default/configmaps"


class Client:
    """A watch over a connection that takes chunks at once, unless it is full."""

    def __init__(self, app: Any, connect: Any, url: str) -> None:
        self.chunks: list[bytes] = []
        self.full = False
        connection = connect(app)
        scope_of = connection.scope
        connection.scope = lambda *arguments: {**scope_of(*arguments), PUSH: self.push}
        self.answer, self.task, self.leave = connection.begin("GET", url)

    def push(self, chunk: bytes) -> bool:
        if self.full:
            return False
        size, _, rest = chunk.partition(b"\r\n")
        assert len(rest) == int(size, 16) + 2
        self.chunks.append(rest[:-2])
        return True

    @property
    def told(self) -> list[str]:
        """The names in all events, however they were sent, by version."""
        lines = (self.answer.body + b"".join(self.chunks)).split(b"\n")[:-1]
        events = sorted((json.loads(line) for line in lines), key=lambda one: int(_meta(one)["resourceVersion"]))
        return [f"{one['type']} {_meta(one)['name']}" for one in events if "name" in _meta(one)]

    async def end(self) -> None:
        self.leave.set()
        await self.task


def _meta(event: dict[str, Any]) -> dict[str, Any]:
    return event["object"]["metadata"]


@pytest.fixture
def watch(app: Any, http: Any) -> Any:
    return lambda query="": Client(app, type(http), f"{PATH}?watch=true&resourceVersion=0{query}")


def members() -> float:
    return MEMBERS._value.get()


async def make(http: Any, *names: str, **labels: str) -> None:
    for name in names:
        made = await http("POST", PATH, {"metadata": {"name": name, "labels": labels}})
        assert made.status == 201


async def test_all_are_told_everything_once(http: Any, watch: Any, eventually: Any) -> None:
    await make(http, "before")
    clients = [watch() for _ in range(5)]
    await eventually(lambda: members() == 5)
    await make(http, "a", "b", "c")
    late = watch()
    await make(http, "d")
    everything = ["ADDED before", "ADDED a", "ADDED b", "ADDED c", "ADDED d"]
    for client in (*clients, late):
        await eventually(lambda client=client: client.told == everything)
        await client.end()
    assert any(client.chunks for client in clients)
    await eventually(lambda: members() == 0)


async def test_selectors_keep_audiences_apart(http: Any, watch: Any, eventually: Any) -> None:
    red, blue = watch("&labelSelector=color=red"), watch("&labelSelector=color=blue")
    await eventually(lambda: members() == 2)
    await make(http, "r", color="red")
    await make(http, "b", color="blue")
    await eventually(lambda: (red.told, blue.told) == (["ADDED r"], ["ADDED b"]))
    await http(
        "PATCH", f"{PATH}/r", {"metadata": {"labels": {"color": "blue"}}}, content_type="application/merge-patch+json"
    )
    await eventually(lambda: red.told == ["ADDED r", "DELETED r"])
    await eventually(lambda: blue.told == ["ADDED b", "ADDED r"])
    await red.end()
    await blue.end()


async def test_who_does_not_keep_up_is_told_the_rest_alone(http: Any, watch: Any, eventually: Any) -> None:
    slow, quick = watch(), watch()
    await eventually(lambda: members() == 2)
    fell = FELL_BEHIND._value.get()
    slow.full = True
    await make(http, "a", "b")
    await eventually(lambda: quick.told == ["ADDED a", "ADDED b"])
    await eventually(lambda: slow.told == ["ADDED a", "ADDED b"])
    assert FELL_BEHIND._value.get() > fell
    slow.full = False
    await eventually(lambda: members() == 2)
    await make(http, "c")
    for client in (slow, quick):
        await eventually(lambda client=client: client.told == ["ADDED a", "ADDED b", "ADDED c"])
        await client.end()


async def test_watches_come_and_go_in_the_middle_of_changes(http: Any, watch: Any, eventually: Any) -> None:
    clients = []
    for number in range(30):
        clients.append(watch())
        await make(http, f"n{number:02}")
        if number % 3 == 2:
            await clients.pop(0).end()
        await asyncio.sleep(0)
    everything = [f"ADDED n{number:02}" for number in range(30)]
    for client in clients:
        await eventually(lambda client=client: client.told == everything)
        await client.end()
    await eventually(lambda: members() == 0)
