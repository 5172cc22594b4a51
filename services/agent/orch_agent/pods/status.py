"""A pod's status from the state of its containers, by kubelet's rules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, cast

import msgspec

from orch.objects.meta import Condition
from orch.objects.pods import Pod, PodIP, PodStatus
from orch_agent.pods.slot import Role, Slot

FINAL_PHASES: Final = frozenset({"Succeeded", "Failed"})
_MESSAGES_LIMIT: Final = 12 << 10
"""Bytes of termination messages in a pod's status, shared evenly by its containers."""
_INITIAL: Final = frozenset({Role.INIT, Role.SIDECAR})


class End(msgspec.Struct, frozen=True):
    """How a pod ended: its final phase and, when something ended it, why. `refused`: it never began."""

    phase: str
    reason: str = ""
    message: str = ""
    refused: bool = False


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """What a pod's status is made from, beside the pod itself. `end` is None while it lives."""

    slots: Sequence[Slot]
    scheme: str
    host_ip: str
    address: str
    start_time: str
    end: End | None
    now: str
    before: PodStatus


def initialized(slots: Iterable[Slot]) -> bool:
    """Tell whether the init containers are done: ended well, or (sidecars) started. Once mains ran, they were."""
    slots = list(slots)
    if any(slot.role is Role.MAIN and slot.current is not None for slot in slots):
        return True
    return all(slot.succeeded if slot.role is Role.INIT else slot.started for slot in slots if slot.role in _INITIAL)


def phase_of(slots: Sequence[Slot], policy: str) -> str:
    """Return the phase of a pod that nobody ended (kubelet's getPhase)."""
    inits = (slot for slot in slots if slot.role is Role.INIT and slot.exited is not None)
    if any(not slot.succeeded and not slot.wants_start(policy) for slot in inits):
        return "Failed"
    if not initialized(slots):
        return "Pending"
    mains = [slot for slot in slots if slot.role is Role.MAIN]
    if any(slot.exited is None and not slot.running for slot in mains):
        return "Pending"
    if any(slot.running for slot in mains):
        return "Running"
    if any(slot.wants_start(policy) for slot in mains):
        return "Running"
    return "Succeeded" if all(slot.succeeded for slot in mains) else "Failed"


def stopped_phase(slots: Iterable[Slot]) -> str:
    """Return the phase of a pod that was stopped: it succeeded only if every container says so."""
    return "Succeeded" if all(slot.succeeded for slot in slots if slot.role is Role.MAIN) else "Failed"


def compute(pod: Pod, scene: Scene) -> PodStatus:
    """Return the whole status; conditions that are others' (PodScheduled) are kept."""
    slots = scene.slots
    if scene.end is not None and scene.end.refused:
        return _refused(pod, scene, scene.end)
    phase = scene.end.phase if scene.end is not None else phase_of(slots, pod.spec.restart_policy)
    waiting = "PodInitializing" if pod.spec.init_containers else "ContainerCreating"
    limit = _MESSAGES_LIMIT // max(len(slots), 1)
    statuses = {id(slot): slot.status(waiting, scene.scheme, limit) for slot in slots}
    return PodStatus(
        phase=phase,
        reason=scene.end.reason if scene.end is not None else "",
        message=scene.end.message if scene.end is not None else "",
        conditions=_conditions(pod, scene, phase),
        host_ip=scene.host_ip,
        pod_ip=scene.address,
        pod_ips=(PodIP(ip=scene.address),) if scene.address else (),
        start_time=scene.start_time,
        init_container_statuses=tuple(statuses[id(slot)] for slot in slots if slot.role in _INITIAL),
        container_statuses=tuple(statuses[id(slot)] for slot in slots if slot.role is Role.MAIN),
        ephemeral_container_statuses=tuple(statuses[id(slot)] for slot in slots if slot.role is Role.EPHEMERAL),
        nominated_node_name=pod.status.nominated_node_name,
        qos_class=pod.status.qos_class,
    )


def _refused(pod: Pod, scene: Scene, end: End) -> PodStatus:
    """Return the status of a pod that its node would not have: nothing is said of its containers (rejectPod)."""
    return PodStatus(
        phase=end.phase,
        reason=end.reason,
        message=end.message,
        conditions=pod.status.conditions,
        start_time=scene.start_time,
        nominated_node_name=pod.status.nominated_node_name,
        qos_class=pod.status.qos_class,
    )


def _conditions(pod: Pod, scene: Scene, phase: str) -> tuple[Condition, ...]:
    slots = scene.slots
    incomplete = [s.container.name for s in slots if s.role is Role.INIT and not s.succeeded]
    incomplete += [s.container.name for s in slots if s.role is Role.SIDECAR and not s.started]
    unready = [s.container.name for s in slots if s.role in {Role.SIDECAR, Role.MAIN} and not s.ready]
    contained = _readiness(phase, unready)
    if phase == "Succeeded":
        prepared = (True, "PodCompleted", "")
    elif initialized(slots):
        prepared = (True, "", "")
    else:
        prepared = (False, "ContainersNotInitialized", _listed("containers with incomplete status", incomplete))
    wanted = {
        "PodReadyToStartContainers": (bool(scene.address) and phase not in FINAL_PHASES, "", ""),
        "Initialized": prepared,
        "Ready": _gated(pod, contained),
        "ContainersReady": contained,
    }
    before = {condition.type: condition for condition in scene.before.conditions}
    generation = pod.metadata.generation
    ours = [_condition(kind, verdict, before.get(kind), generation, scene.now) for kind, verdict in wanted.items()]
    return (*ours, *(condition for condition in pod.status.conditions if condition.type not in wanted))


def _readiness(phase: str, unready: Sequence[str]) -> tuple[bool, str, str]:
    if phase == "Succeeded":
        return False, "PodCompleted", ""
    if phase == "Failed":
        return False, "PodFailed", ""
    if unready:
        return False, "ContainersNotReady", _listed("containers with unready status", unready)
    return True, "", ""


def _gated(pod: Pod, contained: tuple[bool, str, str]) -> tuple[bool, str, str]:
    """Return whether the pod is ready: its containers are, and the conditions that it waits for hold."""
    if not contained[0]:
        return contained
    missing: list[str] = []
    for gate in pod.spec.readiness_gates:
        condition = pod.status.condition(gate.condition_type)
        if condition is None:
            missing.append(f'corresponding condition of pod readiness gate "{gate.condition_type}" does not exist.')
        elif condition.status != "True":
            missing.append(
                f'the status of pod readiness gate "{gate.condition_type}" is not "True", but {condition.status}'
            )
    return (False, "ReadinessGatesNotReady", ", ".join(missing)) if missing else contained


def _listed(what: str, names: Sequence[str]) -> str:
    return f"{what}: [{' '.join(names)}]"


def _condition(
    kind: str, verdict: tuple[bool, str, str], before: Condition | None, generation: int, now: str
) -> Condition:
    holds, reason, message = verdict
    status = "True" if holds else "False"
    same = before is not None and before.status == status and before.last_transition_time
    return Condition(
        type=kind,
        status=status,
        reason=reason,
        message=message,
        observed_generation=generation,
        last_transition_time=before.last_transition_time if before is not None and same else now,
    )


def encode(pod: Pod, status: PodStatus) -> bytes:
    """Return the status as JSON, with the fields that Kubernetes always writes even when they are zero."""
    document = cast("dict[str, Any]", msgspec.to_builtins(status))
    if status.host_ip:
        document["hostIPs"] = [{"ip": status.host_ip}]
    if pod.metadata.generation:
        document["observedGeneration"] = pod.metadata.generation
    for kind in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"):
        for container in document.get(kind, ()):
            for field, zero in _ALWAYS:
                container.setdefault(field, zero)
            if (user := container.get("user", {}).get("linux")) is not None:
                user.setdefault("uid", 0)
                user.setdefault("gid", 0)
            for moment in ("state", "lastState"):
                ended = container.setdefault(moment, {}).get("terminated")
                if ended is not None:
                    ended.setdefault("exitCode", 0)
                    ended.setdefault("startedAt", None)
                    ended.setdefault("finishedAt", None)
    return msgspec.json.encode(document)


_ALWAYS: Final[tuple[tuple[str, object], ...]] = (
    ("ready", False),
    ("restartCount", 0),
    ("image", ""),
    ("imageID", ""),
)
