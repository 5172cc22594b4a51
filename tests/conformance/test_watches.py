"""Watchers (sig-api-machinery: what a watch observes, resumes, restarts, orders)."""

from __future__ import annotations

import asyncio
from typing import Any

from expecting_client import Client

MAPS = "/api/v1/namespaces/default/configmaps"
LABEL = "watch-this-configmap"
PROTOBUF = {"accept": "application/vnd.kubernetes.protobuf;stream=watch,application/json"}


def labelled(value: str, name: str = "e2e-watch-test", **data: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {LABEL: value}}, "data": data}


async def test_additions_changes_and_deletions(api: Client) -> None:
    def where(selector: str) -> str:
        return f"{MAPS}?watch=true&labelSelector={LABEL}{selector}"

    async with (
        api.watch(where("=multiple-watchers-A")) as first,
        api.watch(where("=multiple-watchers-B")) as second,
        api.watch(where("+in+(multiple-watchers-A,multiple-watchers-B)")) as both,
    ):
        await api.create(MAPS, labelled("multiple-watchers-A", "a"))
        await api.patch(f"{MAPS}/a", {"data": {"mutation": "1"}})
        await api.patch(f"{MAPS}/a", {"data": {"mutation": "2"}})
        await api.delete(f"{MAPS}/a")
        events = await first.until("ADDED", "MODIFIED", "MODIFIED", "DELETED")
        assert [one["object"].get("data") for one in events] == [None, *({"mutation": n} for n in "122")]
        await api.create(MAPS, labelled("multiple-watchers-B", "b"))
        await api.delete(f"{MAPS}/b")
        await second.until("ADDED", "DELETED")
        await both.until("ADDED", "MODIFIED", "MODIFIED", "DELETED", "ADDED", "DELETED")
        assert first.told() == ["ADDED", "MODIFIED", "MODIFIED", "DELETED"]
        versions = [int(one["object"]["metadata"]["resourceVersion"]) for one in both.events]
        assert versions == sorted(set(versions))


async def test_a_watch_starts_at_a_version(api: Client) -> None:
    await api.create(MAPS, labelled("from-resource-version"))
    first = await api.patch(f"{MAPS}/e2e-watch-test", {"data": {"mutation": "1"}})
    await api.patch(f"{MAPS}/e2e-watch-test", {"data": {"mutation": "2"}})
    await api.delete(f"{MAPS}/e2e-watch-test")
    version = first["metadata"]["resourceVersion"]
    async with api.watch(f"{MAPS}?watch=1&resourceVersion={version}&labelSelector={LABEL}") as watch:
        events = await watch.until("MODIFIED", "DELETED")
    assert [one["object"]["data"] for one in events] == [{"mutation": "2"}] * 2


async def test_a_watch_restarts_where_another_ended(api: Client) -> None:
    async with api.watch(f"{MAPS}?watch=1&labelSelector={LABEL}=restarted") as watch:
        await api.create(MAPS, labelled("restarted"))
        await api.patch(f"{MAPS}/e2e-watch-test", {"data": {"mutation": "1"}})
        events = await watch.until("ADDED", "MODIFIED")
    await api.patch(f"{MAPS}/e2e-watch-test", {"data": {"mutation": "2"}})
    last = events[-1]["object"]["metadata"]["resourceVersion"]
    async with api.watch(f"{MAPS}?watch=1&labelSelector={LABEL}=restarted&resourceVersion={last}") as watch:
        await api.delete(f"{MAPS}/e2e-watch-test")
        events = await watch.until("MODIFIED", "DELETED")
    assert events[0]["object"]["data"] == {"mutation": "2"}


async def test_what_stops_matching_is_deleted_and_what_matches_again_is_added(api: Client) -> None:
    query = f"watch=1&labelSelector={LABEL}=label-changed-and-restored"
    path = f"{MAPS}/e2e-watch-test"
    async with api.watch(f"{MAPS}?{query}") as watch:
        await api.create(MAPS, labelled("label-changed-and-restored"))
        await api.patch(path, {"data": {"mutation": "1"}})
        await api.patch(path, {"metadata": {"labels": {LABEL: "wrong-value"}}})
        events = await watch.until("ADDED", "MODIFIED", "DELETED")
        assert events[-1]["object"]["data"] == {"mutation": "1"}
        assert events[-1]["object"]["metadata"]["labels"] == {LABEL: "label-changed-and-restored"}
        await api.patch(path, {"data": {"mutation": "2"}})
        await api.patch(path, {"metadata": {"labels": {LABEL: "label-changed-and-restored"}}})
        await api.patch(path, {"data": {"mutation": "3"}})
        await api.delete(path)
        events = await watch.until("ADDED", "MODIFIED", "DELETED", "ADDED", "MODIFIED", "DELETED")
        assert [one["object"]["data"]["mutation"] for one in events[3:]] == ["2", "3", "3"]


async def test_watches_from_any_version_see_one_order(api: Client) -> None:
    start = (await api.get(MAPS))["metadata"]["resourceVersion"]

    async def produce(worker: int) -> None:
        for number in range(5):
            path, name = f"{MAPS}/cm-{worker}-{number}", f"cm-{worker}-{number}"
            await api.create(MAPS, {"metadata": {"name": name}})
            await api.patch(path, {"data": {"n": "1"}})
            if number % 2:
                await api.delete(path)

    await asyncio.gather(*map(produce, range(4)))
    total = 4 * (5 + 5 + 2)

    async def observe(version: str, count: int) -> list[str]:
        async with api.watch(f"{MAPS}?watch=1&resourceVersion={version}") as watch:
            async with asyncio.timeout(10):
                while len(watch.events) < count:  # noqa: ASYNC110
                    await asyncio.sleep(0.002)
            return [one["object"]["metadata"]["resourceVersion"] for one in watch.events]

    order = await observe(start, total)
    assert len(set(order)) == total
    for skipped in (1, 7, total - 2):
        assert await observe(order[skipped - 1], total - skipped) == order[skipped:]


async def test_fields_select_what_is_watched(api: Client) -> None:
    async with api.watch(f"{MAPS}?watch=1&fieldSelector=metadata.name=b") as watch:
        for name in "abc":
            await api.create(MAPS, {"metadata": {"name": name}})
        (event,) = await watch.until("ADDED")
        assert event["object"]["metadata"]["name"] == "b"
    pods = "/api/v1/namespaces/default/pods"
    spec = {"containers": [{"name": "main", "image": "nginx"}]}
    async with api.watch(f"{pods}?watch=1&fieldSelector=spec.nodeName=n1") as watch:
        await api.create(pods, {"metadata": {"name": "p"}, "spec": spec})
        target = {"kind": "Node", "name": "n1"}
        await api.create(f"{pods}/p/binding", {"metadata": {"name": "p"}, "target": target})
        (event,) = await watch.until("ADDED")
        assert event["object"]["spec"]["nodeName"] == "n1"


async def test_what_is_too_old_is_said_in_every_form(api: Client) -> None:
    for number in range(10):
        await api.create(MAPS, {"metadata": {"name": f"m{number}"}})
    answer = await api.http("GET", f"{MAPS}?watch=1&resourceVersion=1", accept="application/json")
    document = answer.json if answer.status != 200 else answer.events[0]["object"]
    assert (document["kind"], document["code"], document["reason"]) == ("Status", 410, "Expired")
    assert "too old resource version: 1" in document["message"]
    answer = await api.http("GET", f"{MAPS}?watch=1&resourceVersion=1", **PROTOBUF)
    assert answer.status in {200, 410}
    assert b"too old resource version: 1" in answer.body


async def test_a_watch_ends_in_time(api: Client) -> None:
    async with api.watch(f"{MAPS}?watch=1&timeoutSeconds=1") as watch:
        assert await watch.ends() == []
