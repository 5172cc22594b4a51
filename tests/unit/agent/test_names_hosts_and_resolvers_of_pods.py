from __future__ import annotations

from typing import Any

import pytest

from orch.objects.pods import HostAlias
from orch_agent.pods.hosts import nodes_hosts, own_hosts
from orch_agent.pods.naming import NamingError, domain_of, hostname_of, nodename_of
from orch_agent.pods.resolver import ClusterDns, Resolver, parse, resolver_of

CLUSTER = ClusterDns(servers=("10.96.0.10",), domain="cluster.local")
NODE = Resolver(servers=("192.0.2.53",), searches=("example.org",), options=("timeout:1",))
OF_CLUSTER = ("default.svc.cluster.local", "svc.cluster.local", "cluster.local")


@pytest.mark.parametrize(
    ("spec", "hostname", "domain", "nodename"),
    [
        ({}, "web-1", "", "web-1"),
        ({"hostname": "db"}, "db", "", "db"),
        ({"subdomain": "shop"}, "web-1", "shop.default.svc.cluster.local", "web-1"),
        (
            {"hostname": "db", "subdomain": "shop", "setHostnameAsFQDN": True},
            "db",
            "shop.default.svc.cluster.local",
            "db.shop.default.svc.cluster.local",
        ),
        ({"hostname": "db", "setHostnameAsFQDN": True}, "db", "", "db"),
        ({"hostnameOverride": "db.example.org", "subdomain": "shop"}, "db.example.org", "", "db.example.org"),
        ({"hostNetwork": True}, "web-1", "", "node-1"),
    ],
)
def test_a_pods_names(node: Any, spec: dict[str, Any], hostname: str, domain: str, nodename: str) -> None:
    pod = node.pod(**spec)
    assert hostname_of(pod) == hostname
    assert domain_of(pod, "cluster.local") == domain
    assert nodename_of(pod, "node-1", "cluster.local") == nodename


def test_long_names_are_cut_where_a_name_may_end(node: Any) -> None:
    pod = node.pod(meta={"name": "a" * 62 + "-." + "b"})
    assert hostname_of(pod) == "a" * 62


def test_a_whole_name_that_the_kernel_does_not_take_is_refused(node: Any) -> None:
    pod = node.pod(hostname="h" * 40, subdomain="shop", setHostnameAsFQDN=True)
    with pytest.raises(NamingError, match=r"is too long \(64 characters is the max, 71 characters requested\)"):
        nodename_of(pod, "node-1", "cluster.local")


def test_the_hosts_file_is_kubelets() -> None:
    aliases = (HostAlias(ip="192.0.2.7", hostnames=("old", "older")), HostAlias(ip="2001:db8::1", hostnames=("six",)))
    assert own_hosts(["10.1.0.9"], "web", "shop.default.svc.cluster.local", aliases) == (
        "# Kubernetes-managed hosts file.\n"
        "127.0.0.1\tlocalhost\n"
        "::1\tlocalhost ip6-localhost ip6-loopback\n"
        "fe00::0\tip6-localnet\n"
        "fe00::0\tip6-mcastprefix\n"
        "fe00::1\tip6-allnodes\n"
        "fe00::2\tip6-allrouters\n"
        "10.1.0.9\tweb.shop.default.svc.cluster.local\tweb\n"
        "\n# Entries added by HostAliases.\n"
        "192.0.2.7\told\tolder\n"
        "2001:db8::1\tsix\n"
    )
    assert own_hosts(["10.1.0.9"], "web", "", ()).endswith("ip6-allrouters\n10.1.0.9\tweb\n")
    assert nodes_hosts("127.0.0.1 localhost\n", aliases[:1]) == (
        "# Kubernetes-managed hosts file (host network).\n127.0.0.1 localhost\n"
        "\n# Entries added by HostAliases.\n192.0.2.7\told\tolder\n"
    )


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, Resolver(servers=CLUSTER.servers, searches=(*OF_CLUSTER, "example.org"), options=("ndots:5",))),
        ({"dnsPolicy": "Default"}, NODE),
        ({"hostNetwork": True, "dnsPolicy": "ClusterFirst"}, NODE),
        (
            {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"},
            Resolver(servers=CLUSTER.servers, searches=(*OF_CLUSTER, "example.org"), options=("ndots:5",)),
        ),
        (
            {"dnsPolicy": "None", "dnsConfig": {"nameservers": ["192.0.2.1"], "searches": ["a.example"]}},
            Resolver(servers=("192.0.2.1",), searches=("a.example",)),
        ),
        (
            {"dnsConfig": {"nameservers": ["10.96.0.10", "192.0.2.1"], "options": [{"name": "ndots", "value": "2"}]}},
            Resolver(servers=("10.96.0.10", "192.0.2.1"), searches=(*OF_CLUSTER, "example.org"), options=("ndots:2",)),
        ),
    ],
)
def test_the_resolver_follows_the_policy(node: Any, spec: dict[str, Any], expected: Resolver) -> None:
    assert resolver_of(node.pod(**spec), NODE, CLUSTER) == (expected, [])


def test_without_a_cluster_server_the_nodes_own_is_used_and_that_is_said(node: Any) -> None:
    found, complaints = resolver_of(node.pod(), NODE, ClusterDns())
    assert found == NODE
    [complaint] = complaints
    assert complaint.reason == "MissingClusterDNS"
    assert complaint.message.startswith('pod: "web-1_default(u1)". kubelet does not have ClusterDNS IP configured')


def test_what_c_libraries_do_not_take_is_left_out_and_that_is_said(node: Any) -> None:
    config = {
        "nameservers": [f"192.0.2.{number}" for number in range(4)],
        "searches": [f"d{number}.example" for number in range(40)],
    }
    found, complaints = resolver_of(node.pod(dnsPolicy="None", dnsConfig=config), NODE, CLUSTER)
    assert (len(found.servers), len(found.searches)) == (3, 32)
    assert [each.reason for each in complaints] == ["DNSConfigForming", "DNSConfigForming"]
    assert complaints[0].message.endswith("the applied nameserver line is: 192.0.2.0 192.0.2.1 192.0.2.2")
    long = {"nameservers": ["192.0.2.1"], "searches": [f"{'x' * 60}.{number:03}.{'y' * 180}" for number in range(12)]}
    found, _ = resolver_of(node.pod(dnsPolicy="None", dnsConfig=long), NODE, CLUSTER)
    assert len(" ".join(found.searches)) <= 2048


def test_a_resolver_file_is_read_and_written() -> None:
    text = "# mine\nnameserver 192.0.2.53 # the one\ndomain x\nsearch a.example. .\n"
    text += "search b.example.\noptions ndots:1 edns0\n"
    found = parse(text)
    assert found == Resolver(servers=("192.0.2.53",), searches=("b.example",), options=("ndots:1", "edns0"))
    assert found.text() == "search b.example\nnameserver 192.0.2.53\noptions ndots:1 edns0\n"
    assert resolver_of_nothing() == "search .\nnameserver 127.0.0.1\n"


def resolver_of_nothing() -> str:
    return Resolver(servers=("127.0.0.1",), searches=(".",)).text()
