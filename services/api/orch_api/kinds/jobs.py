"""Jobs (k8s.io/kubernetes/pkg/registry/batch/job): the labels that make a job's pods its own, and what may change."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from orch.clock import parse_rfc3339
from orch.errors import Cause
from orch_api import validation
from orch_api.kinds.columns import AGE, NAME, WORKLOAD_DETAILS, since
from orch_api.kinds.fields import field
from orch_api.kinds.job_rules import INDEXED, job_spec
from orch_api.kinds.job_status import COMPLETE, FAILED, FAILURE_TARGET, SUCCESS, SUSPENDED, holds, status_change
from orch_api.kinds.pod_templates import MISMATCH, matches
from orch_api.kinds.workload_rules import WorkloadStrategy
from orch_api.resource import Column, Resource, Subresource
from orch_api.strategy import Document, Propagation, keep, put_section, section
from orch_api.validation import immutable, invalid, required, same

UID_LABEL: Final = "batch.kubernetes.io/controller-uid"
NAME_LABEL: Final = "batch.kubernetes.io/job-name"
_OLD_UID_LABEL: Final = "controller-uid"
_OLD_NAME_LABEL: Final = "job-name"

_BACKOFF_LIMIT: Final = 6
_NO_LIMIT: Final = 2**31 - 1
_MANY_INDEXES: Final = (
    "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes "
    "might not be able to track completedIndexes when a big number of indexes fail"
)
_PODS_STAY: Final = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set "
    "propagationPolicy=Orphan to suppress this warning"
)
_FROZEN: Final = ("completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy")
_DIRECTIVES: Final = ("nodeSelector", "tolerations", "schedulingGates")


class JobStrategy(WorkloadStrategy):
    """The rules of jobs."""

    def default(self, obj: Document) -> None:
        """Run one pod to its end, try six times more, be labelled as the template is."""
        super().default(obj)
        spec: Document = obj["spec"]
        if spec.get("completions") is None and spec.get("parallelism") is None:
            spec["completions"] = 1
        limit = _BACKOFF_LIMIT if spec.get("backoffLimitPerIndex") is None else _NO_LIMIT
        replaced = "TerminatingOrFailed" if spec.get("podFailurePolicy") is None else "Failed"
        for name, value in (
            ("parallelism", 1),
            ("backoffLimit", limit),
            ("completionMode", "NonIndexed"),
            ("suspend", False),
            ("podReplacementPolicy", replaced),
            ("manualSelector", False),
        ):
            if spec.get(name) is None:
                spec[name] = value
        default_failure_policy(spec)
        labels = section(section(spec["template"], "metadata"), "labels")
        metadata = put_section(obj, "metadata")
        if labels and not metadata.get("labels"):
            metadata["labels"] = labels  # the same map: it follows when the template gets the labels below

    def prepare_create(self, obj: Document) -> None:
        """Label the template with the job's name and uid, and select by the uid, unless the user does it by hand."""
        super().prepare_create(obj)
        spec: Document = obj["spec"]
        if spec.get("manualSelector"):
            return
        metadata: Document = obj["metadata"]
        labels = put_section(put_section(spec["template"], "metadata"), "labels")
        for key in (_OLD_NAME_LABEL, NAME_LABEL):
            labels.setdefault(key, metadata.get("name") or "")
        for key in (_OLD_UID_LABEL, UID_LABEL):
            labels.setdefault(key, metadata.get("uid") or "")
        put_section(put_section(spec, "selector"), "matchLabels").setdefault(UID_LABEL, metadata.get("uid") or "")
        if not metadata.get("labels"):
            metadata["labels"] = dict(labels)

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the job."""
        metadata, spec = section(obj, "metadata"), section(obj, "spec")
        causes = _generated(obj) + job_spec("spec", spec) + _selector(spec)
        completions: int = spec.get("completions") or 0
        if spec.get("completionMode") == INDEXED and completions > 0:
            host = f"{metadata.get('name') or ''}-{completions - 1}"
            if validation.dns_label(host):
                problem = f"will not able to create pod with invalid DNS label: {host}"
                causes.append(invalid("metadata.name", metadata.get("name") or "", problem))
        return causes

    def validate_update(self, obj: Document, old: Document) -> list[Cause]:
        """Return what may not change. A job that is suspended may still be told where its pods are to run."""
        spec, before = section(obj, "spec"), section(old, "spec")
        causes = _completions(spec, before)
        if not same(spec.get("selector"), before.get("selector")):
            causes.append(immutable("spec.selector", spec.get("selector")))
        if not same(spec.get("template"), _as_may_be(section(spec, "template"), old)):
            causes.append(immutable("spec.template", spec.get("template")))
        causes += [
            immutable(f"spec.{name}", spec.get(name)) for name in _FROZEN if not same(spec.get(name), before.get(name))
        ]
        return causes

    def validate_status(self, obj: Document, old: Document) -> list[Cause]:
        """Return what the status may not say."""
        return status_change(obj, old)

    def default_propagation(self) -> Propagation:
        """Leave the pods, as batch/v1 did before there was a garbage collector."""
        return "Orphan"

    def deletion_warnings(self) -> list[str]:
        """Point out that pods stay, which few expect."""
        return [_PODS_STAY]

    def warnings(self, obj: Document) -> list[str]:
        """Point out as well that there are more indexes than can be remembered."""
        found = super().warnings(obj)
        spec = section(obj, "spec")
        many = (spec.get("completions") or 0) > 100_000 and (spec.get("parallelism") or 0) > 10_000
        return [*found, _MANY_INDEXES] if many and spec.get("completionMode") == INDEXED else found


def default_failure_policy(spec: Document) -> None:
    """Let the conditions that a failure policy names be those that are true."""
    for rule in section(spec, "podFailurePolicy").get("rules") or ():
        for pattern in rule.get("onPodConditions") or ():
            if not pattern.get("status"):
                pattern["status"] = "True"


def _generated(obj: Document) -> list[Cause]:
    """Return which of the labels that make the pods the job's own are missing, or are another's."""
    metadata, spec = section(obj, "metadata"), section(obj, "spec")
    selector: Document | None = spec.get("selector")
    if spec.get("manualSelector") or selector is None:
        return []
    uid, name = metadata.get("uid") or "", metadata.get("name") or ""
    causes = [] if uid else [required("metadata.uid")]
    expected = {_OLD_UID_LABEL: uid, _OLD_NAME_LABEL: name, UID_LABEL: uid, NAME_LABEL: name}
    labels: dict[str, str] = section(section(section(spec, "template"), "metadata"), "labels")
    for key, value in expected.items():
        at, problem = f"spec.template.metadata.labels[{key}]", f"must be '{value}'"
        if key not in labels:
            causes.append(required(at, problem))
        elif labels[key] != value:
            causes.append(invalid(at, labels, problem))
    if not validation.label_selector("spec.selector", selector) and not matches(selector, expected):
        causes.append(invalid("spec.selector", selector, "`selector` not auto-generated"))
    return causes


def _selector(spec: Document) -> list[Cause]:
    selector: Document | None = spec.get("selector")
    labels: dict[str, str] = section(section(section(spec, "template"), "metadata"), "labels")
    mismatch = invalid("spec.template.metadata.labels", labels, MISMATCH)
    if selector is None:
        return [required("spec.selector"), mismatch]
    wrong = validation.label_selector("spec.selector", selector)
    return wrong or ([] if matches(selector, labels) else [mismatch])


def _completions(spec: Document, before: Document) -> list[Cause]:
    """Return the cause when another number is wanted; with indexes it may change together with the parallelism."""
    new: int | None = spec.get("completions")
    if new == before.get("completions"):
        return []
    if spec.get("completionMode") != INDEXED:
        return [immutable("spec.completions", new)]
    if new is None or new == spec.get("parallelism"):
        return []
    return [invalid("spec.completions", new, "can only be modified in tandem with spec.parallelism")]


def _as_may_be(template: Document, old: Document) -> Document:
    """Return the old template with the new values of what may change: nothing, unless the job rests."""
    before: Document = section(section(old, "spec"), "template")
    if not section(old, "spec").get("suspend"):
        return before
    if section(old, "status").get("startTime") and not holds(old, SUSPENDED):
        return before
    spec, held = section(template, "spec"), dict(section(before, "spec"))
    keep(held, spec, *_DIRECTIVES)
    affinity = dict(section(held, "affinity"))
    keep(affinity, section(spec, "affinity"), "nodeAffinity")
    held["affinity"] = affinity
    for part in ("containers", "initContainers"):
        held[part] = _with_resources(held.get(part) or [], spec.get(part) or [])
    metadata = dict(section(before, "metadata"))
    keep(metadata, section(template, "metadata"), "labels", "annotations")
    return before | {"metadata": metadata, "spec": held}


def _with_resources(containers: list[Document], wanted: list[Document]) -> list[Document]:
    """Return the containers with the resources of their counterparts; more or fewer of them is another template."""
    if len(containers) != len(wanted):
        return containers
    return [one | {"resources": new.get("resources")} for one, new in zip(containers, wanted, strict=True)]


_STATES: Final = (COMPLETE, FAILED, "", SUSPENDED, FAILURE_TARGET, SUCCESS)


def _state(obj: Document, now: datetime) -> str:
    """Return the first that holds; the empty one stands for being deleted."""
    _ = now
    for kind in _STATES:
        if kind and holds(obj, kind):
            return kind
        if not kind and section(obj, "metadata").get("deletionTimestamp"):
            return "Terminating"
    return "Running"


def _completed(obj: Document, now: datetime) -> str:
    _ = now
    spec, succeeded = section(obj, "spec"), section(obj, "status").get("succeeded") or 0
    if (completions := spec.get("completions")) is not None:
        return f"{succeeded}/{completions}"
    parallelism: int = spec.get("parallelism") or 0
    return f"{succeeded}/1 of {parallelism}" if parallelism > 1 else f"{succeeded}/1"


def _duration(obj: Document, now: datetime) -> Any:
    status = section(obj, "status")
    start, end = status.get("startTime"), status.get("completionTime")
    if not start:
        return ""
    return since(start, parse_rfc3339(end) if end else now)


RESOURCES: Final = (
    Resource(
        group="batch",
        plural="jobs",
        singular="job",
        kind="Job",
        categories=("all",),
        strategy=JobStrategy(),
        columns=(
            NAME,
            Column("Status", _state, description="Status of the job."),
            Column("Completions", _completed, description="Number of pods that succeeded, of those that are wanted."),
            Column("Duration", _duration, description="Time required to complete the job."),
            AGE,
            *WORKLOAD_DETAILS,
        ),
        subresources={"status": Subresource("Job", "batch")},
        fields={"status.successful": field("status", "succeeded", missing="0")},
    ),
)
