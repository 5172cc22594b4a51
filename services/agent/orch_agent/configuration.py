"""A node's settings in the words of KubeletConfiguration, as /configz tells them to tools that know kubelets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from orch.quantity import Quantity
from orch_agent.config import AgentConfig
from orch_agent.node import NodeSettings


def configuration_of(node: NodeSettings, capacity: Mapping[str, str], config: AgentConfig) -> dict[str, Any]:
    """Return the KubeletConfiguration (kubelet.config.k8s.io/v1beta1) that a kubelet with these settings would have."""
    pods, eviction, images, shutdown = config.pods, config.eviction, config.images, config.shutdown
    parent = config.cri.cgroup_parent if config.runtime == "cri" else config.podman.cgroup_parent
    return {
        "kind": "KubeletConfiguration",
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": parent or f"/orch-{node.name}",
        "cgroupsPerQOS": True,
        "containerLogMaxFiles": pods.log_max_files,
        "containerLogMaxSize": str(Quantity(pods.log_max_size * 10**9, "BinarySI")),
        "cpuCFSQuota": True,
        "cpuCFSQuotaPeriod": "100ms",
        "crashLoopBackOff": {"maxContainerRestartPeriod": f"{pods.back_off.restart_longest:g}s"},
        "enforceNodeAllocatable": ["pods"],
        "evictionHard": _by_signal(eviction.hard, "<"),
        "evictionMaxPodGracePeriod": eviction.max_pod_grace_period,
        "evictionMinimumReclaim": _by_signal(eviction.minimum_reclaim, "="),
        "evictionPressureTransitionPeriod": _seconds(eviction.pressure_transition_period),
        "evictionSoft": _by_signal(eviction.soft, "<"),
        "evictionSoftGracePeriod": _by_signal(eviction.soft_grace_period, "="),
        "imageGCHighThresholdPercent": images.high_threshold,
        "imageGCLowThresholdPercent": images.low_threshold,
        "imageMaximumGCAge": _seconds(images.maximum_age),
        "imageMinimumGCAge": _seconds(images.minimum_age),
        "imagePullCredentialsVerificationPolicy": pods.pulls.credentials.policy,
        "kubeReserved": dict(node.reserved),
        "maxParallelImagePulls": pods.pulls.max_parallel,
        "maxPods": int(capacity["pods"]),
        "nodeStatusReportFrequency": _seconds(config.intervals.node),
        "nodeStatusUpdateFrequency": _seconds(config.intervals.heartbeat),
        "podCIDR": node.pod_cidr,
        "podPidsLimit": pods.pids_limit,
        "preloadedImagesVerificationAllowlist": list(pods.pulls.credentials.allowlist),
        "registerNode": True,
        "registerWithTaints": list(node.taints),
        "shutdownGracePeriod": _seconds(shutdown.grace_period),
        "shutdownGracePeriodByPodPriority": [
            {"priority": each.priority, "shutdownGracePeriodSeconds": each.shutdown_grace_period_seconds}
            for each in shutdown.grace_period_by_pod_priority
        ],
        "shutdownGracePeriodCriticalPods": _seconds(shutdown.grace_period_critical_pods),
        "singleProcessOOMKill": pods.single_process_oom_kill,
        "streamingConnectionIdleTimeout": "4h0m0s",
        "systemReserved": dict(node.system_reserved),
    }


def _by_signal(statements: Iterable[str], operator: str) -> dict[str, str]:
    pairs = (statement.partition(operator) for statement in statements)
    return {signal.strip(): amount.strip() for signal, _, amount in pairs}


def _seconds(seconds: float) -> str:
    return f"{seconds:g}s"
