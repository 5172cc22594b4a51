"""What a container must be (k8s.io/kubernetes/pkg/apis/core/validation, validateContainers and what it calls)."""

from __future__ import annotations

import re
from typing import Any, Final

from orch.errors import Cause
from orch_api import validation
from orch_api.kinds.pod_security import container_security
from orch_api.kinds.quantities import container_resources
from orch_api.strategy import Document
from orch_api.validation import check, duplicate, forbidden, inclusive_range, invalid, not_found, one_of, required

PULL_POLICIES: Final = ("Always", "IfNotPresent", "Never")
PROTOCOLS: Final = ("SCTP", "TCP", "UDP")
_SCHEMES: Final = ("HTTP", "HTTPS")
_MESSAGE_POLICIES: Final = ("FallbackToLogsOnError", "File")
_HANDLERS: Final = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
_ENV_SOURCES: Final = ("configMapKeyRef", "fieldRef", "fileKeyRef", "resourceFieldRef", "secretKeyRef")
_ENV_FIELDS: Final = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
_ENV_RESOURCES: Final = (
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
)
_KEYED_FIELD: Final = re.compile(r"metadata\.(labels|annotations)\['([^']*)'\]")
_MAX_ID: Final = 2**31 - 1


def containers(field: str, spec: Document, volumes: frozenset[str]) -> list[Cause]:
    """Return what is wrong with the containers and init containers of a pod spec; `field` is the spec's path."""
    regular: list[Document] = spec.get("containers") or []
    initial: list[Document] = spec.get("initContainers") or []
    causes: list[Cause] = []
    if not regular:
        causes.append(required(f"{field}.containers"))
    host_network = bool(spec.get("hostNetwork"))
    names: set[str] = set()
    for index, container in enumerate(regular):
        at = f"{field}.containers[{index}]"
        causes += any_container(at, container, names, volumes, host_network=host_network)
        causes += _probes(at, container)
    for index, container in enumerate(initial):
        at = f"{field}.initContainers[{index}]"
        causes += any_container(at, container, names, volumes, host_network=host_network)
        causes += _init_only(at, container)
    return causes + _host_ports(field, regular)


def any_container(
    at: str, container: Document, names: set[str], volumes: frozenset[str], *, host_network: bool
) -> list[Cause]:
    """Return what is wrong with a container in what all kinds of containers share; its name is added to `names`."""
    causes = _name(f"{at}.name", container.get("name") or "", names)
    image: str = container.get("image") or ""
    if not image:
        causes.append(required(f"{at}.image"))
    elif image != image.strip():
        causes.append(invalid(f"{at}.image", image, "must not have leading or trailing whitespace"))
    causes += one_of(f"{at}.imagePullPolicy", container.get("imagePullPolicy") or "", PULL_POLICIES)
    message_policy: str = container.get("terminationMessagePolicy") or ""
    causes += one_of(f"{at}.terminationMessagePolicy", message_policy, _MESSAGE_POLICIES)
    if found := container.get("ports"):
        causes += _ports(f"{at}.ports", found, host_network=host_network)
    if found := container.get("env"):
        causes += _env(f"{at}.env", found)
    if found := container.get("envFrom"):
        causes += _env_from(f"{at}.envFrom", found)
    if found := container.get("volumeMounts"):
        causes += _mounts(f"{at}.volumeMounts", found, volumes)
    if found := container.get("resources"):
        causes += container_resources(f"{at}.resources", found)
    if found := container.get("securityContext"):
        causes += identity(f"{at}.securityContext", found)
        causes += container_security(f"{at}.securityContext", found)
    return causes


def _name(at: str, name: str, names: set[str]) -> list[Cause]:
    if not name:
        return [required(at)]
    causes = check(at, name, validation.dns_label)
    if name in names:
        causes.append(duplicate(at, name))
    names.add(name)
    return causes


def identity(at: str, context: Document) -> list[Cause]:
    """Return what is wrong with the user and group ids of a security context."""
    causes: list[Cause] = []
    for name in ("runAsUser", "runAsGroup", "fsGroup"):
        number = context.get(name)
        if number is not None and not 0 <= number <= _MAX_ID:
            causes.append(invalid(f"{at}.{name}", number, inclusive_range(0, _MAX_ID)))
    if context.get("allowPrivilegeEscalation") is False and context.get("privileged"):
        problem = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
        causes.append(invalid(at, context, problem))
    return causes


def _init_only(at: str, container: Document) -> list[Cause]:
    if container.get("restartPolicy") == "Always":
        return _probes(at, container)
    problem = "may not be set for init containers without restartPolicy=Always"
    return [
        forbidden(f"{at}.{name}", problem)
        for name in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe")
        if container.get(name)
    ]


# Ports ----------------------------------------------------------------------------------------------------------


def _ports(at: str, ports: list[Document], *, host_network: bool) -> list[Cause]:
    causes: list[Cause] = []
    names: set[str] = set()
    for index, port in enumerate(ports):
        one = f"{at}[{index}]"
        if name := port.get("name"):
            if problems := validation.port_name(name):
                causes += [invalid(f"{one}.name", name, problem) for problem in problems]
            elif name in names:
                causes.append(duplicate(f"{one}.name", name))
            names.add(name)
        number: int = port.get("containerPort") or 0
        if not number:
            causes.append(required(f"{one}.containerPort"))
        else:
            causes += validation.port_number(f"{one}.containerPort", number)
        if host_port := port.get("hostPort"):
            causes += validation.port_number(f"{one}.hostPort", host_port)
            if host_network and host_port != number:
                causes.append(
                    invalid(f"{one}.containerPort", number, "must match `hostPort` when `hostNetwork` is true")
                )
        protocol = port.get("protocol")
        if protocol not in PROTOCOLS:
            causes += one_of(f"{one}.protocol", protocol or "", PROTOCOLS)
        if address := port.get("hostIP"):
            causes += check(f"{one}.hostIP", address, validation.ip_address)
    return causes


def _host_ports(field: str, regular: list[Document]) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, container in enumerate(regular):
        for place, port in enumerate(container.get("ports") or ()):
            if not port.get("hostPort"):
                continue
            claim = f"{port.get('protocol')}/{port.get('hostIP') or ''}/{port['hostPort']}"
            if claim in seen:
                causes.append(duplicate(f"{field}.containers[{index}].ports[{place}].hostPort", claim))
            seen.add(claim)
    return causes


# Environment ----------------------------------------------------------------------------------------------------


def _env(at: str, variables: list[Document]) -> list[Cause]:
    causes: list[Cause] = []
    for index, variable in enumerate(variables):
        name: str = variable.get("name") or ""
        if not name:
            causes.append(required(f"{at}[{index}].name"))
        elif problems := validation.env_name(name):
            causes += [invalid(f"{at}[{index}].name", name, problem) for problem in problems]
        if source := variable.get("valueFrom"):
            causes += _env_source(f"{at}[{index}].valueFrom", source, variable.get("value"))
    return causes


def _env_source(at: str, source: Document, value: str | None) -> list[Cause]:
    causes: list[Cause] = []
    given = [name for name in _ENV_SOURCES if source.get(name) is not None]
    if found := source.get("fieldRef"):
        causes += _field_reference(f"{at}.fieldRef", found)
    if found := source.get("resourceFieldRef"):
        causes += resource_reference(f"{at}.resourceFieldRef", found)
    for name in ("configMapKeyRef", "secretKeyRef"):
        if (found := source.get(name)) is not None:
            causes += _key_reference(f"{at}.{name}", found)
    if not given:
        named = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        causes.append(invalid(at, "", named))
    elif value:
        causes.append(invalid(at, "", "may not be specified when `value` is not empty"))
    elif len(given) > 1:
        causes.append(invalid(at, "", "may not have more than one field specified at a time"))
    return causes


def _field_reference(at: str, reference: Document) -> list[Cause]:
    path: str = reference.get("fieldPath") or ""
    if not reference.get("apiVersion"):
        return [required(f"{at}.apiVersion")]
    if not path:
        return [required(f"{at}.fieldPath")]
    if keyed := _KEYED_FIELD.fullmatch(path):
        key = keyed[2].lower() if keyed[1] == "annotations" else keyed[2]
        return check(f"{at}.fieldPath", key, validation.qualified_name)
    return [] if path in _ENV_FIELDS else [validation.unsupported(f"{at}.fieldPath", path, _ENV_FIELDS)]


def resource_reference(at: str, reference: Document) -> list[Cause]:
    """Return what is wrong with a resourceFieldRef."""
    resource: str = reference.get("resource") or ""
    if not resource:
        return [required(f"{at}.resource")]
    if resource in _ENV_RESOURCES or resource.startswith(("limits.hugepages-", "requests.hugepages-")):
        return validation.quantity_value(f"{at}.divisor", reference.get("divisor") or "0")
    return [validation.unsupported(f"{at}.resource", resource, _ENV_RESOURCES)]


def _key_reference(at: str, reference: Document) -> list[Cause]:
    causes = _object_name(f"{at}.name", reference)
    key: str = reference.get("key") or ""
    return causes + (check(f"{at}.key", key, validation.config_key) if key else [required(f"{at}.key")])


def _object_name(at: str, reference: Document) -> list[Cause]:
    name: str = reference.get("name") or ""
    return check(at, name, validation.dns_subdomain) if name else [required(at)]


def _env_from(at: str, sources: list[Document]) -> list[Cause]:
    causes: list[Cause] = []
    for index, source in enumerate(sources):
        one = f"{at}[{index}]"
        if prefix := source.get("prefix"):
            causes += check(f"{one}.prefix", prefix, validation.env_name)
        given = [name for name in ("configMapRef", "secretRef") if source.get(name) is not None]
        for name in given:
            causes += _object_name(f"{one}.{name}.name", source[name])
        if not given:
            causes.append(invalid(at, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif len(given) > 1:
            causes.append(invalid(at, "", "may not have more than one field specified at a time"))
    return causes


# Mounts ---------------------------------------------------------------------------------------------------------


def _mounts(at: str, mounts: list[Document], volumes: frozenset[str]) -> list[Cause]:
    causes: list[Cause] = []
    paths: set[str] = set()
    for index, mount in enumerate(mounts):
        one = f"{at}[{index}]"
        name: str = mount.get("name") or ""
        if not name:
            causes.append(required(f"{one}.name"))
        elif name not in volumes:
            causes.append(not_found(f"{one}.name", name))
        path: str = mount.get("mountPath") or ""
        if not path:
            causes.append(required(f"{one}.mountPath"))
        elif path in paths:
            causes.append(invalid(f"{one}.mountPath", path, "must be unique"))
        paths.add(path)
        if mount.get("subPath") and mount.get("subPathExpr"):
            causes.append(
                invalid(f"{one}.subPathExpr", mount["subPathExpr"], "subPathExpr and subPath are mutually exclusive")
            )
        for part in ("subPath", "subPathExpr"):
            if found := mount.get(part):
                causes += local_path(f"{one}.{part}", found)
    return causes


def local_path(at: str, path: str) -> list[Cause]:
    """Return what is wrong with a path that must stay below where it starts."""
    if path.startswith("/"):
        return [invalid(at, path, "must be a relative path")]
    return [invalid(at, path, "must not contain '..'")] if ".." in path.split("/") else []


# Probes and hooks -----------------------------------------------------------------------------------------------


def _probes(at: str, container: Document) -> list[Cause]:
    causes: list[Cause] = []
    if found := container.get("lifecycle"):
        for name in ("postStart", "preStop"):
            if hook := found.get(name):
                causes += _handler(f"{at}.lifecycle.{name}", hook)
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe := container.get(name):
            causes += _probe(f"{at}.{name}", probe, once=name != "readinessProbe")
    return causes


_PROBE_NUMBERS: Final = (
    "initialDelaySeconds",
    "timeoutSeconds",
    "periodSeconds",
    "successThreshold",
    "failureThreshold",
)


def _probe(at: str, probe: Document, *, once: bool) -> list[Cause]:
    causes = _handler(at, probe)
    for name in _PROBE_NUMBERS:
        causes += validation.non_negative(f"{at}.{name}", probe.get(name) or 0)
    if once and (probe.get("successThreshold") or 1) != 1:
        causes.append(invalid(f"{at}.successThreshold", probe["successThreshold"], "must be 1"))
    if (grace := probe.get("terminationGracePeriodSeconds")) is not None and grace <= 0:
        causes.append(invalid(f"{at}.terminationGracePeriodSeconds", grace, "must be greater than 0"))
    return causes


def _handler(at: str, handler: Document) -> list[Cause]:
    given = [name for name in _HANDLERS if handler.get(name) is not None]
    if not given:
        return [required(at, "must specify a handler type")]
    causes = [forbidden(f"{at}.{name}", "may not specify more than 1 handler type") for name in given[1:]]
    found: dict[str, Any] = handler[given[0]]
    one = f"{at}.{given[0]}"
    if given[0] == "exec" and not found.get("command"):
        causes.append(required(f"{one}.command"))
    elif given[0] == "httpGet":
        if not found.get("path"):
            causes.append(required(f"{one}.path"))
        causes += port_reference(f"{one}.port", found.get("port"))
        causes += one_of(f"{one}.scheme", found.get("scheme") or "", _SCHEMES)
    elif given[0] == "tcpSocket":
        causes += port_reference(f"{one}.port", found.get("port"))
    elif given[0] == "grpc":
        causes += validation.port_number(f"{one}.port", found.get("port") or 0)
    return causes


def port_reference(at: str, port: int | str | None) -> list[Cause]:
    """Return what is wrong with a port given by number or by name."""
    if isinstance(port, str):
        return check(at, port, validation.port_name)
    return validation.port_number(at, port or 0)
