"""The service `kubernetes` has the endpoints of the api processes that there are."""

import asyncio

import pytest

from orch_api.addresses.advertising import Advertiser, own_address


@pytest.fixture
def advertiser(driver):
    core = driver.core

    def make(address):
        return Advertiser(core.store, core.cache, core.pipeline, core.registry, driver.clock, address, 6443)

    return make


async def addresses(driver):
    slice_ = await driver.get("endpointslices", "kubernetes")
    whole = await driver.get("endpoints", "kubernetes")
    found = [each["addresses"][0] for each in slice_.get("endpoints", [])]
    same = [each["ip"] for subset in whole.get("subsets", []) for each in subset["addresses"]] == found
    return found if same else None


async def until(driver, expected):
    for _ in range(400):
        await driver.clock.advance(1)
        await asyncio.sleep(0.001)
        if await driver.exists("endpoints", "kubernetes") and await addresses(driver) == expected:
            return
    raise AssertionError(await addresses(driver))


async def test_processes_come_and_go(driver, advertiser):
    first = asyncio.create_task(advertiser("192.0.2.1").run())
    await until(driver, ["192.0.2.1"])
    slice_ = await driver.get("endpointslices", "kubernetes")
    assert slice_["metadata"]["labels"] == {"kubernetes.io/service-name": "kubernetes"}
    assert slice_["ports"] == [{"name": "https", "port": 6443, "protocol": "TCP"}]
    second = asyncio.create_task(advertiser("192.0.2.2").run())
    await until(driver, ["192.0.2.1", "192.0.2.2"])
    first.cancel()
    await until(driver, ["192.0.2.2"])
    second.cancel()
    await asyncio.gather(first, second, return_exceptions=True)


async def test_what_others_write_there_is_put_right(driver, advertiser):
    one = advertiser("192.0.2.1")
    running = asyncio.create_task(one.run())
    await until(driver, ["192.0.2.1"])
    await driver.patch("endpointslices", "kubernetes", {"endpoints": []})
    await driver.patch("endpoints", "kubernetes", {"subsets": None})
    await until(driver, ["192.0.2.1"])
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_without_an_address_nothing_is_said(driver, advertiser):
    await advertiser("").run()
    assert not await driver.exists("endpoints", "kubernetes")


@pytest.mark.parametrize(
    ("advertised", "bound", "found"),
    [
        ("192.0.2.7", "", "192.0.2.7"),
        ("", "192.0.2.8", "192.0.2.8"),
        ("127.0.0.1", "192.0.2.8", "192.0.2.8"),
        ("", "127.0.0.1", ""),
    ],
)
def test_what_is_said_goes_before_where_it_is_bound(advertised, bound, found):
    assert own_address(advertised, bound) == found
