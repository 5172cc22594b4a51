"""How a pod's containers resolve names: their resolv.conf, by the pod's DNS policy (kubelet's network/dns)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from orch.objects.pods import Pod, PodDNSConfig
from orch_agent.pods.naming import describe

_MOST_SERVERS: Final = 3
_MOST_SEARCHES: Final = 32
_LONGEST_SEARCHES: Final = 2048
_LONGEST_SEARCH: Final = 253
_CLUSTER_OPTIONS: Final = ("ndots:5",)
_NOWHERE: Final = "."

MISSING_CLUSTER_DNS: Final = "MissingClusterDNS"
FORMING: Final = "DNSConfigForming"


class Resolver(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a resolv.conf; an option is `name` or `name:value`."""

    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    def text(self) -> str:
        """Return the file."""
        lines = [f"search {' '.join(self.searches)}"] if self.searches else []
        lines += [f"nameserver {server}" for server in self.servers]
        lines += [f"options {' '.join(self.options)}"] if self.options else []
        return "".join(f"{line}\n" for line in lines)


class ClusterDns(msgspec.Struct, frozen=True, kw_only=True):
    """The cluster's own servers and domain; either may be missing."""

    servers: tuple[str, ...] = ()
    domain: str = "cluster.local"


class Complaint(msgspec.Struct, frozen=True):
    """What an event is to say of a pod's resolver."""

    reason: str
    message: str


def parse(text: str) -> Resolver:
    """Return what a resolv.conf says; what is unknown is left out, of searches and options the last line counts."""
    servers: list[str] = []
    searches: Sequence[str] = ()
    options: Sequence[str] = ()
    for line in text.splitlines():
        fields = line.split("#")[0].split(";")[0].split()
        match fields[:1]:
            case ["nameserver"] if len(fields) > 1:
                servers.append(fields[1])
            case ["search"]:
                searches = [_trimmed(each) for each in fields[1:]]
            case ["options"]:
                options = fields[1:]
            case _:
                continue
    return Resolver(servers=tuple(servers), searches=tuple(searches), options=tuple(options))


def resolver_of(pod: Pod, of_node: Resolver | None, cluster: ClusterDns) -> tuple[Resolver, list[Complaint]]:
    """Return the pod's resolver and what is to be complained about.

    `of_node` is the node's own; None when it has none to give: then policy Default resolves nothing.
    """
    complaints: list[Complaint] = []
    policy = _policy(pod)
    inherited = of_node or Resolver(servers=("127.0.0.1",), searches=(_NOWHERE,))
    if policy == "None":
        found = Resolver()
    elif policy == "ClusterFirst" and cluster.servers:
        own = _cluster_searches(pod.metadata.namespace, cluster.domain)
        found = Resolver(
            servers=cluster.servers,
            searches=_once((*own, *(of_node.searches if of_node is not None else ()))),
            options=_CLUSTER_OPTIONS,
        )
    else:
        found = inherited
        if policy == "ClusterFirst":
            complaints.append(_without_cluster(pod))
    if pod.spec.dns_config is not None:
        found = _with(found, pod.spec.dns_config)
    return _fitting(found, complaints), complaints


def _policy(pod: Pod) -> str:
    policy = pod.spec.dns_policy or "ClusterFirst"
    if policy == "ClusterFirstWithHostNet":
        return "ClusterFirst"
    return "Default" if policy == "ClusterFirst" and pod.spec.host_network else policy


def _cluster_searches(namespace: str, domain: str) -> tuple[str, ...]:
    return (f"{namespace}.svc.{domain}", f"svc.{domain}", domain) if domain else ()


def _without_cluster(pod: Pod) -> Complaint:
    return Complaint(
        MISSING_CLUSTER_DNS,
        f'pod: "{describe(pod)}". kubelet does not have ClusterDNS IP configured and cannot create Pod using '
        '"ClusterFirst" policy. Falling back to "Default" policy.',
    )


def _with(found: Resolver, more: PodDNSConfig) -> Resolver:
    options = {option.partition(":")[0]: option for option in found.options}
    options |= {each.name: f"{each.name}:{each.value}" if each.value else each.name for each in more.options}
    return Resolver(
        servers=_once((*found.servers, *more.nameservers)),
        searches=_once((*found.searches, *more.searches)),
        options=tuple(options.values()),
    )


def _fitting(found: Resolver, complaints: list[Complaint]) -> Resolver:
    """Return what C libraries take; what is more is left out and complained about."""
    servers, searches = found.servers[:_MOST_SERVERS], _fitting_searches(found.searches)
    if len(servers) < len(found.servers):
        message = (
            "Nameserver limits were exceeded, some nameservers have been omitted, "
            f"the applied nameserver line is: {' '.join(servers)}"
        )
        complaints.append(Complaint(FORMING, message))
    if len(searches) < len(found.searches):
        message = (
            "Search Line limits were exceeded, some search paths have been omitted, "
            f"the applied search line is: {' '.join(searches)}"
        )
        complaints.append(Complaint(FORMING, message))
    return msgspec.structs.replace(found, servers=servers, searches=searches)


def _fitting_searches(searches: Iterable[str]) -> tuple[str, ...]:
    kept: list[str] = []
    length = -1
    for each in [one for one in searches if len(one) <= _LONGEST_SEARCH][:_MOST_SEARCHES]:
        length += len(each) + 1
        if length > _LONGEST_SEARCHES:
            break
        kept.append(each)
    return tuple(kept)


def _trimmed(search: str) -> str:
    return search if search == _NOWHERE else search.rstrip(".")


def _once(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
