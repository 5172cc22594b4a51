"""The time limit of requests: what `timeout` may say, and what becomes of a request that takes longer."""

import asyncio
import re

import pytest

from orch_api.http.deadlines import Deadlines, TimeLimitError, go_duration, timeout_of

NS = "/api/v1/namespaces/default"


def config_map(name="c", **fields):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **fields}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5s", 5), ("1m30s", 90), ("1.5h", 5400), ("250ms", 0.25), ("-3s", -3), ("+.5s", 0.5), ("0", 0), ("7µs", 7e-6)],
)
def test_durations_are_those_of_go(text, seconds):
    assert go_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", 'time: invalid duration ""'),
        ("5", 'time: missing unit in duration "5"'),
        ("soon", 'time: invalid duration "soon"'),
        ("5x", 'time: unknown unit "x" in duration "5x"'),
        ("1h2", 'time: missing unit in duration "1h2"'),
        ("-", 'time: invalid duration "-"'),
        (".s", 'time: invalid duration ".s"'),
        ('5"', r'time: unknown unit "\"" in duration "5\""'),
        ("5é", r'time: unknown unit "\xc3\xa9" in duration "5\xc3\xa9"'),
        ("9999999999h", 'time: invalid duration "9999999999h"'),
    ],
)
def test_bad_durations_are_told_as_go_tells_them(text, problem):
    with pytest.raises(ValueError, match=f"^{re.escape(problem)}$"):
        go_duration(text)


@pytest.mark.parametrize(
    ("asked", "seconds"), [({}, 60), ({"timeout": ["5s"]}, 5), ({"timeout": ["0s"]}, 60), ({"timeout": ["2h"]}, 60)]
)
def test_a_client_may_ask_for_less_than_a_minute(asked, seconds):
    assert timeout_of(asked) == seconds


async def test_a_bad_timeout_is_refused(http):
    answer = await http("GET", f"{NS}/configmaps?timeout=5")
    assert (answer.status, answer.json["reason"]) == (400, "BadRequest")
    message = 'invalid timeout specified in the request URL - time: missing unit in duration "5"'
    assert answer.json["message"] == message
    watch = await http("GET", f"{NS}/configmaps?watch=1&timeoutSeconds=1&timeout=5")
    assert watch.status == 200  # of no meaning to what may last


@pytest.fixture
def stuck(api, monkeypatch):
    """Let writes to the store be under way until they are let go; the event is set when one has come."""
    write = api.store.write
    come, go = asyncio.Event(), asyncio.Event()

    async def commit(asked):
        come.set()
        await go.wait()
        return await write(asked)

    async def slow(asked):
        return await asyncio.shield(asyncio.ensure_future(commit(asked)))

    monkeypatch.setattr(api.store, "write", slow)
    return come, go


async def test_a_write_that_takes_too_long(http, stuck, figures, eventually):
    come, go = stuck
    answer = await http("POST", f"{NS}/configmaps?timeout=20ms", config_map(data={"a": "b"}))
    assert come.is_set()
    assert answer.status == 504
    assert answer.json == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "Timeout: request did not complete within the allotted timeout",
        "reason": "Timeout",
        "details": {},
        "code": 504,
    }
    ended = await figures("apiserver_request_terminations_total")
    assert any({("code", "504"), ("verb", "POST"), ("resource", "configmaps")} <= labels for labels in ended)
    assert (await http("GET", f"{NS}/configmaps/c")).status == 404
    go.set()  # the commit that was under way is not undone
    async with asyncio.timeout(10):
        while (found := await http("GET", f"{NS}/configmaps/c")).status == 404:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.005)
    assert found.json["data"] == {"a": "b"}
    assert (await http("PUT", f"{NS}/configmaps/c", {**found.json, "data": {}})).status == 200
    seats = await figures("apiserver_flowcontrol_current_executing_requests")
    exempt = frozenset({("priority_level", "exempt"), ("flow_schema", "exempt")})
    assert seats[exempt] == 0


async def test_the_common_limit_holds_within_its_lateness():
    deadlines = Deadlines(longest=0.02, lateness=0.01)
    ended = []

    async def request(work):
        deadline = deadlines.begin(0.02)
        try:
            await work
        finally:
            deadlines.end(deadline)
        ended.append(work)

    quick = [asyncio.ensure_future(request(asyncio.sleep(0))) for _ in range(3)]
    never = [asyncio.ensure_future(request(asyncio.Event().wait())) for _ in range(3)]
    await asyncio.gather(*quick)
    assert len(ended) == 3
    outcomes = await asyncio.gather(*never, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [TimeLimitError] * 3
    assert not deadlines._row
    later = asyncio.ensure_future(request(asyncio.Event().wait()))
    with pytest.raises(TimeLimitError):
        await later


async def test_a_cancellation_of_others_stays_one():
    deadlines = Deadlines()

    async def request():
        deadline = deadlines.begin(30)
        try:
            await asyncio.Event().wait()
        finally:
            deadlines.end(deadline)

    task = asyncio.ensure_future(request())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
