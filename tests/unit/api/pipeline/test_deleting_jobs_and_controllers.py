"""What is left behind when the kinds are deleted that, of old, leave their pods."""

import json

import pytest

from orch_api.auth.identity import Caller
from orch_api.pipeline import WriteOptions

ADMIN = Caller("orch:admin", ("system:masters",))
TEMPLATE = {
    "metadata": {"labels": {"a": "b"}},
    "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "one"}]},
}


async def make(driver, resource, spec):
    body = json.dumps({"metadata": {"name": "x"}, "spec": spec}).encode()
    await driver.core.pipeline.create(ADMIN, resource, "default", body, WriteOptions())


@pytest.mark.parametrize(("options", "warned"), [({}, True), ({"propagationPolicy": "Orphan"}, False)])
async def test_pods_of_a_job_stay_and_a_warning_says_so(driver, options, warned):
    jobs = driver.resource("jobs", "batch")
    await make(driver, jobs, {"template": TEMPLATE})
    body = json.dumps(options).encode()
    outcome = await driver.core.pipeline.delete(ADMIN, jobs, "default", "x", body, WriteOptions())
    assert json.loads(outcome.json)["metadata"]["finalizers"] == ["orphan"]
    assert any("child pods are preserved by default" in one for one in outcome.warnings) is warned


async def test_a_plain_selector_is_scaled_by(driver):
    controllers = driver.resource("replicationcontrollers")
    template = TEMPLATE | {"spec": TEMPLATE["spec"] | {"restartPolicy": "Always"}}
    await make(driver, controllers, {"replicas": 2, "template": template})
    outcome = await driver.core.pipeline.get_subresource(controllers, "default", "x", "scale")
    scale = json.loads(outcome.json)
    assert (scale["spec"], scale["status"]) == ({"replicas": 2}, {"replicas": 0, "selector": "a=b"})
    deleted = await driver.core.pipeline.delete(ADMIN, controllers, "default", "x", b"", WriteOptions())
    assert json.loads(deleted.json)["metadata"]["finalizers"] == ["orphan"]
