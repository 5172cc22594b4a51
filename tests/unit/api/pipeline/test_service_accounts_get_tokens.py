import base64
import json
from datetime import timedelta

import pytest

from orch.clock import rfc3339
from orch.errors import BadRequestError, ConflictError, ForbiddenError, InvalidError, NotFoundError, UnauthorizedError
from orch_api.auth.identity import Caller
from orch_api.auth.presented import Presented
from orch_api.pipeline import WriteOptions

ISSUER = "https://kubernetes.default.svc.cluster.local"
ADMIN = Caller("orch:admin", ("system:masters",))
JTI = "authentication.kubernetes.io/credential-id"


def claims_of(token):
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


@pytest.fixture
async def account(driver):
    return await driver.create("serviceaccounts", {"metadata": {"name": "robot"}})


@pytest.fixture
def token_for(driver, account):
    async def post(spec=None, caller=ADMIN, name="robot", **document):
        body = json.dumps({"spec": spec or {}, **document}).encode()
        accounts = driver.resource("serviceaccounts")
        outcome = await driver.core.pipeline.create(
            caller, accounts, "default", body, WriteOptions(), subresource="token", name=name
        )
        return json.loads(outcome.json)

    return post


@pytest.fixture
def who(driver):
    async def identify(token):
        return await driver.core.authenticator.identify(Presented(authorization=f"Bearer {token}"))

    return identify


@pytest.fixture
def refused(driver):
    async def why(token, *audiences):
        with pytest.raises(UnauthorizedError) as caught:
            await driver.core.authenticator.review(token, audiences or driver.core.authenticator.audiences)
        return caught.value.message

    return why


async def test_what_a_token_says(token_for, account, driver):
    made = await token_for()
    now = int(driver.clock.now().timestamp())
    assert made["kind"] == "TokenRequest"
    assert made["apiVersion"] == "authentication.k8s.io/v1"
    assert made["spec"] == {"audiences": [ISSUER], "expirationSeconds": 3600}
    assert made["status"]["expirationTimestamp"] == rfc3339(driver.clock.now() + timedelta(hours=1))
    claims = claims_of(made["status"]["token"])
    assert len(claims.pop("jti")) == 36
    assert claims == {
        "aud": [ISSUER],
        "exp": now + 3600,
        "iat": now,
        "nbf": now,
        "iss": ISSUER,
        "sub": "system:serviceaccount:default:robot",
        "kubernetes.io": {
            "namespace": "default",
            "serviceaccount": {"name": "robot", "uid": account["metadata"]["uid"]},
        },
    }


async def test_who_a_token_makes(token_for, who, account):
    token = (await token_for())["status"]["token"]
    caller = await who(token)
    assert caller.user == "system:serviceaccount:default:robot"
    assert caller.uid == account["metadata"]["uid"]
    assert caller.groups == ("system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated")
    assert dict(caller.extra) == {JTI: (f"JTI={claims_of(token)['jti']}",)}


async def test_a_token_ends(token_for, who, refused, driver):
    token = (await token_for({"expirationSeconds": 600}))["status"]["token"]
    await driver.clock.advance(655)
    await who(token)
    await driver.clock.advance(10)
    assert await refused(token) == "[invalid bearer token, service account token has expired]"
    with pytest.raises(UnauthorizedError, match=r"^Unauthorized$"):
        await who(token)


async def test_a_token_for_others_does_not_count_here(token_for, refused):
    token = (await token_for({"audiences": ["vault"]}))["status"]["token"]
    assert await refused(token) == (
        f'[invalid bearer token, token audiences ["vault"] is invalid for the target audiences ["{ISSUER}"]]'
    )


async def test_tokens_are_reviewed_for_others(token_for, driver):
    token = (await token_for({"audiences": ["vault", "other"]}))["status"]["token"]
    resource = driver.core.registry.of_kind("authentication.k8s.io", "v1", "TokenReview")
    body = json.dumps({"spec": {"token": token, "audiences": ["vault", "x"]}}).encode()
    outcome = await driver.core.pipeline.create(ADMIN, resource, "", body, WriteOptions())
    status = json.loads(outcome.json)["status"]
    assert status["authenticated"] is True
    assert status["audiences"] == ["vault"]
    assert status["user"]["username"] == "system:serviceaccount:default:robot"


async def test_a_token_goes_with_its_account(token_for, refused, driver):
    token = (await token_for())["status"]["token"]
    await driver.delete("serviceaccounts", "robot")
    await driver.core.cache.catch_up()
    assert await refused(token) == '[invalid bearer token, serviceaccounts "robot" not found]'
    await driver.create("serviceaccounts", {"metadata": {"name": "robot"}})
    await driver.core.cache.catch_up()
    assert "does not match claim" in await refused(token)


@pytest.mark.parametrize("tampering", ["payload", "signature", "none"])
async def test_a_token_is_only_what_was_signed(token_for, refused, tampering):
    head, payload, signature = (await token_for())["status"]["token"].split(".")
    if tampering == "payload":
        said = claims_of(f".{payload}.")
        said["sub"] = "system:serviceaccount:kube-system:robot"
        payload = base64.urlsafe_b64encode(json.dumps(said).encode()).decode().rstrip("=")
    elif tampering == "signature":
        signature = signature[::-1]
    else:
        head, signature = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("="), ""
    assert "failed to verify the signature" in await refused(f"{head}.{payload}.{signature}")


@pytest.mark.parametrize("token", ["x", "a.b.c", "..", "é.é.é", "e30.e30.e30"])
async def test_what_is_no_token_of_ours(refused, account, token):
    assert await refused(token) == "invalid bearer token"


async def test_a_pods_token_names_its_node_and_goes_with_the_pod(token_for, who, refused, driver, make_pod):
    await driver.create("nodes", {"metadata": {"name": "n"}})
    pod = await driver.create("pods", make_pod("p", serviceAccountName="robot", nodeName="n"))
    bound = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": pod["metadata"]["uid"]}
    token = (await token_for({"boundObjectRef": bound}))["status"]["token"]
    assert claims_of(token)["kubernetes.io"]["pod"] == {"name": "p", "uid": pod["metadata"]["uid"]}
    extra = dict((await who(token)).extra)
    assert extra["authentication.kubernetes.io/pod-name"] == ("p",)
    assert extra["authentication.kubernetes.io/node-name"] == ("n",)
    assert extra["authentication.kubernetes.io/node-uid"]
    await driver.delete("nodes", "n")
    await driver.core.cache.catch_up()
    await who(token)
    await driver.delete("pods", "p", {"gracePeriodSeconds": 0})
    await driver.core.cache.catch_up()
    assert await refused(token) == "[invalid bearer token, service account token has been invalidated]"


async def test_a_mounted_token_goes_on_for_a_year_with_warnings(token_for, driver, make_pod):
    await driver.create("pods", make_pod("p", serviceAccountName="robot"))
    bound = {"apiVersion": "v1", "kind": "Pod", "name": "p"}
    made = await token_for({"boundObjectRef": bound, "expirationSeconds": 3607})
    claims = claims_of(made["status"]["token"])
    now = int(driver.clock.now().timestamp())
    assert claims["exp"] == now + 365 * 24 * 3600
    assert claims["kubernetes.io"]["warnafter"] == now + 3607
    assert made["status"]["expirationTimestamp"] == rfc3339(driver.clock.now() + timedelta(seconds=3607))


async def test_what_a_token_may_be_bound_to(token_for, driver, make_pod):
    def to(kind, name, api_version="v1", **fields):
        return {"boundObjectRef": {"apiVersion": api_version, "kind": kind, "name": name, **fields}}

    with pytest.raises(NotFoundError, match='secrets "s" not found'):
        await token_for(to("Secret", "s"))
    await driver.create("secrets", {"metadata": {"name": "s"}})
    with pytest.raises(ConflictError, match='Operation cannot be fulfilled on Secret "s": the UID in the bound'):
        await token_for(to("Secret", "s", uid="other"))
    assert claims_of((await token_for(to("Secret", "s")))["status"]["token"])["kubernetes.io"]["secret"]["name"] == "s"
    with pytest.raises(BadRequestError, match=r"^cannot bind token to object of type apps/v1, Kind=Deployment$"):
        await token_for(to("Deployment", "d", "apps/v1"))
    await driver.create("pods", make_pod("p"))
    with pytest.raises(BadRequestError, match="to pod running with different serviceaccount name"):
        await token_for(to("Pod", "p"))


@pytest.mark.parametrize(
    ("seconds", "problem"),
    [
        (599, "may not specify a duration less than 10 minutes"),
        (2**32 + 1, "may not specify a duration larger than 2^32 seconds"),
    ],
)
async def test_how_long_a_token_may_count(token_for, seconds, problem):
    with pytest.raises(InvalidError) as caught:
        await token_for({"expirationSeconds": seconds})
    (cause,) = caught.value.details.causes
    assert (cause.field, cause.message) == ("spec.expirationSeconds", f"Invalid value: {seconds}: {problem}")


async def test_whose_token_is_asked_for_and_by_whom(token_for):
    with pytest.raises(NotFoundError, match='serviceaccounts "nobody" not found'):
        await token_for(name="nobody")
    with pytest.raises(InvalidError, match="must match the service account name if specified"):
        await token_for(metadata={"name": "other"})
    with pytest.raises(ForbiddenError, match='cannot create resource "serviceaccounts/token" in API group ""'):
        await token_for(caller=Caller("jo", ("system:authenticated",)))
