import asyncio

import pytest
from prometheus_client import REGISTRY

from orch.clock import ManualClock
from orch.errors import ConfigError, UnauthorizedError, UnavailableError
from orch_api.auth.authenticator import Anonymity, Authenticator, ForApi
from orch_api.auth.figures import shown_user
from orch_api.auth.identity import ANONYMOUS, Caller
from orch_api.auth.presented import Presented
from orch_api.auth.token_cache import TokenCache
from orch_api.auth.token_file import StaticTokens, read_tokens

API = ("https://api",)
JANE = {"subject": ((("commonName", "jane"),),)}


class Kind:
    """A kind of token, and how often it was asked."""

    def __init__(self, known=None, error=None):
        self._known = known or {}
        self._error = error
        self.asked = 0

    async def identify(self, token, audiences):
        self.asked += 1
        if self._error is not None:
            raise self._error
        caller = self._known.get(token)
        return None if caller is None else (caller, tuple(audiences))


def bearer(token, peer=None, path="/api"):
    return Presented(peer, authorization=f"Bearer {token}", path=path)


async def refusal(authenticator, presented):
    with pytest.raises(UnauthorizedError) as caught:
        await authenticator.identify(presented)
    assert caught.value.message == "Unauthorized"
    return str(caught.value.__cause__)


async def test_a_certificate_comes_before_a_token():
    kind = Kind({"t": Caller("joe", ())})
    authenticator = Authenticator([kind], API)
    assert (await authenticator.identify(bearer("t", JANE))).user == "jane"
    assert kind.asked == 0
    assert (await authenticator.identify(bearer("t"))) == Caller("joe", ("system:authenticated",))


async def test_a_refusal_does_not_end_the_search():
    first, second, third = Kind(error=UnauthorizedError("first")), Kind({"t": Caller("joe", ())}), Kind()
    authenticator = Authenticator([first, second, third], API)
    assert (await authenticator.identify(bearer("t"))).user == "joe"
    assert (first.asked, second.asked, third.asked) == (1, 1, 0)
    assert await refusal(authenticator, bearer("x")) == "[invalid bearer token, first]"


async def test_a_certificate_that_has_ended_leaves_the_token():
    authenticator = Authenticator([Kind({"t": Caller("joe", ())})], API, clock=ManualClock())
    ended = {**JANE, "notAfter": "Jan  1 00:00:00 2020 GMT"}
    assert (await authenticator.identify(bearer("t", ended))).user == "joe"
    assert "x509: certificate has expired" in await refusal(authenticator, bearer("x", ended))


async def test_what_cannot_be_told_is_not_refused():
    authenticator = Authenticator([Kind(error=UnavailableError("etcd"))], API)
    with pytest.raises(UnavailableError):
        await authenticator.identify(bearer("t"))


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer ", "Basic amFuZTpzZWNyZXQ=", "t", " "])
async def test_what_is_no_bearer_token_is_nobodys(authorization):
    kind = Kind({"": Caller("joe", ())})
    authenticator = Authenticator([kind], API)
    assert await authenticator.identify(Presented(authorization=authorization)) == ANONYMOUS
    assert kind.asked == 0


@pytest.mark.parametrize("authorization", ["bearer t", "BEARER t", "  Bearer t  ", "Bearer t trailing words"])
async def test_how_a_bearer_token_may_be_written(authorization):
    authenticator = Authenticator([Kind({"t": Caller("joe", ())})], API)
    assert (await authenticator.identify(Presented(authorization=authorization))).user == "joe"


async def test_a_huge_token_is_not_even_looked_at():
    kind = Kind()
    await refusal(Authenticator([kind], API), bearer("x" * (1 << 19)))
    assert kind.asked == 0


async def test_anonymous_requests_only_where_they_are_allowed():
    nowhere = Authenticator(anonymity=lambda: Anonymity(allowed=False))
    assert await refusal(nowhere, Presented(path="/livez")) == "Unauthorized"
    somewhere = Authenticator(anonymity=lambda: Anonymity(paths=frozenset({"/livez"})))
    assert await somewhere.identify(Presented(path="/livez")) == ANONYMOUS
    assert await refusal(somewhere, Presented(path="/livez/ping")) == "Unauthorized"
    assert (await somewhere.identify(Presented(JANE, path="/api"))).user == "jane"


async def test_bad_credentials_are_never_anonymous():
    authenticator = Authenticator([Kind()], API)
    assert await refusal(authenticator, bearer("x", path="/livez")) == "invalid bearer token"


async def test_everybody_who_is_known_is_in_one_group_more():
    callers = {
        "plain": Caller("joe", ("dev",)),
        "there": Caller("joe", ("system:authenticated", "dev")),
        "not": Caller("joe", ("system:unauthenticated",)),
        "nobody": Caller("system:anonymous", ()),
    }
    authenticator = Authenticator([Kind(callers)], API)
    groups = {token: (await authenticator.identify(bearer(token))).groups for token in callers}
    assert groups == {
        "plain": ("dev", "system:authenticated"),
        "there": ("system:authenticated", "dev"),
        "not": ("system:unauthenticated",),
        "nobody": (),
    }


async def test_tokens_of_the_file_count_for_the_api_alone():
    authenticator = Authenticator([ForApi(StaticTokens({"t": Caller("joe", ())}), API)], API)
    assert await authenticator.review("t", ("other", *API)) == (Caller("joe", ("system:authenticated",)), API)
    assert await authenticator.review("t", ()) == (Caller("joe", ("system:authenticated",)), ())
    with pytest.raises(UnauthorizedError, match="invalid bearer token"):
        await authenticator.review("t", ("other",))


async def test_attempts_are_counted():
    def figures():
        names = [("authentication_attempts", {"result": one}) for one in ("success", "failure", "error")]
        names.append(("authenticated_user_requests", {"username": "other"}))
        return [REGISTRY.get_sample_value(name, labels) or 0 for name, labels in names]

    before = figures()
    authenticator = Authenticator([Kind()], API, anonymity=lambda: Anonymity(allowed=False))
    await authenticator.identify(Presented(JANE))
    await refusal(authenticator, Presented())
    await refusal(authenticator, bearer("x"))
    assert [after - one for after, one in zip(figures(), before, strict=True)] == [1, 1, 1, 1]
    assert [shown_user(one) for one in ("kubelet", "jane@example.com", "jane")] == ["kubelet", "email_id", "other"]


async def test_what_is_remembered_is_bounded():
    cache = TokenCache(ManualClock(), success=60, failure=60)

    async def refuse():
        raise UnauthorizedError("no")

    for number in range(5000):
        with pytest.raises(UnauthorizedError):
            await cache.get(f"token-{number}", API, refuse)
    assert len(cache._known) == 4096
    assert not cache._asking


async def test_how_many_tokens_are_asked_about_is_bounded():
    cache, answer = TokenCache(ManualClock(), success=60, failure=60), asyncio.Event()

    async def ask():
        await answer.wait()

    asking = [asyncio.create_task(cache.get(f"token-{number}", API, ask)) for number in range(256)]
    await asyncio.sleep(0)
    with pytest.raises(UnavailableError, match="too many tokens"):
        await cache.get("another", API, ask)
    answer.set()
    assert await asyncio.gather(*asking) == [None] * 256


def test_the_token_file(tmp_path):
    file = tmp_path / "tokens.csv"
    file.write_text('# who\nabc,jane,7\ndef, joe, 8, "dev, ops"\n')
    assert read_tokens(file) == {"abc": Caller("jane", (), "7"), "def": Caller("joe", ("dev", "ops"), "8")}


@pytest.mark.parametrize(
    ("content", "problem"),
    [("abc,jane\n", ":1: expected token,user,uid"), ("a,b,c\n\n,b,c\n", ":3: expected"), ("a,b,c\na,d,e\n", ":2: the")],
)
def test_token_files_that_cannot_be_read(tmp_path, content, problem):
    file = tmp_path / "tokens.csv"
    file.write_text(content)
    with pytest.raises(ConfigError, match=problem):
        read_tokens(file)
    with pytest.raises(ConfigError, match="token_file"):
        read_tokens(tmp_path / "none")
