"""What controllers of pods share: the template and the selector that must find its pods."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from orch import selectors
from orch.errors import Cause
from orch.objects.meta import LabelSelector
from orch_api import validation
from orch_api.kinds.pod_defaults import default_pod_spec
from orch_api.kinds.pod_rules import pod_spec
from orch_api.kinds.pods import pod_spec_warnings
from orch_api.strategy import Document, put_section, section
from orch_api.validation import forbidden, invalid, required, same, unsupported

MISMATCH: Final = "`selector` does not match template `labels`"


def default_template(spec: Document) -> None:
    """Fill in the template's pod spec."""
    default_pod_spec(put_section(put_section(spec, "template"), "spec"))


def selector_and_template(
    spec: Document, kind: str, *, pods_of: str = "ReplicaSet", claims: Iterable[str] = ()
) -> list[Cause]:
    """Return what is wrong with the selector, the template of pods that last, and how they fit.

    `kind` and `pods_of` are as messages name the kind; `claims` are the volumes that pods get beside the template's.
    """
    template = section(spec, "template")
    selector: Document | None = spec.get("selector")
    causes: list[Cause] = []
    if selector is None:
        causes.append(required("spec.selector"))
    else:
        wrong = validation.label_selector("spec.selector", selector)
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            wrong.append(invalid("spec.selector", selector, f"empty selector is invalid for {kind}"))
        if wrong:
            return wrong + lasting_template("spec.template", template, pods_of, claims)
    labels: dict[str, str] = section(section(template, "metadata"), "labels")
    if selector is None or not matches(selector, labels):
        causes.append(invalid("spec.template.metadata.labels", labels, MISMATCH))
    return causes + lasting_template("spec.template", template, pods_of, claims)


def matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Return whether a valid metav1.LabelSelector selects what has these labels."""
    return selectors.from_label_selector(msgspec.convert(selector, LabelSelector)).matches(labels)


def lasting_template(at: str, template: Document, pods_of: str, claims: Iterable[str] = ()) -> list[Cause]:
    """Return what is wrong with a template of pods that are to run for ever."""
    causes = pod_template(at, template, claims)
    spec = section(template, "spec")
    policy = spec.get("restartPolicy")
    if policy != "Always":
        causes.append(unsupported(f"{at}.spec.restartPolicy", policy, ("Always",)))
    if spec.get("activeDeadlineSeconds") is not None:
        problem = f"activeDeadlineSeconds in {pods_of} is not Supported"
        causes.append(forbidden(f"{at}.spec.activeDeadlineSeconds", problem))
    return causes


def pod_template(at: str, template: Document, claims: Iterable[str] = ()) -> list[Cause]:
    """Return what is wrong with a template (ValidatePodTemplateSpec); containers may also mount `claims`."""
    meta, spec = section(template, "metadata"), section(template, "spec")
    causes = validation.label_map(f"{at}.labels", section(meta, "labels"))
    causes += validation.annotation_map(f"{at}.annotations", section(meta, "annotations"))
    causes += pod_spec(f"{at}.spec", _with_claims(spec, claims))
    if spec.get("ephemeralContainers"):
        causes.append(forbidden(f"{at}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template"))
    return causes


def _with_claims(spec: Document, claims: Iterable[str]) -> Document:
    """Return the spec with a volume for each claim, as the controller adds them, except where it has its own."""
    volumes: list[Document] = spec.get("volumes") or []
    names = {volume.get("name") for volume in volumes}
    added = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in claims if name not in names]
    return spec | {"volumes": [*volumes, *added]} if added else spec


def template_warnings(at: str, template: Document) -> list[str]:
    """Return what is accepted in a template, but is likely not what was meant."""
    return pod_spec_warnings(f"{at}.spec", section(template, "spec"))


def name_warnings(obj: Document) -> list[str]:
    """Warn of a name that pods and their hosts cannot be called after."""
    problems = validation.dns_label(section(obj, "metadata").get("name") or "")
    if not problems:
        return []
    problem = "this is used in Pod names and hostnames, which can result in surprising behavior"
    return [f"metadata.name: {problem}; a DNS label is recommended: [{' '.join(problems)}]"]


def frozen_selector(obj: Document, old: Document) -> list[Cause]:
    """Return the cause when an update changes the selector."""
    new: Any = section(obj, "spec").get("selector")
    if same(new, section(old, "spec").get("selector")):
        return []
    return [validation.immutable("spec.selector", new)]
