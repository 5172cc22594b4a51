"""Nodes: taints, pod ranges, and what `kubectl get nodes` shows."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from orch.errors import Cause
from orch_api import validation
from orch_api.kinds import quantities
from orch_api.kinds.columns import AGE, NAME, NONE, UNKNOWN, text
from orch_api.kinds.fields import field
from orch_api.kinds.scheduling_rules import taints
from orch_api.resource import PROXY_VERBS, Cell, Column, Resource, Subresource
from orch_api.strategy import Document, Strategy, put_section, section
from orch_api.validation import duplicate, forbidden, invalid, same

_ROLE_PREFIX: Final = "node-role.kubernetes.io/"
_ROLE_LABEL: Final = "kubernetes.io/role"
_RESOURCE_LISTS: Final = ("capacity", "allocatable")
_CHANGEABLE: Final = frozenset({"unschedulable", "taints", "configSource", "podCIDR", "podCIDRs", "providerID"})


class NodeStrategy(Strategy):
    """The rules of nodes."""

    has_status = True

    def default(self, obj: Document) -> None:
        """Take the whole capacity as allocatable unless the node says otherwise; the first range heads the list."""
        if status := obj.get("status"):
            if status.get("capacity") and status.get("allocatable") is None:
                status["allocatable"] = dict(status["capacity"])
            for name in _RESOURCE_LISTS:
                if found := status.get(name):
                    quantities.canonicalise(found)
        spec = put_section(obj, "spec")
        if (ranges := spec.get("podCIDRs")) and not spec.get("podCIDR"):
            spec["podCIDR"] = ranges[0]
        elif spec.get("podCIDR") and not ranges:
            spec["podCIDRs"] = [spec["podCIDR"]]

    def prepare_create(self, obj: Document) -> None:
        """Keep the status: a node registers itself whole."""

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with taints, ranges and resources."""
        spec = section(obj, "spec")
        causes = taints("spec.taints", spec.get("taints") or [])
        for index, one in enumerate(spec.get("podCIDRs") or ()):
            causes += validation.check(f"spec.podCIDRs[{index}]", one, validation.cidr)
        if (single := spec.get("podCIDR")) and single != (spec.get("podCIDRs") or [single])[0]:
            causes.append(invalid("spec.podCIDRs", spec["podCIDRs"], "the first must be equal to podCIDR"))
        return causes + _status(section(obj, "status"))

    def validate_update(self, obj: Document, old: Document) -> list[Cause]:
        """Return what may not change: a range or a provider's id once it is set, and the rest of the spec."""
        spec, before = section(obj, "spec"), section(old, "spec")
        causes: list[Cause] = []
        if before.get("podCIDRs") and spec.get("podCIDRs") != before["podCIDRs"]:
            causes.append(forbidden("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid'))
        if before.get("providerID") and spec.get("providerID") != before["providerID"]:
            problem = 'node updates may not change providerID except from "" to valid'
            causes.append(forbidden("spec.providerID", problem))
        rest = {name: value for name, value in spec.items() if name not in _CHANGEABLE}
        if not same(rest, {name: value for name, value in before.items() if name not in _CHANGEABLE}):
            problem = (
                "node updates may only change labels, taints, or capacity (or configSource, if the "
                "DynamicKubeletConfig feature gate is enabled)"
            )
            causes.append(forbidden("spec", problem))
        return causes

    def validate_status(self, obj: Document, old: Document) -> list[Cause]:
        """Return what is wrong with resources and addresses."""
        _ = old
        return _status(section(obj, "status"))


def _status(status: Document) -> list[Cause]:
    causes: list[Cause] = []
    for name in _RESOURCE_LISTS:
        if found := status.get(name):
            causes += quantities.quantities(f"status.{name}", found)
    seen: set[tuple[str, str]] = set()
    for index, address in enumerate(status.get("addresses") or ()):
        key = (address.get("type") or "", address.get("address") or "")
        if key in seen:
            causes.append(duplicate(f"status.addresses[{index}]", address))
        seen.add(key)
    return causes


def _state(node: Document, now: datetime) -> str:
    _ = now
    words = [
        "Ready" if one.get("status") == "True" else "NotReady"
        for one in section(node, "status").get("conditions") or ()
        if one.get("type") == "Ready"
    ] or ["Unknown"]
    if section(node, "spec").get("unschedulable"):
        words.append("SchedulingDisabled")
    return ",".join(words)


def _roles(node: Document, now: datetime) -> str:
    _ = now
    labels: dict[str, str] = section(node, "metadata").get("labels") or {}
    roles = {key.removeprefix(_ROLE_PREFIX) for key in labels if key.startswith(_ROLE_PREFIX)}
    roles.add(labels.get(_ROLE_LABEL, ""))
    return ",".join(sorted(roles - {""})) or NONE


def _address(kind: str) -> Cell:
    def cell(node: Document, now: datetime) -> str:
        _ = now
        for address in section(node, "status").get("addresses") or ():
            if address.get("type") == kind:
                return address.get("address") or NONE
        return NONE

    return cell


def _info(name: str, heading: str, *, missing: str = UNKNOWN, priority: int = 1) -> Column:
    cell = text("status", "nodeInfo", name, missing=missing)
    return Column(heading, cell, description=f"{heading} that the node reports.", priority=priority)


RESOURCES: Final = (
    Resource(
        plural="nodes",
        singular="node",
        kind="Node",
        namespaced=False,
        short_names=("no",),
        strategy=NodeStrategy(),
        columns=(
            NAME,
            Column("Status", _state, description="The status of the node"),
            Column("Roles", _roles, description="The roles of the node"),
            AGE,
            _info("kubeletVersion", "Version", missing="", priority=0),
            Column("Internal-IP", _address("InternalIP"), description="Address inside of the cluster.", priority=1),
            Column("External-IP", _address("ExternalIP"), description="Address outside of the cluster.", priority=1),
            _info("osImage", "OS-Image"),
            _info("kernelVersion", "Kernel-Version"),
            _info("containerRuntimeVersion", "Container-Runtime"),
        ),
        subresources={
            "status": Subresource("Node"),
            "proxy": Subresource("NodeProxyOptions", verbs=PROXY_VERBS),
        },
        fields={"spec.unschedulable": field("spec", "unschedulable", missing="false")},
    ),
)
