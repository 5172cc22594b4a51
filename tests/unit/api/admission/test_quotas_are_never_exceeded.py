"""Quotas of a namespace: charged before anything is stored, by however many writers and api processes at once."""

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
import yaml

from orch.errors import AlreadyExistsError, ForbiddenError
from orch.quotas import pending
from orch_api.auth.identity import Caller
from orch_api.config import ApiConfig
from orch_api.memory import in_memory_api
from orch_api.pipeline import WriteOptions
from orch_api.wiring import Core

ADMIN = Caller("orch:admin", ("system:masters",))


def pod(name: str, cpu: str = "", **spec: Any) -> dict[str, Any]:
    container: dict[str, Any] = {"name": "c", "image": "nginx"}
    if cpu:
        container["resources"] = {"requests": {"cpu": cpu}}
    return {"metadata": {"name": name}, "spec": {"containers": [container], **spec}}


async def quota(driver: Any, name: str = "q", **spec: Any) -> None:
    await driver.create("resourcequotas", {"metadata": {"name": name}, "spec": spec})


async def used(driver: Any, name: str = "q") -> dict[str, str]:
    await driver.core.cache.catch_up()
    return (await driver.get("resourcequotas", name))["status"].get("used", {})


async def test_what_is_beyond_a_quota_is_refused(driver):
    await driver.create("pods", pod("before"))
    await quota(driver, hard={"pods": "3", "count/configmaps": "1"})
    await driver.create("pods", pod("a"))
    await driver.create("pods", pod("b"))
    with pytest.raises(ForbiddenError) as refused:
        await driver.create("pods", pod("c"))
    assert refused.value.message == (
        'pods "c" is forbidden: exceeded quota: q, requested: pods=1, used: pods=3, limited: pods=3'
    )
    assert await used(driver) == {"pods": "3"}
    await driver.create("configmaps", {"metadata": {"name": "c"}})
    with pytest.raises(ForbiddenError, match="requested: count/configmaps=1, used: count/configmaps=1"):
        await driver.create("configmaps", {"metadata": {"name": "d"}})
    await driver.create("pods", pod("elsewhere"), namespace="kube-public")


async def test_what_is_charged_is_noted_until_the_controller_sees_it(driver):
    await quota(driver, hard={"pods": "3"})
    made = await driver.create("pods", pod("a"))
    found = await driver.get("resourcequotas", "q")
    (noted,) = pending.read(found["metadata"]["annotations"])
    assert (noted.resource, noted.name, noted.uid, noted.after) == ("pods", "a", made["metadata"]["uid"], 0)
    assert noted.used == {"pods": "1"}


async def test_a_dry_run_costs_nothing_and_is_refused_all_the_same(driver):
    await quota(driver, hard={"pods": "1"})
    for _ in range(2):
        await driver.create("pods", pod("a"), dry_run=True)
    assert await used(driver) == {}
    await driver.create("pods", pod("a"))
    with pytest.raises(ForbiddenError, match="exceeded quota"):
        await driver.create("pods", pod("b"), dry_run=True)


async def test_containers_say_what_a_quota_limits(driver):
    await quota(driver, hard={"requests.cpu": "1", "limits.memory": "1Gi"})
    both = r"failed quota: q: must specify limits\.memory for: c; requests\.cpu for: c"
    with pytest.raises(ForbiddenError, match=both):
        await driver.create("pods", pod("a"))
    with pytest.raises(ForbiddenError, match=r"failed quota: q: must specify limits\.memory for: c$"):
        await driver.create("pods", pod("a", "1"))


async def test_two_quotas_charge_both_or_none(driver):
    await quota(driver, "few", hard={"pods": "1"})
    await quota(driver, "many", hard={"pods": "5"})
    await driver.create("pods", pod("a"))
    with pytest.raises(ForbiddenError, match="exceeded quota: few"):
        await driver.create("pods", pod("b"))
    assert (await used(driver, "few"), await used(driver, "many")) == ({"pods": "1"}, {"pods": "1"})


@pytest.mark.parametrize(
    ("spec", "counted", "left"),
    [
        ({"scopes": ["BestEffort"]}, pod("x"), pod("x", "1")),
        ({"scopes": ["NotBestEffort"]}, pod("x", "1"), pod("x")),
        ({"scopes": ["Terminating"]}, pod("x", activeDeadlineSeconds=5), pod("x")),
        (
            {
                "scopeSelector": {
                    "matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["urgent"]}]
                }
            },
            pod("x", priorityClassName="urgent"),
            pod("x"),
        ),
    ],
)
async def test_scopes(driver, spec, counted, left):
    resource = driver.core.registry.stored("scheduling.k8s.io", "priorityclasses")
    body = json.dumps({"metadata": {"name": "urgent"}, "value": 5}).encode()
    await driver.core.pipeline.create(ADMIN, resource, "", body, WriteOptions())
    await quota(driver, hard={"pods": "0"}, **spec)
    await driver.create("pods", left)
    counted["metadata"]["name"] = "y"
    with pytest.raises(ForbiddenError, match="exceeded quota: q, requested: pods=1, used: pods=0, limited: pods=0"):
        await driver.create("pods", counted)


async def test_growing_costs_and_shrinking_gives_nothing_back_yet(driver):
    await quota(driver, hard={"requests.storage": "10Gi", "services.nodeports": "1"})
    claim = {
        "metadata": {"name": "c"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "8Gi"}}},
    }
    await driver.create("persistentvolumeclaims", claim)
    assert await used(driver) == {"requests.storage": "8Gi"}
    service = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 1, "name": "a"}, {"port": 2, "name": "b"}]}}
    await driver.create("services", service)
    with pytest.raises(ForbiddenError, match=r"requested: services\.nodeports=2, used: services\.nodeports=0"):
        await driver.patch("services", "s", {"spec": {"type": "NodePort"}})
    await driver.patch("services", "s", {"spec": {"type": "NodePort", "ports": [{"port": 1}]}})
    assert (await used(driver))["services.nodeports"] == "1"


async def test_resizing_is_charged(driver):
    await quota(driver, hard={"requests.cpu": "2"})
    await driver.create("pods", pod("a", "1"))
    await driver.core.cache.catch_up()
    resized = {"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1500m"}}}]}}
    await driver.patch("pods", "a", resized, kind="strategic", subresource="resize")
    assert await used(driver) == {"requests.cpu": "1500m"}
    resized["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "3"
    with pytest.raises(ForbiddenError, match=r"requested: requests\.cpu=1500m, used: requests\.cpu=1500m"):
        await driver.patch("pods", "a", resized, kind="strategic", subresource="resize")


async def test_many_writers_in_two_processes_never_exceed(driver, clock):
    """Processes know of one another by the store alone; one creation in three is for a name that is taken."""
    second = Core(driver.core.store, driver.api.bus("system:apiserver"), ApiConfig(), clock=clock, identity="second")
    async with _running(second):
        await quota(driver, hard={"pods": "25", "requests.cpu": "20"})
        pods = driver.resource("pods")
        chosen = random.Random(7)  # noqa: S311 - the same each time

        async def create(number: int) -> bool:
            core = driver.core if number % 2 else second
            body = json.dumps(pod(f"p-{number if chosen.random() < 0.7 else number // 3}", "1")).encode()
            try:
                await core.pipeline.create(ADMIN, pods, "default", body, WriteOptions())
            except (ForbiddenError, AlreadyExistsError):
                return False
            return True

        async with asyncio.timeout(20):
            outcomes = asyncio.gather(*(create(number) for number in range(120)))
            while not outcomes.done():
                await clock.advance(0.05)
                await asyncio.sleep(0)
        made = sum(await outcomes)
        await driver.core.cache.catch_up()
        stored = driver.core.cache.count("", "pods", "default")
        assert made == stored
        assert 0 < stored <= 20
        amounts = await used(driver)
        assert stored <= int(amounts["requests.cpu"]) <= 20


@contextlib.asynccontextmanager
async def _running(core: Core) -> AsyncIterator[None]:
    running = asyncio.create_task(core.run())
    await core.wait_ready()
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_some_things_need_a_quota(tmp_path, make_driver, clock):
    """Nobody has pods of a class, or of a storage class, without a quota that is about them."""
    wanted = {"scopeName": "PriorityClass", "operator": "In", "values": ["system-cluster-critical"]}
    configuration = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "ResourceQuotaConfiguration",
        "limitedResources": [
            {"resource": "pods", "matchScopes": [wanted]},
            {"resource": "persistentvolumeclaims", "matchContains": [".storageclass.storage.k8s.io/requests.storage"]},
        ],
    }
    file = tmp_path / "admission.yaml"
    plugins = [{"name": "ResourceQuota", "configuration": configuration}]
    kind = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration"}
    file.write_text(yaml.safe_dump({**kind, "plugins": plugins}))
    config = ApiConfig(admission_control_config_file=str(file))
    async with in_memory_api(clock, config=config) as api:
        driver = make_driver(api)
        await driver.create("pods", pod("plain"))
        critical = pod("critical", priorityClassName="system-cluster-critical")
        shown = r"insufficient quota to match these scopes: \[\{PriorityClass In \[system-cluster-critical\]\}\]"
        with pytest.raises(ForbiddenError, match=shown):
            await driver.create("pods", critical)
        await quota(driver, hard={"pods": "1"}, scopeSelector={"matchExpressions": [wanted]})
        await driver.create("pods", critical)
        size = {"requests": {"storage": "1Gi"}}
        spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": "gold", "resources": size}
        lacking = "insufficient quota to consume: gold.storageclass.storage.k8s.io/requests.storage"
        with pytest.raises(ForbiddenError, match=lacking):
            await driver.create("persistentvolumeclaims", {"metadata": {"name": "c"}, "spec": spec})


async def test_a_namespace_without_quotas_is_not_looked_at(driver):
    """What costs nothing is measured by what is done: no quota, no write but the object's own."""
    before = await driver.core.store.revision()
    await driver.create("pods", pod("a"))
    assert await driver.core.store.revision() == before + 1
