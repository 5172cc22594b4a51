"""CustomResourceDefinitions: the kinds that users define (k8s.io/apiextensions-apiserver)."""

from __future__ import annotations

from typing import Final

from orch.errors import Cause
from orch_api.extensions.definition_rules import change_problems, definition_problems, names_problems
from orch_api.extensions.formats import FORMATS
from orch_api.extensions.props import read_props, walk
from orch_api.kinds.webhook_rules import default_service_port
from orch_api.resource import Resource, Subresource
from orch_api.strategy import Document, Strategy, put_section, section
from orch_api.validation import Problems, dns_subdomain

GROUP: Final = "apiextensions.k8s.io"
PLURAL: Final = "customresourcedefinitions"
CLEANUP_FINALIZER: Final = "customresourcecleanup.apiextensions.k8s.io"

_NUMBER_FORMATS: Final = frozenset({"int32", "int64", "float", "double"})


class DefinitionStrategy(Strategy):
    """The rules of definitions."""

    has_status = True
    has_generation = True
    free_finalizers = True

    def name_problems(self, name: str) -> Problems:
        """Refuse what is no domain name; that it is the plural and the group, `validate` looks at."""
        return dns_subdomain(name)

    def default(self, obj: Document) -> None:
        """Derive the names that were left out, and convert by name alone unless told otherwise."""
        spec = put_section(obj, "spec")
        names = put_section(spec, "names")
        kind: str = names.get("kind") or ""
        if not names.get("singular"):
            names["singular"] = kind.lower()
        if not names.get("listKind") and kind:
            names["listKind"] = f"{kind}List"
        conversion = put_section(spec, "conversion")
        conversion.setdefault("strategy", "None")
        default_service_port(section(section(conversion, "webhook"), "clientConfig"))
        if spec.get("preserveUnknownFields") is False:
            del spec["preserveUnknownFields"]

    def prepare_create(self, obj: Document) -> None:
        """Begin without a status but for the version in which objects are stored."""
        super().prepare_create(obj)
        _note_stored_version(obj)

    def prepare_update(self, obj: Document, old: Document) -> None:
        """Remember every version in which objects were ever stored."""
        super().prepare_update(obj, old)
        _note_stored_version(obj)

    def prepare_delete(self, obj: Document) -> None:
        """Let the objects of the kind go first."""
        metadata: Document = obj["metadata"]
        finalizers: list[str] = metadata.get("finalizers") or []
        if CLEANUP_FINALIZER not in finalizers:
            metadata["finalizers"] = [*finalizers, CLEANUP_FINALIZER]

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with a new definition."""
        return definition_problems(obj, None)

    def validate_changed(self, obj: Document, old: Document) -> list[Cause]:
        """Return what is wrong with a changed definition."""
        conditions: list[Document] = section(old, "status").get("conditions") or []
        established = any(one.get("type") == "Established" and one.get("status") == "True" for one in conditions)
        return [*definition_problems(obj, old), *change_problems(obj, old, established=established)]

    def validate_status(self, obj: Document, old: Document) -> list[Cause]:
        """Return what is wrong with the accepted names."""
        _ = old
        return list(names_problems(section(section(obj, "status"), "acceptedNames"), "status.acceptedNames"))

    def warnings(self, obj: Document) -> list[str]:
        """Point out formats that nothing checks, and sets of what is no plain value."""
        found: dict[str, None] = {}
        for version in section(obj, "spec").get("versions") or ():
            for one in walk(read_props(section(section(version, "schema"), "openAPIV3Schema"))):
                if one.format and one.format not in FORMATS and one.format not in _NUMBER_FORMATS:
                    found[f'unrecognized format "{one.format}"'] = None
                if one.list_type == "set" and one.item is not None and one.item.type in {"array", "object"}:
                    found[
                        f'x-kubernetes-list-type: set for items of type "{one.item.type}" is not supported by '
                        "server-side apply or CEL validation rules"
                    ] = None
        return list(found)


def _note_stored_version(obj: Document) -> None:
    status = dict(section(obj, "status"))
    stored: list[str] = status.get("storedVersions") or []
    for version in section(obj, "spec").get("versions") or ():
        if version.get("storage") and version.get("name") not in stored:
            stored = [*stored, version.get("name") or ""]
            break
    obj["status"] = {**status, "storedVersions": stored}


RESOURCES: Final = (
    Resource(
        group=GROUP,
        plural=PLURAL,
        singular="customresourcedefinition",
        kind="CustomResourceDefinition",
        namespaced=False,
        short_names=("crd", "crds"),
        categories=("api-extensions",),
        strategy=DefinitionStrategy(),
        subresources={"status": Subresource("CustomResourceDefinition", GROUP)},
    ),
)
