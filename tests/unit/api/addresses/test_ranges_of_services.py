"""Which part of a range is set aside, and what a range may be."""

from ipaddress import IPv4Network

import pytest

from orch.errors import ConfigError
from orch_api.addresses.ranges import ServiceRanges, pick_address, pick_port, port_claim


@pytest.mark.parametrize(
    ("cidr", "band"), [("10.96.0.0/16", 256), ("10.0.0.0/24", 16), ("10.0.0.0/20", 256), ("10.0.0.0/28", 0)]
)
def test_the_first_addresses_are_given_last(cidr, band):
    network = IPv4Network(cidr)
    reserved = {str(network[offset]) for offset in range(1, band)}
    others = {str(host) for host in network.hosts()} - reserved
    picked = {pick_address(network, frozenset(), str(seed)) for seed in range(50)}
    assert picked <= others
    last = pick_address(network, others, "seed")
    assert last is None if not reserved else last in reserved


def test_the_first_ports_are_given_last():
    ports = ServiceRanges().node_ports
    assert all(pick_port(ports, frozenset(), str(seed)) >= 30086 for seed in range(50))
    taken = {port_claim(port) for port in ports[86:]}
    assert pick_port(ports, taken, "seed") in range(30000, 30086)
    assert pick_port(range(30000, 30001), {port_claim(30000)}, "seed") is None


@pytest.mark.parametrize(
    ("cidr", "ports", "problem"),
    [
        ("10.96.0.0/33", "30000-32767", "service_cidr: "),
        ("10.96.0.1/16", "30000-32767", "service_cidr: 10.96.0.1/16 has host bits set"),
        ("10.96.0.0/30", "30000-32767", "service_cidr: has too few addresses"),
        ("10.96.0.0/16", "30000", "service_node_port_range: '30000' is no range of ports"),
        ("10.96.0.0/16", "3-2", "service_node_port_range: '3-2' is no range of ports"),
        ("10.96.0.0/16", "1-70000", "service_node_port_range: "),
    ],
)
def test_settings_that_are_no_ranges(cidr, ports, problem):
    with pytest.raises(ConfigError, match=problem):
        ServiceRanges(cidr, ports)


@pytest.mark.parametrize("address", ["10.9.8.0", "10.9.8.15", "10.9.7.3", "x", "2001:db8::1"])
def test_what_cannot_be_an_address_of_a_service(address):
    ranges = ServiceRanges("10.9.8.0/28")
    assert not ranges.holds(address)
    assert ranges.holds("10.9.8.3")
