"""The Pod Security Standards, check by check, in the words of k8s.io/pod-security-admission."""

from typing import Any

import pytest

from orch_api.admission.pod_security.checks import findings
from orch_api.admission.pod_security.levels import Policy, Wanted, read
from orch_api.admission.pod_security.templates import looked

SAFE: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def told(level: Any, pod: dict[str, Any], minor: int | None = None) -> str:
    return ", ".join(map(str, findings(Wanted(level, minor), looked(pod))))


def pod(*contexts: dict[str, Any] | None, annotations: Any = None, **spec: Any) -> dict[str, Any]:
    names = ("a", "b", "c")
    containers = [
        {"name": name, "image": "i", **({} if context is None else {"securityContext": context})}
        for name, context in zip(names, contexts or (None,), strict=False)
    ]
    return {"metadata": {"annotations": annotations or {}}, "spec": {"containers": containers, **spec}}


def test_a_plain_pod_is_baseline_and_not_restricted():
    assert told("privileged", pod({"privileged": True})) == ""
    assert told("baseline", pod(None)) == ""
    assert told("restricted", pod(None)) == (
        'allowPrivilegeEscalation != false (container "a" must set securityContext.allowPrivilegeEscalation=false), '
        'unrestricted capabilities (container "a" must set securityContext.capabilities.drop=["ALL"]), '
        'runAsNonRoot != true (pod or container "a" must set securityContext.runAsNonRoot=true), '
        'seccompProfile (pod or container "a" must set securityContext.seccompProfile.type to "RuntimeDefault" or '
        '"Localhost")'
    )
    assert told("restricted", pod(SAFE)) == ""


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (
            pod({"appArmorProfile": {"type": "Unconfined"}}),
            'forbidden AppArmor profile (container "a" must not set AppArmor profile type to "Unconfined")',
        ),
        (
            pod(
                None,
                securityContext={"appArmorProfile": {"type": "Unconfined"}},
                annotations={"container.apparmor.security.beta.kubernetes.io/a": "unconfined"},
            ),
            (
                "forbidden AppArmor profiles (pod and annotation must not set AppArmor profile type to "
                '"Unconfined", "container.apparmor.security.beta.kubernetes.io/a="unconfined"")'
            ),
        ),
        (
            pod({"capabilities": {"add": ["NET_RAW", "CHOWN"]}}, {"capabilities": {"add": ["SYS_ADMIN"]}}),
            (
                'non-default capabilities (containers "a", "b" must not include "NET_RAW", "SYS_ADMIN" in '
                "securityContext.capabilities.add)"
            ),
        ),
        (pod(None, hostNetwork=True, hostPID=True), "host namespaces (hostNetwork=true, hostPID=true)"),
        (
            pod(None, volumes=[{"name": "v", "hostPath": {"path": "/"}}, {"name": "w", "hostPath": {"path": "/"}}]),
            'hostPath volumes (volumes "v", "w")',
        ),
        (
            {"spec": {"containers": [{"name": "a", "ports": [{"hostPort": 80}, {"hostPort": 8080}, {}]}]}},
            'hostPort (container "a" uses hostPorts 80, 8080)',
        ),
        (
            {"spec": {"containers": [{"name": "a", "livenessProbe": {"httpGet": {"host": "10.0.0.1"}}}]}},
            'probe or lifecycle host (container "a" uses probe or lifecycle host "10.0.0.1")',
        ),
        (pod({"privileged": True}), 'privileged (container "a" must not set securityContext.privileged=true)'),
        (
            pod({"procMount": "Unmasked"}),
            'procMount (container "a" must not set securityContext.procMount to "Unmasked")',
        ),
        (
            pod({"seLinuxOptions": {"type": "spc_t", "user": "u", "role": "r"}}),
            (
                'seLinuxOptions (container "a" set forbidden securityContext.seLinuxOptions: type "spc_t"; '
                "user may not be set; role may not be set)"
            ),
        ),
        (
            pod({"seccompProfile": {"type": "Unconfined"}}, securityContext={"seccompProfile": {"type": "Unconfined"}}),
            'seccompProfile (pod and container "a" must not set securityContext.seccompProfile.type to "Unconfined")',
        ),
        (
            pod(None, securityContext={"sysctls": [{"name": "kernel.msgmax"}, {"name": "net.ipv4.tcp_rmem"}]}),
            "forbidden sysctls (kernel.msgmax)",
        ),
        (
            pod(None, securityContext={"windowsOptions": {"hostProcess": True}}),
            "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
        ),
    ],
)
def test_what_baseline_forbids(bad: dict[str, Any], problem: str):
    assert told("baseline", bad) == problem


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (
            pod({**SAFE, "capabilities": {"add": ["CHOWN", "NET_BIND_SERVICE"]}}),
            (
                'unrestricted capabilities (container "a" must set securityContext.capabilities.drop=["ALL"]; '
                'container "a" must not include "CHOWN" in securityContext.capabilities.add)'
            ),
        ),
        (
            pod(SAFE, volumes=[{"name": "v", "nfs": {}}, {"name": "w", "configMap": {}}]),
            'restricted volume types (volume "v" uses restricted volume type "nfs")',
        ),
        (
            pod({**SAFE, "runAsNonRoot": False}),
            'runAsNonRoot != true (container "a" must not set securityContext.runAsNonRoot=false)',
        ),
        (pod({**SAFE, "runAsUser": 0}), 'runAsUser=0 (container "a" must not set runAsUser=0)'),
        (
            pod({**SAFE, "procMount": "Unmasked"}, hostUsers=False),
            'procMount (container "a" must not set securityContext.procMount to "Unmasked")',
        ),
        (
            {"spec": {"initContainers": [{"name": "i"}], "containers": [{"name": "a", "securityContext": SAFE}]}},
            (
                'allowPrivilegeEscalation != false (container "i" must set '
                "securityContext.allowPrivilegeEscalation=false), "
                'unrestricted capabilities (container "i" must set securityContext.capabilities.drop=["ALL"]), '
                'runAsNonRoot != true (pod or container "i" must set securityContext.runAsNonRoot=true), '
                'seccompProfile (pod or container "i" must set securityContext.seccompProfile.type to '
                '"RuntimeDefault" or "Localhost")'
            ),
        ),
    ],
)
def test_what_restricted_forbids(bad: dict[str, Any], problem: str):
    assert told("restricted", bad) == problem


@pytest.mark.parametrize(
    ("level", "made", "before", "since"),
    [
        ("baseline", pod(None, securityContext={"sysctls": [{"name": "net.ipv4.tcp_rmem"}]}), 31, 32),
        ("baseline", pod({"seLinuxOptions": {"type": "container_engine_t"}}), 30, 31),
        ("baseline", pod({"procMount": "Unmasked"}, hostUsers=False), 34, 35),
        ("restricted", pod({"seccompProfile": {"type": "Localhost"}}, os={"name": "windows"}, hostUsers=False), 24, 35),
    ],
)
def test_later_versions_allow_more(level: Any, made: dict[str, Any], before: int, since: int):
    assert told(level, made, before) != ""
    assert told(level, made, since) == ""
    assert told(level, made, 99) == ""


def test_later_versions_forbid_more():
    probed = {"spec": {"containers": [{"name": "a", "livenessProbe": {"tcpSocket": {"host": "h"}}}]}}
    assert (told("baseline", probed, 33), bool(told("baseline", probed, 34))) == ("", True)
    root = pod({**SAFE, "runAsUser": 0})
    assert (told("restricted", root, 22), bool(told("restricted", root, 23))) == ("", True)
    old = pod(None, annotations={"seccomp.security.alpha.kubernetes.io/pod": "unconfined"})
    assert told("baseline", old, 18) == (
        'seccompProfile (forbidden annotation seccomp.security.alpha.kubernetes.io/pod="unconfined")'
    )
    assert told("baseline", old, 19) == ""


PREFIX = "pod-security.kubernetes.io/"


@pytest.mark.parametrize(
    ("labels", "policy"),
    [
        ({}, "privileged:latest privileged:latest privileged:latest"),
        ({"enforce": "baseline"}, "baseline:latest privileged:latest baseline:latest"),
        ({"enforce": "baseline", "enforce-version": "v1.30"}, "baseline:v1.30 privileged:latest baseline:v1.30"),
        ({"enforce": "baseline", "warn": "privileged"}, "baseline:latest privileged:latest privileged:latest"),
        ({"enforce": "baseline", "warn-version": "v1.2"}, "baseline:latest privileged:latest baseline:v1.2"),
        ({"enforce": "wrong"}, "restricted:latest privileged:latest privileged:latest"),
        ({"audit": "wrong", "warn": "restricted"}, "privileged:latest privileged:latest restricted:latest"),
        ({"enforce-version": "2.0", "enforce": "restricted"}, "restricted:latest privileged:latest restricted:latest"),
    ],
)
def test_what_labels_ask_for(labels: dict[str, str], policy: str):
    found = read({f"{PREFIX}{name}": value for name, value in labels.items()}, Policy()).policy
    assert f"{found.enforce} {found.audit} {found.warn}" == policy
