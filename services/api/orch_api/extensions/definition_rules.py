"""What a CustomResourceDefinition may say (apiextensions' pkg/apis/apiextensions/validation)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from orch.errors import Cause
from orch_api import validation
from orch_api.extensions import paths
from orch_api.extensions.props import Props, read_props
from orch_api.extensions.rules import rule_problems
from orch_api.extensions.structure import schema_problems
from orch_api.kinds.webhook_rules import webhook_service, webhook_url
from orch_api.strategy import Document, section
from orch_api.validation import Rule, forbidden, immutable, invalid, required, unsupported

APPROVED: Final = "api-approved.kubernetes.io"

_SCOPES: Final = ("Cluster", "Namespaced")
_STRATEGIES: Final = ("None", "Webhook")
_REVIEWS: Final = ("v1", "v1beta1")
_COLUMN_TYPES: Final = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS: Final = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
_SELECTABLE: Final = frozenset({"string", "boolean", "integer"})
_MAX_SELECTABLE: Final = 8
_MAX_WARNING: Final = 256
_PROTECTED: Final = ("k8s.io", "kubernetes.io")
_APPROVAL: Final = f'protected groups must have approval annotation "{APPROVED}"'
_APPROVAL_SEE: Final = "see https://github.com/kubernetes/enhancements/pull/1111"
_AT_ROOT: Final = (
    *("Description", "Type", "Format", "Title", "Maximum", "ExclusiveMaximum", "Minimum", "ExclusiveMinimum"),
    *("MaxLength", "MinLength", "Pattern", "MaxItems", "MinItems", "UniqueItems", "MultipleOf", "Required", "Items"),
    *("Properties", "ExternalDocs", "Example", "XPreserveUnknownFields", "XValidations"),
)
_NOT_AT_ROOT: Final = (
    *("enum", "default", "maxProperties", "minProperties", "allOf", "oneOf", "anyOf", "not", "additionalProperties"),
    *("nullable", "x-kubernetes-embedded-resource", "x-kubernetes-int-or-string", "x-kubernetes-list-type"),
    *("x-kubernetes-list-map-keys", "x-kubernetes-map-type"),
)


def definition_problems(obj: Document, old: Document | None) -> list[Cause]:
    """Return what is wrong with a definition; schemas that an update leaves as they are stay accepted."""
    spec = section(obj, "spec")
    causes = [*_name(obj), *_spec(spec), *_versions(spec, None if old is None else section(old, "spec"))]
    causes += _conversion(section(spec, "conversion"))
    causes += names_problems(section(section(obj, "status"), "acceptedNames"), "status.acceptedNames")
    causes += _stored_versions(section(obj, "status").get("storedVersions") or [], spec.get("versions") or [])
    causes += _approval(obj, old)
    if spec.get("preserveUnknownFields") and not (old and section(old, "spec").get("preserveUnknownFields")):
        problem = (
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        )
        causes.append(invalid("spec.preserveUnknownFields", True, problem))
    return causes


def change_problems(obj: Document, old: Document, *, established: bool) -> list[Cause]:
    """Return which of a definition's lasting parts an update changes."""
    spec, before = section(obj, "spec"), section(old, "spec")
    fields: list[tuple[str, ...]] = [("scope",), ("names", "kind")] if established else []
    fields += [("group",), ("names", "plural")]
    return [
        immutable(f"spec.{'.'.join(field)}", paths.at(spec, field))
        for field in fields
        if paths.at(spec, field) != paths.at(before, field)
    ]


def _name(obj: Document) -> Iterator[Cause]:
    spec = section(obj, "spec")
    name: str = section(obj, "metadata").get("name") or ""
    if name != f"{section(spec, 'names').get('plural') or ''}.{spec.get('group') or ''}":
        yield invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group')


def _joined(field: str, value: str, rule: Rule, before: str = "") -> Iterator[Cause]:
    if problems := rule(value.lower() if before else value):
        yield invalid(field, value, before + ",".join(problems))


def _spec(spec: Document) -> Iterator[Cause]:
    group: str = spec.get("group") or ""
    if not group:
        yield required("spec.group")
    elif problems := validation.dns_subdomain(group):
        yield invalid("spec.group", group, ",".join(problems))
    elif "." not in group:
        yield invalid("spec.group", group, "should be a domain with at least one dot")
    scope: str = spec.get("scope") or ""
    if not scope:
        yield required("spec.scope")
    elif scope not in _SCOPES:
        yield unsupported("spec.scope", scope, _SCOPES)
    names = section(spec, "names")
    for name in ("plural", "singular", "kind", "listKind"):
        if not names.get(name):
            yield required(f"spec.names.{name}")
    yield from names_problems(names, "spec.names")


def names_problems(names: Document, at: str) -> Iterator[Cause]:
    """Yield what is wrong with names, asked for or accepted."""
    mixed = "may have mixed case, but should otherwise match: "
    for name, before in (("plural", ""), ("singular", ""), ("kind", mixed), ("listKind", mixed)):
        if value := names.get(name):
            yield from _joined(f"{at}.{name}", value, validation.dns_1035_label, before)
    for index, name in enumerate(names.get("shortNames") or ()):
        yield from _joined(f"{at}.shortNames[{index}]", name, validation.dns_1035_label)
    if names.get("kind") and names.get("kind") == names.get("listKind"):
        yield invalid(f"{at}.listKind", names["listKind"], "kind and listKind may not be the same")
    for index, name in enumerate(names.get("categories") or ()):
        yield from _joined(f"{at}.categories[{index}]", name, validation.dns_1035_label)


# Versions ---------------------------------------------------------------------------------------------------------


def _versions(spec: Document, before: Document | None) -> Iterator[Cause]:
    versions: list[Document] = spec.get("versions") or []
    names = [version.get("name") or "" for version in versions]
    known = {one.get("name"): one for one in (before or {}).get("versions") or ()}
    for index, version in enumerate(versions):
        at = f"spec.versions[{index}]"
        yield from _joined(f"{at}.name", names[index], validation.dns_1035_label)
        past = known.get(names[index])
        same_schema = past is not None and past.get("schema") == version.get("schema")
        yield from _version(version, at, same_schema=same_schema, priced=not _is_protected(spec.get("group") or ""))
    if len(set(names)) != len(names):
        yield invalid("spec.versions", versions, "must contain unique version names")
    if sum(bool(version.get("storage")) for version in versions) != 1:
        yield invalid("spec.versions", versions, "must have exactly one version marked as storage version")


def _version(version: Document, at: str, *, same_schema: bool, priced: bool) -> Iterator[Cause]:
    yield from _deprecation(version, f"{at}.deprecationWarning")
    schema: Document | None = section(version, "schema").get("openAPIV3Schema")
    where = f"{at}.schema.openAPIV3Schema"
    below = section(version, "subresources")
    props: Props | None = None
    if schema is None:
        yield required(where)
    else:
        try:
            props = read_props(schema)
        except ValueError as error:
            yield invalid(where, "", str(error))
    if props is not None and schema is not None and not same_schema:
        yield from _schema(props, schema, where, has_status="status" in below, priced=priced)
    yield from _scale(below.get("scale"), f"{at}.subresources.scale")
    for index, column in enumerate(version.get("additionalPrinterColumns") or ()):
        yield from _column(column, f"{at}.additionalPrinterColumns[{index}]")
    if fields := version.get("selectableFields"):
        yield from _selectable(fields, props, f"{at}.selectableFields")


def _deprecation(version: Document, at: str) -> Iterator[Cause]:
    warning: str | None = version.get("deprecationWarning")
    if warning is None:
        return
    if not version.get("deprecated"):
        yield invalid(at, warning, "can only be set for deprecated versions")
        return
    if len(warning.encode()) > _MAX_WARNING:
        yield invalid(at, warning, f"must be <= {_MAX_WARNING} characters long")
    if not warning:
        yield invalid(at, warning, "must not be an empty string")
    unprintable = next((place for place, char in enumerate(warning) if not char.isprintable()), None)
    if unprintable is not None:
        problem = "must only contain printable UTF-8 characters; non-printable character found at index "
        yield invalid(at, warning, f"{problem}{unprintable}")


def _schema(props: Props, schema: Mapping[str, Any], at: str, *, has_status: bool, priced: bool) -> Iterator[Cause]:
    if has_status:
        if props.type != "object":
            problem = (
                'only "object" is allowed as the type at the root of the schema if the status subresource is enabled'
            )
            yield invalid(f"{at}.type", props.type, problem)
        elif any(schema.get(name) for name in _NOT_AT_ROOT):
            allowed = " ".join(_AT_ROOT)
            problem = f"only [{allowed}] fields are allowed at the root of the schema"
            yield invalid(at, schema, f"{problem} if the status subresource is enabled")
    causes = schema_problems(props, at)
    yield from causes or rule_problems(props, at, priced=priced)


def _scale(scale: Document | None, at: str) -> Iterator[Cause]:
    if scale is None:
        return
    for name, below in (("specReplicasPath", ".spec"), ("statusReplicasPath", ".status")):
        path: str = scale.get(name) or ""
        if not path:
            yield required(f"{at}.{name}")
        elif not path.startswith("."):
            yield invalid(f"{at}.{name}", path, "must be a simple json path starting with .")
        elif not path.startswith(f"{below}."):
            yield invalid(f"{at}.{name}", path, f"should be a json path under {below}")
    selector: str = scale.get("labelSelectorPath") or ""
    if selector and not selector.startswith("."):
        yield invalid(f"{at}.labelSelectorPath", selector, "must be a simple json path starting with .")
    elif selector and not selector.startswith((".spec.", ".status.")):
        yield invalid(f"{at}.labelSelectorPath", selector, "should be a json path under either .spec or .status")


def _column(column: Document, at: str) -> Iterator[Cause]:
    if not column.get("name"):
        yield required(f"{at}.name")
    kind, form, path = (column.get(name) or "" for name in ("type", "format", "jsonPath"))
    listed = f"must be one of {','.join(_COLUMN_TYPES)}"
    if not kind:
        yield required(f"{at}.type", listed)
    elif kind not in _COLUMN_TYPES:
        yield invalid(f"{at}.type", kind, listed)
    if form and form not in _COLUMN_FORMATS:
        yield invalid(f"{at}.format", form, f"must be one of {','.join(_COLUMN_FORMATS)}")
    if not path:
        yield required(f"{at}.JSONPath")
    elif not path.startswith("."):
        yield invalid(f"{at}.JSONPath", path, "must be a simple json path starting with .")
    elif problem := paths.problem(path):
        yield invalid(f"{at}.JSONPath", path, problem)


def _selectable(fields: list[Document], props: Props | None, at: str) -> Iterator[Cause]:
    if props is None:
        yield invalid(at, "", "may only be set when `version.schema.openAPIV3Schema` is not included")
        return
    seen: set[tuple[str, ...]] = set()
    for index, field in enumerate(fields):
        where = f"{at}[{index}].jsonPath"
        path: str = field.get("jsonPath") or ""
        if not path:
            yield required(where)
            continue
        names = paths.simple(path)
        found = paths.schema_at(props, names) if path.startswith(".") and "[" not in path else None
        if found is None and names[:1] != ("metadata",):
            problem = f"does not refer to a valid field: {path}"
            if not path.startswith("."):
                problem = f"expected [ or . at {path}"
            yield invalid(where, path, f"is an invalid path: {problem}")
            continue
        if names[:1] == ("metadata",):
            yield invalid(where, path, "must not point to fields in metadata")
        elif found is not None and found.type not in _SELECTABLE:
            allowed = "Enum string fields and strings with formats are allowed."
            yield invalid(where, path, f"must point to a field of type string, boolean or integer. {allowed}")
        if names in seen:
            yield validation.duplicate(where, path)
        seen.add(names)
    if len(seen) > _MAX_SELECTABLE:
        yield validation.too_many(at, len(seen), _MAX_SELECTABLE)


def _stored_versions(stored: list[str], versions: list[Document]) -> Iterator[Cause]:
    at = "status.storedVersions"
    if not stored:
        yield invalid(at, stored, "must have at least one stored version")
        return
    for version in versions:
        if version.get("storage") and version.get("name") not in stored:
            yield invalid(at, stored, f"must have the storage version {version.get('name')}")
    names = {version.get("name") for version in versions}
    for index, name in enumerate(stored):
        if name not in names:
            problem = (
                f"missing from spec.versions; {name} was previously a storage version, and must remain in "
                f"spec.versions until a storage migration ensures no data remains persisted in {name} "
                f"and removes {name} from status.storedVersions"
            )
            yield invalid(f"{at}[{index}]", name, problem)


# Conversion, approval ---------------------------------------------------------------------------------------------


def _conversion(conversion: Document) -> Iterator[Cause]:
    at = "spec.conversion"
    strategy: str = conversion.get("strategy") or ""
    webhook: Document | None = conversion.get("webhook")
    config: Document | None = None if webhook is None else webhook.get("clientConfig")
    if not strategy:
        yield required(f"{at}.strategy")
    elif strategy not in _STRATEGIES:
        yield unsupported(f"{at}.strategy", strategy, _STRATEGIES)
    if strategy != "Webhook":
        if config is not None:
            yield forbidden(f"{at}.webhookClientConfig", "should not be set when strategy is not set to Webhook")
        if webhook is not None and webhook.get("conversionReviewVersions"):
            yield forbidden(f"{at}.conversionReviewVersions", "should not be set when strategy is not set to Webhook")
        return
    if config is None:
        yield required(f"{at}.webhookClientConfig", "required when strategy is set to Webhook")
    elif (config.get("url") is None) == (config.get("service") is None):
        yield required(f"{at}.webhookClientConfig", "exactly one of url or service is required")
    elif config.get("url") is not None:
        yield from webhook_url(f"{at}.webhookClientConfig.url", config["url"])
    else:
        yield from webhook_service(f"{at}.webhookClientConfig.service", config["service"])
    yield from _review_versions((webhook or {}).get("conversionReviewVersions") or [], f"{at}.conversionReviewVersions")


def _review_versions(versions: list[str], at: str) -> Iterator[Cause]:
    if not versions:
        yield required(at)
        return
    for index, version in enumerate(versions):
        if version in versions[:index]:
            yield invalid(f"{at}[{index}]", version, "duplicate version")
            continue
        yield from validation.check(f"{at}[{index}]", version, validation.dns_1035_label)
    if not set(versions) & set(_REVIEWS):
        yield invalid(at, versions, f"must include at least one of {', '.join(_REVIEWS)}")


def _is_protected(group: str) -> bool:
    """Return whether a group is Kubernetes' own: its definitions are reviewed, the costs of their rules included."""
    return any(group == suffix or group.endswith(f".{suffix}") for suffix in _PROTECTED)


def _approval(obj: Document, old: Document | None) -> Iterator[Cause]:
    """Yield the lack of approval of a kind in one of Kubernetes' own groups."""
    group: str = section(obj, "spec").get("group") or ""
    if not _is_protected(group):
        return
    at = f"metadata.annotations[{APPROVED}]"
    given = _annotation(obj)
    if old is not None and _approval_state(_annotation(old)) == _approval_state(given):
        return
    match _approval_state(given):
        case "missing":
            yield required(at, f"{_APPROVAL}, {_APPROVAL_SEE}")
        case "invalid":
            detail = f'{_APPROVAL} with either a URL or a reason starting with "unapproved", {_APPROVAL_SEE}'
            yield invalid(at, given, detail)
        case _:
            pass


def _annotation(obj: Document) -> str:
    return section(section(obj, "metadata"), "annotations").get(APPROVED) or ""  # pyright: ignore[reportReturnType]


def _approval_state(annotation: str) -> str:
    if not annotation:
        return "missing"
    if annotation.startswith("unapproved"):
        return "bypassed"
    parts = urlsplit(annotation)
    return "approved" if parts.scheme and parts.netloc else "invalid"
