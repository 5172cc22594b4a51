"""Makes the resources of a CustomResourceDefinition: an entry of the registry for each version that is served."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from orch_api.extensions import paths
from orch_api.extensions.columns import columns
from orch_api.extensions.conversion import Converter, NoConverter, VersionConversion
from orch_api.extensions.documents import CustomSchema
from orch_api.extensions.props import read_props
from orch_api.extensions.strategies import CustomStatusStrategy, CustomStrategy
from orch_api.resource import VERBS, FieldValue, Resource, ScalePaths, Subresource
from orch_api.schema import Schemas
from orch_api.schema.definitions import GroupVersionKind
from orch_api.strategy import Document, section

ConverterOf = Callable[[Document], Converter]
"""Returns what converts the documents of a definition whose strategy is Webhook."""

_WHILE_TERMINATING: Final = VERBS - {"create"}


def condition(definition: Mapping[str, Any], kind: str) -> Document | None:
    """Return a condition of the definition's status."""
    conditions: list[Document] = section(definition, "status").get("conditions") or []
    return next((one for one in conditions if one.get("type") == kind), None)


def holds(definition: Mapping[str, Any], kind: str) -> bool:
    """Return whether a condition of the definition is true."""
    found = condition(definition, kind)
    return found is not None and found.get("status") == "True"


def resources_of(definition: Document, schemas: Schemas, webhook: ConverterOf) -> list[Resource]:
    """Return what a definition lets the api serve; nothing until it is established. Raises ValueError for a bad one.

    The stored version comes first; when it is not served, it is there only as what the others are stored as.
    """
    spec = definition["spec"]
    if not holds(definition, "Established"):
        return []
    versions: list[Document] = spec["versions"]
    stored_version = next(version for version in versions if version.get("storage"))
    made = _Maker(definition, schemas, webhook)
    stored = made.resource(stored_version, None)
    served = [made.resource(one, stored) for one in versions if one.get("served") and one is not stored_version]
    return [stored, *served] if stored_version.get("served") else served


class _Maker:
    """Makes the resources of one definition."""

    def __init__(self, definition: Document, schemas: Schemas, webhook: ConverterOf) -> None:
        self._definition = definition
        self._spec: Document = definition["spec"]
        self._names: Document = section(definition, "status").get("acceptedNames") or self._spec["names"]
        self._schemas = schemas
        by_webhook = section(self._spec, "conversion").get("strategy") == "Webhook"
        self._converter: Converter = webhook(definition) if by_webhook else NoConverter()

    def resource(self, version: Document, stored: Resource | None) -> Resource:
        """Return the resource of a version; `stored` is that of the stored one, None for itself."""
        names, group = self._names, self._spec["group"]
        schema = self._schema(version)
        below = section(version, "subresources")
        scale: Document | None = below.get("scale")
        subresources: dict[str, Subresource] = {}
        if "status" in below:
            subresources["status"] = Subresource(names["kind"], group, version["name"])
        if scale is not None:
            subresources["scale"] = Subresource("Scale", "autoscaling", "v1")
        strategy = CustomStatusStrategy if "status" in below else CustomStrategy
        return Resource(
            group=group,
            version=version["name"],
            plural=names["plural"],
            singular=names.get("singular") or names["kind"].lower(),
            kind=names["kind"],
            list_name=names.get("listKind") or "",
            namespaced=self._spec["scope"] == "Namespaced",
            short_names=tuple(names.get("shortNames") or ()),
            categories=tuple(names.get("categories") or ()),
            verbs=_WHILE_TERMINATING if holds(self._definition, "Terminating") else VERBS,
            subresources=subresources,
            strategy=strategy(schema.props),
            deprecation=self._deprecation(version),
            columns=columns(version.get("additionalPrinterColumns") or ()),
            fields={
                _selector(one["jsonPath"]): _field(one["jsonPath"]) for one in version.get("selectableFields") or ()
            },
            scale=None if scale is None else _scale_paths(scale),
            schema=schema,
            stored_as=stored,
            conversion=self._conversion(schema, stored),
        )

    def _schema(self, version: Document) -> CustomSchema:
        names = self._names
        kind = GroupVersionKind(self._spec["group"], version["name"], names["kind"])
        published = section(section(version, "schema"), "openAPIV3Schema")
        list_kind: str = names.get("listKind") or f"{kind.kind}List"
        selectable = [_selector(one["jsonPath"]) for one in version.get("selectableFields") or ()]
        return CustomSchema(kind, list_kind, read_props(published), published, self._schemas, selectable)

    def _conversion(self, schema: CustomSchema, stored: Resource | None) -> VersionConversion | None:
        if stored is not None and isinstance(stored.schema, CustomSchema):
            return VersionConversion(self._converter, schema, stored.schema)
        versions: list[Document] = self._spec["versions"]
        generation: int = self._definition["metadata"].get("generation") or 1
        # While the first schema stands alone, all that is stored has its form.
        return VersionConversion(self._converter, schema, schema) if len(versions) > 1 or generation > 1 else None

    def _deprecation(self, version: Document) -> str:
        if not version.get("deprecated"):
            return ""
        said = version.get("deprecationWarning")
        return said or f"{self._spec['group']}/{version['name']} {self._names['kind']} is deprecated"


def _scale_paths(scale: Document) -> ScalePaths:
    return ScalePaths(
        paths.simple(scale["specReplicasPath"]),
        paths.simple(scale["statusReplicasPath"]),
        paths.simple(scale.get("labelSelectorPath") or ""),
    )


def _selector(path: str) -> str:
    """Return how field selectors name what a path leads to: without the leading dot."""
    return path.removeprefix(".")


def _field(path: str) -> FieldValue:
    names = paths.simple(path)

    def value(document: Document) -> str:
        found = paths.at(document, names)
        if isinstance(found, bool):
            return str(found).lower()
        return "" if found is None else str(found)

    return value
