"""How large a volume in memory may grow, and which huge pages it has."""

from __future__ import annotations

from typing import Any

import pytest
from volume_node import VolumeNode

MIB = 1 << 20


def limits(*amounts: str, **more: Any) -> dict[str, Any]:
    containers = [
        {"name": f"c{n}", "resources": {"limits": {"memory": each} if each else {}}} for n, each in enumerate(amounts)
    ]
    containers[0]["volumeMounts"] = [{"name": "fast", "mountPath": "/fast"}]
    return {"containers": containers, **more}


@pytest.mark.parametrize(
    ("size_limit", "spec", "size"),
    [
        ("", limits(""), 1024),
        ("10Mi", limits(""), 10),
        ("2Gi", limits(""), 1024),
        ("", limits("100Mi", "28Mi"), 128),
        ("64Mi", limits("100Mi", "28Mi"), 64),
        ("", limits("100Mi", ""), 1024),
        ("", limits("100Mi", initContainers=[{"name": "i", "resources": {"limits": {"memory": "200Mi"}}}]), 200),
        ("", limits("", resources={"limits": {"memory": "50Mi"}}), 50),
    ],
)
async def test_the_least_of_all_limits_counts(node: VolumeNode, size_limit: str, spec: Any, size: int) -> None:
    empty = {"medium": "Memory", "sizeLimit": size_limit} if size_limit else {"medium": "Memory"}
    assert await node.volumes.prepare(node.pod({"name": "fast", "emptyDir": empty}, **spec)) is None
    assert [what for what, _ in node.kernel.made] == [f"tmpfs {size * MIB} 777"]


def pages(*sizes: str) -> dict[str, Any]:
    resources = {"limits": {f"hugepages-{size}": "4Mi" for size in sizes}}
    return {
        "containers": [{"name": "c", "resources": resources, "volumeMounts": [{"name": "fast", "mountPath": "/x"}]}]
    }


@pytest.mark.parametrize(
    ("medium", "sizes", "outcome"),
    [
        ("HugePages", ["2Mi"], "huge pages 2097152"),
        ("HugePages-2Mi", ["2Mi", "1Gi"], "huge pages 2097152"),
        ("HugePages", ["2Mi", "1Gi"], "can only be used if container requests defined for one page size"),
        ("HugePages", [], "hugePages storage requested, but there is no resource request for huge pages"),
        ("HugePages-1Gi", ["2Mi"], 'medium "HugePages-1Gi" requires resource requests or limits for containers'),
    ],
)
async def test_huge_pages_are_those_that_are_requested(
    node: VolumeNode, medium: str, sizes: list[str], outcome: str
) -> None:
    await node.volumes.prepare(node.pod({"name": "fast", "emptyDir": {"medium": medium}}, **pages(*sizes)))
    told = [what for what, _ in node.kernel.made] or node.events
    assert [outcome in each for each in told] == [True]
