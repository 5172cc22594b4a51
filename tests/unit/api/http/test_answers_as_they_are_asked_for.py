"""Forms, encodings and looks of answers: what Accept, Accept-Encoding and `pretty` ask for."""

import gzip
import json

import pytest
import yaml

from orch_api.http.media import Accepted, accepted
from orch_api.http.preferences import accepts_gzip

NS = "/api/v1/namespaces/default"
MAPS = f"{NS}/configmaps"
TABLE = "application/json;as=Table;v={};g=meta.k8s.io"
PARTIAL = "application/json;as=PartialObjectMetadata{};v={};g=meta.k8s.io"


def config_map(name, **fields):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **fields}


@pytest.fixture
async def made(http):
    return (await http("POST", MAPS, config_map("a", data={"b": "c"}))).json


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("", Accepted()),
        ("*/*", Accepted()),
        ("application/*;q=0.5", Accepted()),
        ("text/html, application/yaml;q=0.9, */*;q=0.1", Accepted("application/yaml")),
        ("application/yaml;q=0.5,application/json;q=0.8", Accepted()),
        ("Application/JSON", Accepted()),
        ("application/json;q=high", Accepted()),
        (
            f"{TABLE.format('v1')},{TABLE.format('v1beta1')},application/json",
            Accepted("application/json", "Table", "v1"),
        ),
        (f"{TABLE.format('v2')},{TABLE.format('v1beta1')}", Accepted("application/json", "Table", "v1beta1")),
        (f"{TABLE.format('v1')};q=0.1,application/json", Accepted()),
    ],
)
def test_the_most_wanted_form_that_there_is(header, found):
    assert accepted(header) == found


@pytest.mark.parametrize(
    ("header", "permitted"),
    [
        ("", False),
        ("gzip", True),
        ("deflate, gzip;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip;q=0.0, identity", False),
        ("br", False),
        ("GZIP", True),
        ("xgzip", False),
    ],
)
def test_gzip_is_for_those_who_want_it(header, permitted):
    assert accepts_gzip(header) == permitted


async def test_large_answers_are_compressed(http):
    for number in range(3):
        await http("POST", MAPS, config_map(f"c{number}", data={"a": "x" * 60_000}))
    plain = await http("GET", MAPS, accept_encoding="gzip;q=0")
    assert "content-encoding" not in plain.headers
    packed = await http("GET", MAPS, accept_encoding="deflate, gzip")
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["vary"] == "Accept-Encoding"
    assert gzip.decompress(packed.body) == plain.body
    assert int(packed.headers["content-length"]) == len(packed.body)
    small = await http("GET", f"{MAPS}/c1", accept_encoding="gzip")
    assert "content-encoding" not in small.headers


async def test_head_is_get_without_the_body(http, made):
    for path in (f"{MAPS}/a", MAPS, "/api/v1", "/readyz"):
        whole, head = await http("GET", path), await http("HEAD", path)
        assert (head.status, head.body) == (200, b"") or path == "/readyz"
        if path != "/readyz":
            assert head.headers["content-length"] == whole.headers["content-length"]
            assert head.headers["content-type"] == whole.headers["content-type"]


@pytest.mark.parametrize(
    ("query", "agent", "indented"),
    [
        ("pretty=true", "kubectl/v1.37", True),
        ("limit=5&pretty=1", "kubectl/v1.37", True),
        ("pretty=false", "curl/8", False),
        ("pretty=", "curl/8", True),
        ("", "curl/8", True),
        ("", "Mozilla/5.0 (X11)", True),
        ("", "kubectl/v1.37", False),
        ("notpretty=true", "kubectl/v1.37", False),
    ],
)
async def test_people_are_shown_indents(http, made, query, agent, indented):
    plain = await http("GET", MAPS)
    answer = await http("GET", f"{MAPS}?{query}", user_agent=agent)
    assert answer.json["items"] == plain.json["items"]
    assert (b'\n  "kind": "ConfigMapList"' in answer.body) == indented
    missing = await http("GET", f"{MAPS}/none?{query}", user_agent=agent)
    assert (b'\n  "kind": "Status"' in missing.body) == indented


async def test_tables_and_metadata_in_both_versions(http, made):
    for version in ("v1", "v1beta1"):
        table = (await http("GET", MAPS, accept=TABLE.format(version))).json
        assert (table["kind"], table["apiVersion"]) == ("Table", f"meta.k8s.io/{version}")
        assert table["rows"][0]["object"]["apiVersion"] == f"meta.k8s.io/{version}"
        listed = (await http("GET", MAPS, accept=PARTIAL.format("List", version))).json
        assert (listed["kind"], listed["apiVersion"]) == ("PartialObjectMetadataList", f"meta.k8s.io/{version}")
        assert listed["items"][0] == {
            "kind": "PartialObjectMetadata",
            "apiVersion": f"meta.k8s.io/{version}",
            "metadata": made["metadata"],
        }
        one = (await http("GET", f"{MAPS}/a", accept=PARTIAL.format("", version))).json
        assert one == listed["items"][0]


async def test_yaml_of_every_form(http, made):
    one = await http("GET", f"{MAPS}/a", accept="application/yaml")
    assert one.headers["content-type"] == "application/yaml"
    assert yaml.safe_load(one.body) == made
    table = await http("GET", MAPS, accept="application/yaml;as=Table;v=v1;g=meta.k8s.io")
    assert yaml.safe_load(table.body)["rows"][0]["cells"][0] == "a"


async def test_discovery_has_its_own_forms(http):
    aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    assert (await http("GET", "/apis", accept=f"{aggregated},application/json")).json["kind"] == "APIGroupDiscoveryList"
    assert (await http("GET", "/apis", accept=TABLE.format("v1"))).status == 406
    assert (await http("GET", MAPS, accept=aggregated)).status == 406
    assert (await http("GET", MAPS, accept=f"{aggregated},application/json")).status == 200


@pytest.fixture
async def watching(http, eventually):
    begun = []

    def begin(url, **headers):
        answer, task, leave = http.begin("GET", url, **headers)
        begun.append((task, leave))
        return answer

    yield begin
    for task, leave in begun:
        leave.set()
        await task


STREAM = "watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"


async def test_only_the_first_table_of_a_watch_names_its_columns(http, made, watching, eventually):
    answer = watching(f"{MAPS}?{STREAM}", accept=TABLE.format("v1"))
    await eventually(lambda: len(answer.events) == 2)
    await http("POST", MAPS, config_map("b"))
    await eventually(lambda: len(answer.events) == 3)
    tables = [event["object"] for event in answer.events]
    assert [event["type"] for event in answer.events] == ["ADDED", "BOOKMARK", "ADDED"]
    assert [bool(table["columnDefinitions"]) for table in tables] == [True, False, False]
    bookmark = tables[1]["rows"][0]["object"]
    assert bookmark["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert tables[2]["rows"][0]["cells"][0] == "b"


@pytest.mark.parametrize("form", ["", "List"])
async def test_metadata_is_watched_with_bookmarks(http, made, watching, eventually, form):
    answer = watching(f"{MAPS}?{STREAM}", accept=PARTIAL.format(form, "v1"))
    await eventually(lambda: len(answer.events) == 2)
    added, bookmark = (event["object"] for event in answer.events)
    assert added == {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": made["metadata"]}
    assert (bookmark["kind"], bookmark["apiVersion"]) == ("PartialObjectMetadata", "meta.k8s.io/v1")
    assert bookmark["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_metadata_is_watched_in_protobuf(http, made, watching, eventually):
    accept = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
    answer = watching(f"{MAPS}?{STREAM}", accept=accept)

    def frames():
        found, place = [], 0
        while place + 4 <= len(answer.body):
            end = place + 4 + int.from_bytes(answer.body[place : place + 4], "big")
            found.append(answer.body[place + 4 : end])
            place = end
        return found

    await eventually(lambda: len(frames()) == 2)
    added, bookmark = frames()
    assert answer.headers["content-type"] == "application/vnd.kubernetes.protobuf;stream=watch"
    for frame in (added, bookmark):
        assert b"PartialObjectMetadata" in frame
        assert b"ConfigMap" not in frame.replace(b"ConfigMapList", b"")[:40]
    assert made["metadata"]["uid"].encode() in added
    assert b"k8s.io/initial-events-end" in bookmark
    listed = await http("GET", MAPS, accept=accept.replace("Metadata;", "MetadataList;"))
    assert listed.headers["content-type"] == "application/vnd.kubernetes.protobuf"
    assert b"PartialObjectMetadataList" in listed.body


@pytest.mark.parametrize(
    ("query", "causes"),
    [
        (
            "watch=1&sendInitialEvents=true&allowWatchBookmarks=true",
            ["sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"],
        ),
        (
            "watch=1&sendInitialEvents=false&resourceVersionMatch=Exact&resourceVersion=5",
            [
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
                'Unsupported value: "Exact": supported values: "NotOlderThan"',
            ],
        ),
        (
            "watch=1&resourceVersionMatch=NotOlderThan&resourceVersion=5",
            ["resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"],
        ),
        (
            "watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan&continue=x",
            ["resourceVersionMatch is forbidden when continue is provided"],
        ),
        ("sendInitialEvents=true", ["sendInitialEvents is forbidden for list"]),
        ("sendInitialEvents=false", ["sendInitialEvents is forbidden for list"]),
    ],
)
async def test_options_that_do_not_go_together(http, query, causes):
    answer = await http("GET", f"{MAPS}?{query}")
    assert (answer.status, answer.json["reason"]) == (422, "Invalid")
    assert answer.json["message"].startswith('ListOptions.meta.k8s.io "" is invalid: ')
    told = [cause["message"].removeprefix("Forbidden: ") for cause in answer.json["details"]["causes"]]
    assert told == causes


async def test_initial_events_that_are_not_wanted(http, made, watching, eventually):
    """`sendInitialEvents=false` begins with the next change, also from no version or 0."""
    query = "watch=1&sendInitialEvents=false&resourceVersionMatch=NotOlderThan"
    fresh = watching(f"{MAPS}?{query}")
    await eventually(lambda: fresh.status == 200)
    await http("POST", MAPS, config_map("b"))
    await eventually(lambda: fresh.events)
    assert [event["object"]["metadata"]["name"] for event in fresh.events] == ["b"]
    assert json.loads(json.dumps(fresh.events[0]))["type"] == "ADDED"
