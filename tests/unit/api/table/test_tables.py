from datetime import UTC, datetime

import msgspec
import pytest

from orch_api.http.table import table
from orch_api.registry import REGISTRY, Resource
from orch_api.strategy import Strategy

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
LEASES = REGISTRY.find("coordination.k8s.io", "v1", "leases")
DOCUMENT = {"kind": "Lease", "metadata": {"name": "a", "creationTimestamp": "2026-01-01T11:00:00Z"}, "spec": {}}


def rendered(objects, resource=LEASES, **options):
    return msgspec.json.decode(table(resource, objects, now=NOW, **options))


def test_a_table_of_bytes_and_documents():
    found = rendered([msgspec.json.encode(DOCUMENT), DOCUMENT], list_version="7", continue_token="t", remaining=3)
    assert (found["kind"], found["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    assert found["metadata"] == {"resourceVersion": "7", "continue": "t", "remainingItemCount": 3}
    assert [(one["name"], one["type"], one["format"], one["priority"]) for one in found["columnDefinitions"]] == [
        ("Name", "string", "name", 0),
        ("Holder", "string", "", 0),
        ("Age", "string", "", 0),
    ]
    assert [one["cells"] for one in found["rows"]] == [["a", "", "60m"]] * 2


@pytest.mark.parametrize("one", [DOCUMENT, msgspec.json.encode(DOCUMENT)])
def test_what_comes_beside_a_row(one):
    def beside(include):
        return rendered([one], include_object=include)["rows"][0]["object"]

    metadata = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": DOCUMENT["metadata"]}
    assert beside("Metadata") == metadata
    assert beside("Object") == DOCUMENT
    assert beside("None") is None


def test_later_events_of_a_watch_carry_no_definitions():
    assert rendered([DOCUMENT], with_columns=False)["columnDefinitions"] == []


def test_a_kind_without_columns_shows_its_name_and_its_creation():
    plain = Resource(plural="things", singular="thing", kind="Thing", strategy=Strategy())
    found = rendered([DOCUMENT], plain)
    assert [one["name"] for one in found["columnDefinitions"]] == ["Name", "Created At"]
    assert found["rows"][0]["cells"] == ["a", "2026-01-01T11:00:00Z"]


def test_every_kind_can_be_shown_whatever_is_missing():
    for resource in REGISTRY.resources:
        found = rendered([{}, {"metadata": {}, "spec": {}, "status": {}}], resource)
        columns = len(resource.columns) or 2  # a question has none of its own
        assert all(len(one["cells"]) == columns for one in found["rows"])
