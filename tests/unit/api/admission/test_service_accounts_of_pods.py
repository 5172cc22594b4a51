"""Pods and their accounts: which one, whether its token is mounted, and what it lets them refer to."""

import asyncio
from typing import Any

import pytest

from orch.errors import ForbiddenError
from orch_api.admission.service_accounts import MOUNT_PATH
from orch_api.config import ApiConfig
from orch_api.memory import in_memory_api

MIRROR = {"kubernetes.io/config.mirror": "x"}


def pod(name: str = "p", annotations: Any = None, **spec: Any) -> dict[str, Any]:
    containers = [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]
    return {"metadata": {"name": name, "annotations": annotations or {}}, "spec": {"containers": containers, **spec}}


@pytest.fixture
async def accounts(clock, make_driver):
    async with in_memory_api(clock, config=ApiConfig(enable_admission_plugins=("ServiceAccount",))) as api:
        yield make_driver(api)


async def account(driver: Any, name: str = "default", **more: Any) -> None:
    await driver.create("serviceaccounts", {"metadata": {"name": name}, **more})


async def test_the_token_is_mounted_where_programs_look_for_it(accounts):
    await account(accounts, imagePullSecrets=[{"name": "registry"}])
    own = {"name": "mine", "mountPath": MOUNT_PATH}
    made = pod(volumes=[{"name": "mine", "emptyDir": {}}], initContainers=[{"name": "i", "image": "i"}])
    made["spec"]["containers"][1]["volumeMounts"] = [own]
    spec = (await accounts.create("pods", made))["spec"]
    assert (spec["serviceAccountName"], spec["imagePullSecrets"]) == ("default", [{"name": "registry"}])
    _, volume = spec["volumes"]
    assert volume["name"].startswith("kube-api-access-")
    assert volume["projected"] == {
        "defaultMode": 0o644,
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {
                "downwardAPI": {
                    "items": [
                        {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
                    ]
                }
            },
        ],
    }
    token = [{"name": volume["name"], "readOnly": True, "mountPath": MOUNT_PATH}]
    assert [one["volumeMounts"] for one in spec["initContainers"] + spec["containers"]] == [token, token, [own]]


async def test_pods_of_one_account_and_template_have_one_spec(accounts):
    await account(accounts)
    await account(accounts, "other")
    first, second = [(await accounts.create("pods", pod(name)))["spec"] for name in ("p", "q")]
    assert first == second
    other = (await accounts.create("pods", pod("r", serviceAccountName="other")))["spec"]
    assert other["volumes"][0]["name"] != first["volumes"][0]["name"]


@pytest.mark.parametrize(
    ("of_account", "of_pod", "mounted"),
    [(None, None, True), (False, None, False), (False, True, True), (True, False, False)],
)
async def test_who_wants_no_token_gets_none(accounts, of_account, of_pod, mounted):
    await account(accounts, **({} if of_account is None else {"automountServiceAccountToken": of_account}))
    made = pod(**({} if of_pod is None else {"automountServiceAccountToken": of_pod}))
    assert bool((await accounts.create("pods", made))["spec"].get("volumes")) is mounted


async def test_an_account_must_be_there(accounts):
    await account(accounts)
    with pytest.raises(ForbiddenError) as refused:
        await accounts.create("pods", pod(serviceAccountName="other"))
    assert refused.value.message == (
        'pods "p" is forbidden: error looking up service account default/other: serviceaccount "other" not found'
    )
    await account(accounts, "other")
    assert (await accounts.create("pods", pod(serviceAccountName="other")))["spec"]["serviceAccount"] == "other"


async def test_the_default_account_is_waited_for_a_moment(accounts, clock):
    creating = asyncio.create_task(accounts.create("pods", pod()))
    await clock.advance(0.5)
    await account(accounts)
    async with asyncio.timeout(5):
        while not creating.done():
            await clock.advance(0.1)
            await asyncio.sleep(0)
    assert (await creating)["spec"]["serviceAccountName"] == "default"


async def test_and_not_for_longer(accounts, clock):
    creating = asyncio.create_task(accounts.create("pods", pod()))
    async with asyncio.timeout(5):
        while not creating.done():
            await clock.advance(0.1)
            await asyncio.sleep(0)
    with pytest.raises(ForbiddenError, match='serviceaccount "default" not found'):
        await creating


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        (
            {"volumes": [{"name": "v", "secret": {"secretName": "s"}}]},
            (
                'volume with secret.secretName="s" is not allowed because service account default does not '
                "reference that secret"
            ),
        ),
        (
            {"imagePullSecrets": [{"name": "known"}, {"name": "s"}]},
            (
                'imagePullSecrets[1].name="s" is not allowed because service account default does not reference that '
                "imagePullSecret"
            ),
        ),
        (
            {"initContainers": [{"name": "i", "image": "i", "envFrom": [{"secretRef": {"name": "s"}}]}]},
            (
                'init container i with envFrom referencing secret.secretName="s" is not allowed because '
                "service account default does not reference that secret"
            ),
        ),
    ],
)
async def test_an_account_may_say_which_secrets_its_pods_refer_to(accounts, spec, problem):
    enforced = {"name": "default", "annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}}
    listed = {"secrets": [{"name": "known"}], "imagePullSecrets": [{"name": "known"}]}
    await accounts.create("serviceaccounts", {"metadata": enforced, **listed})
    await accounts.create("pods", pod("fine", volumes=[{"name": "v", "secret": {"secretName": "known"}}]))
    with pytest.raises(ForbiddenError) as refused:
        await accounts.create("pods", pod(**spec))
    assert refused.value.message == f'pods "p" is forbidden: {problem}'


async def test_what_a_node_runs_by_itself_refers_to_nothing(accounts):
    made = await accounts.create("pods", pod(annotations=MIRROR, nodeName="n"))
    assert "volumes" not in made["spec"]
    secret = [{"name": "v", "secret": {"secretName": "s"}}]
    with pytest.raises(ForbiddenError, match="a mirror pod may not reference secrets"):
        await accounts.create("pods", pod("q", MIRROR, nodeName="n", volumes=secret))
