"""What a kind decides for itself on the way of a write, and what holds for the metadata of every kind.

A Strategy is pure: it changes the document that it is given, and nothing else. The pipeline calls, in this order,

    create: default → prepare_create → stamp → validate_meta + validate
    update: default → restore_meta → prepare_update → validate_meta + validate_meta_update + validate + validate_update
    status: default → restore_meta → prepare_subresource("status") → stamp → validate_meta_update + validate_status

Documents have passed the schema's typed check, so values have their types; null and absent mean the same. The rules
follow k8s.io/apiserver/pkg/registry/rest and k8s.io/apimachinery/pkg/api/validation.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Any, ClassVar, Final, Literal, Protocol

from orch.errors import Cause
from orch_api import validation
from orch_api.validation import Problems, forbidden, immutable, invalid, required, same

Document = dict[str, Any]
Propagation = Literal["Background", "Foreground", "Orphan"]

FOREGROUND_FINALIZER: Final = "foregroundDeletion"
ORPHAN_FINALIZER: Final = "orphan"

_STANDARD_FINALIZERS: Final = frozenset({"kubernetes", ORPHAN_FINALIZER, FOREGROUND_FINALIZER})
_IMMUTABLE_META: Final = (
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)


def section(obj: Mapping[str, Any], name: str) -> Document:
    """Return a map inside of the document, an empty one when it is absent."""
    found: Document | None = obj.get(name)
    return found or {}


def put_section(obj: Document, name: str) -> Document:
    """Return a map inside of the document, adding it when it is absent."""
    found: Document | None = obj.get(name)
    if not found:
        found = {}
        obj[name] = found
    return found


def keep(obj: Document, old: Mapping[str, Any], *names: str) -> None:
    """Give the document's fields the values that `old` has."""
    for name in names:
        if name in old:
            obj[name] = old[name]
        else:
            obj.pop(name, None)


class Author(Protocol):
    """Who sends a write, as documents name users."""

    @property
    def user(self) -> str:
        """The user's name."""
        ...

    @property
    def uid(self) -> str:
        """What tells the user from others of the same name; may be empty."""
        ...

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that the user belongs to."""
        ...

    @property
    def extra(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """What else is known of the user."""
        ...


class Strategy:
    """The rules of one kind; the base holds what most kinds do. Instances have no state."""

    has_status: ClassVar[bool] = False
    has_generation: ClassVar[bool] = False
    allocates: ClassVar[bool] = False
    """Whether `allocate` must be called before an object is validated."""
    made_by_update: ClassVar[bool] = False
    """Whether replacing an object that is not there makes it (AllowCreateOnUpdate)."""
    free_finalizers: ClassVar[bool] = False
    """Whether finalizers may be without a domain: Kubernetes asks for one in its own first kinds only."""

    def name_problems(self, name: str) -> Problems:
        """Return why the kind refuses a name."""
        return validation.dns_subdomain(name)

    def default(self, obj: Document) -> None:
        """Fill in what the user left out, as Kubernetes does, and bring quantities into their canonical form."""

    def prepare_create(self, obj: Document) -> None:
        """Drop what only the system may set, set what a new object starts with."""
        if self.has_status:
            obj.pop("status", None)
        if self.has_generation:
            obj["metadata"]["generation"] = 1

    def prepare_update(self, obj: Document, old: Document) -> None:
        """Keep the status, and count the generation up when what is asked for changed."""
        if self.has_status:
            keep(obj, old, "status")
        if self.has_generation and self.changes_generation(obj, old):
            obj["metadata"]["generation"] = generation(old) + 1

    def changes_generation(self, obj: Document, old: Document) -> bool:
        """Tell whether an update asks for something else than before."""
        return not same(obj.get("spec"), old.get("spec"))

    def prepare_subresource(self, subresource: str, obj: Document, old: Document) -> None:
        """Keep all that a write to the subresource may not change."""
        if subresource == "status":
            self.prepare_status(obj, old)

    def prepare_status(self, obj: Document, old: Document) -> None:
        """Keep everything but the status and, as Kubernetes does, the labels and annotations."""
        keep(obj, old, *((obj.keys() | old.keys()) - {"metadata", "status"}))
        keep(obj["metadata"], old["metadata"], "ownerReferences")

    def stamp(self, obj: Document, old: Document | None, author: Author, now: str) -> None:
        """Note who asks, and when: in a new object, whose `old` is None, and when a subresource changes.

        It follows everything that may change the document, so that nothing can forge what is noted.
        """

    def validate(self, obj: Document) -> list[Cause]:
        """Return what breaks the kind's own rules."""
        _ = obj
        return []

    def validate_update(self, obj: Document, old: Document) -> list[Cause]:
        """Return what may not change in this way."""
        _ = obj, old
        return []

    def validate_changed(self, obj: Document, old: Document) -> list[Cause]:
        """Return all that is wrong with an update: the object's own faults, and what may not change in this way."""
        return [*self.validate(obj), *self.validate_update(obj, old)]

    def prepare_delete(self, obj: Document) -> None:
        """Note in an object that begins to be deleted what must happen before it goes."""

    def validate_status(self, obj: Document, old: Document) -> list[Cause]:
        """Return what is wrong with a new status."""
        _ = obj, old
        return []

    def validate_subresource(self, subresource: str, obj: Document, old: Document) -> list[Cause]:
        """Return what is wrong with what a subresource was given; the scale is checked as the object is."""
        return self.validate_status(obj, old) if subresource == "status" else []

    def claims(self, obj: Document) -> Iterable[str]:
        """Return what the object holds of a pool that all objects of its kind share."""
        _ = obj
        return ()

    def allocate(self, obj: Document, used: Container[str], seed: str) -> None:
        """Take what the object needs from the shared pool. `used` is what all others claim; `seed` starts the search.

        Raises ServiceUnavailableError when nothing is left.
        """

    def grace_period(self, obj: Document, requested: int | None) -> int:
        """Return after how many seconds a deleted object goes; 0 at once. Only pods take time."""
        _ = obj, requested
        return 0

    def default_propagation(self) -> Propagation:
        """Return what happens to dependents when the caller does not say."""
        return "Background"

    def warnings(self, obj: Document) -> list[str]:
        """Return what is accepted but should be pointed out to the user."""
        _ = obj
        return []

    def deletion_warnings(self) -> list[str]:
        """Return what is to be pointed out to who deletes an object without saying what becomes of its dependents."""
        return []


class Named(Protocol):
    """What the rules of metadata need to know of a resource."""

    @property
    def namespaced(self) -> bool:
        """Whether objects live in a namespace."""
        ...

    @property
    def strategy(self) -> Strategy:
        """The kind's rules, of which the one for names is used."""
        ...


def generation(obj: Mapping[str, Any]) -> int:
    """Return the document's generation."""
    return section(obj, "metadata").get("generation") or 0


def restore_meta(obj: Document, old: Document) -> None:
    """Give an update the metadata that only the system sets; a differing uid stays, and is refused as a conflict."""
    meta: Document = obj["metadata"]
    before: Document = old["metadata"]
    keep(meta, before, "generation", "creationTimestamp", "selfLink")
    if not meta.get("uid"):
        keep(meta, before, "uid")
    if "deletionTimestamp" in before:
        keep(meta, before, "deletionTimestamp")
    else:
        meta.pop("deletionTimestamp", None)
    if meta.get("deletionGracePeriodSeconds") is None:
        keep(meta, before, "deletionGracePeriodSeconds")


def validate_meta(obj: Document, resource: Named) -> list[Cause]:
    """Return what is wrong with the metadata of a new or changed object; its name was generated before."""
    meta = section(obj, "metadata")
    causes = _names(meta, resource)
    if (meta.get("generation") or 0) < 0:
        causes.append(invalid("metadata.generation", meta["generation"], validation.NEGATIVE))
    if found := meta.get("labels"):
        causes += validation.label_map("metadata.labels", found)
    if found := meta.get("annotations"):
        causes += validation.annotation_map("metadata.annotations", found)
    if found := meta.get("ownerReferences"):
        causes += _owners(found)
    if found := meta.get("finalizers"):
        causes += _finalizers(found, free=resource.strategy.free_finalizers)
    return causes


def _names(meta: Document, resource: Named) -> list[Cause]:
    causes: list[Cause] = []
    if prefix := meta.get("generateName"):
        sample = f"{prefix[:-1]}a" if prefix.endswith("-") else prefix
        causes += [invalid("metadata.generateName", prefix, why) for why in resource.strategy.name_problems(sample)]
    name: str = meta.get("name") or ""
    if name:
        if problems := resource.strategy.name_problems(name):
            causes += [invalid("metadata.name", name, problem) for problem in problems]
    else:
        causes.append(required("metadata.name", "name or generateName is required"))
    namespace: str = meta.get("namespace") or ""
    if resource.namespaced:
        if namespace:
            causes += validation.check("metadata.namespace", namespace, validation.dns_label)
        else:
            causes.append(required("metadata.namespace"))
    elif namespace:
        causes.append(forbidden("metadata.namespace", "not allowed on this type"))
    return causes


def _owners(owners: list[Document]) -> list[Cause]:
    field = "metadata.ownerReferences"
    causes: list[Cause] = []
    controller = ""
    for owner in owners:
        api_version: str = owner.get("apiVersion") or ""
        if not api_version.rpartition("/")[2]:
            causes.append(invalid(f"{field}.apiVersion", api_version, "version must not be empty"))
        causes += [
            invalid(f"{field}.{part}", "", f"{part} must not be empty")
            for part in ("kind", "name", "uid")
            if not owner.get(part)
        ]
        if owner.get("kind") == "Event" and api_version == "v1":
            causes.append(invalid(field, owner, "/v1, Kind=Event is disallowed from being an owner"))
        if owner.get("controller"):
            if controller:
                causes.append(
                    invalid(
                        field,
                        owners,
                        'Only one reference can have Controller set to true. Found "true" in references for '
                        f"{controller} and {owner.get('name')}",
                    )
                )
            controller = owner.get("name") or ""
    return causes


def _finalizers(finalizers: list[str], *, free: bool) -> list[Cause]:
    field = "metadata.finalizers"
    causes: list[Cause] = []
    for index, finalizer in enumerate(finalizers):
        causes += validation.check(field, finalizer, validation.qualified_name)
        if not free and "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS:
            problem = "name is neither a standard finalizer name nor is it fully qualified"
            causes.append(invalid(f"{field}[{index}]", finalizer, problem))
    if ORPHAN_FINALIZER in finalizers and FOREGROUND_FINALIZER in finalizers:
        both = f"finalizers {ORPHAN_FINALIZER} and {FOREGROUND_FINALIZER} cannot be both set"
        causes.append(invalid(field, finalizers, both))
    return causes


def validate_meta_update(obj: Document, old: Document) -> list[Cause]:
    """Return what an update changes in the metadata although it may not. Call it after `restore_meta`."""
    meta = section(obj, "metadata")
    before = section(old, "metadata")
    causes: list[Cause] = []
    if before.get("deletionTimestamp"):
        added = sorted(set(meta.get("finalizers") or ()) - set(before.get("finalizers") or ()))
        if added:
            listed = ", ".join(validation.shown(finalizer) for finalizer in added)
            causes.append(
                forbidden(
                    "metadata.finalizers",
                    "no new finalizers can be added if the object is being deleted, found new finalizers "
                    f"[]string{{{listed}}}",
                )
            )
    causes += [
        immutable(f"metadata.{name}", meta.get(name)) for name in _IMMUTABLE_META if not _same_field(meta, before, name)
    ]
    if generation(obj) < generation(old):
        causes.append(invalid("metadata.generation", generation(obj), "must not be decremented"))
    return causes


def _same_field(meta: Document, before: Document, name: str) -> bool:
    return (meta.get(name) or None) == (before.get(name) or None)
