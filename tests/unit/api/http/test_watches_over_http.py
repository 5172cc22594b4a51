import pytest

NS = "/api/v1/namespaces/default"


def config_map(name, labels=None):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels or {}}}


@pytest.fixture
async def watching(http):
    """Begin watches that end with the test."""
    begun = []

    def begin(url, **headers):
        answer, task, leave = http.begin("GET", url, **headers)
        begun.append((task, leave))
        return answer

    yield begin
    for task, leave in begun:
        leave.set()
        await task


def told(answer):
    return [(event["type"], event["object"]["metadata"].get("name", "")) for event in answer.events]


async def test_current_state_then_changes(http, watching, eventually):
    await http("POST", f"{NS}/configmaps", config_map("a"))
    answer = watching(f"{NS}/configmaps?watch=1")
    await eventually(lambda: told(answer) == [("ADDED", "a")])
    await http("POST", f"{NS}/configmaps", config_map("b"))
    await http("PATCH", f"{NS}/configmaps/a", {"data": {"x": "y"}}, content_type="application/merge-patch+json")
    await http("DELETE", f"{NS}/configmaps/b")
    await eventually(lambda: len(answer.events) == 4)
    assert told(answer)[1:] == [("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b")]
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in answer.events]
    assert versions == sorted(versions)


async def test_from_a_version_nothing_is_skipped_or_repeated(http, watching, eventually):
    first = (await http("POST", f"{NS}/configmaps", config_map("a"))).json["metadata"]["resourceVersion"]
    await http("POST", f"{NS}/configmaps", config_map("b"))
    answer = watching(f"{NS}/configmaps?watch=1&resourceVersion={first}")
    await http("POST", f"{NS}/configmaps", config_map("c"))
    await eventually(lambda: len(answer.events) == 2)
    assert told(answer) == [("ADDED", "b"), ("ADDED", "c")]


async def test_selectors_turn_changes_into_additions_and_deletions(http, watching, eventually):
    await http("POST", f"{NS}/configmaps", config_map("a", {"x": "1"}))
    answer = watching(f"{NS}/configmaps?watch=1&labelSelector=x%3D1")

    async def label(value):
        body = {"metadata": {"labels": {"x": value}}}
        await http("PATCH", f"{NS}/configmaps/a", body, content_type="application/merge-patch+json")

    await eventually(lambda: len(answer.events) == 1)
    await label("2")
    await label("3")
    await label("1")
    await eventually(lambda: len(answer.events) == 3)
    assert told(answer) == [("ADDED", "a"), ("DELETED", "a"), ("ADDED", "a")]


async def test_a_streaming_list_ends_with_a_bookmark(http, watching, eventually):
    await http("POST", f"{NS}/configmaps", config_map("a"))
    query = "watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
    answer = watching(f"{NS}/configmaps?{query}")
    await eventually(lambda: len(answer.events) == 2)
    bookmark = answer.events[1]
    assert bookmark["type"] == "BOOKMARK"
    assert bookmark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert bookmark["object"]["kind"] == "ConfigMap"
    await http("POST", f"{NS}/configmaps", config_map("b"))
    await eventually(lambda: told(answer)[-1] == ("ADDED", "b"))


async def test_a_streaming_list_without_bookmarks_has_no_end(http, watching, eventually):
    await http("POST", f"{NS}/configmaps", config_map("a"))
    answer = watching(f"{NS}/configmaps?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan")
    await eventually(lambda: told(answer) == [("ADDED", "a")])
    await http("POST", f"{NS}/configmaps", config_map("b"))
    await eventually(lambda: told(answer) == [("ADDED", "a"), ("ADDED", "b")])


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("sendInitialEvents=true&allowWatchBookmarks=true", "resourceVersionMatch"),
        ("resourceVersionMatch=NotOlderThan&resourceVersion=1", "resourceVersionMatch"),
    ],
)
async def test_options_that_do_not_go_together(http, query, field):
    answer = await http("GET", f"{NS}/configmaps?watch=1&{query}")
    assert answer.status == 422
    assert answer.json["details"]["causes"][0]["field"] == field


async def test_one_object(http, watching, eventually):
    answer = watching(f"{NS}/configmaps?watch=1&fieldSelector=metadata.name%3Db")
    await http("POST", f"{NS}/configmaps", config_map("a"))
    await http("POST", f"{NS}/configmaps", config_map("b"))
    await eventually(lambda: told(answer) == [("ADDED", "b")])


async def test_rows_of_a_table(http, watching, eventually):
    await http("POST", f"{NS}/configmaps", config_map("a"))
    answer = watching(f"{NS}/configmaps?watch=1", accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    await eventually(lambda: len(answer.events) == 1)
    table = answer.events[0]["object"]
    assert table["kind"] == "Table"
    assert table["rows"][0]["cells"][0] == "a"


async def test_a_watch_ends_after_its_timeout(http):
    answer = await http("GET", f"{NS}/configmaps?watch=1&timeoutSeconds=1")
    assert answer.status == 200
    assert answer.ended


async def test_a_watch_ends_when_its_client_leaves(http, eventually):
    answer, task, leave = http.begin("GET", f"{NS}/configmaps?watch=1")
    await eventually(lambda: answer.status == 200)
    leave.set()
    await task


async def test_a_version_that_is_too_old(http, api):
    answer = await http("GET", f"{NS}/configmaps?watch=1&resourceVersion=1&timeoutSeconds=1")
    gone = answer.json if answer.status != 200 else answer.events[0]["object"]
    assert (gone["code"], gone["reason"]) == (410, "Expired")
    assert gone["message"].startswith("too old resource version: 1 (")
