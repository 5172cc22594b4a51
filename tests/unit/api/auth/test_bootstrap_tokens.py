import base64
from datetime import timedelta

import pytest

from orch.clock import rfc3339
from orch.errors import UnauthorizedError
from orch_api.auth.identity import APISERVER
from orch_api.auth.presented import Presented
from orch_api.pipeline import WriteOptions

TOKEN = "abcdef.0123456789abcdef"
DATA = {"token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true"}


@pytest.fixture
def put(driver):
    """Put a bootstrap token's Secret into kube-system."""

    async def create(data, kind="bootstrap.kubernetes.io/token", **metadata):
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
        secret = {"metadata": {"name": "bootstrap-token-abcdef", **metadata}, "type": kind, "data": encoded}
        await driver.create("secrets", secret, namespace="kube-system")
        await driver.core.cache.catch_up()

    return create


@pytest.fixture
def who(driver):
    async def ask(token=TOKEN):
        return await driver.core.authenticator.identify(Presented(authorization=f"Bearer {token}"))

    return ask


async def test_a_node_is_known_by_its_bootstrap_token(put, who):
    await put({**DATA, "auth-extra-groups": "system:bootstrappers:b,system:bootstrappers:a:x"})
    caller = await who()
    assert caller.user == "system:bootstrap:abcdef"
    assert caller.groups == (
        "system:bootstrappers",
        "system:bootstrappers:a:x",
        "system:bootstrappers:b",
        "system:authenticated",
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"usage-bootstrap-authentication": "false"},
        {"usage-bootstrap-authentication": "yes"},
        {"token-secret": "fedcba9876543210"},
        {"token-id": "fedcba"},
        {"expiration": "2025-12-31T23:59:59Z"},
        {"expiration": "tomorrow"},
        {"auth-extra-groups": "system:masters"},
        {"auth-extra-groups": "system:bootstrappers:ok,system:bootstrappers:Not"},
        {"auth-extra-groups": "system:bootstrappers:ends-"},
    ],
)
async def test_what_does_not_count(put, who, wrong):
    await put({**DATA, **wrong})
    with pytest.raises(UnauthorizedError):
        await who()


@pytest.mark.parametrize("token", ["abcdef.0123456789abcde", "ABCDEF.0123456789abcdef", "abcdef:0123456789abcdef"])
async def test_what_is_no_bootstrap_token(put, who, token):
    await put(DATA)
    with pytest.raises(UnauthorizedError):
        await who(token)


async def test_a_secret_of_another_type_is_no_token(put, who):
    await put(DATA, kind="Opaque")
    with pytest.raises(UnauthorizedError):
        await who()


async def test_a_token_ends_by_itself(put, who, clock):
    await put({**DATA, "expiration": rfc3339(clock.now() + timedelta(minutes=1))})
    assert (await who()).user == "system:bootstrap:abcdef"
    await clock.advance(60)
    with pytest.raises(UnauthorizedError):
        await who()


async def test_a_token_whose_secret_is_going_does_not_count(put, who, driver):
    await put(DATA, finalizers=["example.com/wait"])
    assert (await who()).user == "system:bootstrap:abcdef"
    where = (driver.resource("secrets"), "kube-system", "bootstrap-token-abcdef")
    await driver.core.pipeline.delete(APISERVER, *where, b"", WriteOptions())
    await driver.core.cache.catch_up()
    with pytest.raises(UnauthorizedError):
        await who()
