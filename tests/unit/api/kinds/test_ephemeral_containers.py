import pytest

from orch.errors import InvalidError

POD = {"metadata": {"name": "web"}, "spec": {"containers": [{"name": "web", "image": "nginx:1.27"}]}}
DEBUG = {"name": "debug", "image": "busybox:1.36", "targetContainerName": "web"}


@pytest.fixture
async def look_into(driver):
    """Add ephemeral containers to a pod, as `kubectl debug` does."""
    await driver.create("pods", POD)

    async def patch(*containers, **spec):
        change = {"spec": {"ephemeralContainers": list(containers), **spec}}
        return await driver.patch("pods", "web", change, kind="strategic", subresource="ephemeralcontainers")

    return patch


def refused(refusal):
    return [f"{cause.field}: {cause.message}" for cause in refusal.value.details.causes]


async def test_a_container_is_added_and_counted(look_into):
    pod = await look_into(DEBUG)
    (container,) = pod["spec"]["ephemeralContainers"]
    assert container["name"] == "debug"
    assert container["terminationMessagePolicy"] == "File"
    assert pod["metadata"]["generation"] == 2


async def test_nothing_else_changes(driver, look_into):
    change = {
        "metadata": {"labels": {"a": "b"}},
        "spec": {"ephemeralContainers": [DEBUG], "nodeName": "elsewhere"},
        "status": {"phase": "Failed"},
    }
    pod = await driver.patch("pods", "web", change, kind="strategic", subresource="ephemeralcontainers")
    assert "labels" not in pod["metadata"]
    assert "nodeName" not in pod["spec"]
    assert pod["status"]["phase"] == "Pending"
    assert len(pod["spec"]["ephemeralContainers"]) == 1


async def test_one_that_is_there_stays_as_it_is(driver, look_into):
    pod = await look_into(DEBUG)
    with pytest.raises(InvalidError) as refusal:
        await look_into(DEBUG | {"image": "other:1"})
    assert refused(refusal) == [
        'spec.ephemeralContainers: Forbidden: existing ephemeral containers "debug" may not be changed\n'
    ]
    del pod["spec"]["ephemeralContainers"]
    with pytest.raises(InvalidError) as refusal:
        await driver.update("pods", pod, subresource="ephemeralcontainers")
    assert refused(refusal) == [
        'spec.ephemeralContainers: Forbidden: existing ephemeral containers "debug" may not be removed\n'
    ]


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        (DEBUG | {"name": "web"}, 'spec.ephemeralContainers[0].name: Duplicate value: "web"'),
        (
            DEBUG | {"targetContainerName": "other"},
            'spec.ephemeralContainers[0].targetContainerName: Not found: "other"',
        ),
        (
            DEBUG | {"ports": [{"containerPort": 80}]},
            "spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container",
        ),
        (
            DEBUG | {"resources": {"limits": {"cpu": "1"}}},
            "spec.ephemeralContainers[0].resources: Forbidden: cannot be set for an Ephemeral Container",
        ),
        (
            DEBUG | {"livenessProbe": {"exec": {"command": ["true"]}}},
            "spec.ephemeralContainers[0].livenessProbe: Forbidden: cannot be set for an Ephemeral Container",
        ),
        ({"name": "debug"}, "spec.ephemeralContainers[0].image: Required value"),
    ],
)
async def test_what_an_ephemeral_container_cannot_be(look_into, container, expected):
    with pytest.raises(InvalidError) as refusal:
        await look_into(container)
    assert refused(refusal) == [expected]


async def test_the_pods_own_update_adds_none_and_keeps_those_that_are_there(driver, look_into):
    pod = await look_into(DEBUG)
    pod["metadata"]["labels"] = {"a": "b"}
    pod = await driver.update("pods", pod)
    pod["spec"]["ephemeralContainers"].append(DEBUG | {"name": "another"})
    with pytest.raises(InvalidError) as refusal:
        await driver.update("pods", pod)
    assert refused(refusal)[0].startswith("spec: Forbidden: pod updates may not change fields other than")


async def test_a_new_pod_has_none(driver):
    with pytest.raises(InvalidError) as refusal:
        await driver.create("pods", {**POD, "spec": POD["spec"] | {"ephemeralContainers": [DEBUG]}})
    assert refused(refusal) == ["spec.ephemeralContainers: Forbidden: cannot be set on create"]


async def test_a_nodes_own_pod_takes_none(driver):
    mirror = {"metadata": {"name": "static", "annotations": {"kubernetes.io/config.mirror": "a"}}, "spec": POD["spec"]}
    pod = await driver.create("pods", mirror)
    pod["spec"]["ephemeralContainers"] = [DEBUG]
    with pytest.raises(InvalidError) as refusal:
        await driver.update("pods", pod, subresource="ephemeralcontainers")
    assert refused(refusal) == [": Forbidden: static pods do not support ephemeral containers"]
