"""PodTemplates: templates as objects of their own."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from orch.errors import Cause
from orch_api.kinds.columns import NAME, at, container_columns, format_labels
from orch_api.kinds.pod_templates import default_template, pod_template, template_warnings
from orch_api.resource import Column, Resource
from orch_api.strategy import Document, Strategy, section
from orch_api.validation import same


class PodTemplateStrategy(Strategy):
    """The rules of pod templates."""

    has_generation = True

    def default(self, obj: Document) -> None:
        """Fill in the template."""
        default_template(obj)

    def changes_generation(self, obj: Document, old: Document) -> bool:
        """Tell whether the template changes: there is no spec."""
        return not same(obj.get("template"), old.get("template"))

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the template."""
        return pod_template("template", section(obj, "template"))

    def warnings(self, obj: Document) -> list[str]:
        """Point out what is odd in the template."""
        return template_warnings("template", section(obj, "template"))


def _labels(obj: Document, now: datetime) -> str:
    _ = now
    return format_labels(at(obj, ("template", "metadata", "labels")) or {})


def _shown(column: Column) -> Column:
    return Column(column.name, column.value, description=column.description)


RESOURCES: Final = (
    Resource(
        plural="podtemplates",
        singular="podtemplate",
        kind="PodTemplate",
        returns_deleted=True,
        strategy=PodTemplateStrategy(),
        columns=(
            NAME,
            *map(_shown, container_columns("template")),
            Column("Pod Labels", _labels, description="The labels of pods that are made from the template."),
        ),
    ),
)
