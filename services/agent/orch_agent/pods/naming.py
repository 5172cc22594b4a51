"""How a pod is called: in messages, by its own processes, and in the cluster's DNS (kubelet's kubelet_pods.go)."""

from __future__ import annotations

from typing import Final

from orch.errors import OrchError
from orch.objects.pods import Pod

_LONGEST_HOSTNAME: Final = 63
_LONGEST_NODENAME: Final = 64
"""Characters that the kernel keeps of a host's name."""


class NamingError(OrchError):
    """A pod cannot have the name that it asks for."""


def describe(pod: Pod) -> str:
    """Return the pod as kubelet writes it in messages: name_namespace(uid)."""
    meta = pod.metadata
    return f"{meta.name}_{meta.namespace}({meta.uid})"


def hostname_of(pod: Pod) -> str:
    """Return the pod's hostname without a domain. Raises NamingError."""
    if pod.spec.hostname_override is not None:
        return pod.spec.hostname_override
    wanted = pod.spec.hostname or pod.metadata.name
    if len(wanted) <= _LONGEST_HOSTNAME:
        return wanted
    cut = wanted[:_LONGEST_HOSTNAME].rstrip("-.")
    if not cut:
        raise NamingError(f'hostname for pod "{pod.metadata.name}" was invalid: "{wanted}"')
    return cut


def domain_of(pod: Pod, cluster_domain: str) -> str:
    """Return the domain in which the pod's hostname is; "" for none."""
    if not pod.spec.subdomain or pod.spec.hostname_override is not None:
        return ""
    return f"{pod.spec.subdomain}.{pod.metadata.namespace}.svc.{cluster_domain}"


def nodename_of(pod: Pod, node: str, cluster_domain: str) -> str:
    """Return what the pod's kernel calls itself: its hostname, or all of its name; the node's in the node's network.

    Raises NamingError.
    """
    if pod.spec.host_network:
        return node
    hostname, domain = hostname_of(pod), domain_of(pod, cluster_domain)
    if not (domain and pod.spec.set_hostname_as_fqdn):
        return hostname
    whole = f"{hostname}.{domain}"
    if len(whole) > _LONGEST_NODENAME:
        raise NamingError(
            f"failed to construct FQDN from pod hostname and cluster domain, FQDN {whole} is too long "
            f"({_LONGEST_NODENAME} characters is the max, {len(whole)} characters requested)"
        )
    return whole
