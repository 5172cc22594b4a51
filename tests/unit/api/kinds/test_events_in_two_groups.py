import json
from datetime import UTC, datetime

import pytest

from orch.errors import InvalidError
from orch_api.auth.identity import Caller
from orch_api.kinds.events import RESOURCES, to_core, to_newer
from orch_api.pipeline import WriteOptions
from orch_api.storage.read import ListOptions

ADMIN = Caller("orch:admin", ("system:masters",))
CORE, NEWER = RESOURCES
POD = {"kind": "Pod", "namespace": "default", "name": "web"}


def newer(**fields):
    return {
        "metadata": {"name": "web.1", "namespace": "default"},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "example.com/agent",
        "reportingInstance": "agent-1",
        "action": "Start",
        "reason": "Started",
        "regarding": POD,
        "note": "hello",
        "type": "Normal",
        **fields,
    }


@pytest.fixture
def create(driver):
    async def post(resource, document):
        body = json.dumps(document).encode()
        outcome = await driver.core.pipeline.create(ADMIN, resource, "default", body, WriteOptions())
        return json.loads(outcome.json)

    return post


def test_names_change_and_nothing_is_lost():
    core = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "a"},
        "involvedObject": POD,
        "message": "hello",
        "source": {"component": "agent"},
        "firstTimestamp": "2026-01-01T00:00:00Z",
        "lastTimestamp": "2026-01-01T00:00:00Z",
        "count": 2,
        "reportingComponent": "agent",
        "series": {"count": 2},
    }
    assert to_newer(core) == {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "a"},
        "regarding": POD,
        "note": "hello",
        "deprecatedSource": {"component": "agent"},
        "deprecatedFirstTimestamp": "2026-01-01T00:00:00Z",
        "deprecatedLastTimestamp": "2026-01-01T00:00:00Z",
        "deprecatedCount": 2,
        "reportingController": "agent",
        "series": {"count": 2},
    }
    assert to_core(to_newer(core)) == core


async def test_an_event_is_one_object_in_both_groups(driver, create):
    made = await create(NEWER, newer())
    assert (made["apiVersion"], made["note"]) == ("events.k8s.io/v1", "hello")
    core = await driver.get("events", "web.1")
    assert (core["apiVersion"], core["message"], core["involvedObject"]) == ("v1", "hello", POD)
    changed = await driver.core.pipeline.patch(
        ADMIN, NEWER, "default", "web.1", b'{"note":"again"}', "merge", WriteOptions(), subresource=""
    )
    assert json.loads(changed.json)["note"] == "again"
    assert (await driver.get("events", "web.1"))["message"] == "again"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"eventTime": None}, "eventTime: Required value"),
        ({"type": "Odd"}, 'type: Invalid value: "": has invalid value: Odd'),
        ({"deprecatedCount": 1}, 'count: Invalid value: "": needs to be unset'),
        ({"deprecatedSource": {"host": "a"}}, 'source: Invalid value: "": needs to be unset'),
        (
            {"series": {"count": 1, "lastObservedTime": "2026-01-01T00:00:00.000000Z"}},
            'series.count: Invalid value: "": should be at least 2',
        ),
        ({"action": ""}, "action: Required value"),
    ],
)
async def test_a_new_event_of_the_newer_group_is_of_the_new_form(create, fields, expected):
    with pytest.raises(InvalidError) as refusal:
        await create(NEWER, newer(**fields))
    assert [f"{cause.field}: {cause.message}" for cause in refusal.value.details.causes] == [expected]


async def test_each_group_selects_by_its_own_names(driver, create):
    await create(NEWER, newer())
    for resource, selector in ((CORE, "involvedObject.name=web"), (NEWER, "regarding.name=web")):
        page = await driver.core.reader.list_page(resource, "default", ListOptions(field_selector=selector))
        assert len(page.items) == 1
    assert "regarding.kind" not in CORE.fields
    assert "reportingController" in NEWER.fields


def test_both_groups_show_the_same_row():
    now = datetime(2026, 1, 1, 0, 1, tzinfo=UTC)
    document = newer()
    row = [column.value(document, now) for column in NEWER.columns]
    assert row == [column.value(to_core(document), now) for column in CORE.columns]
    assert row[:4] == ["60s", "Normal", "Started", "pod/web"]
