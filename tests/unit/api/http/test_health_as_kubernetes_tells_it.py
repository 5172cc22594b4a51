"""/livez, /readyz and /healthz, worded as k8s.io/apiserver words them."""

import pytest

from orch.errors import UnavailableError


@pytest.fixture
def broken(api, monkeypatch):
    """Break what the check "etcd" looks at."""

    async def revision():
        raise UnavailableError("etcd is away")

    monkeypatch.setattr(api.store, "revision", revision)


@pytest.mark.parametrize("place", ["livez", "readyz", "healthz"])
async def test_all_is_well(anonymous, place):
    answer = await anonymous("GET", f"/{place}")
    assert (answer.status, answer.body) == (200, b"ok")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    verbose = (await anonymous("GET", f"/{place}?verbose")).body.decode()
    assert verbose.startswith("[+]ping ok\n")
    assert verbose.endswith(f"{place} check passed\n")


async def test_a_failure_is_told_in_full_but_not_why(anonymous, http, broken):
    answer = await anonymous("GET", "/readyz")
    assert answer.status == 500
    lines = answer.body.decode().splitlines()
    assert "[+]ping ok" in lines
    assert "[-]etcd failed: reason withheld" in lines
    assert lines[-1] == "readyz check failed"
    assert (await anonymous("GET", "/livez")).status == 200
    alone = await http("GET", "/readyz/etcd")
    assert (alone.status, alone.body) == (500, b"internal server error: etcd is away\n")


async def test_checks_are_left_out(anonymous, broken):
    answer = await anonymous("GET", "/readyz?verbose&exclude=etcd&exclude=watch-cache&exclude=nothing")
    assert answer.status == 200
    lines = answer.body.decode().splitlines()
    assert "[+]etcd excluded: ok" in lines
    assert 'warn: some health checks cannot be excluded: no matches for "nothing"' in lines
    assert lines[-1] == "readyz check passed"


async def test_a_check_alone(http, anonymous):
    assert (await http("GET", "/readyz/etcd")).body == b"ok"
    assert (await http("GET", "/readyz/poststarthook/start-orch-api")).body == b"ok"
    assert (await http("GET", "/readyz/nothing")).status == 404
    assert (await http("GET", "/livez/etcd")).status == 404
    refused = await anonymous("GET", "/readyz/etcd")
    assert (refused.status, refused.json["reason"]) == (403, "Forbidden")
