import asyncio

import pytest

from orch.errors import InvalidError, ServiceUnavailableError
from orch.store import keys
from orch_api.addresses import holders
from orch_api.storage.claims import Claims


def service(name, **spec):
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], **spec}}


async def claimed(driver):
    """Return the addresses and node ports that services hold."""
    cache = driver.core.cache
    await cache.catch_up()
    addresses = {item.key.name for item in cache.select("networking.k8s.io", "ipaddresses")}
    return addresses | cache.claims("", "services")


async def test_services_created_at_once_get_different_addresses(driver, monkeypatch):
    monkeypatch.setattr("orch_api.storage.claims.random.getrandbits", lambda _: 7)  # all begin their search alike
    made = await asyncio.gather(*(driver.create("services", service(f"s{n}")) for n in range(12)))
    addresses = {one["spec"]["clusterIP"] for one in made}
    assert len(addresses) == 12
    assert addresses <= await claimed(driver)


async def test_an_address_that_is_taken_is_refused_with_its_field(driver):
    taken = (await driver.create("services", service("a")))["spec"]["clusterIP"]
    with pytest.raises(InvalidError, match=f"failed to allocate IP {taken}: provided IP is already allocated"):
        await driver.create("services", service("b", clusterIP=taken))
    assert not await driver.exists("services", "b")
    assert (await driver.get("services", "a"))["spec"]["clusterIP"] == taken


async def test_a_node_port_that_is_taken_is_refused_with_its_field(driver):
    ports = [{"name": "a", "port": 80}, {"name": "b", "port": 81, "nodePort": 30080}]
    await driver.create("services", service("a", type="NodePort", ports=ports))
    problem = r"spec\.ports\[1\]\.nodePort: Invalid value: 30080: provided port is already allocated"
    with pytest.raises(InvalidError, match=problem):
        await driver.create("services", service("b", type="NodePort", ports=ports))


async def test_a_creation_that_fails_gives_its_claims_back(driver):
    await driver.create("services", service("a"))
    before = set(await claimed(driver))
    with pytest.raises(Exception, match="already exists"):
        await driver.create("services", service("a"))
    with pytest.raises(InvalidError):
        await driver.create("services", service("b", type="Sideways"))
    assert await claimed(driver) == before


async def test_a_dry_run_claims_nothing(driver):
    before = set(await claimed(driver))
    assert (await driver.create("services", service("a"), dry_run=True))["spec"]["clusterIP"]
    assert await claimed(driver) == before


async def test_a_change_of_type_takes_and_gives_back(driver):
    made = await driver.create("services", service("a"))
    address = made["spec"]["clusterIP"]
    exposed = await driver.patch("services", "a", {"spec": {"type": "NodePort"}})
    assert exposed["spec"]["clusterIP"] == address
    assert exposed["spec"]["ports"][0]["nodePort"] >= 30000
    held = len(await claimed(driver))
    external = {"spec": {"type": "ExternalName", "externalName": "x.example", "clusterIP": None, "clusterIPs": None}}
    await driver.patch("services", "a", external)
    now = await claimed(driver)
    assert address not in now
    assert len(now) == held - 2


async def test_repair_claims_what_is_held_and_releases_what_is_not(driver):
    made = await driver.create("services", service("a"))
    address = made["spec"]["clusterIP"]
    store, resource = driver.core.store, driver.resource("services")
    claims = Claims(store, driver.core.cache, driver.clock)
    await claims.release(resource, [address], made["metadata"]["uid"])
    forgotten = {
        "metadata": {"uid": "gone", "name": "x"},
        "spec": {"clusterIP": "10.96.9.9", "clusterIPs": ["10.96.9.9"]},
    }
    await claims.hold(resource, forgotten, None, dry_run=False)
    await claims.repair(resource)
    assert address in await claimed(driver)
    assert "10.96.9.9" in await claimed(driver), "it may belong to an object that is being created"
    await driver.clock.advance(120)
    await claims.repair(resource)
    assert "10.96.9.9" not in await claimed(driver)
    assert await store.get(keys.object_key(holders.key_of(address))) is not None


async def test_when_nothing_is_free_that_is_said(driver, monkeypatch):
    monkeypatch.setattr("orch_api.storage.claims._ATTEMPTS", 0)
    with pytest.raises(ServiceUnavailableError, match="no free claim was found for services"):
        await driver.create("services", service("a"))
