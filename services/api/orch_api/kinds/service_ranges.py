"""ServiceCIDRs, the ranges of service addresses, and IPAddresses, one for each address that is taken."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from orch.errors import Cause
from orch_api import validation
from orch_api.kinds.addresses import canonical_address, canonical_range, parse_range
from orch_api.kinds.columns import AGE, NAME, NONE
from orch_api.kinds.status_metadata import BareStatusStrategy
from orch_api.resource import Column, Resource, Subresource
from orch_api.strategy import Document, Strategy, section
from orch_api.validation import Problems, check, immutable, invalid, required, same

_GROUP: Final = "networking.k8s.io"
_MAX_RANGES: Final = 2


class IPAddressStrategy(Strategy):
    """The rules of addresses."""

    def name_problems(self, name: str) -> Problems:
        """Refuse what is not an address in its canonical form."""
        return canonical_address(name)

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the reference to the address's owner."""
        parent: Document | None = section(obj, "spec").get("parentRef")
        at = "spec.parentRef"
        if parent is None:
            return [required(at)]
        causes: list[Cause] = []
        if group := parent.get("group"):
            causes += check(f"{at}.group", group, validation.dns_subdomain)
        for part in ("resource", "name"):
            value: str = parent.get(part) or ""
            causes += check(f"{at}.{part}", value, validation.path_segment) if value else [required(f"{at}.{part}")]
        if namespace := parent.get("namespace"):
            causes += check(f"{at}.namespace", namespace, validation.path_segment)
        return causes

    def validate_update(self, obj: Document, old: Document) -> list[Cause]:
        """Return the cause when the owner changes."""
        parent = section(obj, "spec").get("parentRef")
        if same(parent, section(old, "spec").get("parentRef")):
            return []
        return [immutable("spec.parentRef", parent)]


class ServiceCIDRStrategy(BareStatusStrategy):
    """The rules of ranges."""

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the ranges: one or two, of different families."""
        spec = section(obj, "spec")
        ranges: list[str] = spec.get("cidrs") or []
        at = "spec.cidrs"
        if not ranges:
            return [required(at, "at least one CIDR required")]
        if len(ranges) > _MAX_RANGES:
            return [invalid(at, spec, "may only hold up to 2 values")]
        causes: list[Cause] = []
        for index, one in enumerate(ranges):
            causes += check(f"{at}[{index}]", one, canonical_range)
        families = [found.version for one in ranges if (found := parse_range(one)) is not None]
        if len(families) == _MAX_RANGES and families[0] == families[1]:
            problem = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"
            causes.append(invalid(at, ranges, problem))
        return causes

    def validate_update(self, obj: Document, old: Document) -> list[Cause]:
        """Return what changes; a second range may be added."""
        ranges: list[str] = section(obj, "spec").get("cidrs") or []
        before: list[str] = section(old, "spec").get("cidrs") or []
        if len(ranges) != len(before) and (len(before), len(ranges)) != (1, _MAX_RANGES):
            return [immutable("spec.cidrs", ranges)]
        return [
            immutable(f"spec.cidrs[{index}]", new)
            for index, (new, kept) in enumerate(zip(ranges, before, strict=False))
            if new != kept
        ]


def _parent(obj: Document, now: datetime) -> str:
    _ = now
    parent: Document | None = section(obj, "spec").get("parentRef")
    if parent is None:
        return NONE
    group: str = parent.get("group") or ""
    resource: str = parent.get("resource") or ""
    parts = (f"{resource}.{group}" if group else resource).lower(), parent.get("namespace"), parent.get("name") or ""
    return "/".join(part for part in parts if part)


def _ranges(obj: Document, now: datetime) -> str:
    _ = now
    return ",".join(section(obj, "spec").get("cidrs") or ())


RESOURCES: Final = (
    Resource(
        group=_GROUP,
        plural="ipaddresses",
        singular="ipaddress",
        kind="IPAddress",
        namespaced=False,
        short_names=("ip",),
        strategy=IPAddressStrategy(),
        columns=(NAME, Column("ParentRef", _parent, description="Who has the address.")),
    ),
    Resource(
        group=_GROUP,
        plural="servicecidrs",
        singular="servicecidr",
        kind="ServiceCIDR",
        namespaced=False,
        strategy=ServiceCIDRStrategy(),
        columns=(NAME, Column("CIDRs", _ranges, description="The ranges of addresses."), AGE),
        subresources={"status": Subresource("ServiceCIDR", group=_GROUP)},
    ),
)
