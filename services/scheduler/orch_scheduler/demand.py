"""What a pod asks of a node. Pods of one template ask the same, and are decided together as one class."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Final

import msgspec

from orch.objects.pods import Affinity, NodeSelector, Pod, PodSpec, PreferredSchedulingTerm, Toleration
from orch.objects.pods import TopologySpreadConstraint as Constraint
from orch_scheduler import requests
from orch_scheduler.requests import CPU, EPHEMERAL_STORAGE, MEMORY, PODS, Amounts
from orch_scheduler.terms import Group, Held, Hold, Member, Spread, Term, Vocabulary

__all__ = ["CPU", "EPHEMERAL_STORAGE", "MEMORY", "PODS", "Claim", "Demand", "Demands", "Port", "Weighted"]

_ANY_ADDRESS: Final = "0.0.0.0"  # noqa: S104 - what a port without an address is bound to
_OWNERS: Final = frozenset({"ReplicaSet", "StatefulSet", "ReplicationController"})


class Weighted(msgspec.Struct, frozen=True):
    """A preference for neighbours; a negative weight is one against them."""

    weight: int
    term: Term


class Port(msgspec.Struct, frozen=True):
    """A port of the node that a container takes."""

    address: str
    protocol: str
    number: int

    def conflicts(self, other: Port) -> bool:
        """Return whether both cannot be on one node."""
        return (
            self.number == other.number
            and self.protocol == other.protocol
            and (self.address == other.address or _ANY_ADDRESS in {self.address, other.address})
        )


class Claim(msgspec.Struct, frozen=True):
    """A claim in the pod's namespace; `ephemeral`: made for this pod alone."""

    name: str
    ephemeral: bool = False


class Demand(msgspec.Struct, frozen=True, eq=False, weakref=True):
    """A class of pods that are alike to the scheduler. Compared by identity; `Demands.of` interns by content.

    `requests`: amounts by resource, with 1 of "pods". `non_zero`: (milli-cpu, bytes) with defaults filled in.
    `near` and `away`: required pod affinity and anti-affinity; `together`: the pods that all of `near` mean.
    `preferences`: the preferred ones. `held`: all of these as seen by pods that come later. `spread`: its own
    constraints; without any, those of the profile hold. `owner`: (kind, name) of the workload that made it.
    """

    requests: Amounts
    non_zero: tuple[int, int]
    node_selector: tuple[tuple[str, str], ...]
    required: NodeSelector | None
    preferred: tuple[PreferredSchedulingTerm, ...]
    tolerations: tuple[Toleration, ...]
    priority: int
    namespace: str
    labels: Mapping[str, str]
    near: tuple[Term, ...]
    away: tuple[Term, ...]
    together: Group | None
    preferences: tuple[Weighted, ...]
    held: tuple[Held, ...]
    spread: tuple[Spread, ...]
    ports: tuple[Port, ...]
    claims: tuple[Claim, ...]
    images: tuple[str, ...]
    owner: tuple[str, str] | None
    terminating: bool
    node_name: str

    @property
    def best_effort(self) -> bool:
        """Whether it requests nothing but to be there."""
        return len(self.requests) == 1


class _Content(msgspec.Struct, frozen=True, omit_defaults=True):
    """The part of a pod that makes two pods alike."""

    containers: tuple[Amounts, ...]
    init_containers: tuple[tuple[Amounts, bool], ...]
    level: Amounts
    overhead: Mapping[str, str]
    node_selector: Mapping[str, str]
    affinity: Affinity | None
    spread: tuple[Constraint, ...]
    tolerations: tuple[Toleration, ...]
    priority: int
    namespace: str
    labels: Mapping[str, str]
    ports: tuple[Port, ...]
    claims: tuple[Claim, ...]
    images: tuple[str, ...]
    owner: tuple[str, str] | None
    terminating: bool
    node_name: str


_encode: Final = msgspec.json.Encoder(order="deterministic").encode


class Demands:
    """Interns demands, so that equal pods share one. Holds at most `limit`, past which it starts afresh."""

    def __init__(self, limit: int = 16384) -> None:
        self._limit = limit
        self._known: dict[bytes, Demand] = {}
        self._vocabulary = Vocabulary()

    def of(self, pod: Pod, *, pinned: bool = False) -> Demand:
        """Return the pod's demand. Raises ValueError for a quantity or a selector that cannot be read.

        With `pinned` the node that the pod names is one that it asks for; otherwise it is where the pod happens to be.
        """
        content = _content(pod, pinned)
        key = blake2b(_encode(content), digest_size=16).digest()
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= self._limit:
                self._known.clear()
                self._vocabulary.clear()
            found = self._known[key] = _demand(content, self._vocabulary)
        return found


def _content(pod: Pod, pinned: bool) -> _Content:
    spec = pod.spec
    containers, init_containers = requests.asked(pod)
    owner = pod.metadata.controller
    return _Content(
        containers,
        init_containers,
        requests.of_pod_level(spec.resources.requests) if spec.resources is not None else {},
        spec.overhead,
        spec.node_selector,
        spec.affinity,
        spec.topology_spread_constraints,
        spec.tolerations,
        spec.priority,
        pod.metadata.namespace,
        pod.metadata.labels,
        _ports(spec),
        _claims(pod),
        tuple(_image(container.image) for container in (*spec.init_containers, *spec.containers)),
        (owner.kind, owner.name) if owner is not None and owner.kind in _OWNERS else None,
        bool(pod.metadata.deletion_timestamp),
        spec.node_name if pinned else "",
    )


def _demand(content: _Content, words: Vocabulary) -> Demand:
    needed, non_zero = requests.total(
        content.containers, content.init_containers, content.level, requests.amounts(content.overhead)
    )
    wanted = {resource: value for resource, value in needed.items() if value}
    wanted[PODS] = 1
    affinity = content.affinity or Affinity()
    near, away, preferences = _neighbours(affinity, content, words)
    nodes = affinity.node_affinity
    return Demand(
        requests=wanted,
        non_zero=non_zero,
        node_selector=tuple(sorted(content.node_selector.items())),
        required=nodes.required_during_scheduling_ignored_during_execution if nodes else None,
        preferred=nodes.preferred_during_scheduling_ignored_during_execution if nodes else (),
        tolerations=content.tolerations,
        priority=content.priority,
        namespace=content.namespace,
        labels=content.labels,
        near=near,
        away=away,
        together=words.all_of(near) if near else None,
        preferences=preferences,
        held=(
            *(words.held(Hold.AWAY, term) for term in away),
            *(words.held(Hold.NEAR, term) for term in near),
            *(words.held(Hold.RATHER, each.term, each.weight) for each in preferences),
        ),
        spread=tuple(words.spread(constraint, content) for constraint in content.spread),
        ports=content.ports,
        claims=content.claims,
        images=content.images,
        owner=content.owner,
        terminating=content.terminating,
        node_name=content.node_name,
    )


def _neighbours(
    affinity: Affinity, pod: Member, words: Vocabulary
) -> tuple[tuple[Term, ...], tuple[Term, ...], tuple[Weighted, ...]]:
    """Return the terms of required affinity, of required anti-affinity, and the preferred ones of both."""
    near: tuple[Term, ...] = ()
    away: tuple[Term, ...] = ()
    preferences: list[Weighted] = []
    if affinity.pod_affinity is not None:
        wanted = affinity.pod_affinity
        near = tuple(words.term(term, pod) for term in wanted.required_during_scheduling_ignored_during_execution)
        preferences += [
            Weighted(each.weight, words.term(each.pod_affinity_term, pod))
            for each in wanted.preferred_during_scheduling_ignored_during_execution
        ]
    if affinity.pod_anti_affinity is not None:
        wanted = affinity.pod_anti_affinity
        away = tuple(words.term(term, pod) for term in wanted.required_during_scheduling_ignored_during_execution)
        preferences += [
            Weighted(-each.weight, words.term(each.pod_affinity_term, pod))
            for each in wanted.preferred_during_scheduling_ignored_during_execution
        ]
    return near, away, tuple(preferences)


def _ports(spec: PodSpec) -> tuple[Port, ...]:
    sidecars = (container for container in spec.init_containers if container.restart_policy == "Always")
    return tuple(
        Port(port.host_ip or _ANY_ADDRESS, port.protocol or "TCP", port.host_port)
        for container in (*spec.containers, *sidecars)
        for port in container.ports
        if port.host_port > 0
    )


def _claims(pod: Pod) -> tuple[Claim, ...]:
    claims: list[Claim] = []
    for volume in pod.spec.volumes:
        if volume.persistent_volume_claim is not None:
            claims.append(Claim(volume.persistent_volume_claim.claim_name))
        elif volume.ephemeral is not None:
            claims.append(Claim(f"{pod.metadata.name}-{volume.name}", ephemeral=True))
    return tuple(claims)


def _image(name: str) -> str:
    """Return the name with its tag, as nodes list it."""
    return name if name.rfind(":") > name.rfind("/") else f"{name}:latest"
