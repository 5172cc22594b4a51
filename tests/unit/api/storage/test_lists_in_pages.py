import base64
import json

import pytest

from orch import errors
from orch.errors import BadRequestError, ExpiredError, InvalidError
from orch_api.registry import REGISTRY
from orch_api.storage import read
from orch_api.storage.read import ListOptions, Reader

CONFIGMAPS = REGISTRY.stored("", "configmaps")
PODS = REGISTRY.stored("", "pods")


@pytest.fixture
def reader(store, cache):
    return Reader(store, cache)


async def pages(reader, *, namespace="default", between=None, **options):
    """Return the names of each page, calling `between` after each."""
    found = []
    token = ""
    while True:
        page = await reader.list_page(CONFIGMAPS, namespace, ListOptions(continue_token=token, **options))
        found.append(
            [f"{item.key.namespace}/{item.key.name}" if not namespace else item.key.name for item in page.items]
        )
        token = page.continue_token
        if not token:
            return found
        if between is not None:
            await between()


async def test_a_list_is_consistent_and_carries_the_version_of_the_store(reader, objects, cache):
    version = await objects.put("a")
    page = await reader.list_page(CONFIGMAPS, "default", ListOptions())
    assert [item.key.name for item in page.items] == ["a"]
    assert page.version >= version
    assert page.remaining is None


async def test_pages_cover_everything_once(reader, objects):
    for n in range(7):
        await objects.put(f"c{n}")
    assert await pages(reader, limit=3) == [["c0", "c1", "c2"], ["c3", "c4", "c5"], ["c6"]]
    assert await pages(reader, limit=7) == [[f"c{n}" for n in range(7)]]


async def test_the_first_page_says_how_many_remain_unless_there_is_a_selector(reader, objects):
    for n in range(7):
        await objects.put(f"c{n}", labels={"x": "y"})
    page = await reader.list_page(CONFIGMAPS, "default", ListOptions(limit=3))
    assert page.remaining == 4
    page = await reader.list_page(CONFIGMAPS, "default", ListOptions(limit=3, label_selector="x=y"))
    assert page.remaining is None
    assert page.continue_token


@pytest.mark.parametrize("kept", [0, 16])
async def test_pages_show_the_state_of_the_first_page(reader, objects, cache, monkeypatch, kept):
    monkeypatch.setattr(read, "_SNAPSHOTS", kept)
    for namespace in ("a", "b", "b-c"):
        for n in range(3):
            await objects.put(f"c{n}", namespace)
    count = iter(range(100))

    async def disturb():
        n = next(count)
        await objects.put(f"new{n}", "b")
        await objects.remove("c2", ("a", "b", "b-c")[n % 3])
        await cache.catch_up()

    found = await pages(reader, namespace="", limit=2, between=disturb)
    expected = [f"{namespace}/c{n}" for namespace in ("a", "b-c", "b") for n in range(3)]
    assert [name for page in found for name in page] == expected
    assert [len(page) for page in found] == [2, 2, 2, 2, 1]


@pytest.mark.parametrize("kept", [0, 16])
async def test_pages_of_a_selection_skip_what_is_not_selected(reader, objects, cache, monkeypatch, kept):
    monkeypatch.setattr(read, "_SNAPSHOTS", kept)
    monkeypatch.setattr(read, "_RANGE_PAGE", 2)
    for n in range(9):
        await objects.put(f"c{n}", labels={"odd": str(n % 2)})

    async def disturb():
        await objects.put("other")
        await cache.catch_up()

    assert await pages(reader, limit=2, label_selector="odd=1", between=disturb) == [["c1", "c3"], ["c5", "c7"]]


async def test_pages_end_early_when_they_grow_large(reader, objects):
    for n in range(4):
        await objects.put(f"c{n}", data={"x": "y" * 1000})
    assert await pages(reader, limit=3, max_bytes=2500) == [["c0", "c1"], ["c2", "c3"]]


async def test_a_token_from_before_the_compaction_is_expired(reader, objects, cache, store, monkeypatch):
    monkeypatch.setattr(read, "_SNAPSHOTS", 0)
    for n in range(4):
        await objects.put(f"c{n}")
    first = await reader.list_page(CONFIGMAPS, "default", ListOptions(limit=2))
    await objects.put("new")
    await cache.catch_up()
    await objects.put("newer")
    await store.compact(await store.revision())
    with pytest.raises(ExpiredError, match="The provided continue parameter is too old"):
        await reader.list_page(CONFIGMAPS, "default", ListOptions(limit=2, continue_token=first.continue_token))


@pytest.mark.parametrize("token", ["nonsense", "e30", "!!", "eyJ2IjoieCIsInJ2IjoxLCJzdGFydCI6ImEifQ"])
async def test_a_token_that_is_not_ours_is_refused(reader, token):
    with pytest.raises(BadRequestError, match="continue key is not valid"):
        await reader.list_page(CONFIGMAPS, "default", ListOptions(limit=2, continue_token=token))


def forged(version: int, start: str) -> str:
    token = {"v": "meta.k8s.io/v1", "rv": version, "start": start}
    return base64.urlsafe_b64encode(json.dumps(token).encode()).decode()


@pytest.mark.parametrize("start", ["../secrets/", "/a", "a//b"])
async def test_a_token_that_leads_elsewhere_is_refused(reader, start):
    with pytest.raises(BadRequestError, match="continue key is not valid"):
        await reader.list_page(CONFIGMAPS, "default", ListOptions(continue_token=forged(1024, start)))


async def test_a_version_before_the_first_is_not_taken_for_the_latest(reader, objects):
    await objects.put("a")
    with pytest.raises(ExpiredError):
        await reader.list_page(CONFIGMAPS, "default", ListOptions(continue_token=forged(1, "a")))
    with pytest.raises(ExpiredError):
        await reader.list_page(CONFIGMAPS, "default", ListOptions(resource_version="1", match="Exact", limit=1))


async def test_a_token_from_the_future_is_waited_for(reader, cache, monkeypatch):
    monkeypatch.setattr(cache.wait_for.__func__, "__defaults__", (0.01,))
    with pytest.raises(errors.TimeoutError, match="Too large resource version"):
        await reader.list_page(CONFIGMAPS, "default", ListOptions(continue_token=forged(1 << 50, "a")))


async def test_version_zero_is_answered_at_once(reader, cache, store, monkeypatch):
    async def unreachable():
        raise AssertionError("the store was asked")

    monkeypatch.setattr(store, "revision", unreachable)
    page = await reader.list_page(CONFIGMAPS, "default", ListOptions(resource_version="0"))
    assert page.version == cache.version


async def test_an_exact_version_shows_the_past(reader, objects, cache):
    version = await objects.put("a", data={"x": "1"})
    await objects.put("a", data={"x": "2"})
    await objects.put("b")
    await cache.catch_up()
    for options in ({"match": "Exact"}, {"limit": 5}):
        page = await reader.list_page(CONFIGMAPS, "default", ListOptions(resource_version=str(version), **options))
        assert [json.loads(item.json)["data"] for item in page.items] == [{"x": "1"}]
        assert page.version == version


async def test_not_older_than_shows_the_present(reader, objects, cache):
    version = await objects.put("a")
    await objects.put("b")
    await cache.catch_up()
    options = ListOptions(resource_version=str(version), match="NotOlderThan")
    page = await reader.list_page(CONFIGMAPS, "default", options)
    assert [item.key.name for item in page.items] == ["a", "b"]
    assert page.version == cache.version


async def test_the_future_is_too_large(reader, cache, monkeypatch):
    monkeypatch.setattr(cache.wait_for.__func__, "__defaults__", (0.01,))
    with pytest.raises(errors.TimeoutError, match="Too large resource version"):
        await reader.list_page(CONFIGMAPS, "default", ListOptions(resource_version=str(1 << 50)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"match": "Exact"}, "resourceVersionMatch is forbidden unless resourceVersion is provided"),
        ({"match": "Sideways", "resource_version": "1"}, 'Unsupported value: "Sideways"'),
        (
            {"match": "Exact", "resource_version": "0"},
            'resourceVersionMatch "exact" is forbidden for resourceVersion "0"',
        ),
        (
            {"match": "Exact", "resource_version": "1", "continue_token": "x"},
            "resourceVersionMatch is forbidden when continue is provided",
        ),
    ],
)
async def test_options_that_do_not_go_together_are_invalid(reader, options, message):
    with pytest.raises(InvalidError, match=message):
        await reader.list_page(CONFIGMAPS, "default", ListOptions(**options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resource_version": "abc"}, 'strconv.ParseUint: parsing "abc": invalid syntax'),
        ({"resource_version": "7", "continue_token": "x"}, "specifying resource version is not allowed"),
        ({"field_selector": "spec.x=1"}, '^"spec.x" is not a known field selector: only "metadata.name", "metadata.n'),
        ({"label_selector": "a in b"}, "unable to parse requirement"),
    ],
)
async def test_options_that_cannot_be_understood_are_refused(reader, options, message):
    with pytest.raises(BadRequestError, match=message):
        await reader.list_page(CONFIGMAPS, "default", ListOptions(**options))


async def test_kinds_with_fields_of_their_own_name_the_one_that_they_lack(reader):
    with pytest.raises(BadRequestError, match=r"^field label not supported: spec.nothing$"):
        await reader.list_page(PODS, "default", ListOptions(field_selector="spec.nothing=1"))


async def test_field_selectors_compare_fields(reader, objects):
    await objects.put("a", resource="pods", spec={"nodeName": "n"}, status={"phase": "Running"})
    await objects.put("b", resource="pods", spec={"nodeName": "n"}, status={"phase": "Failed"})
    await objects.put("c", "other", resource="pods", spec={"nodeName": "m"}, status={"phase": "Running"})
    await objects.put("d", resource="pods", spec={}, status={"phase": "Pending"})

    async def select(text, namespace="", **options):
        page = await reader.list_page(PODS, namespace, ListOptions(field_selector=text, **options))
        return "".join(item.key.name for item in page.items)

    for limit in (0, 100):
        assert await select("spec.nodeName=n", limit=limit) == "ab"
        assert await select("spec.nodeName=n", "other", limit=limit) == ""
        assert await select("spec.nodeName=", limit=limit) == "d"
        assert await select("status.phase!=Running,spec.nodeName=n", limit=limit) == "b"
        assert await select("metadata.name=a", "default", limit=limit) == "a"
        assert await select("metadata.name=a", "other", limit=limit) == ""
        assert await select("metadata.namespace!=default", limit=limit) == "c"
