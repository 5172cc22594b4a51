"""Queries, paths and headers that make no sense."""

import base64
import json
import time

import pytest

NS = "/api/v1/namespaces/default"
MAPS = f"{NS}/configmaps"


def refused(answer, code, reason, *said):
    status = answer.json
    assert (answer.status, status["kind"], status["status"]) == (code, "Status", "Failure"), status
    assert (status["code"], status["reason"]) == (code, reason)
    for words in said:
        assert words in status["message"]


def token(content):
    encoded = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(encoded).rstrip(b"=").decode()


def page(version="meta.k8s.io/v1", revision=1025, start="a"):
    return token({"v": version, "rv": revision, "start": start})


@pytest.mark.parametrize(
    ("forged", "said"),
    [
        ("forged", ""),
        ("=", ""),
        ("a" * 5000, ""),
        ("%F0%28", ""),
        (token(b"\xff\xfe"), ""),
        (token([1]), ""),
        (token(b"[" * 100_000), ""),
        (page()[:-3], ""),
        (page() + "!!", ""),
        (page(version="v9"), ": server does not recognize this encoded version v9"),
        (page(revision=0), ": incorrect encoded start resourceVersion (version meta.k8s.io/v1)"),
        (page(revision=-5), ": incorrect encoded start resourceVersion (version meta.k8s.io/v1)"),
        (page(revision=10**30), ""),
        (page(revision="1"), ""),
        (page(start=""), ": encoded start key empty (version meta.k8s.io/v1)"),
        (page(start="../secrets/"), ": ../secrets/"),
        (page(start="a/../../secrets/b"), ": a/../../secrets/b"),
        (page(start="/etc"), ": /etc"),
        (page(start="a/"), ": a/"),
        (page(start="a//b"), ": a//b"),
        (page(start="./a"), ": ./a"),
    ],
)
async def test_continue_tokens_that_nobody_was_given(http, forged, said):
    answer = await http("GET", f"{MAPS}?limit=1&continue={forged}")
    refused(answer, 400, "BadRequest", f"continue key is not valid{said}")


async def test_a_token_of_another_list_reads_nothing_else(http):
    for name in ("a", "b", "c"):
        secret = {"metadata": {"name": name}, "stringData": {"a": "b"}}
        assert (await http("POST", f"{NS}/secrets", secret)).status == 201
        await http("POST", MAPS, {"metadata": {"name": name}})
    first = (await http("GET", f"{NS}/secrets?limit=1")).json["metadata"]["continue"]
    listed = (await http("GET", f"{MAPS}?limit=5&continue={first}")).json
    assert {item["metadata"]["name"] for item in listed["items"]} <= {"b", "c"}
    assert listed["kind"] == "ConfigMapList"
    assert all("data" not in item for item in listed["items"])


@pytest.mark.parametrize(
    ("query", "code", "said"),
    [
        ("limit=-1", 422, "limit: Invalid value: -1: must be greater than or equal to 0"),
        ("limit=many", 400, 'strconv.ParseInt: parsing "many": invalid syntax'),
        ("limit=1_000", 400, 'strconv.ParseInt: parsing "1_000": invalid syntax'),
        ("limit=+1", 400, "invalid syntax"),
        ("timeoutSeconds=soon", 400, 'strconv.ParseInt: parsing "soon": invalid syntax'),
        ("limit=%D9%A3", 400, "invalid syntax"),
        ("limit=0x10", 400, "invalid syntax"),
        (f"limit={'9' * 30}", 400, "value out of range"),
        (f"limit={'9' * 5000}", 400, "value out of range"),
        ("resourceVersion=-1", 400, 'strconv.ParseUint: parsing "-1": invalid syntax'),
        ("resourceVersion=new", 400, "invalid syntax"),
        ("resourceVersion=%C2%B2", 400, "invalid syntax"),
        (f"resourceVersion={'9' * 40}", 400, "value out of range"),
        ("watch=1&resourceVersion=new", 400, "invalid syntax"),
        ("watch=1&resourceVersion=%C2%B2", 400, "invalid syntax"),
        (f"watch=1&resourceVersion={'9' * 40}", 400, "value out of range"),
        ("watch=1&timeoutSeconds=soon", 400, "invalid syntax"),
        ("watch=1&timeoutSeconds=1.5", 400, "invalid syntax"),
        ("resourceVersionMatch=Exact", 422, "resourceVersionMatch is forbidden unless resourceVersion is provided"),
        ("resourceVersion=1&resourceVersionMatch=Newest", 422, 'Unsupported value: "Newest"'),
        ("labelSelector=a in (", 400, "unable to parse requirement"),
        ("labelSelector=a==b=c", 400, "found '='"),
        ("labelSelector=!", 400, "unable to parse requirement"),
        ("labelSelector=,,,", 400, "found ','"),
        (f"labelSelector=a={'x' * 64}", 400, "must be no more than 63 characters"),
        (f"labelSelector={'(' * 50_000}", 400, "found '('"),
        (f"labelSelector={'a=' * 20_000}", 400, "found '='"),
        ("labelSelector=a%00=b", 400, "name part must consist of alphanumeric characters"),
        ("fieldSelector=spec.x=1", 400, '"spec.x" is not a known field selector'),
        ("fieldSelector=metadata.name", 400, "invalid selector"),
        ("fieldSelector=metadata.name=%5C", 400, "invalid field selector"),
        ("includeObject=Everything", 400, "unrecognized includeObject value"),
        ("timeout=soon", 400, "invalid timeout specified in the request URL"),
    ],
)
async def test_lists_that_make_no_sense(http, query, code, said):
    answer = await http("GET", f"{MAPS}?{query}")
    refused(answer, code, "Invalid" if code == 422 else "BadRequest", said)


async def test_absurdly_long_selectors_are_answered_soon(http):
    started = time.process_time()
    many = ",".join(["x"] * 50_000)
    assert (await http("GET", f"{MAPS}?labelSelector=a in ({many})")).status == 200
    assert (await http("GET", f"{MAPS}?labelSelector={','.join(['a'] * 30_000)}")).status == 200
    assert time.process_time() - started < 5


async def test_parameters_without_end_or_meaning(http):
    many = "&".join(f"a{number}=1" for number in range(10_001))
    answer = await http("GET", f"{MAPS}?{many}")
    refused(answer, 400, "BadRequest", "number of URL query parameters exceeded limit")
    assert (await http("GET", f"{MAPS}?unknown=1&limit=1&other")).status == 200
    # Go leaves out a parameter whose escapes are malformed
    assert (await http("GET", f"{MAPS}?limit=%zz&%=1")).status == 200
    assert (await http("GET", f"{MAPS}?limit=1&limit=many")).status == 200  # the first one counts


@pytest.mark.parametrize("escape", ["%zz", "%", "%1", "%G1", "a%2"])
async def test_escapes_that_are_none(http, escape):
    for path in (f"{MAPS}/{escape}", f"/api/v1/namespaces/{escape}/pods", f"/readyz/{escape}"):
        refused(await http("GET", path), 400, "BadRequest", f'parse "{path}": invalid URL escape')


@pytest.mark.parametrize("name", ["a\x00", "a b", "ü", "\ufffd", "..", ".", "a" * 5000, "A", "a\nb"])
async def test_names_that_nothing_has(http, name):
    for method, body in (("GET", None), ("PUT", {"metadata": {"name": name}}), ("DELETE", None)):
        answer = await http(method, f"{MAPS}/{name}", body)
        refused(answer, 404, "NotFound")
    created = await http("POST", MAPS, {"metadata": {"name": name}})
    refused(created, 422, "Invalid", "metadata.name")
    nowhere = await http("POST", f"/api/v1/namespaces/{name}/configmaps", {"metadata": {"name": "x"}})
    assert nowhere.status in {404, 422}


@pytest.mark.parametrize(
    "path",
    [
        f"{NS}//configmaps",
        f"{MAPS}/c/nothing",
        f"{MAPS}/c/status/more",
        "/api/v2/pods",
        "/apis/apps/v1/nothing",
        "/apis/nothing",
        "/api/v1/namespaces/default/nodes",
        "/nowhere",
        "/readyz/../metrics",
    ],
)
async def test_places_where_nothing_is(http, path):
    refused(await http("GET", path), 404, "NotFound", "the server could not find the requested resource")


@pytest.mark.parametrize("method", ["TRACE", "OPTIONS", "FOO"])
async def test_methods_that_nothing_has(http, method):
    refused(await http(method, MAPS), 405, "MethodNotAllowed", "the server does not allow this method")


async def test_methods_that_a_place_does_not_have(http):
    refused(await http("PATCH", MAPS, b"{}", content_type="application/merge-patch+json"), 405, "MethodNotAllowed")
    refused(await http("POST", f"{MAPS}/c", {}), 405, "MethodNotAllowed")
    refused(await http("POST", "/api", {}), 405, "MethodNotAllowed")
    refused(await http("POST", "/readyz", {}), 405, "MethodNotAllowed")


@pytest.mark.parametrize(
    "accept",
    [
        "text/html",
        ";;;",
        "*/json",
        "application/json;as=Nothing;v=v1;g=meta.k8s.io",
        "application/json;as=Table;v=v9;g=meta.k8s.io",
        "application/json;as=Table;v=v1;g=other",
        "application/json;as=APIGroupDiscoveryList;v=v2;g=meta.k8s.io",
        "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io",
    ],
)
async def test_forms_that_cannot_be_had(http, accept):
    answer = await http("GET", MAPS, accept=accept)
    said = "only the following media types are accepted: application/json, application/yaml"
    refused(answer, 406, "NotAcceptable", said)


@pytest.mark.parametrize(
    ("query", "code", "said"),
    [
        ("dryRun=Some", 422, 'dryRun: Unsupported value: ["Some"]'),
        ("fieldValidation=Maybe", 422, 'Unsupported value: "Maybe"'),
        (f"fieldManager={'x' * 129}", 422, "may not be more than 128 bytes"),
        ("fieldManager=a%01b", 422, "should only contain printable characters"),
    ],
)
async def test_writes_with_options_that_make_no_sense(http, query, code, said):
    refused(await http("POST", f"{MAPS}?{query}", {"metadata": {"name": "c"}}), code, "Invalid", said)
    assert (await http("GET", f"{MAPS}/c")).status == 404


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("gracePeriodSeconds=soon", b""),
        (f"gracePeriodSeconds={'9' * 30}", b""),
        ("propagationPolicy=Sideways", b""),
        ("", b"{"),
        ("", b"[]"),
        ("", b'{"gracePeriodSeconds":"soon"}'),
    ],
)
async def test_deletions_with_options_that_make_no_sense(http, query, body):
    made = (await http("POST", MAPS, {"metadata": {"name": "c"}})).json
    answer = await http("DELETE", f"{MAPS}/c?{query}", body)
    assert answer.status in {400, 422}, answer.body
    assert (await http("GET", f"{MAPS}/c")).json == made
