"""Namespaces: their finalizer, their phase, their name as a label."""

from __future__ import annotations

from typing import Final

from orch.errors import Cause
from orch_api import validation
from orch_api.kinds.columns import AGE, NAME, text
from orch_api.kinds.fields import field
from orch_api.resource import VERBS, Column, Resource, Subresource
from orch_api.strategy import Document, Strategy, keep, put_section, section
from orch_api.validation import Problems

KUBERNETES_FINALIZER: Final = "kubernetes"
_NAME_LABEL: Final = "kubernetes.io/metadata.name"


class NamespaceStrategy(Strategy):
    """The rules of namespaces. `spec.finalizers` changes only through the subresource `finalize`."""

    has_status = True

    def name_problems(self, name: str) -> Problems:
        """Refuse what is not a label."""
        return validation.dns_label(name)

    def default(self, obj: Document) -> None:
        """Label the namespace with its own name."""
        meta = put_section(obj, "metadata")
        if name := meta.get("name"):
            put_section(meta, "labels")[_NAME_LABEL] = name

    def prepare_create(self, obj: Document) -> None:
        """Start Active, held by the finalizer of its contents. The name is known by now, so that it becomes a label."""
        self.default(obj)
        finalizers: list[str] = section(obj, "spec").get("finalizers") or []
        if KUBERNETES_FINALIZER not in finalizers:
            finalizers = [*finalizers, KUBERNETES_FINALIZER]
        obj["spec"] = {"finalizers": finalizers}
        obj["status"] = {"phase": "Active"}

    def prepare_update(self, obj: Document, old: Document) -> None:
        """Keep the finalizers of the contents."""
        super().prepare_update(obj, old)
        keep(obj, old, "spec")

    def prepare_subresource(self, subresource: str, obj: Document, old: Document) -> None:
        """Let `finalize` change the finalizers, and only them."""
        super().prepare_subresource(subresource, obj, old)
        if subresource == "finalize":
            keep(obj, old, "status", "metadata")

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the finalizers of the contents."""
        causes: list[Cause] = []
        for index, finalizer in enumerate(section(obj, "spec").get("finalizers") or ()):
            at = f"spec.finalizers[{index}]"
            causes += validation.check(at, finalizer, validation.qualified_name)
            if "/" not in finalizer and finalizer != KUBERNETES_FINALIZER:
                problem = "name is neither a standard finalizer name nor is it fully qualified"
                causes.append(validation.invalid(at, finalizer, problem))
        return causes

    def validate_status(self, obj: Document, old: Document) -> list[Cause]:
        """Return why the phase does not fit: Terminating belongs to a namespace that is being deleted, only."""
        _ = old
        phase: str = section(obj, "status").get("phase") or ""
        if section(obj, "metadata").get("deletionTimestamp"):
            if phase == "Active":
                problem = "may only be 'Terminating' if `deletionTimestamp` is not empty"
                return [validation.invalid("status.phase", phase, problem)]
        elif phase == "Terminating":
            problem = "may only be 'Active' if `deletionTimestamp` is empty"
            return [validation.invalid("status.phase", phase, problem)]
        return []


RESOURCES: Final = (
    Resource(
        plural="namespaces",
        singular="namespace",
        kind="Namespace",
        namespaced=False,
        short_names=("ns",),
        verbs=VERBS - {"deletecollection"},
        strategy=NamespaceStrategy(),
        columns=(NAME, Column("Status", text("status", "phase"), description="The status of the namespace"), AGE),
        subresources={
            "status": Subresource("Namespace"),
            "finalize": Subresource("Namespace", verbs=frozenset({"update"})),
        },
        fields={"status.phase": field("status", "phase")},
    ),
)
