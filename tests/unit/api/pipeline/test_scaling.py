import json

import pytest

from orch.errors import ConflictError, InvalidError, NotFoundError


@pytest.fixture
async def deployment(driver):
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "one"}]}}
    selector = {
        "matchLabels": {"a": "b"},
        "matchExpressions": [{"key": "x", "operator": "NotIn", "values": ["2", "1"]}],
    }
    spec = {"replicas": 2, "selector": selector, "template": template}
    return await driver.create("deployments", {"metadata": {"name": "d"}, "spec": spec})


async def scale(driver):
    outcome = await driver.core.pipeline.get_subresource(
        driver.resource("deployments", "apps"), "default", "d", "scale"
    )
    return json.loads(outcome.json)


async def test_the_scale_shows_replicas_and_selector(driver, deployment):
    assert await scale(driver) == {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": "d",
            "namespace": "default",
            "uid": deployment["metadata"]["uid"],
            "resourceVersion": deployment["metadata"]["resourceVersion"],
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {"replicas": 2},
        "status": {"replicas": 0, "selector": "a=b,x notin (1,2)"},
    }


async def test_putting_a_scale_changes_the_replicas_only(driver, deployment):
    wanted = await scale(driver)
    wanted["spec"]["replicas"] = 5
    answered = await driver.update("deployments", wanted, subresource="scale")
    assert (answered["kind"], answered["spec"]) == ("Scale", {"replicas": 5})
    changed = await driver.get("deployments", "d")
    assert changed["spec"] == deployment["spec"] | {"replicas": 5}
    assert changed["metadata"]["generation"] == 2


async def test_patching_a_scale_changes_the_replicas(driver, deployment):
    await driver.patch("deployments", "d", {"spec": {"replicas": 0}}, subresource="scale")
    assert (await driver.get("deployments", "d"))["spec"]["replicas"] == 0


async def test_a_scale_of_an_older_version_conflicts(driver, deployment):
    wanted = await scale(driver)
    await driver.patch("deployments", "d", {"metadata": {"labels": {"x": "y"}}})
    with pytest.raises(ConflictError):
        await driver.update("deployments", wanted, subresource="scale")


async def test_negative_replicas_are_refused(driver, deployment):
    with pytest.raises(InvalidError, match=r"spec\.replicas"):
        await driver.patch("deployments", "d", {"spec": {"replicas": -1}}, subresource="scale")


async def test_what_has_no_scale_is_not_found(driver):
    with pytest.raises(NotFoundError):
        await driver.core.pipeline.get_subresource(driver.resource("pods"), "default", "d", "scale")
