"""What the files must be that a pod's volumes are made of: keys of objects, fields of the pod, tokens, certificates.

The rules follow validateProjectionSources and its neighbours in k8s.io/kubernetes/pkg/apis/core/validation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from orch.errors import Cause
from orch_api import validation
from orch_api.kinds.certificate_rules import bundle_name, signer_name
from orch_api.kinds.container_rules import local_path, resource_reference
from orch_api.strategy import Document
from orch_api.validation import check, forbidden, invalid, one_of, required

_MODE_PROBLEM: Final = "must be a number between 0 and 0777 (octal), both inclusive"
_KEY_TYPES: Final = ("ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519", "RSA3072", "RSA4096")
_SHORTEST_TOKEN: Final = 600
_LONGEST_TOKEN: Final = 1 << 32
_SHORTEST_CERTIFICATE: Final = 3600
_LONGEST_CERTIFICATE: Final = 91 * 86_400
_OWN_PATHS: Final = ("credentialBundlePath", "keyPath", "certificateChainPath")


def mode(at: str, bits: int | None) -> list[Cause]:
    """Return that permission bits are none."""
    return [invalid(at, bits, _MODE_PROBLEM)] if bits is not None and not 0 <= bits <= 0o777 else []


def key_files(at: str, source: Document) -> list[Cause]:
    """Return what is wrong with the items of an object's keys."""
    causes: list[Cause] = []
    for index, item in enumerate(source.get("items") or ()):
        one = f"{at}[{index}]"
        if not item.get("key"):
            causes.append(required(f"{one}.key"))
        causes += _file(one, item)
    return causes


def field_files(at: str, source: Document) -> list[Cause]:
    """Return what is wrong with the items of the pod's own fields."""
    causes: list[Cause] = []
    for index, item in enumerate(source.get("items") or ()):
        one = f"{at}[{index}]"
        if reference := item.get("resourceFieldRef"):
            if not reference.get("containerName"):
                causes.append(required(f"{one}.resourceFieldRef.containerName"))
            causes += resource_reference(f"{one}.resourceFieldRef", reference)
        elif not (item.get("fieldRef") or {}).get("fieldPath"):
            causes.append(required(f"{one}.fieldRef", "one of fieldRef and resourceFieldRef is required"))
        causes += _file(one, item)
    return causes


def projections(at: str, source: Document) -> list[Cause]:
    """Return what is wrong with the sources of a projected volume, whose files share one folder."""
    causes: list[Cause] = []
    taken: set[str] = set()
    for index, projection in enumerate(source.get("sources") or ()):
        one = f"{at}.sources[{index}]"
        kinds = [kind for kind in _PROJECTED if projection.get(kind) is not None]
        for kind in kinds:
            found: Document = projection[kind]
            rule, paths_of = _PROJECTED[kind]
            causes += rule(f"{one}.{kind}", found)
            for path in filter(None, paths_of(found)):
                if path in taken:
                    shown = found.get("name") if kind in {"secret", "configMap"} else path
                    causes.append(invalid(at, shown, "conflicting duplicate paths"))
                taken.add(path)
        if len(kinds) > 1:
            causes.append(forbidden(one, "may not specify more than 1 volume type per source"))
    return causes


def _file(at: str, item: Document) -> list[Cause]:
    return _path(f"{at}.path", item.get("path")) + mode(f"{at}.mode", item.get("mode"))


def _path(at: str, path: str | None) -> list[Cause]:
    """Return why a file cannot be put at a path; names that begin with dots are the node's own."""
    if not path:
        return [required(at)]
    causes = local_path(at, path)
    if path.startswith("..") and not path.startswith("../"):
        causes.append(invalid(at, path, "must not start with '..'"))
    return causes


def _keys(at: str, source: Document) -> list[Cause]:
    name: str = source.get("name") or ""
    causes = check(f"{at}.name", name, validation.dns_subdomain) if name else [required(f"{at}.name")]
    return causes + key_files(f"{at}.items", source)


def _fields(at: str, source: Document) -> list[Cause]:
    return field_files(f"{at}.items", source)


def _token(at: str, source: Document) -> list[Cause]:
    causes: list[Cause] = []
    seconds: int | None = source.get("expirationSeconds")
    if seconds is not None and seconds < _SHORTEST_TOKEN:
        problem = "may not specify a duration less than 10 minutes"
        causes.append(invalid(f"{at}.expirationSeconds", seconds, problem))
    elif seconds is not None and seconds > _LONGEST_TOKEN:
        problem = "may not specify a duration larger than 2^32 seconds"
        causes.append(invalid(f"{at}.expirationSeconds", seconds, problem))
    return causes + _path(f"{at}.path", source.get("path"))


def _bundle(at: str, source: Document) -> list[Cause]:
    name: str | None = source.get("name")
    signer: str | None = source.get("signerName")
    causes: list[Cause] = []
    if name is not None and signer is not None:
        causes.append(invalid(at, source, "only one of name and signerName may be used"))
    elif name is not None:
        if not name:
            causes.append(required(f"{at}.name", "must be a valid object name"))
        named_after = name.rpartition(":")[0].replace(":", "/")
        problems = bundle_name(name, named_after)
        causes += [invalid(f"{at}.name", name, f"not a valid clustertrustbundlename: {one}") for one in problems]
        if source.get("labelSelector") is not None:
            problem = "labelSelector must be unset if name is specified"
            causes.append(invalid(f"{at}.labelSelector", source["labelSelector"], problem))
    elif signer is not None:
        nameless = [required(f"{at}.signerName", "must be a valid signer name")]
        causes += signer_name(f"{at}.signerName", signer) if signer else nameless
    else:
        causes.append(required(at, "either name or signerName must be specified"))
    return causes + _path(f"{at}.path", source.get("path"))


def _certificate(at: str, source: Document) -> list[Cause]:
    causes = signer_name(f"{at}.signerName", source.get("signerName") or "")
    causes += one_of(f"{at}.keyType", source.get("keyType") or "", _KEY_TYPES)
    field, seconds = f"{at}.maxExpirationSeconds", source.get("maxExpirationSeconds")
    if seconds is not None and seconds < _SHORTEST_CERTIFICATE:
        causes.append(invalid(field, seconds, f"if provided, maxExpirationSeconds must be >= {_SHORTEST_CERTIFICATE}"))
    elif seconds is not None and seconds > _LONGEST_CERTIFICATE:
        causes.append(invalid(field, seconds, f"if provided, maxExpirationSeconds must be <= {_LONGEST_CERTIFICATE}"))
    written = [name for name in _OWN_PATHS if source.get(name)]
    for name in written:
        causes += _path(f"{at}.{name}", source[name])
    if not written:
        what = "specify at least one of credentialBundlePath, keyPath, and certificateChainPath"
        causes.append(required(at, what))
    annotations: dict[str, str] = source.get("userAnnotations") or {}
    field = f"{at}.userAnnotations"
    causes += validation.annotation_map(field, annotations)
    problem = 'must be a domain-prefixed key (such as "acme.io/foo")'
    return causes + [invalid(field, key, problem) for key in annotations if "/" not in key]


Rule = Callable[[str, Document], list[Cause]]
PathsOf = Callable[[Document], list[str | None]]


def _paths_of_items(source: Document) -> list[str | None]:
    return [item.get("path") for item in source.get("items") or ()]


def _own_path(source: Document) -> list[str | None]:
    return [source.get("path")]


def _own_paths(source: Document) -> list[str | None]:
    return [source.get(name) for name in _OWN_PATHS]


_PROJECTED: Final[dict[str, tuple[Rule, PathsOf]]] = {
    "secret": (_keys, _paths_of_items),
    "configMap": (_keys, _paths_of_items),
    "downwardAPI": (_fields, _paths_of_items),
    "serviceAccountToken": (_token, _own_path),
    "clusterTrustBundle": (_bundle, _own_path),
    "podCertificate": (_certificate, _own_paths),
}
