import copy

import pytest

from orch_api.kinds.endpoint_slices import EndpointSliceStrategy


def endpoints(*addresses, kind="IPv4", ports=(), **fields):
    endpoint = {"addresses": list(addresses), **fields}
    return {
        "metadata": {"name": "web-1", "namespace": "default"},
        "addressType": kind,
        "endpoints": [endpoint],
        "ports": list(ports),
    }


def test_ports_are_nameless_tcp_and_the_old_topology_is_not_taken(created):
    made = created("endpointslices", endpoints("10.1.0.5", ports=[{"port": 80}], deprecatedTopology={"a": "b"}))
    assert made["ports"] == [{"port": 80, "name": "", "protocol": "TCP"}]
    assert made["endpoints"] == [{"addresses": ["10.1.0.5"]}]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (endpoints("10.1.0.5"), []),
        (endpoints("2001:db8::5", kind="IPv6"), []),
        (endpoints("web.example.com", kind="FQDN"), []),
        (endpoints("10.1.0.5", kind=""), ["addressType: Required value"]),
        (
            endpoints("10.1.0.5", kind="IP"),
            ['addressType: Unsupported value: "IP": supported values: "FQDN", "IPv4", "IPv6"'],
        ),
        (endpoints(), ["endpoints[0].addresses: Required value: must contain at least 1 address"]),
        (
            endpoints("2001:db8::5"),
            ['endpoints[0].addresses[0]: Invalid value: "2001:db8::5": must be an IPv4 address'],
        ),
        (
            endpoints("127.0.0.1"),
            [
                (
                    'endpoints[0].addresses[0]: Invalid value: "127.0.0.1": may not be in the loopback range '
                    "(127.0.0.0/8, "
                    "::1/128)"
                )
            ],
        ),
        (
            endpoints("web", kind="FQDN"),
            [
                (
                    'endpoints[0].addresses[0]: Invalid value: "web": should be a domain with at least two segments '
                    "separated by dots"
                )
            ],
        ),
        (endpoints("10.1.0.5", ports=[{}, {}]), ['ports[1].name: Duplicate value: ""']),
        (
            endpoints("10.1.0.5", ports=[{"protocol": "X"}]),
            ['ports[0].protocol: Unsupported value: "X": supported values: "SCTP", "TCP", "UDP"'],
        ),
        (
            endpoints("10.1.0.5", hints={"forZones": [{"name": "a"}, {"name": "a"}]}),
            ['endpoints[0].hints.forZones[1].name: Duplicate value: "a"'],
        ),
        (
            endpoints("10.1.0.5", ports=[{"name": f"p{number}"} for number in range(101)]),
            ["ports: Too many: 101: must have at most 100 items"],
        ),
    ],
)
def test_endpoint_slice_rules(problems, document, expected):
    assert problems("endpointslices", document) == expected


def test_the_type_of_addresses_stays(update_problems):
    assert update_problems("endpointslices", endpoints(kind="IPv6"), endpoints()) == [
        'addressType: Invalid value: "IPv6": field is immutable'
    ]


def test_labels_and_endpoints_count_annotations_do_not(created):
    strategy = EndpointSliceStrategy()
    old = created("endpointslices", endpoints("10.1.0.5"))
    for change, generation in (
        (lambda new: new["metadata"].update(annotations={"a": "b"}), 1),
        (lambda new: new["metadata"].update(labels={"a": "b"}), 2),
        (lambda new: new["endpoints"][0]["addresses"].append("10.1.0.6"), 2),
    ):
        new = copy.deepcopy(old)
        change(new)
        strategy.prepare_update(new, old)
        assert new["metadata"]["generation"] == generation
