"""Network policies: who may talk to which pods (k8s.io/kubernetes/pkg/apis/networking/validation)."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from orch.errors import Cause
from orch_api import validation
from orch_api.kinds.addresses import parse_range
from orch_api.kinds.columns import AGE, NAME, format_selector
from orch_api.resource import Column, Resource
from orch_api.strategy import Document, Strategy, put_section, section
from orch_api.validation import check, forbidden, invalid, required, unsupported

_PROTOCOLS: Final = ("TCP", "UDP", "SCTP")
_TYPES: Final = ("Ingress", "Egress")
_DIRECTIONS: Final = (("ingress", "from"), ("egress", "to"))


class NetworkPolicyStrategy(Strategy):
    """The rules of network policies."""

    has_generation = True

    def default(self, obj: Document) -> None:
        """Govern what comes in, and what goes out if there are rules for it; ports are TCP."""
        spec = put_section(obj, "spec")
        put_section(spec, "podSelector")
        if not spec.get("policyTypes"):
            spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
        for direction, _ in _DIRECTIONS:
            for rule in spec.get(direction) or ():
                for port in rule.get("ports") or ():
                    if port.get("protocol") is None:
                        port["protocol"] = "TCP"

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with selectors, ports and peers."""
        spec = section(obj, "spec")
        causes = validation.label_selector("spec.podSelector", section(spec, "podSelector"))
        for direction, peers in _DIRECTIONS:
            rules: list[Document] = spec.get(direction) or []
            for index, rule in enumerate(rules):
                causes += _rule(f"spec.{direction}[{index}]", rule, peers)
        types: list[str] = spec.get("policyTypes") or []
        if len(types) > len(_TYPES):
            return [*causes, invalid("spec.policyTypes", types, "may not specify more than two policyTypes")]
        causes += [
            unsupported(f"spec.policyTypes[{index}]", kind, _TYPES)
            for index, kind in enumerate(types)
            if kind not in _TYPES
        ]
        return causes


def _rule(at: str, rule: Document, peers: str) -> list[Cause]:
    causes: list[Cause] = []
    for index, port in enumerate(rule.get("ports") or ()):
        causes += _port(f"{at}.ports[{index}]", port)
    for index, peer in enumerate(rule.get(peers) or ()):
        causes += _peer(f"{at}.{peers}[{index}]", peer)
    return causes


def _port(at: str, port: Document) -> list[Cause]:
    causes: list[Cause] = []
    protocol: str | None = port.get("protocol")
    if protocol is not None and protocol not in _PROTOCOLS:
        causes.append(unsupported(f"{at}.protocol", protocol, _PROTOCOLS))
    number: int | str | None = port.get("port")
    end: int | None = port.get("endPort")
    if number is None:
        if end is not None:
            causes.append(invalid(f"{at}.endPort", end, "may not be specified when `port` is not specified"))
    elif isinstance(number, str):
        if end is not None:
            causes.append(invalid(f"{at}.endPort", end, "may not be specified when `port` is non-numeric"))
        causes += check(f"{at}.port", number, validation.port_name)
    else:
        causes += validation.port_number(f"{at}.port", number)
        if end is not None:
            if end < number:
                causes.append(invalid(f"{at}.endPort", end, "must be greater than or equal to `port`"))
            causes += validation.port_number(f"{at}.endPort", end)
    return causes


def _peer(at: str, peer: Document) -> list[Cause]:
    causes: list[Cause] = []
    given = [name for name in ("podSelector", "namespaceSelector", "ipBlock") if peer.get(name) is not None]
    for name in given:
        if name == "ipBlock":
            causes += _block(f"{at}.ipBlock", peer[name])
        else:
            causes += validation.label_selector(f"{at}.{name}", peer[name])
    if not given:
        causes.append(required(at, "must specify a peer"))
    elif len(given) > 1 and "ipBlock" in given:
        causes.append(forbidden(at, "may not specify both ipBlock and another peer"))
    return causes


def _block(at: str, block: Document) -> list[Cause]:
    written: str = block.get("cidr") or ""
    if not written:
        return [required(f"{at}.cidr")]
    causes = check(f"{at}.cidr", written, validation.cidr)
    whole = parse_range(written)
    if whole is None:
        return causes
    for index, exception in enumerate(block.get("except") or ()):
        one = f"{at}.except[{index}]"
        causes += check(one, exception, validation.cidr)
        part = parse_range(exception)
        if part is not None and (
            part.version != whole.version or part.network_address not in whole or part.prefixlen <= whole.prefixlen
        ):
            causes.append(invalid(one, exception, "must be a strict subset of `cidr`"))
    return causes


def _selector(obj: Document, now: datetime) -> str:
    _ = now
    return format_selector(section(section(obj, "spec"), "podSelector"))


RESOURCES: Final = (
    Resource(
        group="networking.k8s.io",
        plural="networkpolicies",
        singular="networkpolicy",
        kind="NetworkPolicy",
        short_names=("netpol",),
        strategy=NetworkPolicyStrategy(),
        columns=(NAME, Column("Pod-Selector", _selector, description="The pods that the policy is for."), AGE),
    ),
)
