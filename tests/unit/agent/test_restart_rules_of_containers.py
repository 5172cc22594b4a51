from __future__ import annotations

from typing import Any

import msgspec
import pytest

from orch.objects.pods import Container
from orch_agent.pods.restarts import restarts_after


def rule(operator: str, *codes: int, action: str = "Restart") -> dict[str, Any]:
    return {"action": action, "exitCodes": {"operator": operator, "values": list(codes)}}


@pytest.mark.parametrize(
    ("own", "rules", "of_pod", "code", "again"),
    [
        ("", [], "Always", 0, True),
        ("", [], "OnFailure", 0, False),
        ("", [], "OnFailure", 1, True),
        ("", [], "Never", 1, False),
        ("Never", [], "Always", 1, False),
        ("OnFailure", [], "Never", 1, True),
        ("OnFailure", [], "Always", 0, False),
        ("Always", [], "Never", 0, True),
        ("Never", [rule("In", 42, 43)], "Never", 42, True),
        ("Never", [rule("In", 42)], "Always", 1, False),
        ("Never", [rule("NotIn", 1)], "Never", 42, True),
        ("Never", [rule("NotIn", 1), rule("In", 1)], "Never", 1, True),
        ("Never", [rule("In", 1, action="Unheard")], "Never", 1, False),
    ],
)
def test_rules_go_before_the_container_s_policy_and_that_before_the_pod_s(
    own: str, rules: list[dict[str, Any]], of_pod: str, code: int, again: bool
) -> None:
    container = msgspec.convert({"restartPolicy": own, "restartPolicyRules": rules}, Container)
    assert restarts_after(container, of_pod, code) is again


def ending(node: Any, name: str, code: int, **fields: Any) -> dict[str, Any]:
    return {"name": name, "env": node.env(SIMULATED_RUN_SECONDS=1, SIMULATED_EXIT_CODE=code), **fields}


async def test_a_pod_goes_on_as_long_as_one_of_its_containers_does(node: Any) -> None:
    web = ending(node, "web", 0, restartPolicy="Never")
    job = ending(node, "job", 7, restartPolicy="Never", restartPolicyRules=[rule("In", 7)])
    async with node.running(node.pod(web, job, restartPolicy="Never")):
        await node.clock.advance(3)
        assert node.told.status["phase"] == "Running"
        assert node.told.container("web")["restartCount"] == 0
        assert node.told.container("job")["restartCount"] == 1
        assert node.told.container("job")["state"]["waiting"]["reason"] == "CrashLoopBackOff"


async def test_a_pod_ends_when_no_container_runs_again(node: Any) -> None:
    containers = [ending(node, name, code, restartPolicy="Never") for name, code in (("web", 0), ("job", 7))]
    async with node.running(node.pod(*containers, restartPolicy="Always")):
        await node.clock.advance(3)
        assert node.told.status["phase"] == "Failed"


async def test_an_init_container_s_own_policy_decides_whether_its_pod_fails(node: Any) -> None:
    setup = ending(node, "setup", 3, restartPolicy="Never")
    async with node.running(node.pod({"name": "web"}, initContainers=[setup], restartPolicy="Always")):
        await node.clock.advance(3)
        assert node.told.status["phase"] == "Failed"
        assert node.told.container("web")["state"] == {"waiting": {"reason": "PodInitializing"}}


async def test_an_init_container_s_rules_may_give_it_another_chance(node: Any) -> None:
    setup = ending(node, "setup", 3, restartPolicy="Never", restartPolicyRules=[rule("In", 3)])
    async with node.running(node.pod({"name": "web"}, initContainers=[setup], restartPolicy="Never")):
        await node.clock.advance(3)
        assert node.told.status["phase"] == "Pending"
        assert node.told.container("setup")["restartCount"] == 1
