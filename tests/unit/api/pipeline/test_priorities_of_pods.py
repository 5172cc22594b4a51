import json

import pytest

from orch.errors import ForbiddenError
from orch_api.auth.identity import Caller
from orch_api.pipeline import WriteOptions

ADMIN = Caller("orch:admin", ("system:masters",))


@pytest.fixture
def define(driver):
    """Create a priority class."""

    async def create(name, value, **fields):
        resource = driver.resource("priorityclasses", "scheduling.k8s.io")
        body = json.dumps({"metadata": {"name": name}, "value": value, **fields}).encode()
        await driver.core.pipeline.create(ADMIN, resource, "", body, WriteOptions())

    return create


async def test_a_pod_gets_what_its_class_stands_for(driver, define, make_pod):
    await define("gold", 1000, preemptionPolicy="Never")
    pod = await driver.create("pods", make_pod("a", priorityClassName="gold"))
    assert (pod["spec"]["priority"], pod["spec"]["preemptionPolicy"]) == (1000, "Never")


async def test_a_class_that_is_not_there(driver, make_pod):
    with pytest.raises(ForbiddenError, match='pods "a" is forbidden: no PriorityClass with name gold was found'):
        await driver.create("pods", make_pod("a", priorityClassName="gold"))


async def test_a_pod_does_not_say_otherwise_than_its_class(driver, define, make_pod):
    await define("gold", 1000)
    with pytest.raises(ForbiddenError, match=r"the integer value of priority \(5\) must not be provided in pod spec"):
        await driver.create("pods", make_pod("a", priorityClassName="gold", priority=5))


async def test_nobody_is_important_without_a_class(driver, define, make_pod):
    for given, computed in (
        ({"priority": 2_000_001_000}, r"integer value of priority \(2000001000\) .* computed 0 from"),
        (
            {"preemptionPolicy": "Never"},
            r"string value of PreemptionPolicy \(Never\) .* PreemptLowerPriority from",
        ),
    ):
        with pytest.raises(ForbiddenError, match=computed):
            await driver.create("pods", make_pod("a", **given))
    await define("polite", 5, preemptionPolicy="Never")
    pod = await driver.create("pods", make_pod("a", priorityClassName="polite", priority=5, preemptionPolicy="Never"))
    assert (pod["spec"]["priority"], pod["spec"]["preemptionPolicy"]) == (5, "Never")


async def test_the_default_class_is_for_pods_that_name_none(driver, define, make_pod):
    await define("usual", 10, globalDefault=True)
    pod = await driver.create("pods", make_pod("a"))
    assert (pod["spec"]["priorityClassName"], pod["spec"]["priority"]) == ("usual", 10)


async def test_one_class_at_most_is_the_default(define):
    await define("usual", 10, globalDefault=True)
    message = "PriorityClass usual is already marked as default. Only one default can exist"
    with pytest.raises(ForbiddenError, match=message):
        await define("other", 20, globalDefault=True)


async def test_the_systems_classes_are_there_from_the_start(driver, make_pod):
    resource = driver.resource("priorityclasses", "scheduling.k8s.io")
    found = await driver.core.reader.get(resource, "", "system-node-critical")
    assert json.loads(found.json)["value"] == 2_000_001_000
    pod = await driver.create("pods", make_pod("a", priorityClassName="system-cluster-critical"))
    assert pod["spec"]["priority"] == 2_000_000_000


async def test_an_update_keeps_the_priority(driver, define, make_pod):
    await define("gold", 1000)
    pod = await driver.create("pods", make_pod("a", priorityClassName="gold"))
    del pod["spec"]["priority"]
    assert (await driver.update("pods", pod))["spec"]["priority"] == 1000
