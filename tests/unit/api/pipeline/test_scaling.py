import json

import pytest

from orch.errors import ConflictError, InternalError, InvalidError, NotFoundError
from orch_api.pipeline import scale as scales
from orch_api.resource import Resource, ScalePaths
from orch_api.strategy import Strategy


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


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({"spec": True}, ".spec.replicas accessor error: true is of the type bool, expected map[string]interface {}"),
        ({"spec": {"replicas": "3"}}, '.spec.replicas accessor error: "3" is of the type string, expected int64'),
        ({"status": {"replicas": 1.5}}, ".status.replicas accessor error: 1.5 is of the type float64, expected int64"),
        ({"status": {"selector": 7}}, ".status.selector accessor error: 7 is of the type int64, expected string"),
    ],
)
def test_a_kind_that_keeps_other_things_where_its_scale_is(document, problem):
    paths = ScalePaths(selector=("status", "selector"))
    kind = Resource(plural="xs", singular="x", kind="X", strategy=Strategy(), scale=paths)
    with pytest.raises(InternalError) as refused:
        scales.render(kind, {"metadata": {"name": "x"}, **document})
    assert refused.value.message == problem
    if document.get("spec") is True:
        with pytest.raises(InternalError):
            scales.apply(kind, {"metadata": {"name": "x"}, **document}, {"spec": {"replicas": 1}})
