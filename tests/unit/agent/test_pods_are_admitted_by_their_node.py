from __future__ import annotations

from typing import Any

import pytest

from orch_agent.pods.admission import Admission
from orch_agent.pods.sysctls import normalized, pattern_problem

LABELS = {"kubernetes.io/os": "linux", "disk": "ssd"}


class Profiles:
    def __init__(self, *loaded: str, enabled: bool = True) -> None:
        self._loaded = frozenset(loaded) if enabled else None

    def profiles(self) -> frozenset[str] | None:
        return self._loaded


def admission(node: Any, *unsafe: str, profiles: Profiles | None = None) -> Admission:
    profiles = profiles or Profiles(enabled=False)
    return Admission("node-1", node.objects, node.clock, labels=LABELS, unsafe_sysctls=unsafe, app_armor=profiles)


def sysctls(*names: str) -> dict[str, Any]:
    return {"sysctls": [{"name": name, "value": "1"} for name in names]}


def affinity(key: str, *values: str) -> dict[str, Any]:
    term = {"matchExpressions": [{"key": key, "operator": "In", "values": list(values)}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}


@pytest.mark.parametrize(
    ("spec", "reason", "message"),
    [
        ({"securityContext": sysctls("kernel.msgmax")}, "SysctlForbidden", '"kernel.msgmax" not allowlisted'),
        (
            {"securityContext": sysctls("net.ipv4.tcp_syncookies"), "hostNetwork": True},
            "SysctlForbidden",
            'forbidden sysctl: "net.ipv4.tcp_syncookies" not allowed with host Net enabled',
        ),
        (
            {"securityContext": sysctls("kernel.shm_rmid_forced"), "hostIPC": True},
            "SysctlForbidden",
            'forbidden sysctl: "kernel.shm_rmid_forced" not allowed with host IPC enabled',
        ),
        ({"os": {"name": "windows"}}, "PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS"),
        (
            {"nodeSelector": {"disk": "hdd"}},
            "NodeAffinity",
            "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
        ),
        ({"affinity": affinity("disk", "hdd")}, "NodeAffinity", "Predicate NodeAffinity failed"),
        (
            {"securityContext": {"appArmorProfile": {"type": "RuntimeDefault"}}},
            "AppArmor",
            "Cannot enforce AppArmor: AppArmor is not enabled on the host",
        ),
    ],
)
async def test_what_cannot_run_here_is_refused(node: Any, spec: dict[str, Any], reason: str, message: str) -> None:
    refusal = await admission(node).judge(node.pod(**spec))
    assert refusal is not None
    assert refusal.reason == reason
    assert message in refusal.message


@pytest.mark.parametrize(
    ("policy", "strict", "refused"), [("Strict", False, True), ("Strict", True, False), ("Merge", False, False)]
)
async def test_groups_that_a_pod_does_not_want_are_no_runtimes_to_add(
    node: Any, policy: str, strict: bool, refused: bool
) -> None:
    judging = admission(node)
    judging.strict_groups = strict
    refusal = await judging.judge(node.pod(securityContext={"supplementalGroupsPolicy": policy}))
    assert (refusal is not None) is refused
    if refusal is not None:
        assert refusal.reason == "SupplementalGroupsPolicyNotSupported"
        assert refusal.message == "SupplementalGroupsPolicy=Strict is not supported in this node"


async def test_a_pod_that_wants_users_of_its_own_gets_no_others(node: Any) -> None:
    async with node.running(node.pod(hostUsers=False)):
        await node.settle(lambda: node.told.events)
    told = "can't set `spec.hostUsers: false`, runtime does not support user namespaces"
    assert node.told.events[0] == ("FailedCreatePodSandBox", f"Failed to create pod sandbox: {told}")
    assert await node.runtime.containers() == []


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"os": {"name": "linux"}},
        {"nodeSelector": {"disk": "ssd"}},
        {"affinity": affinity("disk", "ssd", "hdd")},
        {"securityContext": sysctls("net/ipv4/tcp_syncookies", "kernel.shm_rmid_forced")},
        {"securityContext": {"appArmorProfile": {"type": "Unconfined"}}},
    ],
)
async def test_all_others_are_admitted(node: Any, spec: dict[str, Any]) -> None:
    assert await admission(node).judge(node.pod(**spec)) is None


async def test_a_pod_labelled_for_another_system_is_refused(node: Any) -> None:
    refusal = await admission(node).judge(node.pod(meta={"labels": {"kubernetes.io/os": "windows"}}))
    assert refusal is not None
    assert refusal.reason == "PodOSSelectorNodeLabelDoesNotMatch"


async def test_labels_and_taints_of_the_nodes_object_count(node: Any) -> None:
    node.objects.held["nodes", "", "node-1"] = {
        "metadata": {"name": "node-1", "labels": {"zone": "a"}},
        "spec": {"taints": [{"key": "gone", "effect": "NoExecute"}]},
    }
    judged = admission(node)
    refusal = await judged.judge(node.pod(nodeSelector={"zone": "a"}))
    assert refusal is not None
    assert refusal.reason == "TaintToleration"
    tolerating = [{"operator": "Exists"}]
    assert await judged.judge(node.pod(nodeSelector={"zone": "a"}, tolerations=tolerating)) is None


async def test_unsafe_sysctls_are_for_nodes_that_allow_them(node: Any) -> None:
    pod = node.pod(securityContext=sysctls("kernel.msgmax", "net.core.somaxconn"))
    assert await admission(node, "kernel.msg*", "net.core.somaxconn").judge(pod) is None


async def test_ports_of_the_node_are_taken_once(node: Any) -> None:
    judged = admission(node)
    port = {"containerPort": 80, "hostPort": 8080}
    first = node.pod({"name": "a", "ports": [port]}, uid="u1")
    assert await judged.judge(first) is None
    assert await judged.judge(first) is None
    refusal = await judged.judge(node.pod({"name": "a", "ports": [{**port, "hostIP": "192.0.2.1"}]}, uid="u2"))
    assert refusal is not None
    assert refusal.reason == "NodePorts"
    other = node.pod({"name": "a", "ports": [{**port, "protocol": "UDP"}]}, uid="u3")
    assert await judged.judge(other) is None
    judged.release("u1")
    assert await judged.judge(node.pod({"name": "a", "ports": [port]}, uid="u2")) is None


async def test_app_armor_profiles_must_be_loaded(node: Any) -> None:
    judged = admission(node, profiles=Profiles("web"))
    profile = {"type": "Localhost", "localhostProfile": "web"}
    assert await judged.judge(node.pod(securityContext={"appArmorProfile": profile})) is None
    own = {"name": "a", "securityContext": {"appArmorProfile": {**profile, "localhostProfile": "none"}}}
    refusal = await judged.judge(node.pod(own))
    assert refusal is not None
    assert refusal.message == 'Cannot enforce AppArmor: profile "none" is not loaded'


async def test_a_refused_pod_fails_and_nothing_is_said_of_its_containers(node: Any) -> None:
    async with node.running(node.pod(os={"name": "windows"})):
        await node.settle(lambda: node.told.reports and node.told.status["phase"] == "Failed")
    assert node.told.status["reason"] == "PodOSNotSupported"
    assert node.told.status["message"].startswith("Pod was rejected: Failed to admit pod")
    assert "containerStatuses" not in node.told.status
    assert ("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS") in node.told.events


async def test_a_pod_that_runs_already_is_not_judged_again(node: Any) -> None:
    pod = node.pod()
    async with node.running(pod):
        await node.settle(lambda: node.told.status["phase"] == "Running")
    changed = node.pod(nodeSelector={"no": "such"})
    found = await node.runtime.containers()
    async with node.running(changed, found=found):
        await node.settle(lambda: node.told.status["phase"] == "Running")


def test_names_and_patterns_of_sysctls() -> None:
    assert normalized("net/ipv4/conf/eth0.1/forwarding") == "net.ipv4.conf.eth0/1.forwarding"
    assert normalized("net.ipv4.conf.eth0/1.forwarding") == "net.ipv4.conf.eth0/1.forwarding"
    assert pattern_problem("kernel.msg*") == ""
    assert pattern_problem("net.core.somaxconn") == ""
    assert "not known to be namespaced" in pattern_problem("vm.swappiness")
    assert "no name of a sysctl" in pattern_problem("*")
