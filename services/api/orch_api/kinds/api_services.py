"""APIServices: which groups of the API others serve, and who (k8s.io/kube-aggregator/pkg/apis/apiregistration)."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Final

from orch.errors import Cause
from orch_api import validation
from orch_api.kinds.columns import AGE, NAME
from orch_api.kinds.webhook_rules import default_service_port
from orch_api.resource import Column, Resource, Subresource
from orch_api.strategy import Author, Document, Strategy, section
from orch_api.validation import Problems, check, invalid, required, unsupported

GROUP: Final = "apiregistration.k8s.io"
PLURAL: Final = "apiservices"
AVAILABLE: Final = "Available"

_MAX_GROUP_PRIORITY: Final = 20_000
_MAX_VERSION_PRIORITY: Final = 1_000
_STATUSES: Final = ("False", "True", "Unknown")


class ApiServiceStrategy(Strategy):
    """The rules of APIServices."""

    has_status = True

    def name_problems(self, name: str) -> Problems:
        """Refuse what could not stand in a path; that the name is `version.group`, `validate` looks at."""
        return validation.path_segment(name)

    def default(self, obj: Document) -> None:
        """Reach the Service at 443 unless another port is named."""
        default_service_port(section(obj, "spec"))

    def stamp(self, obj: Document, old: Document | None, author: Author, now: str) -> None:
        """Say of a new APIService without a Service, which is served by the api itself, that it is available."""
        _ = author
        if old is None and section(obj, "spec").get("service") is None:
            condition = {
                "type": AVAILABLE,
                "status": "True",
                "lastTransitionTime": now,
                "reason": "Local",
                "message": "Local APIServices are always available",
            }
            obj["status"] = {"conditions": [condition]}

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the name, the priorities and the Service."""
        spec = section(obj, "spec")
        group: str = spec.get("group") or ""
        version: str = spec.get("version") or ""
        name: str = section(obj, "metadata").get("name") or ""
        causes: list[Cause] = []
        if name != (wanted := f"{version}.{group}") and not self.name_problems(name):
            problem = f'must be `spec.version+"."+spec.group`: "{wanted}"'
            causes.append(invalid("metadata.name", name, problem))
        if group:
            causes += check("spec.group", group, validation.dns_subdomain)
        elif version != "v1":
            problem = "only v1 may have an empty group and it's better to be legacy kube"
            causes.append(required("spec.group", problem))
        causes += check("spec.version", version, validation.dns_1035_label)
        for field, limit in (("groupPriorityMinimum", _MAX_GROUP_PRIORITY), ("versionPriority", _MAX_VERSION_PRIORITY)):
            value: int = spec.get(field) or 0
            if not 0 < value <= limit:
                causes.append(invalid(f"spec.{field}", value, f"must be positive and less than {limit}"))
        return causes + _service(spec)

    def validate_status(self, obj: Document, old: Document) -> list[Cause]:
        """Return which conditions are neither true nor false nor unknown."""
        _ = old
        return [
            unsupported(f"status.conditions[{index}].status", condition.get("status") or "", _STATUSES)
            for index, condition in enumerate(section(obj, "status").get("conditions") or ())
            if condition.get("status") not in _STATUSES
        ]


def _service(spec: Document) -> list[Cause]:
    service: Document | None = spec.get("service")
    bundle: str = spec.get("caBundle") or ""
    insecure: bool = spec.get("insecureSkipTLSVerify") or False
    causes: list[Cause] = []
    if service is None:
        if bundle:
            size = f"{len(base64.b64decode(bundle))} bytes"
            causes.append(invalid("spec.caBundle", size, "local APIServices may not have a caBundle"))
        if insecure:
            problem = "local APIServices may not have insecureSkipTLSVerify"
            causes.append(invalid("spec.insecureSkipTLSVerify", insecure, problem))
        return causes
    causes += [required(f"spec.service.{field}") for field in ("namespace", "name") if not service.get(field)]
    port: int = service.get("port") or 0
    if not 1 <= port <= 65535:
        problem = f"port is not valid: {validation.inclusive_range(1, 65535)}"
        causes.append(invalid("spec.service.port", port, problem))
    if insecure and bundle:
        problem = "may not be true if caBundle is present"
        causes.append(invalid("spec.insecureSkipTLSVerify", insecure, problem))
    return causes


def _server(obj: Document, now: datetime) -> str:
    _ = now
    service: Document | None = section(obj, "spec").get("service")
    return "Local" if service is None else f"{service.get('namespace') or ''}/{service.get('name') or ''}"


def _available(obj: Document, now: datetime) -> str:
    _ = now
    for condition in section(obj, "status").get("conditions") or ():
        if condition.get("type") == AVAILABLE:
            status: str = condition.get("status") or ""
            return status if status == "True" else f"{status} ({condition.get('reason') or ''})"
    return "Unknown"


RESOURCES: Final = (
    Resource(
        group=GROUP,
        plural=PLURAL,
        singular="apiservice",
        kind="APIService",
        namespaced=False,
        categories=("api-extensions",),
        strategy=ApiServiceStrategy(),
        columns=(
            NAME,
            Column("Service", _server, description="Who serves it: a Service, or the api itself."),
            Column("Available", _available, description="Whether it is served."),
            AGE,
        ),
        subresources={"status": Subresource("APIService", GROUP)},
    ),
)
