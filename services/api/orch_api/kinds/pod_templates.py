"""What controllers of pods share: the template and the selector that must find its pods."""

from __future__ import annotations

from typing import Any

import msgspec

from orch import selectors
from orch.errors import Cause
from orch.objects.meta import LabelSelector
from orch_api import validation
from orch_api.kinds.pod_defaults import default_pod_spec
from orch_api.kinds.pod_rules import pod_spec
from orch_api.strategy import Document, put_section, section
from orch_api.validation import forbidden, invalid, required, same, unsupported


def default_template(spec: Document) -> None:
    """Fill in the template's pod spec."""
    default_pod_spec(put_section(put_section(spec, "template"), "spec"))


def selector_and_template(spec: Document, kind: str) -> list[Cause]:
    """Return what is wrong with the selector, the template, and how they fit; `kind` is as messages name it."""
    selector: Document | None = spec.get("selector")
    causes: list[Cause] = []
    if selector is None:
        causes.append(required("spec.selector"))
    else:
        wrong = validation.label_selector("spec.selector", selector)
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            wrong.append(invalid("spec.selector", selector, f"empty selector is invalid for {kind}"))
        if wrong:
            return wrong + _template(section(spec, "template"))
    labels: dict[str, str] = section(section(section(spec, "template"), "metadata"), "labels")
    if selector is None or not _matches(selector, labels):
        problem = "`selector` does not match template `labels`"
        causes.append(invalid("spec.template.metadata.labels", labels, problem))
    return causes + _template(section(spec, "template"))


def _matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    return selectors.from_label_selector(msgspec.convert(selector, LabelSelector)).matches(labels)


def _template(template: Document) -> list[Cause]:
    at = "spec.template"
    meta, spec = section(template, "metadata"), section(template, "spec")
    causes = validation.label_map(f"{at}.labels", section(meta, "labels"))
    causes += validation.annotation_map(f"{at}.annotations", section(meta, "annotations"))
    causes += pod_spec(f"{at}.spec", spec)
    if spec.get("ephemeralContainers"):
        causes.append(forbidden(f"{at}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template"))
    policy = spec.get("restartPolicy")
    if policy != "Always":
        causes.append(unsupported(f"{at}.spec.restartPolicy", policy, ("Always",)))
    if spec.get("activeDeadlineSeconds") is not None:
        problem = "activeDeadlineSeconds in ReplicaSet is not Supported"
        causes.append(forbidden(f"{at}.spec.activeDeadlineSeconds", problem))
    return causes


def frozen_selector(obj: Document, old: Document) -> list[Cause]:
    """Return the cause when an update changes the selector."""
    new: Any = section(obj, "spec").get("selector")
    if same(new, section(old, "spec").get("selector")):
        return []
    return [validation.immutable("spec.selector", new)]
