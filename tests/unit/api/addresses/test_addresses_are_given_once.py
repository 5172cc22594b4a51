"""No address and no node port is ever two services', whatever processes, creations and deletions come together."""

import asyncio
import json
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orch.clock import ManualClock
from orch.errors import ApiError, InvalidError
from orch_api.addresses.holders import ALLOCATOR, MANAGED_BY, key_of
from orch_api.auth.identity import APISERVER
from orch_api.config import ApiConfig
from orch_api.memory import in_memory_api
from orch_api.pipeline import WriteOptions
from orch_api.wiring import Core

SMALL = ApiConfig(service_cidr="10.9.8.0/28", service_node_port_range="30000-30009")


def service(name, **spec):
    return {"metadata": {"name": name}, "spec": {"type": "NodePort", "ports": [{"port": 80}], **spec}}


async def create(core, document):
    resource = core.registry.stored("", "services")
    outcome = await core.pipeline.create(APISERVER, resource, "default", json.dumps(document).encode(), WriteOptions())
    return json.loads(outcome.json)


async def delete(core, name):
    resource = core.registry.stored("", "services")
    await core.pipeline.delete(APISERVER, resource, "default", name, b"", WriteOptions())


async def held(core):
    """Return what every service has: addresses and ports, each with the service's name."""
    await core.cache.catch_up()
    found = [json.loads(item.json) for item in core.cache.select("", "services")]
    pairs = [(each["spec"]["clusterIP"], each["metadata"]["name"]) for each in found]
    return pairs + [
        (p["nodePort"], e["metadata"]["name"]) for e in found for p in e["spec"]["ports"] if "nodePort" in p
    ]


async def second_process(api, clock):
    core = Core(api.store, api.bus("system:apiserver"), SMALL, clock=clock, identity="second")
    running = asyncio.create_task(core.cache.run())
    await core.cache.wait_ready()
    return core, running


_NAMES = [f"s{number}" for number in range(6)]
_STEPS = st.lists(
    st.tuples(st.sampled_from(["create", "delete", "expose"]), st.sampled_from(_NAMES), st.integers(0, 1)),
    min_size=4,
    max_size=24,
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_STEPS, st.integers(0, 1000))
def test_concurrent_writes_of_two_processes_never_share(steps, seed):
    asyncio.run(_run(steps, seed))


async def _run(steps, seed):
    clock = ManualClock()
    order = random.Random(seed)  # noqa: S311 - an order to try, no secret
    async with in_memory_api(clock, config=SMALL) as api:
        second, running = await second_process(api, clock)
        cores = [api.core, second]

        async def step(what, name, process):
            await asyncio.sleep(order.random() / 1000)
            try:
                if what == "delete":
                    await delete(cores[process], name)
                else:
                    kind = "NodePort" if what == "expose" else "ClusterIP"
                    await create(cores[process], service(name, type=kind))
            except ApiError:
                return

        await asyncio.gather(*(step(*each) for each in steps))
        values = [value for value, _ in await held(api.core)]
        assert len(values) == len(set(values))
        claimed = {item.key.name for item in api.core.cache.select("networking.k8s.io", "ipaddresses")}
        assert claimed == {value for value in values if isinstance(value, str)}
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_full_range_says_so_and_serves_again_once_something_is_free():
    async with in_memory_api(ManualClock(), config=SMALL) as api:
        for number in range(13):  # 14 addresses, one of them the api's own
            await create(api.core, service(f"s{number}", type="ClusterIP"))
        with pytest.raises(ApiError, match="range is full"):
            await create(api.core, service("late", type="ClusterIP"))
        await delete(api.core, "s3")
        await create(api.core, service("late", type="ClusterIP"))


async def test_an_address_has_an_object_that_says_whose_it_is(driver):
    made = await driver.create("services", service("web"))
    found = await driver.get("ipaddresses", made["spec"]["clusterIP"])
    assert found["spec"] == {"parentRef": {"group": "", "resource": "services", "namespace": "default", "name": "web"}}
    assert found["metadata"]["labels"] == {"ipaddress.kubernetes.io/ip-family": "IPv4", MANAGED_BY: ALLOCATOR}


async def test_an_address_that_somebody_keeps_is_not_given_and_not_taken_back(driver):
    kept = {"metadata": {"name": "10.96.7.7"}, "spec": {"parentRef": {"resource": "things", "name": "mine"}}}
    await driver.create("ipaddresses", kept)
    with pytest.raises(InvalidError, match=r"failed to allocate IP 10\.96\.7\.7: provided IP is already allocated"):
        await driver.create("services", service("web", clusterIP="10.96.7.7"))
    await driver.clock.advance(120)
    await driver.core.pipeline.claims.repair(driver.resource("services"))
    assert await driver.exists("ipaddresses", "10.96.7.7")


async def test_an_address_that_was_lost_is_claimed_again(driver):
    made = await driver.create("services", service("web"))
    address = made["spec"]["clusterIP"]
    await driver.delete("ipaddresses", address)
    await driver.core.pipeline.claims.repair(driver.resource("services"))
    assert await driver.exists("ipaddresses", address)


async def test_who_gives_up_an_address_late_does_not_take_it_from_its_next_holder(driver):
    first = await driver.create("services", service("a", clusterIP="10.96.7.8"))
    await driver.delete("services", "a")
    await driver.create("services", service("b", clusterIP="10.96.7.8"))
    claims = driver.core.pipeline.claims
    await claims.release(driver.resource("services"), ["10.96.7.8"], first["metadata"]["uid"])
    assert await driver.core.store.get(b"/orch/objects/networking.k8s.io/ipaddresses/-/10.96.7.8") is not None
    assert key_of("10.96.7.8").name == "10.96.7.8"


async def test_ranges_that_are_added_are_used_when_the_first_is_full(driver):
    extra = {"metadata": {"name": "more"}, "spec": {"cidrs": ["10.97.0.0/24"]}}
    await driver.create("servicecidrs", extra)
    await driver.core.cache.catch_up()
    made = await driver.create("services", service("web", clusterIP="10.97.0.9"))
    assert made["spec"]["clusterIP"] == "10.97.0.9"
    with pytest.raises(InvalidError, match=r"The range of valid IPs is 10\.96\.0\.0/16, 10\.97\.0\.0/24"):
        await driver.create("services", service("other", clusterIP="10.98.0.9"))


async def test_every_cluster_has_its_range_and_the_apis_service(driver):
    assert (await driver.get("servicecidrs", "kubernetes"))["spec"] == {"cidrs": ["10.96.0.0/16"]}
    assert (await driver.get("ipaddresses", "10.96.0.1"))["spec"]["parentRef"]["name"] == "kubernetes"
