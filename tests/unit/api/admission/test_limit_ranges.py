"""LimitRanges: defaults for containers, and what is beyond the limits, worded as Kubernetes words it."""

from typing import Any

import pytest

from orch.errors import ForbiddenError


def pod(name: str = "p", init: Any = None, **resources: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {"containers": [{"name": "c", "image": "i", "resources": resources}]}
    if init is not None:
        spec["initContainers"] = [{"name": "first", "image": "i", "resources": init}]
    return {"metadata": {"name": name}, "spec": spec}


async def limits(driver: Any, *ranges: dict[str, Any], name: str = "l") -> None:
    await driver.create("limitranges", {"metadata": {"name": name}, "spec": {"limits": list(ranges)}})


async def test_containers_are_given_what_they_lack_and_it_is_said(driver):
    await limits(
        driver, {"type": "Container", "default": {"cpu": "1", "memory": "1Gi"}, "defaultRequest": {"cpu": "100m"}}
    )
    made = await driver.create("pods", pod(init={}, limits={"memory": "2Gi"}))
    assert made["spec"]["containers"][0]["resources"] == {
        "limits": {"cpu": "1", "memory": "2Gi"},
        "requests": {"cpu": "100m", "memory": "2Gi"},
    }
    assert made["spec"]["initContainers"][0]["resources"]["requests"] == {"cpu": "100m", "memory": "1Gi"}
    assert made["metadata"]["annotations"]["kubernetes.io/limit-ranger"] == (
        "LimitRanger plugin set: cpu request for container c; cpu limit for container c; cpu, memory request for init "
        "container first; cpu, memory limit for init container first"
    )
    assert made["status"]["qosClass"] == "Burstable"


@pytest.mark.parametrize(
    ("limit", "made", "problem"),
    [
        (
            {"type": "Container", "min": {"cpu": "100m"}},
            pod(requests={"cpu": "50m"}),
            "minimum cpu usage per Container is 100m, but request is 50m",
        ),
        (
            {"type": "Container", "max": {"memory": "1Gi"}},
            pod(requests={"memory": "1Gi"}, limits={"memory": "2Gi"}),
            "maximum memory usage per Container is 1Gi, but limit is 2Gi",
        ),
        (
            {"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}},
            pod(requests={"cpu": "100m"}, limits={"cpu": "300m"}),
            "cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000",
        ),
        (
            {"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}},
            pod(limits={"memory": "1Gi"}),
            "cpu max limit to request ratio per Container is 2, but no request is specified or request is 0",
        ),
        (
            {"type": "Pod", "max": {"cpu": "1"}},
            pod(init={"limits": {"cpu": "2"}}, limits={"cpu": "500m"}),
            "maximum cpu usage per Pod is 1, but limit is 2",
        ),
        (
            {"type": "Pod", "min": {"cpu": "1", "memory": "1Gi"}},
            pod(requests={"cpu": "500m"}),
            (
                "[minimum cpu usage per Pod is 1, but request is 500m, "
                "minimum memory usage per Pod is 1Gi.  No request is specified]"
            ),
        ),
        (
            {"type": "Pod", "max": {"cpu": "1"}},
            pod(),
            "maximum cpu usage per Pod is 1.  No limit is specified",
        ),
    ],
)
async def test_what_is_beyond_the_limits(driver, limit, made, problem):
    await limits(driver, limit)
    with pytest.raises(ForbiddenError) as refused:
        await driver.create("pods", made)
    assert refused.value.message == f'pods "p" is forbidden: {problem}'


async def test_claims_have_limits_when_they_are_made_and_grow(driver):
    await limits(driver, {"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "5Gi"}})

    def claim(size: str) -> dict[str, Any]:
        resources = {"requests": {"storage": size}}
        return {"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": resources}}

    with pytest.raises(ForbiddenError, match="maximum storage usage per PersistentVolumeClaim is 5Gi, but"):
        await driver.create("persistentvolumeclaims", claim("6Gi"))
    with pytest.raises(ForbiddenError, match="minimum storage usage per PersistentVolumeClaim is 1Gi, but"):
        await driver.create("persistentvolumeclaims", claim("1Mi"))
    await driver.create("persistentvolumeclaims", claim("2Gi"))


async def test_a_resize_stays_within_the_limits(driver):
    await limits(driver, {"type": "Container", "max": {"cpu": "1"}})
    await driver.create("pods", pod(limits={"cpu": "1"}))
    await driver.core.cache.catch_up()
    resized = {"spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "2"}}}]}}
    with pytest.raises(ForbiddenError, match="maximum cpu usage per Container is 1, but limit is 2"):
        await driver.patch("pods", "p", resized, kind="strategic", subresource="resize")


async def test_other_updates_are_not_looked_at(driver):
    await driver.create("pods", pod(limits={"cpu": "4"}))
    await limits(driver, {"type": "Container", "max": {"cpu": "1"}})
    await driver.patch("pods", "p", {"metadata": {"labels": {"a": "b"}}})
