"""Chunking and consistency of lists (sig-api-machinery: Servers with support for API chunking, list consistency)."""

from __future__ import annotations

import asyncio
from typing import Any

from expecting_client import Client

TEMPLATES = "/api/v1/namespaces/default/podtemplates"
TABLE = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
COUNT = 40


async def fill(api: Client) -> None:
    template = {"spec": {"containers": [{"name": "test", "image": "test2"}]}}
    await asyncio.gather(
        *(
            api.create(TEMPLATES, {"metadata": {"name": f"template-{number:04}"}, "template": template})
            for number in range(COUNT)
        )
    )


def check(page: dict[str, Any], found: int, version: str, limit: int) -> None:
    metadata = page["metadata"]
    assert len(page["items"]) <= limit
    assert metadata["resourceVersion"] == version
    for number, item in enumerate(page["items"], start=found):
        assert item["metadata"]["name"] == f"template-{number:04}"
    left = COUNT - found - len(page["items"])
    assert metadata.get("remainingItemCount", 0) == left
    assert bool(metadata.get("continue")) == bool(left)


async def test_chunks_are_parts_of_one_list(api: Client) -> None:
    await fill(api)
    for limit in (1, 7, 17, COUNT, COUNT + 5):
        page = await api.get(f"{TEMPLATES}?limit={limit}")
        version, found = page["metadata"]["resourceVersion"], 0
        check(page, 0, version, limit)
        while token := page["metadata"].get("continue"):
            found += len(page["items"])
            page = await api.get(f"{TEMPLATES}?limit={limit}&continue={token}")
            check(page, found, version, limit)
        assert found + len(page["items"]) == COUNT
    whole = await api.get(f"{TEMPLATES}?limit=0&resourceVersion={version}")
    check(whole, 0, version, COUNT)


async def test_chunks_of_tables(api: Client) -> None:
    await fill(api)
    first = await api("GET", f"{TEMPLATES}?limit=15", **TABLE)
    assert (len(first["rows"]), first["metadata"]["remainingItemCount"]) == (15, 25)
    token = first["metadata"]["continue"]
    second = await api("GET", f"{TEMPLATES}?continue={token}", **TABLE)
    assert len(second["rows"]) == 25
    assert "continue" not in second["metadata"]


async def test_an_expired_chunk_goes_on_inconsistently(api: Client) -> None:
    await fill(api)
    first = await api.get(f"{TEMPLATES}?limit=10")
    token = first["metadata"]["continue"]
    await api.delete(f"{TEMPLATES}/template-0005")
    await api.delete(f"{TEMPLATES}/template-0012")
    for number in range(70):  # so that nothing of the first list is remembered
        await api.create("/api/v1/namespaces/default/configmaps", {"metadata": {"name": f"map-{number}"}})
        await api.get(f"/api/v1/namespaces/default/configmaps?limit={max(number, 1)}")
    store = api.memory.store
    await store.compact(await store.revision())
    gone = await api.get(f"{TEMPLATES}?limit=10&continue={token}", expect=410)
    assert gone["reason"] == "Expired"
    assert "The provided continue parameter is too old to display a consistent list result" in gone["message"]
    again = gone["metadata"]["continue"]
    rest: list[str] = []
    while again:
        page = await api.get(f"{TEMPLATES}?limit=10&continue={again}")
        rest += [item["metadata"]["name"] for item in page["items"]]
        again = page["metadata"].get("continue", "")
    assert rest == [f"template-{number:04}" for number in range(10, COUNT) if number != 12]


async def test_lists_and_watches_tell_the_same(api: Client) -> None:
    """A list at a version, and the initial events of a watch up to it, are the same objects."""
    await fill(api)
    listed = await api.get(TEMPLATES)
    query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    async with api.watch(f"{TEMPLATES}?{query}") as watch:
        events = await watch.until(*["ADDED"] * COUNT, "BOOKMARK")
    assert [one["object"] for one in events[:COUNT]] == [
        {"kind": "PodTemplate", "apiVersion": "v1", **item} for item in listed["items"]
    ]
    assert events[-1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    version = listed["metadata"]["resourceVersion"]
    await api.delete(f"{TEMPLATES}/template-0001")
    exact = await api.get(f"{TEMPLATES}?resourceVersion={version}&resourceVersionMatch=Exact")
    assert exact == listed
