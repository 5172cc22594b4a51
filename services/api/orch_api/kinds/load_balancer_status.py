"""What a Service's status may say of its load balancer (ValidateLoadBalancerStatus)."""

from __future__ import annotations

from typing import Final

from orch.errors import Cause
from orch_api import validation
from orch_api.strategy import Document, section
from orch_api.validation import check, forbidden, invalid, required, unsupported

_MODES: Final = ("Proxy", "VIP")


def ingress_of(service: Document) -> list[Document]:
    """Return where a Service's load balancer takes traffic in."""
    found: list[Document] | None = section(section(service, "status"), "loadBalancer").get("ingress")
    return found or []


def default_modes(service: Document) -> None:
    """Say of each address that traffic comes with it as destination, unless another mode is set."""
    for one in ingress_of(service):
        if one.get("ip") and one.get("ipMode") is None:
            one["ipMode"] = "VIP"


def load_balancer_status(service: Document) -> list[Cause]:
    """Return what is wrong with where a Service's load balancer takes traffic in."""
    at = "status.loadBalancer.ingress"
    found = ingress_of(service)
    if found and section(service, "spec").get("type") != "LoadBalancer":
        return [forbidden(at, "may only be used when `spec.type` is 'LoadBalancer'")]
    causes: list[Cause] = []
    for index, one in enumerate(found):
        causes += _point(f"{at}[{index}]", one)
    return causes


def _point(at: str, one: Document) -> list[Cause]:
    causes: list[Cause] = []
    address: str = one.get("ip") or ""
    mode: str | None = one.get("ipMode")
    if address:
        causes += check(f"{at}.ip", address, validation.ip_address)
        if mode is None:
            causes.append(required(f"{at}.ipMode", "must be specified when `ip` is set"))
    elif mode is not None:
        causes.append(forbidden(f"{at}.ipMode", "may not be specified when `ip` is not set"))
    if mode is not None and mode not in _MODES:
        causes.append(unsupported(f"{at}.ipMode", mode, _MODES))
    if name := one.get("hostname"):
        causes += check(f"{at}.hostname", name, validation.dns_subdomain)
        if not validation.ip_address(name):
            causes.append(invalid(f"{at}.hostname", name, "must be a DNS name, not an IP address"))
    return causes
