"""A webhook that is asked about tokens: a TokenReview over HTTPS on loopback, named by a kubeconfig."""

import asyncio
import base64
from pathlib import Path

import pytest
import yaml
from certificates import make
from https_server import https_server

from orch.clock import ManualClock
from orch.errors import ConfigError, UnauthorizedError
from orch_api.auth.identity import Caller
from orch_api.auth.kubeconfig import read_webhook
from orch_api.auth.token_reviews import TokenReviews

API = ("https://api",)
JANE = {"username": "jane", "uid": "7", "groups": ["dev"], "extra": {"example.com/scope": ["read"]}}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return make(tmp_path_factory.mktemp("webhook"))


@pytest.fixture
def clock():
    return ManualClock()


class Hook:
    """What the webhook says, and what it was asked."""

    def __init__(self):
        self.asked = []
        self.status = 200
        self.says = {"authenticated": True, "user": JANE}

    async def answer(self, asked):
        self.asked.append(asked)
        return self.status, {"kind": "TokenReview", "apiVersion": asked.json["apiVersion"], "status": self.says}


@pytest.fixture
def hook():
    return Hook()


def kubeconfig(folder: Path, port: int, files, **user):
    path = folder / "webhook.kubeconfig"
    authority = base64.b64encode(Path(files.ca).read_bytes()).decode()
    cluster = {"server": f"https://127.0.0.1:{port}/review", "certificate-authority-data": authority}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "hook", "cluster": cluster}],
        "users": [{"name": "api", "user": user}],
        "contexts": [{"name": "c", "context": {"cluster": "hook", "user": "api"}}],
        "current-context": "c",
    }
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture
async def reviews(hook, files, tmp_path, clock):
    async with https_server(files, hook.answer) as port:
        webhook = read_webhook(kubeconfig(tmp_path, port, files, token="secret"))
        yield TokenReviews(webhook, "v1", 120.0, API, clock)


async def test_the_webhook_says_whose_a_token_is(reviews, hook):
    caller, audiences = await reviews.identify("t", API)
    assert caller == Caller("jane", ("dev",), "7", (("example.com/scope", ("read",)),))
    assert audiences == API
    (asked,) = hook.asked
    assert asked.target == "/review"
    assert asked.all("authorization") == ["Bearer secret"]
    assert (asked.json["kind"], asked.json["apiVersion"]) == ("TokenReview", "authentication.k8s.io/v1")
    assert asked.json["spec"] == {"token": "t", "audiences": list(API)}


async def test_answers_are_kept_for_a_while(reviews, hook, clock):
    await asyncio.gather(*(reviews.identify("t", API) for _ in range(5)))
    assert len(hook.asked) == 1
    await reviews.identify("other", API)
    await reviews.identify("t", ("https://other", *API))
    assert len(hook.asked) == 3
    hook.says = {"authenticated": False, "error": "gone"}
    assert (await reviews.identify("t", API))[0].user == "jane"
    await clock.advance(120)
    for _ in range(2):
        with pytest.raises(UnauthorizedError, match="gone"):
            await reviews.identify("t", API)
    assert len(hook.asked) == 4


async def test_an_unknown_token_is_nobodys(reviews, hook):
    hook.says = {"authenticated": False, "user": JANE}
    assert await reviews.identify("t", API) is None


@pytest.mark.parametrize(
    ("asked", "said", "accepted"),
    [
        (("a", "b"), ["b", "c"], ("b",)),
        (("a",), ["c"], None),
        ((*API, "a"), None, API),
        (("a",), None, None),
        ((), ["c"], ()),
    ],
)
async def test_audiences(reviews, hook, asked, said, accepted):
    hook.says = {"authenticated": True, "user": JANE, **({} if said is None else {"audiences": said})}
    found = await reviews.identify("t", asked)
    assert (None if found is None else found[1]) == accepted


async def test_a_webhook_that_fails_is_asked_again(reviews, hook, clock):
    hook.status = 503
    asking = asyncio.create_task(reviews.identify("t", API))
    async with asyncio.timeout(10):
        while len(hook.asked) < 2:
            await asyncio.sleep(0.002)
            await clock.advance(1)
        hook.status = 200
        while not asking.done():
            await asyncio.sleep(0.002)
            await clock.advance(1)
    assert (await asking)[0].user == "jane"


async def test_it_is_not_asked_for_ever(reviews, hook, clock):
    hook.status = 500
    asking = asyncio.create_task(reviews.identify("t", API))
    async with asyncio.timeout(10):
        while not asking.done():
            await asyncio.sleep(0.002)
            await clock.advance(1)
    with pytest.raises(UnauthorizedError, match="status code 500"):
        await asking
    assert len(hook.asked) == 5


@pytest.mark.parametrize(("status", "says"), [(403, {}), (200, "nonsense"), (200, {"user": {"groups": "dev"}})])
async def test_answers_that_are_none(reviews, hook, status, says):
    hook.status, hook.says = status, says
    with pytest.raises(UnauthorizedError, match="did not answer with a TokenReview"):
        await reviews.identify("t", API)
    assert len(hook.asked) == 1


def test_where_a_webhook_may_be(tmp_path, files):
    def problem(change):
        path = kubeconfig(tmp_path, 1, files)
        content = yaml.safe_load(path.read_text())
        change(content)
        path.write_text(yaml.safe_dump(content))
        with pytest.raises(ConfigError) as caught:
            read_webhook(path)
        return str(caught.value).removeprefix(f"{path}: ")

    assert problem(lambda one: one.update({"current-context": "x"})) == "current-context: there is no 'x'; there are c"
    plain = {"server": "http://a"}
    assert "is no HTTPS address" in problem(lambda one: one["clusters"][0].update(cluster=plain))
    assert "unknown key" in problem(lambda one: one["users"][0].update(user={"exec": {"command": "id"}}))
    broken = {"server": "https://a", "certificate-authority-data": "AAAA"}
    assert "certificates that cannot be used" in problem(lambda one: one["clusters"][0].update(cluster=broken))


def test_the_api_may_show_a_certificate(tmp_path, files):
    data = {
        "client-certificate-data": base64.b64encode(Path(files.cert).read_bytes()).decode(),
        "client-key-data": base64.b64encode(Path(files.key).read_bytes()).decode(),
    }
    assert read_webhook(kubeconfig(tmp_path, 7, files, **data)).url == "https://127.0.0.1:7/review"
    assert read_webhook(kubeconfig(tmp_path, 7, files, **{"client-certificate": files.cert, "client-key": files.key}))
    (tmp_path / "token").write_text("fresh\n")
    assert read_webhook(kubeconfig(tmp_path, 7, files, tokenFile="token")).bearer() == "fresh"
