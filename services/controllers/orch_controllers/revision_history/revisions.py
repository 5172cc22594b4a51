"""Revisions of a template: what is kept of it, which one it is, and what the next is numbered. Pure.

Facts are k8s.io/kubernetes pkg/controller/history's: a revision is the strategic merge patch that brings its template
back (`kubectl rollout undo` applies it as it is); revisions are ordered by number, then age, then name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from orch.objects.apps import ControllerRevision
from orch.objects.meta import ObjectMeta, View
from orch.objects.pods import PodTemplate
from orch.objects.scheme import CONTROLLER_REVISIONS, Kind
from orch_controllers.documents import controller_reference
from orch_controllers.template_identity import canonical, safe_hash

_MAX_PREFIX: Final = 223


class _Spec(View, frozen=True):
    template: PodTemplate = PodTemplate()


class _Data(View, frozen=True):
    spec: _Spec = _Spec()


class Choice(msgspec.Struct, frozen=True):
    """The revision of a template, if there is one, and the number that it shall have."""

    revision: ControllerRevision | None
    number: int

    @property
    def is_settled(self) -> bool:
        """Whether the revision is there under its number."""
        return self.revision is not None and self.revision.revision == self.number


def ordered(revisions: Iterable[ControllerRevision]) -> list[ControllerRevision]:
    """Return the revisions, oldest state first."""
    return sorted(revisions, key=lambda each: (each.revision, each.metadata.creation_timestamp, each.metadata.name))


def template_of(revision: ControllerRevision) -> PodTemplate:
    """Return the template that a revision keeps."""
    return _template(bytes(revision.data))


@lru_cache(maxsize=1024)
def _template(data: bytes) -> PodTemplate:
    """Return the template; one that is not a template's patch, as only people write it, makes an empty one."""
    try:
        return msgspec.json.decode(data, type=_Data).spec.template
    except msgspec.DecodeError:
        return PodTemplate()


@lru_cache(maxsize=1024)
def _canonical(data: bytes) -> bytes:
    return canonical(_template(data))


def keeps(revision: ControllerRevision, template: PodTemplate) -> bool:
    """Return whether a revision keeps that template."""
    return _canonical(bytes(revision.data)) == canonical(template)


def choose(revisions: Sequence[ControllerRevision], template: PodTemplate) -> Choice:
    """Return which of the ordered revisions is the template's: the newest that keeps it.

    It comes after all others: a template that is brought back gets the next number, as one that was never there.
    """
    wanted = canonical(template)
    found = next((each for each in reversed(revisions) if _canonical(bytes(each.data)) == wanted), None)
    others = max((each.revision for each in revisions if each is not found), default=0)
    if found is not None and found.revision > others:
        return Choice(found, found.revision)
    return Choice(found, others + 1)


def name_of(owner: str, template: PodTemplate, collisions: int) -> tuple[str, str]:
    """Return the name of a template's revision, and the hash in it."""
    hash_ = safe_hash(canonical(template), collisions)
    return f"{owner[:_MAX_PREFIX]}-{hash_}", hash_


def revision_of(
    kind: Kind[Any], owner: ObjectMeta, template: PodTemplate, number: int, collisions: int, hash_label: str
) -> dict[str, Any]:
    """Return the body of the revision that keeps a template; the hash in its name is its label `hash_label`, too."""
    name, hash_ = name_of(owner.name, template, collisions)
    kept = {"$patch": "replace", "metadata": _kept_metadata(template), "spec": template.spec}
    return {
        "apiVersion": CONTROLLER_REVISIONS.api_version,
        "kind": CONTROLLER_REVISIONS.name,
        "metadata": {
            "name": name,
            "namespace": owner.namespace,
            "labels": {**template.metadata.labels, hash_label: hash_},
            "annotations": owner.annotations,
            "ownerReferences": [controller_reference(kind, owner)],
        },
        "data": {"spec": {"template": kept}},
        "revision": number,
    }


def _kept_metadata(template: PodTemplate) -> Mapping[str, Any]:
    return msgspec.to_builtins(template.metadata)


def superfluous(
    revisions: Sequence[ControllerRevision], live: Iterable[str], limit: int | None, *, count_live: bool = False
) -> list[ControllerRevision]:
    """Return the oldest of the ordered revisions past the limit. Those in use (`live`, by name) stay.

    A daemon set counts those in use towards its limit, a stateful set does not.
    """
    if limit is None or limit < 0:  # a negative limit keeps everything
        return []
    names = set(live)
    idle = [each for each in revisions if each.metadata.name not in names]
    excess = len(revisions if count_live else idle) - limit
    return idle[: max(excess, 0)]
