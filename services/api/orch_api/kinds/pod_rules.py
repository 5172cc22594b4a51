"""What a pod spec must be, in a pod or in a template (k8s.io/kubernetes/pkg/apis/core/validation, ValidatePodSpec)."""

from __future__ import annotations

from typing import Final

import msgspec

from orch.errors import Cause
from orch_api import validation
from orch_api.kinds import quantities
from orch_api.kinds.container_rules import containers, identity
from orch_api.kinds.ephemeral_containers import ephemeral_containers
from orch_api.kinds.pod_resizing import resize_policies
from orch_api.kinds.pod_security import pod_security
from orch_api.kinds.scheduling_rules import affinity, spread_constraints, tolerations
from orch_api.kinds.volume_rules import volumes
from orch_api.strategy import Document
from orch_api.validation import check, duplicate, invalid, one_of, required

RESTART_POLICIES: Final = ("Always", "OnFailure", "Never")
_DNS_POLICIES: Final = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
_PREEMPTION_POLICIES: Final = ("Never", "PreemptLowerPriority")
_MAX_SECONDS: Final = 2**31 - 1


_MAX_SOUND: Final = 2048
_sound: dict[bytes, None] = {}


def pod_spec(field: str, spec: Document) -> list[Cause]:
    """Return what is wrong with a pod spec that was defaulted; `field` is its path.

    Pods of one template have the same spec, and it does not change while they live: specs in which nothing was wrong
    are remembered.
    """
    encoded = msgspec.json.encode(spec)
    if encoded in _sound:
        return []
    causes = _problems(field, spec)
    if not causes:
        if len(_sound) >= _MAX_SOUND:
            del _sound[next(iter(_sound))]
        _sound[encoded] = None
    return causes


def _problems(field: str, spec: Document) -> list[Cause]:
    causes, names = volumes(f"{field}.volumes", spec.get("volumes") or [])
    causes += containers(field, spec, names)
    causes += ephemeral_containers(field, spec, names)
    causes += resize_policies(field, spec)
    policy = spec.get("restartPolicy")
    if policy not in RESTART_POLICIES:
        causes += one_of(f"{field}.restartPolicy", policy or "", RESTART_POLICIES)
    policy = spec.get("dnsPolicy")
    if policy not in _DNS_POLICIES:
        causes += one_of(f"{field}.dnsPolicy", policy or "", _DNS_POLICIES)
    if found := spec.get("nodeSelector"):
        causes += validation.label_map(f"{field}.nodeSelector", found)
    if found := spec.get("securityContext"):
        causes += identity(f"{field}.securityContext", found)
        causes += pod_security(f"{field}.securityContext", found, spec)
    if found := spec.get("imagePullSecrets"):
        causes += [
            required(f"{field}.imagePullSecrets[{index}].name")
            for index, secret in enumerate(found)
            if not secret.get("name")
        ]
    return causes + _placement(field, spec) + _names(field, spec) + _details(field, spec)


def _placement(field: str, spec: Document) -> list[Cause]:
    causes: list[Cause] = []
    if found := spec.get("affinity"):
        causes += affinity(f"{field}.affinity", found)
    if found := spec.get("tolerations"):
        causes += tolerations(f"{field}.tolerations", found)
    if found := spec.get("topologySpreadConstraints"):
        causes += spread_constraints(f"{field}.topologySpreadConstraints", found)
    gates: set[str] = set()
    for index, gate in enumerate(spec.get("schedulingGates") or ()):
        at = f"{field}.schedulingGates[{index}]"
        name: str = gate.get("name") or ""
        causes += check(f"{at}.name", name, validation.qualified_name)
        if name in gates:
            causes.append(duplicate(at, name))
        gates.add(name)
    return causes


def _names(field: str, spec: Document) -> list[Cause]:
    causes: list[Cause] = []
    for name in ("serviceAccountName", "nodeName", "priorityClassName", "runtimeClassName"):
        if (found := spec.get(name)) and (problems := validation.dns_subdomain(found)):
            causes += [invalid(f"{field}.{name}", found, problem) for problem in problems]
    for name in ("hostname", "subdomain"):
        if found := spec.get(name):
            causes += check(f"{field}.{name}", found, validation.dns_label)
    return causes


def _details(field: str, spec: Document) -> list[Cause]:
    causes: list[Cause] = []
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= _MAX_SECONDS:
        problem = validation.inclusive_range(1, _MAX_SECONDS)
        causes.append(invalid(f"{field}.activeDeadlineSeconds", deadline, problem))
    if (policy := spec.get("preemptionPolicy")) and policy not in _PREEMPTION_POLICIES:
        causes.append(validation.unsupported(f"{field}.preemptionPolicy", policy, _PREEMPTION_POLICIES))
    if found := spec.get("overhead"):
        causes += quantities.quantities(f"{field}.overhead", found)
    for index, alias in enumerate(spec.get("hostAliases") or ()):
        causes += check(f"{field}.hostAliases[{index}].ip", alias.get("ip") or "", validation.ip_address)
    for index, gate in enumerate(spec.get("readinessGates") or ()):
        at = f"{field}.readinessGates[{index}].conditionType"
        causes += check(at, gate.get("conditionType") or "", validation.qualified_name)
    return causes + _dns(field, spec)


def _dns(field: str, spec: Document) -> list[Cause]:
    at = f"{field}.dnsConfig"
    config: Document | None = spec.get("dnsConfig")
    servers: list[str] = (config or {}).get("nameservers") or []
    if spec.get("dnsPolicy") == "None":
        if config is None:
            return [required(at, "must provide `dnsConfig` when `dnsPolicy` is None")]
        if not servers:
            return [required(f"{at}.nameservers", "must provide at least one DNS nameserver when `dnsPolicy` is None")]
    causes: list[Cause] = []
    if len(servers) > 3:
        causes.append(invalid(f"{at}.nameservers", servers, "must not have more than 3 nameservers"))
    for index, server in enumerate(servers):
        causes += check(f"{at}.nameservers[{index}]", server, validation.ip_address)
    for index, domain in enumerate((config or {}).get("searches") or ()):
        causes += check(f"{at}.searches[{index}]", domain.removesuffix("."), validation.dns_subdomain)
    return causes
