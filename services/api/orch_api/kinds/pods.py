"""Pods: defaults, rules, what may change, and their entry in the registry."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from orch import quantity
from orch.errors import Cause
from orch_api.kinds.ephemeral_containers import ephemeral_changes, is_mirror, keep_all_but_ephemeral
from orch_api.kinds.fields import field
from orch_api.kinds.pod_columns import POD_COLUMNS
from orch_api.kinds.pod_defaults import default_pod, default_pod_spec
from orch_api.kinds.pod_label_keys import merge_label_keys
from orch_api.kinds.pod_resizing import keep_all_but_resources, resize_changes
from orch_api.kinds.pod_rules import pod_spec
from orch_api.resource import PROXY_VERBS, Resource, Subresource
from orch_api.strategy import Document, Strategy, generation, keep, put_section, section
from orch_api.validation import forbidden, inclusive_range, invalid, same

_FROZEN: Final = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_MAX_SECONDS: Final = 2**31 - 1
_LABELS_RENAMED: Final = {
    "beta.kubernetes.io/arch": "kubernetes.io/arch",
    "beta.kubernetes.io/os": "kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
}


class PodStrategy(Strategy):
    """The rules of pods."""

    has_status = True
    has_generation = True

    def default(self, obj: Document) -> None:
        """Fill in what the user left out; a pod without a spec is left for validation to refuse."""
        spec = put_section(obj, "spec")
        default_pod_spec(spec)
        default_pod(spec)

    def prepare_create(self, obj: Document) -> None:
        """Start as Pending, with the class of service that follows from the resources."""
        super().prepare_create(obj)
        spec = section(obj, "spec")
        merge_label_keys(spec, section(section(obj, "metadata"), "labels"))
        status: Document = {"phase": "Pending", "qosClass": qos_class(spec)}
        if spec.get("schedulingGates"):
            gated = {
                "type": "PodScheduled",
                "status": "False",
                "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
            }
            status["conditions"] = [gated]
        obj["status"] = status

    def prepare_status(self, obj: Document, old: Document) -> None:
        """Keep all but the status; the class of service stays, and which generations it was written about."""
        super().prepare_status(obj, old)
        status, before = put_section(obj, "status"), section(old, "status")
        for name in ("qosClass", "observedGeneration"):
            if before.get(name) and not status.get(name):
                status[name] = before[name]
        _keep_observed(status.get("conditions") or [], before.get("conditions") or [])

    def prepare_subresource(self, subresource: str, obj: Document, old: Document) -> None:
        """Let each subresource change what it is for, and count that as a change of what is asked for."""
        super().prepare_subresource(subresource, obj, old)
        if subresource in _CHANGING:
            _CHANGING[subresource](obj, old)
            if self.changes_generation(obj, old):
                obj["metadata"]["generation"] = generation(old) + 1

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the pod."""
        spec = section(obj, "spec")
        causes = pod_spec("spec", spec)
        if spec.get("ephemeralContainers") and not section(obj, "metadata").get("resourceVersion"):
            causes.append(forbidden("spec.ephemeralContainers", "cannot be set on create"))
        return causes

    def validate_update(self, obj: Document, old: Document) -> list[Cause]:
        """Return what may not change while a pod lives."""
        spec, before = section(obj, "spec"), section(old, "spec")
        causes: list[Cause] = []
        for part in ("containers", "initContainers"):
            if len(spec.get(part) or ()) != len(before.get(part) or ()):
                return [forbidden(f"spec.{part}", "pod updates may not add or remove containers")]
        causes += _deadline(spec, before)
        causes += _tolerations(spec, before)
        if not same(_with_changeable_fields(spec, before), before):
            causes.append(forbidden("spec", _FROZEN))
        return causes

    def validate_subresource(self, subresource: str, obj: Document, old: Document) -> list[Cause]:
        """Return what may not change in this way while a pod lives."""
        if subresource == "ephemeralcontainers":
            if is_mirror(old):
                return [forbidden("", "static pods do not support ephemeral containers")]
            return self.validate(obj) + ephemeral_changes(obj, old)
        if subresource == "resize":
            classes = (qos_class(section(obj, "spec")), qos_class(section(old, "spec")))
            return self.validate(obj) + resize_changes(obj, old, classes)
        return super().validate_subresource(subresource, obj, old)

    def grace_period(self, obj: Document, requested: int | None) -> int:
        """Return what was asked for, else the pod's own period; a pod that runs nowhere goes at once."""
        spec, status = section(obj, "spec"), section(obj, "status")
        if not spec.get("nodeName") or status.get("phase") in {"Succeeded", "Failed"}:
            return 0
        period = requested if requested is not None else spec.get("terminationGracePeriodSeconds") or 0
        return period if period >= 0 else 1

    def warnings(self, obj: Document) -> list[str]:
        """Point out what a pod has twice, or under an old name."""
        return pod_spec_warnings("spec", section(obj, "spec"))


def _keep_observed(conditions: list[Document], before: list[Document]) -> None:
    """Give conditions without an observed generation the one that was known of their type."""
    known = {one.get("type"): one["observedGeneration"] for one in before if one.get("observedGeneration")}
    for condition in conditions:
        if not condition.get("observedGeneration") and condition.get("type") in known:
            condition["observedGeneration"] = known[condition["type"]]


_CHANGING: Final = {"ephemeralcontainers": keep_all_but_ephemeral, "resize": keep_all_but_resources}


def pod_spec_warnings(field: str, spec: Document) -> list[str]:
    """Return what is accepted in a pod spec, but is likely not what was meant."""
    found: list[str] = []
    if selector := spec.get("nodeSelector"):
        found += [
            f'{field}.nodeSelector[{key}]: deprecated since v1.14; use "{renamed}" instead'
            for key, renamed in _LABELS_RENAMED.items()
            if key in selector
        ]
    if (spec.get("terminationGracePeriodSeconds") or 0) < 0:
        found.append(
            f"{field}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
        )
    for part in ("initContainers", "containers"):
        containers: list[Document] = spec.get(part) or []
        for index, container in enumerate(containers):
            variables: list[Document] | None = container.get("env")
            if not variables:
                continue
            names: set[str] = set()
            for place, variable in enumerate(variables):
                name: str = variable.get("name") or ""
                if name in names:
                    found.append(
                        f'{field}.{part}[{index}].env[{place}]: hides previous definition of "{name}", which may be '
                        "dropped when using apply"
                    )
                names.add(name)
    return found


def _with_changeable_fields(spec: Document, before: Document) -> Document:
    """Return the new spec with the old values of all that may change."""
    held = dict(spec)
    for part in ("containers", "initContainers"):
        if containers := spec.get(part):
            pairs = zip(containers, before[part], strict=True)
            held[part] = [new | {"image": old.get("image")} for new, old in pairs]
    keep(held, before, "activeDeadlineSeconds", "tolerations")
    if (before.get("terminationGracePeriodSeconds") or 0) < 0 and spec.get("terminationGracePeriodSeconds") == 1:
        keep(held, before, "terminationGracePeriodSeconds")
    if before.get("schedulingGates") and not before.get("nodeName"):
        gates = {gate.get("name") for gate in before["schedulingGates"]}
        if all(gate.get("name") in gates for gate in spec.get("schedulingGates") or ()):
            keep(held, before, "schedulingGates")
    return held


def _deadline(spec: Document, before: Document) -> list[Cause]:
    field = "spec.activeDeadlineSeconds"
    new, old = spec.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds")
    if new is None:
        return [] if old is None else [invalid(field, None, "must not update from a positive integer to nil value")]
    if not 0 <= new <= _MAX_SECONDS:
        return [invalid(field, new, inclusive_range(0, _MAX_SECONDS))]
    return (
        [invalid(field, new, "must be less than or equal to previous value")] if old is not None and old < new else []
    )


def _tolerations(spec: Document, before: Document) -> list[Cause]:
    new: list[Any] = spec.get("tolerations") or []
    old: list[Any] = before.get("tolerations") or []
    if new == old:
        return []
    for toleration in old:
        kept = any(
            same(_without_seconds(toleration), _without_seconds(one)) and _not_longer_unset(one, toleration)
            for one in new
        )
        if not kept:
            return [
                forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds")
            ]
    return []


def _without_seconds(toleration: Document) -> Document:
    return {key: value for key, value in toleration.items() if key != "tolerationSeconds"}


def _not_longer_unset(new: Document, old: Document) -> bool:
    return new.get("effect") == "NoExecute" or new.get("tolerationSeconds") == old.get("tolerationSeconds")


_QOS_RESOURCES: Final = ("cpu", "memory")


def qos_class(spec: Document) -> str:
    """Return Guaranteed, Burstable or BestEffort, from the cpu and memory of all containers."""
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    some = guaranteed = False
    for index, container in enumerate(containers):
        limits, requests = dict(_positive(container, "limits")), dict(_positive(container, "requests"))
        some = some or bool(limits or requests)
        equal = len(limits) == len(_QOS_RESOURCES) and (requests == limits or not requests)
        guaranteed = equal and (guaranteed or index == 0)
    if not some:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def _positive(container: Document, part: str) -> Iterator[tuple[str, int]]:
    resources = section(section(container, "resources"), part)
    for name in _QOS_RESOURCES:
        amount = _milli(resources.get(name))
        if amount > 0:
            yield name, amount


def _milli(value: Any) -> int:
    """Return thousandths, 0 for what is absent or no quantity, which validation refuses after this."""
    try:
        return quantity.milli(str(value)) if value is not None else 0
    except ValueError:
        return 0


def _first_ip(obj: Document) -> str:
    status = section(obj, "status")
    addresses: list[Document] = status.get("podIPs") or []
    return (addresses[0].get("ip") if addresses else status.get("podIP")) or ""


RESOURCES: Final = (
    Resource(
        plural="pods",
        singular="pod",
        kind="Pod",
        short_names=("po",),
        categories=("all",),
        returns_deleted=True,
        strategy=PodStrategy(),
        columns=POD_COLUMNS,
        subresources={
            "status": Subresource("Pod"),
            "ephemeralcontainers": Subresource("Pod"),
            "resize": Subresource("Pod"),
            "log": Subresource("Pod", verbs=frozenset({"get"})),
            "attach": Subresource("PodAttachOptions", verbs=frozenset({"create", "get"})),
            "exec": Subresource("PodExecOptions", verbs=frozenset({"create", "get"})),
            "portforward": Subresource("PodPortForwardOptions", verbs=frozenset({"create", "get"})),
            "proxy": Subresource("PodProxyOptions", verbs=PROXY_VERBS),
            "binding": Subresource("Binding", verbs=frozenset({"create"})),
            "eviction": Subresource("Eviction", "policy", verbs=frozenset({"create"})),
        },
        fields={
            "spec.nodeName": field("spec", "nodeName"),
            "spec.restartPolicy": field("spec", "restartPolicy"),
            "spec.schedulerName": field("spec", "schedulerName"),
            "spec.serviceAccountName": field("spec", "serviceAccountName"),
            "spec.hostNetwork": field("spec", "hostNetwork", missing="false"),
            "status.phase": field("status", "phase"),
            "status.podIP": _first_ip,
            "status.podIPs": _first_ip,
            "status.nominatedNodeName": field("status", "nominatedNodeName"),
        },
    ),
    Resource(
        plural="bindings",
        singular="binding",
        kind="Binding",
        verbs=frozenset({"create"}),
        strategy=Strategy(),
        stored=False,
    ),
)
