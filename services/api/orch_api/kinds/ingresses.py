"""Ingresses and their classes (k8s.io/kubernetes/pkg/apis/networking/validation)."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from orch.errors import Cause
from orch_api import validation
from orch_api.kinds.addresses import domain_prefixed_path, is_address, wildcard_subdomain
from orch_api.kinds.columns import AGE, NAME, NONE, text
from orch_api.resource import Column, Resource, Subresource
from orch_api.strategy import Document, Strategy, section
from orch_api.validation import check, forbidden, immutable, invalid, required, too_long, unsupported

GROUP: Final = "networking.k8s.io"
CLASS_ANNOTATION: Final = "kubernetes.io/ingress.class"

_PATH_TYPES: Final = ("Exact", "ImplementationSpecific", "Prefix")
_BAD_SEQUENCES: Final = ("//", "/./", "/../", "%2f", "%2F")
_BAD_SUFFIXES: Final = ("/..", "/.")
_SCOPES: Final = ("Cluster", "Namespace")
_MAX_CONTROLLER: Final = 250
_NOT_A_NAME: Final = "must be a DNS name, not an IP address"
_ADDRESS_WIDTH: Final = 16
_SHOWN_HOSTS: Final = 3


class IngressStrategy(Strategy):
    """The rules of ingresses."""

    has_status = True
    has_generation = True

    def prepare_create(self, obj: Document) -> None:
        """Start without a load balancer."""
        super().prepare_create(obj)
        obj["status"] = {"loadBalancer": {}}

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with rules, backends and certificates."""
        spec = section(obj, "spec")
        rules: list[Document] = spec.get("rules") or []
        causes: list[Cause] = []
        if not rules and spec.get("defaultBackend") is None:
            causes.append(invalid("spec", rules, "either `defaultBackend` or `rules` must be specified"))
        if (backend := spec.get("defaultBackend")) is not None:
            causes += _backend("spec.defaultBackend", backend)
        for index, rule in enumerate(rules):
            causes += _rule(f"spec.rules[{index}]", rule)
        for index, entry in enumerate(spec.get("tls") or ()):
            causes += _tls(f"spec.tls[{index}]", entry)
        name: str | None = spec.get("ingressClassName")
        if name is not None:
            causes += check("spec.ingressClassName", name, validation.dns_subdomain)
        return causes + _class_annotation(obj, name)

    def validate_status(self, obj: Document, old: Document) -> list[Cause]:
        """Return what is wrong with the load balancer's addresses."""
        _ = old
        causes: list[Cause] = []
        for index, one in enumerate(_balancer(obj)):
            at = f"status.loadBalancer.ingress[{index}]"
            if address := one.get("ip"):
                causes += check(f"{at}.ip", address, validation.ip_address)
            if hostname := one.get("hostname"):
                causes += check(f"{at}.hostname", hostname, validation.dns_subdomain)
                if is_address(hostname):
                    causes.append(invalid(f"{at}.hostname", hostname, _NOT_A_NAME))
        return causes


def _class_annotation(obj: Document, name: str | None) -> list[Cause]:
    """Return the cause when a new ingress names one class in its spec and another in the annotation of old."""
    meta = section(obj, "metadata")
    annotated: str | None = section(meta, "annotations").get(CLASS_ANNOTATION)
    if meta.get("resourceVersion") or annotated is None or name is None or annotated == name:
        return []
    problem = "must match `ingressClassName` when both are specified"
    return [invalid(f"annotations.{CLASS_ANNOTATION}", annotated, problem)]


def _rule(at: str, rule: Document) -> list[Cause]:
    causes: list[Cause] = []
    if host := rule.get("host"):
        if is_address(host):
            causes.append(invalid(f"{at}.host", host, _NOT_A_NAME))
        causes += check(f"{at}.host", host, wildcard_subdomain if "*" in host else validation.dns_subdomain)
    http: Document | None = rule.get("http")
    if http is None:
        return causes
    paths: list[Document] = http.get("paths") or []
    if not paths:
        causes.append(required(f"{at}.http.paths"))
    for index, path in enumerate(paths):
        causes += _path(f"{at}.http.paths[{index}]", path)
    return causes


def _path(at: str, path: Document) -> list[Cause]:
    kind: str | None = path.get("pathType")
    if kind is None:
        return [required(f"{at}.pathType", "pathType must be specified")]
    written: str = path.get("path") or ""
    causes: list[Cause] = []
    if kind not in _PATH_TYPES:
        causes.append(unsupported(f"{at}.pathType", kind, _PATH_TYPES))
    elif not written.startswith("/") and (written or kind != "ImplementationSpecific"):
        causes.append(invalid(f"{at}.path", written, "must be an absolute path"))
    if kind in {"Exact", "Prefix"}:
        causes += [
            invalid(f"{at}.path", written, f"must not contain '{bad}'") for bad in _BAD_SEQUENCES if bad in written
        ]
        causes += [
            invalid(f"{at}.path", written, f"cannot end with '{bad}'") for bad in _BAD_SUFFIXES if written.endswith(bad)
        ]
    return causes + _backend(f"{at}.backend", path.get("backend") or {})


def _backend(at: str, backend: Document) -> list[Cause]:
    resource: Document | None = backend.get("resource")
    service: Document | None = backend.get("service")
    if resource is not None and service is not None:
        return [invalid(at, "", "cannot set both resource and service backends")]
    if resource is not None:
        return _reference(f"{at}.resource", resource)
    if service is None:
        return [invalid(at, "", "resource or service backend is required")]
    name: str = service.get("name") or ""
    causes = check(f"{at}.service.name", name, validation.dns_label) if name else [required(f"{at}.service.name")]
    port = section(service, "port")
    if port.get("name") and port.get("number"):
        causes.append(invalid(at, "", "cannot set both port name & port number"))
    elif port.get("name"):
        causes += check(f"{at}.service.port.name", port["name"], validation.port_name)
    elif port.get("number"):
        causes += validation.port_number(f"{at}.service.port.number", port["number"])
    else:
        causes.append(required(at, "port name or number is required"))
    return causes


def _tls(at: str, entry: Document) -> list[Cause]:
    causes: list[Cause] = []
    for index, host in enumerate(entry.get("hosts") or ()):
        rule = wildcard_subdomain if "*" in host else validation.dns_subdomain
        causes += check(f"{at}.hosts[{index}]", host, rule)
    if secret := entry.get("secretName"):
        causes += check(f"{at}.secretName", secret, validation.dns_subdomain)
    return causes


def _reference(at: str, reference: Document) -> list[Cause]:
    """Return what is wrong with a reference to an object of any kind."""
    causes: list[Cause] = []
    if (group := reference.get("apiGroup")) is not None:
        causes += check(f"{at}.apiGroup", group, validation.dns_subdomain)
    for part in ("kind", "name"):
        value: str = reference.get(part) or ""
        causes += check(f"{at}.{part}", value, validation.path_segment) if value else [required(f"{at}.{part}")]
    return causes


class IngressClassStrategy(Strategy):
    """The rules of ingress classes."""

    has_generation = True

    def default(self, obj: Document) -> None:
        """Look for parameters in the whole cluster."""
        parameters: Document | None = section(obj, "spec").get("parameters")
        if parameters and parameters.get("scope") is None:
            parameters["scope"] = "Cluster"

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the controller's name and the parameters."""
        spec = section(obj, "spec")
        controller: str = spec.get("controller") or ""
        causes: list[Cause] = []
        if len(controller) > _MAX_CONTROLLER:
            causes.append(too_long("spec.controller", _MAX_CONTROLLER))
        causes += domain_prefixed_path("spec.controller", controller)
        if (parameters := spec.get("parameters")) is not None:
            causes += _parameters("spec.parameters", parameters)
        return causes

    def validate_update(self, obj: Document, old: Document) -> list[Cause]:
        """Return the cause when the controller changes."""
        controller: str = section(obj, "spec").get("controller") or ""
        same = controller == (section(old, "spec").get("controller") or "")
        return [] if same else [immutable("spec.controller", controller)]


def _parameters(at: str, parameters: Document) -> list[Cause]:
    causes = _reference(at, parameters)
    scope: str | None = parameters.get("scope")
    namespace: str | None = parameters.get("namespace")
    if scope is None:
        return [*causes, required(f"{at}.scope")]
    if scope not in _SCOPES:
        return [*causes, unsupported(f"{at}.scope", scope, _SCOPES)]
    if scope == "Cluster":
        if namespace is not None:
            causes.append(forbidden(f"{at}.namespace", "`parameters.scope` is set to 'Cluster'"))
    elif namespace is None:
        causes.append(required(f"{at}.namespace", "`parameters.scope` is set to 'Namespace'"))
    else:
        causes += check(f"{at}.namespace", namespace, validation.dns_label)
    return causes


def _balancer(obj: Document) -> list[Document]:
    found: list[Document] | None = section(section(obj, "status"), "loadBalancer").get("ingress")
    return found or []


def _hosts(obj: Document, now: datetime) -> str:
    _ = now
    rules: list[Document] = section(obj, "spec").get("rules") or []
    hosts: list[str] = []
    more = False
    for rule in rules:
        more = more or len(hosts) == _SHOWN_HOSTS
        if not more and rule.get("host"):
            hosts.append(rule["host"])
    shown = ",".join(hosts) or "*"
    return f"{shown} + {len(rules) - _SHOWN_HOSTS} more..." if more else shown


def _address(obj: Document, now: datetime) -> str:
    _ = now
    shown = ",".join(sorted({one.get("ip") or one.get("hostname") or "" for one in _balancer(obj)} - {""}))
    return shown if len(shown) <= _ADDRESS_WIDTH else f"{shown[: _ADDRESS_WIDTH - 3]}..."


def _ports(obj: Document, now: datetime) -> str:
    _ = now
    return "80, 443" if section(obj, "spec").get("tls") else "80"


def _shown_parameters(obj: Document, now: datetime) -> str:
    _ = now
    parameters: dict[str, Any] | None = section(obj, "spec").get("parameters")
    if parameters is None:
        return NONE
    group: str | None = parameters.get("apiGroup")
    kind: str = parameters.get("kind") or ""
    return f"{kind if group is None else f'{kind}.{group}'}/{parameters.get('name') or ''}"


RESOURCES: Final = (
    Resource(
        group=GROUP,
        plural="ingresses",
        singular="ingress",
        kind="Ingress",
        short_names=("ing",),
        strategy=IngressStrategy(),
        columns=(
            NAME,
            Column("Class", text("spec", "ingressClassName", missing=NONE), description="Who serves the ingress."),
            Column("Hosts", _hosts, description="Hosts that requests are matched against."),
            Column("Address", _address, description="Where the load balancer is reached."),
            Column("Ports", _ports, description="Ports that are open."),
            AGE,
        ),
        subresources={"status": Subresource("Ingress", group=GROUP)},
    ),
    Resource(
        group=GROUP,
        plural="ingressclasses",
        singular="ingressclass",
        kind="IngressClass",
        namespaced=False,
        strategy=IngressClassStrategy(),
        columns=(
            NAME,
            Column("Controller", text("spec", "controller"), description="The controller that serves the class."),
            Column("Parameters", _shown_parameters, description="Where the controller's settings are."),
            AGE,
        ),
    ),
)
