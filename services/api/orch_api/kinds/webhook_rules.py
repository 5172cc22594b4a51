"""How webhooks are reached: by an address or a Service (k8s.io/apiserver/pkg/util/webhook/validation.go)."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from orch.errors import Cause
from orch_api import validation
from orch_api.strategy import Document, section
from orch_api.validation import invalid, required

HTTPS: Final = 443
_FORM: Final = "; desired format: https://host[/path]"


def default_service_port(client_config: Document) -> None:
    """Let a Service be reached at 443 unless another port is named."""
    service: Document | None = client_config.get("service")
    if service is not None and service.get("port") is None:
        service["port"] = HTTPS


def client_config(at: str, config: Document) -> list[Cause]:
    """Return what is wrong with a WebhookClientConfig: it names a url or a service."""
    url, service = config.get("url"), config.get("service")
    if (url is None) == (service is None):
        return [required(at, "exactly one of url or service is required")]
    if url is not None:
        return webhook_url(f"{at}.url", url)
    return webhook_service(f"{at}.service", section(config, "service"))


def webhook_url(at: str, url: str) -> list[Cause]:
    """Return why an address cannot be a webhook's."""
    try:
        parsed = urlsplit(url)
        _ = parsed.port
    except ValueError as problem:
        return [required(at, f"url must be a valid URL: {problem}{_FORM}")]
    causes: list[Cause] = []
    if parsed.scheme != "https":
        causes.append(invalid(at, parsed.scheme, f"'https' is the only allowed URL scheme{_FORM}"))
    user, _, host = parsed.netloc.rpartition("@")
    if not host:
        causes.append(invalid(at, host, f"host must be specified{_FORM}"))
    if user:
        causes.append(invalid(at, user, "user information is not permitted in the URL"))
    if parsed.fragment:
        causes.append(invalid(at, parsed.fragment, "fragments are not permitted in the URL"))
    if parsed.query:
        causes.append(invalid(at, parsed.query, "query parameters are not permitted in the URL"))
    return causes


def webhook_service(at: str, service: Document) -> list[Cause]:
    """Return why a reference to a Service, with its port set, cannot be a webhook's."""
    causes: list[Cause] = []
    if not service.get("name"):
        causes.append(required(f"{at}.name", "service name is required"))
    if not service.get("namespace"):
        causes.append(required(f"{at}.namespace", "service namespace is required"))
    port: int = service.get("port") or 0
    if not 1 <= port <= 65535:
        problem = f"port is not valid: {validation.inclusive_range(1, 65535)}"
        causes.append(invalid(f"{at}.port", port, problem))
    return causes + _path(f"{at}.path", service.get("path") or "")


def _path(at: str, path: str) -> list[Cause]:
    if path in {"", "/"}:
        return []
    if path == "//":
        return [invalid(at, path, "segment[0] may not be empty")]
    causes: list[Cause] = []
    if not path.startswith("/"):
        causes.append(invalid(at, path, "must start with a '/'"))
    for index, segment in enumerate(path[1:].removesuffix("/").split("/")):
        if not segment:
            causes.append(invalid(at, path, f"segment[{index}] may not be empty"))
            continue
        causes += [invalid(at, path, f"segment[{index}]: {problem}") for problem in validation.dns_subdomain(segment)]
    return causes
