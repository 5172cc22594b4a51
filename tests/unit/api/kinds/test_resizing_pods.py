import pytest

from orch.errors import InvalidError

SMALL = {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "200m", "memory": "64Mi"}}


def pod(**fields):
    container = {"name": "web", "image": "nginx:1.27", "resources": SMALL, **fields}
    return {"metadata": {"name": "web"}, "spec": {"containers": [container]}}


@pytest.fixture
def resize(driver):
    """Change the resources of the pod's container, as `kubectl patch --subresource resize` does."""

    async def patch(**fields):
        change = {"spec": {"containers": [{"name": "web", **fields}]}}
        return await driver.patch("pods", "web", change, kind="strategic", subresource="resize")

    return patch


def refused(refusal):
    return [f"{cause.field}: {cause.message}" for cause in refusal.value.details.causes]


async def test_cpu_and_memory_change_and_are_counted(driver, resize):
    await driver.create("pods", pod())
    resized = await resize(resources={"requests": {"cpu": "0.15"}})
    assert resized["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "150m", "memory": "64Mi"}
    assert resized["metadata"]["generation"] == 2


async def test_nothing_else_changes(driver, resize):
    await driver.create("pods", pod())
    resized = await resize(image="nginx:2", resources={"limits": {"cpu": "300m"}})
    assert resized["spec"]["containers"][0]["image"] == "nginx:1.27"
    assert resized["spec"]["containers"][0]["resources"]["limits"]["cpu"] == "300m"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {"resources": {"requests": {"cpu": "200m"}}},
            ['spec: Invalid value: "Burstable": Pod QOS Class may not change as a result of resizing'],
        ),
        (
            {"resources": {"requests": {"memory": None}, "limits": {"memory": None}}},
            [
                "spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed",
                "spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed",
            ],
        ),
        (
            {"resources": {"limits": {"ephemeral-storage": "1Gi"}}},
            ["spec: Forbidden: only cpu and memory resources are mutable"],
        ),
        (
            {"resizePolicy": [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]},
            ["spec: Forbidden: only cpu and memory resources are mutable"],
        ),
        (
            {"resources": {"requests": {"cpu": "300m"}}},
            [
                (
                    'spec.containers[0].resources.requests: Invalid value: "300m": must be less than or '
                    "equal to cpu limit of 200m"
                )
            ],
        ),
    ],
)
async def test_what_a_resize_cannot_do(driver, resize, change, expected):
    await driver.create("pods", pod())
    with pytest.raises(InvalidError) as refusal:
        await resize(**change)
    assert refused(refusal) == expected


async def test_containers_stay_in_their_places(driver):
    made = await driver.create("pods", pod())
    made["spec"]["containers"][0]["name"] = "other"
    with pytest.raises(InvalidError) as refusal:
        await driver.update("pods", made, subresource="resize")
    assert refused(refusal) == [
        "spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize"
    ]
    made["spec"]["containers"].append({"name": "web", "image": "nginx"})
    with pytest.raises(InvalidError) as refusal:
        await driver.update("pods", made, subresource="resize")
    assert refused(refusal) == [
        "spec.containers: Forbidden: containers may not be added or removed on resize",
    ]


async def test_of_init_containers_only_sidecars_are_resized(driver):
    document = pod()
    document["spec"]["initContainers"] = [
        {"name": "first", "image": "nginx:1.27", "resources": SMALL},
        {"name": "beside", "image": "nginx:1.27", "resources": SMALL, "restartPolicy": "Always"},
    ]
    made = await driver.create("pods", document)
    made["spec"]["initContainers"][1]["resources"]["requests"]["cpu"] = "110m"
    made = await driver.update("pods", made, subresource="resize")
    assert made["spec"]["initContainers"][1]["resources"]["requests"]["cpu"] == "110m"
    made["spec"]["initContainers"][0]["resources"]["requests"]["cpu"] = "110m"
    with pytest.raises(InvalidError) as refusal:
        await driver.update("pods", made, subresource="resize")
    assert refused(refusal) == ["spec: Forbidden: resources for non-sidecar init containers are immutable"]


async def test_a_node_that_tells_no_resources_cannot_resize(driver, resize):
    made = await driver.create("pods", pod())
    running = {"name": "web", "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}
    made["status"]["containerStatuses"] = [running | {"image": "", "imageID": "", "ready": True, "restartCount": 0}]
    await driver.update("pods", made, subresource="status")
    with pytest.raises(InvalidError) as refusal:
        await resize(resources={"requests": {"cpu": "110m"}})
    assert refused(refusal) == ["spec: Forbidden: Pod running on node without support for resize"]


async def test_the_pods_own_update_resizes_nothing(driver):
    made = await driver.create("pods", pod())
    made["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "110m"
    with pytest.raises(InvalidError) as refusal:
        await driver.update("pods", made)
    assert refused(refusal)[0].startswith("spec: Forbidden: pod updates may not change fields other than")


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        ([{"resourceName": "cpu", "restartPolicy": "NotRequired"}], []),
        (
            [{"resourceName": "disk", "restartPolicy": "NotRequired"}],
            ['spec.containers[0].resizePolicy: Unsupported value: "disk": supported values: "cpu", "memory"'],
        ),
        (
            [{"resourceName": "cpu", "restartPolicy": "NotRequired"}] * 2,
            ['spec.containers[0].resizePolicy[1]: Duplicate value: "cpu"'],
        ),
    ],
)
def test_how_a_container_takes_a_resize(problems, policies, expected):
    document = pod(resizePolicy=policies)
    document["metadata"]["namespace"] = "default"
    assert problems("pods", document) == expected
