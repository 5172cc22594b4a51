"""Whether a container that ended is to run again: by its own rules, its own policy, or its pod's."""

from __future__ import annotations

from orch.objects.pods import Container, ContainerRestartRule


def restarts_after(container: Container, pod_policy: str, code: int) -> bool:
    """Tell whether a container that ended with `code` runs again (kubelet's ContainerShouldRestart)."""
    policy = container.restart_policy or pod_policy
    if container.restart_policy and any(_applies(rule, code) for rule in container.restart_policy_rules):
        return True
    return policy == "Always" or (policy == "OnFailure" and code != 0)


def _applies(rule: ContainerRestartRule, code: int) -> bool:
    codes = rule.exit_codes
    if rule.action != "Restart" or codes is None:
        return False
    return (code in codes.values) is (codes.operator == "In")
