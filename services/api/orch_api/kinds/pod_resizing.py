"""Resizing a running pod: its containers' cpu and memory change through a subresource, and nothing else does.

Source: k8s.io/kubernetes/pkg/apis/core/validation, ValidatePodResize, and pkg/registry/core/pod, podResizeStrategy.
"""

from __future__ import annotations

from typing import Any, Final

from orch.errors import Cause
from orch_api.kinds.ephemeral_containers import is_mirror
from orch_api.kinds.status_metadata import keep_metadata
from orch_api.strategy import Document, keep, section
from orch_api.validation import duplicate, forbidden, invalid, required, same, unsupported

_PARTS: Final = ("containers", "initContainers")
_RESIZABLE: Final = ("cpu", "memory")
_POLICIES: Final = ("NotRequired", "RestartContainer")
_QOS_CHANGED: Final = "Pod QOS Class may not change as a result of resizing"


def resize_policies(field: str, spec: Document) -> list[Cause]:
    """Return what is wrong with how containers take a resize; `field` is the pod spec's path."""
    never = spec.get("restartPolicy") == "Never"
    causes: list[Cause] = []
    for part in _PARTS:
        for index, container in enumerate(spec.get(part) or ()):
            if found := container.get("resizePolicy"):
                causes += _policies(f"{field}.{part}[{index}].resizePolicy", found, never=never)
    return causes


def _policies(at: str, found: list[Document], *, never: bool) -> list[Cause]:
    causes: list[Cause] = []
    names: set[str] = set()
    for index, one in enumerate(found):
        name: str = one.get("resourceName") or ""
        policy: str = one.get("restartPolicy") or ""
        if name in names:
            causes.append(duplicate(f"{at}[{index}]", name))
        names.add(name)
        for value, known in ((name, _RESIZABLE), (policy, _POLICIES)):
            if not value:
                causes.append(required(at))
            elif value not in known:
                causes.append(unsupported(at, value, known))
        if never and policy != "NotRequired":
            causes.append(invalid(at, policy, "must be 'NotRequired' when `restartPolicy` is 'Never'"))
    return causes


def keep_all_but_resources(obj: Document, old: Document) -> None:
    """Keep of a pod everything but its resources; other containers than before are left for validation to refuse."""
    spec, before = section(obj, "spec"), section(old, "spec")
    if any(len(spec.get(part) or ()) != len(before.get(part) or ()) for part in _PARTS):
        return
    held = dict(before)
    for part in _PARTS:
        if part in before:
            held[part] = _with_resources(spec.get(part) or [], before[part])
    keep(held, spec, "resources")
    obj["spec"] = held
    keep(obj, old, "status")
    keep_metadata(obj, old)


def _with_resources(new: list[Document], old: list[Document]) -> list[Document]:
    if any(one.get("name") != before.get("name") for one, before in zip(new, old, strict=True)):
        return new
    merged = [dict(before) for before in old]
    for container, wanted in zip(merged, new, strict=True):
        keep(container, wanted, "resources", "resizePolicy")
    return merged


def resize_changes(obj: Document, old: Document, qos_classes: tuple[str, str]) -> list[Cause]:
    """Return what a resize may not change. `qos_classes` is what the new and the old spec amount to."""
    spec, before = section(obj, "spec"), section(old, "spec")
    if is_mirror(old):
        return [forbidden("", "static pods cannot be resized")]
    if section(before, "os").get("name") == "windows":
        return [forbidden("", "windows pods cannot be resized")]
    causes: list[Cause] = []
    status = section(old, "status")
    if qos_classes[0] != (status.get("qosClass") or qos_classes[1]):
        causes.append(invalid("spec", section(obj, "status").get("qosClass") or "", _QOS_CHANGED))
    if not _node_can_resize(status):
        causes.append(forbidden("spec", "Pod running on node without support for resize"))
    if moved := _moved(spec, before):
        return causes + moved
    if "resources" in spec or "resources" in before:
        causes += _removed("spec.resources", section(spec, "resources"), section(before, "resources"))
    for part in _PARTS:
        for index, (new, known) in enumerate(zip(spec.get(part) or (), before.get(part) or (), strict=True)):
            causes += _container(f"spec.{part}[{index}].resources", new, known, initial=part == "initContainers")
    if not causes and not same(_without_amounts(spec, before), before):
        causes.append(forbidden("spec", "only cpu and memory resources are mutable"))
    return causes


def _node_can_resize(status: Document) -> bool:
    """Tell whether the node says which resources its containers have; while none runs, nobody knows."""
    for container in status.get("containerStatuses") or ():
        if section(container, "state").get("running") is not None:
            return container.get("resources") is not None
    return True


def _moved(spec: Document, before: Document) -> list[Cause]:
    causes: list[Cause] = []
    for part in _PARTS:
        new: list[Document] = spec.get(part) or []
        old: list[Document] = before.get(part) or []
        if len(new) != len(old):
            causes.append(forbidden(f"spec.{part}", f"{part} may not be added or removed on resize"))
            continue
        causes += [
            forbidden(f"spec.{part}[{index}].name", f"{part} may not be renamed or reordered on resize")
            for index, (one, known) in enumerate(zip(new, old, strict=True))
            if one.get("name") != known.get("name")
        ]
    return causes


def _container(at: str, new: Document, old: Document, *, initial: bool) -> list[Cause]:
    if initial and old.get("restartPolicy") != "Always":
        if same(new, old):
            return []
        return [forbidden("spec", "resources for non-sidecar init containers are immutable")]
    causes = _removed(at, section(new, "resources"), section(old, "resources"))
    held = dict(new)
    _hold_amounts(held, old)
    if not same(held, old):
        whose = " for sidecar containers" if initial else ""
        causes.append(forbidden("spec", f"only cpu and memory resources{whose} are mutable"))
    return causes


def _removed(at: str, new: Document, old: Document) -> list[Cause]:
    return [
        forbidden(f"{at}.{part}", f"resource {part} cannot be removed")
        for part in ("requests", "limits")
        if section(old, part).keys() - section(new, part).keys()
    ]


def _without_amounts(spec: Document, before: Document) -> Document:
    """Return the new spec with the old amounts of what may change, in all containers."""
    held = dict(spec)
    _hold_amounts(held, before)
    for part in _PARTS:
        if part in before:
            held[part] = before[part]  # each container was looked at on its own
    return held


def _hold_amounts(held: Document, old: Document) -> None:
    """Give cpu and memory the amounts that `old` has, in place of those of a copied container or pod spec."""
    resources: dict[str, Any] = dict(section(held, "resources"))
    known = section(old, "resources")
    for part in ("requests", "limits"):
        amounts = dict(section(resources, part))
        if not section(known, part):
            resources[part] = None
            continue
        keep(amounts, section(known, part), *_RESIZABLE)
        resources[part] = amounts
    held["resources"] = resources
