"""Services and Endpoints: defaults, rules, and how a service gets its address and node ports."""

from __future__ import annotations

from collections.abc import Container, Iterable
from datetime import datetime
from typing import Final

from orch.errors import Cause
from orch_api import validation
from orch_api.addresses.ranges import FAMILY, ServiceRanges, port_claim
from orch_api.kinds.addresses import endpoint_address
from orch_api.kinds.columns import AGE, NAME, NONE, format_labels, text
from orch_api.kinds.container_rules import PROTOCOLS, port_reference
from orch_api.kinds.fields import field
from orch_api.kinds.load_balancer_status import default_modes, load_balancer_status
from orch_api.resource import PROXY_VERBS, Column, Resource, Subresource
from orch_api.strategy import Document, Strategy, keep, put_section, section
from orch_api.validation import Problems, check, duplicate, forbidden, invalid, one_of, required

HEADLESS: Final = "None"

_TYPES: Final = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_EXTERNAL: Final = frozenset({"LoadBalancer", "NodePort"})
_AFFINITIES: Final = ("ClientIP", "None")
_POLICIES: Final = ("Cluster", "Local")
_AFFINITY_SECONDS: Final = 10800
_FAMILIES: Final = ("IPv4", "IPv6")
_FAMILY_POLICIES: Final = ("PreferDualStack", "RequireDualStack", "SingleStack")
_REQUIRES_BOTH: Final = "RequireDualStack"
_SEVERAL: Final = "must be RequireDualStack or PreferDualStack when multiple '{}' are specified"


def _needs_address(spec: Document) -> bool:
    return spec.get("type") != "ExternalName" and spec.get("clusterIP") != HEADLESS


def _needs_node_ports(spec: Document) -> bool:
    kind = spec.get("type")
    return kind == "NodePort" or (kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is not False)


def _needs_health_port(spec: Document) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


class ServiceStrategy(Strategy):
    """The rules of services."""

    made_by_update = True
    has_status = True
    allocates = True

    def __init__(self, ranges: ServiceRanges | None = None) -> None:
        self._ranges = ranges or ServiceRanges()

    def name_problems(self, name: str) -> Problems:
        """Refuse what is not an RFC 1035 label."""
        return validation.dns_1035_label(name)

    def default(self, obj: Document) -> None:
        """Serve inside of the cluster, over TCP, on the same port as the pods."""
        spec = put_section(obj, "spec")
        for name, value in (("type", "ClusterIP"), ("sessionAffinity", "None")):
            if not spec.get(name):
                spec[name] = value
        _default_affinity(spec)
        for port in spec.get("ports") or ():
            if not port.get("protocol"):
                port["protocol"] = "TCP"
            if not port.get("targetPort"):
                port["targetPort"] = port.get("port") or 0
        kind: str = spec["type"]
        if kind in _EXTERNAL and not spec.get("externalTrafficPolicy"):
            spec["externalTrafficPolicy"] = "Cluster"
        if kind == "LoadBalancer":
            if spec.get("allocateLoadBalancerNodePorts") is None:
                spec["allocateLoadBalancerNodePorts"] = True
            default_modes(obj)
        if kind == "ExternalName":
            return
        if spec.get("internalTrafficPolicy") is None:
            spec["internalTrafficPolicy"] = "Cluster"
        _align_addresses(spec)
        _default_families(spec)

    def prepare_create(self, obj: Document) -> None:
        """Start without a load balancer."""
        obj["status"] = {"loadBalancer": {}}

    def prepare_update(self, obj: Document, old: Document) -> None:
        """Keep what was allocated, as far as the service's type still has it."""
        super().prepare_update(obj, old)
        spec, before = put_section(obj, "spec"), section(old, "spec")
        if _needs_address(spec) and _needs_address(before) and not spec.get("clusterIP"):
            keep(spec, before, "clusterIP", "clusterIPs")
        if spec.get("type") == "ExternalName" and before.get("type") != "ExternalName":
            names = ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy")
            _drop_unchanged(spec, before, *names)
        if spec.get("type") not in _EXTERNAL:
            _drop_unchanged(spec, before, "externalTrafficPolicy")
        if not _needs_health_port(spec):
            _drop_unchanged(spec, before, "healthCheckNodePort")
        elif _needs_health_port(before) and not spec.get("healthCheckNodePort"):
            keep(spec, before, "healthCheckNodePort")
        if spec.get("type") != "LoadBalancer":
            _drop_unchanged(spec, before, "allocateLoadBalancerNodePorts", "loadBalancerClass")
        _keep_node_ports(spec, before)

    def validate_status(self, obj: Document, old: Document) -> list[Cause]:
        """Return what is wrong with the addresses of the load balancer."""
        _ = old
        return load_balancer_status(obj)

    def claims(self, obj: Document) -> Iterable[str]:
        """Return the service's addresses and node ports."""
        spec = section(obj, "spec")
        for address in spec.get("clusterIPs") or ():
            if address != HEADLESS:
                yield address
        for port in spec.get("ports") or ():
            if port.get("nodePort"):
                yield port_claim(port["nodePort"])
        if spec.get("healthCheckNodePort"):
            yield port_claim(spec["healthCheckNodePort"])

    def allocate(self, obj: Document, used: Container[str], seed: str) -> None:
        """Give the service an address and node ports where it needs them and did not choose its own."""
        spec = put_section(obj, "spec")
        if _needs_address(spec) and not spec.get("clusterIP"):
            spec["clusterIP"] = self._ranges.pick_address(used, seed)
            spec["clusterIPs"] = [spec["clusterIP"]]
        taken = _Either(used, set(self.claims(obj)))
        if _needs_node_ports(spec):
            self._allocate_node_ports(spec, taken, seed)
        if _needs_health_port(spec) and not spec.get("healthCheckNodePort"):
            spec["healthCheckNodePort"] = self._ranges.pick_port(taken, f"{seed}/health")

    def _allocate_node_ports(self, spec: Document, taken: _Either, seed: str) -> None:
        """Give each port a node port; ports of one number that differ in their protocol may share theirs."""
        ports: list[Document] = spec.get("ports") or []
        shared: dict[int, list[tuple[str, int]]] = {}
        for port in ports:
            if port.get("nodePort"):
                shared.setdefault(port.get("port") or 0, []).append((port.get("protocol") or "", port["nodePort"]))
        for index, port in enumerate(ports):
            if port.get("nodePort"):
                continue
            number, protocol = port.get("port") or 0, port.get("protocol") or ""
            twins = shared.setdefault(number, [])
            if twins and all(other != protocol for other, _ in twins):
                port["nodePort"] = twins[0][1]
            else:
                port["nodePort"] = self._ranges.pick_port(taken, f"{seed}/{index}")
            taken.own.add(port_claim(port["nodePort"]))
            twins.append((protocol, port["nodePort"]))

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with the service."""
        spec = section(obj, "spec")
        causes = one_of("spec.type", spec.get("type") or "", _TYPES)
        causes += _ports(spec, self._ranges.node_ports)
        causes += _health_port(spec, self._ranges.node_ports)
        causes += validation.label_map("spec.selector", section(spec, "selector"))
        causes += one_of("spec.sessionAffinity", spec.get("sessionAffinity") or "", _AFFINITIES)
        causes += _addresses(spec, self._ranges)
        causes += _families(spec)
        for name in ("internalTrafficPolicy", "externalTrafficPolicy"):
            if policy := spec.get(name):
                causes += one_of(f"spec.{name}", policy, _POLICIES)
        if spec.get("externalTrafficPolicy") and spec.get("type") not in _EXTERNAL:
            problem = "may only be set for externally-accessible services"
            causes.append(invalid("spec.externalTrafficPolicy", spec["externalTrafficPolicy"], problem))
        for index, source in enumerate(spec.get("loadBalancerSourceRanges") or ()):
            causes += check(f"spec.loadBalancerSourceRanges[{index}]", source, validation.cidr)
        return causes

    def validate_update(self, obj: Document, old: Document) -> list[Cause]:
        """Return the cause when the address changes although the service keeps one."""
        spec, before = section(obj, "spec"), section(old, "spec")
        causes: list[Cause] = []
        if _needs_health_port(spec) and _needs_health_port(before):
            number = spec.get("healthCheckNodePort") or 0
            if number != (before.get("healthCheckNodePort") or 0):
                causes.append(invalid("spec.healthCheckNodePort", number, "field is immutable"))
        if spec.get("type") == before.get("type") == "LoadBalancer":
            chosen = spec.get("loadBalancerClass")
            if chosen != before.get("loadBalancerClass"):
                causes.append(invalid("spec.loadBalancerClass", chosen, "may not change once set"))
        if "ExternalName" in {spec.get("type"), before.get("type")} or not before.get("clusterIP"):
            return causes
        if spec.get("clusterIP") != before["clusterIP"]:
            addresses = spec.get("clusterIPs") or [spec.get("clusterIP") or ""]
            causes.append(invalid("spec.clusterIPs[0]", addresses, "may not change once set"))
        return causes


def _default_affinity(spec: Document) -> None:
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    elif spec["sessionAffinity"] == "ClientIP":
        config = put_section(put_section(spec, "sessionAffinityConfig"), "clientIP")
        if config.get("timeoutSeconds") is None:
            config["timeoutSeconds"] = _AFFINITY_SECONDS


class _Either(Container[str]):
    """What others claim, and what the service has itself."""

    def __init__(self, used: Container[str], own: set[str]) -> None:
        self._used = used
        self.own = own

    def __contains__(self, claim: object) -> bool:
        return isinstance(claim, str) and (claim in self.own or claim in self._used)


def _default_families(spec: Document) -> None:
    """Set the families of addresses. A headless service without a selector may have endpoints of any."""
    families: list[str] = spec.get("ipFamilies") or []
    several = len(families) > 1 or len(spec.get("clusterIPs") or ()) > 1
    anywhere = spec.get("clusterIP") == HEADLESS and not spec.get("selector")
    if spec.get("ipFamilyPolicy") is None:
        spec["ipFamilyPolicy"] = _REQUIRES_BOTH if several or anywhere else "SingleStack"
    families = families or [FAMILY]
    if anywhere and spec["ipFamilyPolicy"] != "SingleStack" and len(families) == 1:
        families = [*families, *(family for family in _FAMILIES if family not in families)]
    spec["ipFamilies"] = families


def _families(spec: Document) -> list[Cause]:
    """Return what is wrong with the families: this cluster's services have addresses of one."""
    if spec.get("type") == "ExternalName":
        fields = ("ipFamilies", "ipFamilyPolicy")
        problem = "may not be set for ExternalName services"
        return [forbidden(f"spec.{name}", problem) for name in fields if spec.get(name)]
    families: list[str] = spec.get("ipFamilies") or []
    policy: str = spec.get("ipFamilyPolicy") or ""
    causes = one_of("spec.ipFamilyPolicy", policy, _FAMILY_POLICIES) if policy else []
    for index, family in enumerate(families):
        causes += one_of(f"spec.ipFamilies[{index}]", family, _FAMILIES)
        if family in families[:index]:
            causes.append(duplicate(f"spec.ipFamilies[{index}]", family))
    if causes or (spec.get("clusterIP") == HEADLESS and not spec.get("selector")):
        return causes
    if policy == "SingleStack":
        for name, what in (("clusterIPs", spec.get("clusterIPs") or ()), ("ipFamilies", families)):
            if len(what) > 1:
                causes.append(invalid("spec.ipFamilyPolicy", policy, _SEVERAL.format(name)))
    if policy == _REQUIRES_BOTH:
        causes.append(invalid("spec.ipFamilyPolicy", policy, "this cluster is not configured for dual-stack services"))
    causes += [
        invalid(f"spec.ipFamilies[{index}]", family, "not configured on this cluster")
        for index, family in enumerate(families)
        if family != FAMILY
    ]
    return causes


def _align_addresses(spec: Document) -> None:
    """Let clusterIP be the first of clusterIPs, whichever of them was given."""
    single: str = spec.get("clusterIP") or ""
    several: list[str] = spec.get("clusterIPs") or []
    if single and not several:
        spec["clusterIPs"] = [single]
    elif several and not single:
        spec["clusterIP"] = several[0]


def _drop_unchanged(spec: Document, before: Document, *names: str) -> None:
    for name in names:
        if spec.get(name) == before.get(name):
            spec.pop(name, None)


def _keep_node_ports(spec: Document, before: Document) -> None:
    old: dict[tuple[str, int], int] = {
        (port.get("protocol") or "", port.get("port") or 0): port["nodePort"]
        for port in before.get("ports") or ()
        if port.get("nodePort")
    }
    chosen = {port.get("nodePort") for port in spec.get("ports") or ()}
    for port in spec.get("ports") or ():
        number = old.get((port.get("protocol") or "", port.get("port") or 0))
        if spec.get("type") in _EXTERNAL:
            if number and not port.get("nodePort") and number not in chosen and _needs_node_ports(spec):
                port["nodePort"] = number
        elif number and port.get("nodePort") == number:
            del port["nodePort"]


def _ports(spec: Document, node_ports: range) -> list[Cause]:
    ports: list[Document] = spec.get("ports") or []
    causes: list[Cause] = []
    if not ports and spec.get("type") != "ExternalName" and spec.get("clusterIP") != HEADLESS:
        causes.append(required("spec.ports"))
    names: set[str] = set()
    seen: set[tuple[str, int]] = set()
    for index, port in enumerate(ports):
        at = f"spec.ports[{index}]"
        causes += _port_name(f"{at}.name", port.get("name") or "", names, needed=len(ports) > 1)
        causes += validation.port_number(f"{at}.port", port.get("port") or 0)
        causes += one_of(f"{at}.protocol", port.get("protocol") or "", PROTOCOLS)
        causes += port_reference(f"{at}.targetPort", port.get("targetPort"))
        causes += _node_port(f"{at}.nodePort", port, spec, node_ports)
        key = (port.get("protocol") or "", port.get("port") or 0)
        if key in seen:
            causes.append(duplicate(at, {"port": key[1], "protocol": key[0]}))
        seen.add(key)
    return causes


def _port_name(at: str, name: str, names: set[str], *, needed: bool) -> list[Cause]:
    if not name:
        return [required(at)] if needed else []
    causes = check(at, name, validation.dns_label)
    if name in names:
        causes.append(duplicate(at, name))
    names.add(name)
    return causes


def _node_port(at: str, port: Document, spec: Document, node_ports: range) -> list[Cause]:
    number: int = port.get("nodePort") or 0
    if not number:
        return []
    kind: str = spec.get("type") or ""
    if kind not in _EXTERNAL:
        return [forbidden(at, f"may not be used when `type` is '{kind}'")]
    return _in_node_ports(at, number, node_ports)


def _health_port(spec: Document, node_ports: range) -> list[Cause]:
    number: int = spec.get("healthCheckNodePort") or 0
    at = "spec.healthCheckNodePort"
    if not number:
        return []
    if not _needs_health_port(spec):
        problem = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        return [invalid(at, number, problem)]
    return _in_node_ports(at, number, node_ports)


def _in_node_ports(at: str, number: int, node_ports: range) -> list[Cause]:
    if number in node_ports:
        return []
    bounds = f"{node_ports[0]}-{node_ports[-1]}"
    return [invalid(at, number, f"provided port is not in the valid range. The range of valid ports is {bounds}")]


def _addresses(spec: Document, ranges: ServiceRanges) -> list[Cause]:
    kind: str = spec.get("type") or ""
    addresses: list[str] = spec.get("clusterIPs") or []
    if kind == "ExternalName":
        causes = [forbidden("spec.clusterIPs", "may not be set for ExternalName services")] if addresses else []
        name: str = spec.get("externalName") or ""
        if not name:
            return [*causes, required("spec.externalName")]
        return causes + check("spec.externalName", name.removesuffix("."), validation.dns_subdomain)
    causes = [
        cause
        for index, address in enumerate(spec.get("externalIPs") or ())
        for cause in check(f"spec.externalIPs[{index}]", address, validation.ip_address)
    ]
    if addresses and addresses[0] != (spec.get("clusterIP") or addresses[0]):
        causes.append(invalid("spec.clusterIPs", addresses, "first value must match `clusterIP`"))
    for index, address in enumerate(addresses):
        causes += _address(f"spec.clusterIPs[{index}]", address, spec, ranges)
    return causes


def _address(at: str, address: str, spec: Document, ranges: ServiceRanges) -> list[Cause]:
    kind = spec.get("type")
    if address == HEADLESS:
        if kind in _EXTERNAL:
            return [invalid(at, address, f"may not be set to 'None' for {kind} services")]
        return []
    causes = check(at, address, validation.ip_address)
    if causes or ":" in address or ranges.holds(address):
        return causes
    listed = ", ".join(map(str, ranges.networks()))
    problem = (
        f"failed to allocate IP {address}: the provided IP ({address}) is not in the valid range. "
        f"The range of valid IPs is {listed}"
    )
    return [invalid("spec.clusterIPs", spec.get("clusterIPs"), problem)]


def _external_ip(obj: Document, now: datetime) -> str:
    _ = now
    spec = section(obj, "spec")
    external: list[str] = spec.get("externalIPs") or []
    kind = spec.get("type")
    if kind == "ExternalName":
        return spec.get("externalName") or ""
    if kind != "LoadBalancer":
        return ",".join(external) or NONE
    ingress: list[Document] = section(section(obj, "status"), "loadBalancer").get("ingress") or []
    balanced = sorted({one.get("ip") or one.get("hostname") or "" for one in ingress} - {""})
    return ",".join([*balanced, *external]) or "<pending>"


def _port_list(obj: Document, now: datetime) -> str:
    _ = now
    shown: list[str] = []
    for port in section(obj, "spec").get("ports") or ():
        node_port = f":{port['nodePort']}" if port.get("nodePort") else ""
        shown.append(f"{port.get('port')}{node_port}/{port.get('protocol')}")
    return ",".join(shown) or NONE


def _selector(obj: Document, now: datetime) -> str:
    _ = now
    return format_labels(section(section(obj, "spec"), "selector"))


class EndpointsStrategy(Strategy):
    """The rules of endpoints."""

    made_by_update = True

    def default(self, obj: Document) -> None:
        """Speak TCP."""
        for subset in obj.get("subsets") or ():
            for port in subset.get("ports") or ():
                if not port.get("protocol"):
                    port["protocol"] = "TCP"

    def validate(self, obj: Document) -> list[Cause]:
        """Return what is wrong with addresses and ports."""
        causes: list[Cause] = []
        subsets: list[Document] = obj.get("subsets") or []
        for index, subset in enumerate(subsets):
            at = f"subsets[{index}]"
            if not subset.get("addresses") and not subset.get("notReadyAddresses"):
                causes.append(required(at, "must specify `addresses` or `notReadyAddresses`"))
            for part in ("addresses", "notReadyAddresses"):
                addresses: list[Document] = subset.get(part) or []
                for place, address in enumerate(addresses):
                    causes += _endpoint(f"{at}.{part}[{place}]", address)
            causes += _endpoint_ports(f"{at}.ports", subset.get("ports") or [])
        return causes


def _endpoint(at: str, address: Document) -> list[Cause]:
    ip: str = address.get("ip") or ""
    causes = check(f"{at}.ip", ip, validation.ip_address) or endpoint_address(f"{at}.ip", ip)
    if hostname := address.get("hostname"):
        causes += check(f"{at}.hostname", hostname, validation.dns_label)
    if (node := address.get("nodeName")) is not None:
        causes += check(f"{at}.nodeName", node, validation.dns_subdomain)
    return causes


def _endpoint_ports(at: str, ports: list[Document]) -> list[Cause]:
    causes: list[Cause] = []
    for index, port in enumerate(ports):
        one = f"{at}[{index}]"
        name: str = port.get("name") or ""
        if name:
            causes += check(f"{one}.name", name, validation.dns_label)
        elif len(ports) > 1:
            causes.append(required(f"{one}.name"))
        causes += validation.port_number(f"{one}.port", port.get("port") or 0)
        causes += one_of(f"{one}.protocol", port.get("protocol") or "", PROTOCOLS)
        if (application := port.get("appProtocol")) is not None:
            causes += check(f"{one}.appProtocol", application, validation.qualified_name)
    return causes


_SHOWN_ENDPOINTS: Final = 3


def _endpoints(obj: Document, now: datetime) -> str:
    _ = now
    found: list[str] = []
    for subset in obj.get("subsets") or ():
        addresses: list[str] = [one.get("ip") or "" for one in subset.get("addresses") or ()]
        ports: list[Document] = subset.get("ports") or []
        if not ports:
            found += addresses
        for port in ports:
            found += [f"[{ip}]:{port.get('port')}" if ":" in ip else f"{ip}:{port.get('port')}" for ip in addresses]
    shown = ",".join(found[:_SHOWN_ENDPOINTS])
    more = len(found) - _SHOWN_ENDPOINTS
    return (f"{shown} + {more} more..." if more > 0 else shown) or NONE


RESOURCES: Final = (
    Resource(
        plural="services",
        singular="service",
        kind="Service",
        short_names=("svc",),
        categories=("all",),
        returns_deleted=True,
        strategy=ServiceStrategy(),
        columns=(
            NAME,
            Column("Type", text("spec", "type"), description="Who can reach the service."),
            Column("Cluster-IP", text("spec", "clusterIP", missing=NONE), description="Address inside of the cluster."),
            Column("External-IP", _external_ip, description="Addresses outside of the cluster."),
            Column("Port(s)", _port_list, description="Ports of the service, of the node, and their protocols."),
            AGE,
            Column("Selector", _selector, description="The pods that serve.", priority=1),
        ),
        subresources={
            "status": Subresource("Service"),
            "proxy": Subresource("ServiceProxyOptions", verbs=PROXY_VERBS),
        },
        fields={"spec.clusterIP": field("spec", "clusterIP"), "spec.type": field("spec", "type")},
    ),
    Resource(
        plural="endpoints",
        singular="endpoints",
        kind="Endpoints",
        short_names=("ep",),
        strategy=EndpointsStrategy(),
        deprecation="v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
        columns=(NAME, Column("Endpoints", _endpoints, description="Addresses and ports that serve."), AGE),
    ),
)
