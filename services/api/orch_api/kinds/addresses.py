"""Addresses and names of the network, as the younger kinds want them: in their one canonical form.

Rules and wording: k8s.io/apimachinery/pkg/util/validation, ip.go and validation.go.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from orch.errors import Cause
from orch_api import validation
from orch_api.validation import Problems, invalid, required

_ADDRESS_WRONG: Final = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
_RANGE_WRONG: Final = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
_INTERFACE_WRONG: Final = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)"
_LABEL: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_WILDCARD: Final = rf"\*\.{_LABEL}(\.{_LABEL})*"
_PATH: Final = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"
_MAX_NAME: Final = 253
_WILDCARD_WRONG: Final = (
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of "
    "lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', "
    f"regex used for validation is '{_WILDCARD}')"
)


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """Return the address that a text writes, None when it writes none."""
    try:
        return ip_address(text)
    except ValueError:
        return None


def parse_range(text: str) -> IPv4Network | IPv6Network | None:
    """Return the range that a text writes, None when it writes none; bits beyond the prefix are let pass."""
    try:
        return ip_network(text, strict=False) if "/" in text else None
    except ValueError:
        return None


def is_address(text: str) -> bool:
    """Tell whether a text is an address rather than a name."""
    return parse_address(text) is not None


@lru_cache(8192)
def canonical_address(text: str) -> Problems:
    """Refuse what is not an address in its shortest form."""
    address = parse_address(text)
    if address is None or "%" in text:
        return (_ADDRESS_WRONG,)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        mapped = f'must be in canonical form ("{address.ipv4_mapped}")'
        return ("must not be an IPv4-mapped IPv6 address", mapped)
    return () if str(address) == text else (f'must be in canonical form ("{address}")',)


def canonical_range(text: str) -> Problems:
    """Refuse what is not a range of addresses in its shortest form."""
    found = parse_range(text)
    if found is None:
        return (_RANGE_WRONG,)
    problems: list[str] = []
    if parse_address(text.partition("/")[0]) != found.network_address:
        problems.append("must not have bits set beyond the prefix length")
    if str(found) != text:
        problems.append(f'must be in canonical form ("{found}")')
    return tuple(problems)


def interface_address(text: str) -> Problems:
    """Refuse what is not an address with the length of its network's prefix, in its shortest form."""
    found = parse_range(text)
    address = parse_address(text.partition("/")[0])
    if found is None or address is None:
        return (_INTERFACE_WRONG,)
    canonical = f"{address}/{found.prefixlen}"
    return () if canonical == text else (f'must be in canonical form ("{canonical}")',)


def endpoint_address(field: str, text: str) -> list[Cause]:
    """Return why an address cannot be an endpoint: it would lead to the node itself or nowhere."""
    address = parse_address(text)
    if address is None:
        return [invalid(field, text, "must be a valid IP address")]
    causes: list[Cause] = []
    if address.is_unspecified:
        causes.append(invalid(field, text, f"may not be unspecified ({text})"))
    if address.is_loopback:
        causes.append(invalid(field, text, "may not be in the loopback range (127.0.0.0/8, ::1/128)"))
    if address.is_link_local:
        causes.append(invalid(field, text, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"))
    if any(address in local for local in _LINK_LOCAL_MULTICAST if local.version == address.version):
        problem = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"
        causes.append(invalid(field, text, problem))
    return causes


_LINK_LOCAL_MULTICAST: Final = (IPv4Network("224.0.0.0/24"), IPv6Network("ff02::/16"))


@lru_cache(8192)
def wildcard_subdomain(text: str) -> Problems:
    """Refuse what is not "*." and a subdomain."""
    problems: Problems = (f"must be no more than {_MAX_NAME} bytes",) if len(text.encode()) > _MAX_NAME else ()
    return problems if re.fullmatch(_WILDCARD, text) else (*problems, _WILDCARD_WRONG)


def full_domain_name(field: str, text: str) -> list[Cause]:
    """Return why a text is no domain name of at least two labels."""
    if not text:
        return [required(field)]
    name = text.removesuffix(".")
    if problems := validation.dns_subdomain(name):
        return [invalid(field, name, ",".join(problems))]
    labels = name.split(".")
    if len(labels) < 2:
        return [invalid(field, name, "should be a domain with at least two segments separated by dots")]
    return [invalid(field, label, ",".join(problems)) for label in labels if (problems := validation.dns_label(label))]


def domain_prefixed_path(field: str, text: str) -> list[Cause]:
    """Return why a text is no path behind a domain, such as "acme.io/foo"."""
    if not text:
        return [required(field)]
    host, _, path = text.partition("/")
    if not host or not path:
        return [invalid(field, text, 'must be a domain-prefixed path (such as "acme.io/foo")')]
    causes = validation.check(field, host, validation.dns_subdomain)
    if not re.fullmatch(_PATH, path):
        causes.append(invalid(field, path, f"Invalid path (regex used for validation is '{_PATH}')"))
    return causes
