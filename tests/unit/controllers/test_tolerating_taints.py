from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from workloads import NOW

from orch.objects.cluster import Taint
from orch.objects.pods import Toleration
from orch.objects.taints import covers
from orch_controllers.node_lifecycle.tolerance import seconds_tolerated

LOST = Taint(key="lost", effect="NoExecute")
OLD = Taint(key="old", effect="NoExecute", value="since-60")


def tolerate(key: str = "lost", seconds: int | None = None, **more: str) -> Toleration:
    operator = more.pop("operator", "Exists")
    return Toleration(key=key, operator=operator, effect="NoExecute", toleration_seconds=seconds, **more)


def since(taint: Taint) -> datetime:
    return NOW - timedelta(seconds=60 if taint is OLD else 1)


@pytest.mark.parametrize(
    ("tolerations", "taints", "expected"),
    [
        ([], [], None),
        ([tolerate()], [], None),
        ([], [LOST], 0),
        ([tolerate()], [LOST], None),
        ([tolerate("old")], [LOST], 0),
        ([tolerate(seconds=3)], [LOST], 2),
        ([tolerate(seconds=0)], [LOST], 0),
        ([tolerate(seconds=-5)], [LOST], 0),
        ([tolerate(seconds=3)], [LOST, OLD], 0),
        ([tolerate(seconds=10), tolerate("old", 300)], [LOST, OLD], 9),
        ([tolerate(seconds=300), tolerate("old", 70)], [LOST, OLD], 10),
        ([tolerate(seconds=10), tolerate("old")], [LOST, OLD], 9),
        ([tolerate("old", 30)], [OLD], 0),
        ([tolerate(seconds=10), tolerate(seconds=3)], [LOST], 9),  # the first that covers it counts
        ([tolerate(), tolerate(seconds=3)], [LOST], None),
        ([tolerate(seconds=3), tolerate()], [LOST], 2),
        ([Toleration(operator="Exists")], [LOST, OLD], None),
    ],
)
def test_seconds_until_a_pod_must_leave(
    tolerations: list[Toleration], taints: list[Taint], expected: float | None
) -> None:
    assert seconds_tolerated(tolerations, taints, since, NOW) == expected


@pytest.mark.parametrize(
    ("toleration", "expected"),
    [
        (Toleration(key="k", value="v", effect="NoExecute"), True),
        (Toleration(key="k", value="v"), True),
        (Toleration(key="k", value="w"), False),
        (Toleration(key="k", operator="Exists"), True),
        (Toleration(key="l", operator="Exists"), False),
        (Toleration(key="k", value="v", effect="NoSchedule"), False),
        (Toleration(operator="Exists", effect="NoExecute"), True),
        (Toleration(operator="Equal", value="v"), False),
    ],
)
def test_a_toleration_covers_a_taint_by_key_value_and_effect(toleration: Toleration, *, expected: bool) -> None:
    assert covers(toleration, Taint(key="k", value="v", effect="NoExecute")) is expected
