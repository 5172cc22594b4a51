from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.errors import ServiceUnavailableError
from orch_api.addresses.ranges import ServiceRanges
from orch_api.kinds.services import ServiceStrategy

RANGES = ServiceRanges()
SERVICE_RANGE, NODE_PORTS = RANGES.default, RANGES.node_ports
STRATEGY = ServiceStrategy(RANGES)


def service(**spec):
    return {"metadata": {"name": "web", "namespace": "default"}, "spec": {"ports": [{"port": 80}], **spec}}


def test_defaults(created):
    spec = created("services", service())["spec"]
    assert spec == {
        "type": "ClusterIP",
        "sessionAffinity": "None",
        "internalTrafficPolicy": "Cluster",
        "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack",
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
    }
    spec = created("services", service(type="LoadBalancer", sessionAffinity="ClientIP"))["spec"]
    assert spec["externalTrafficPolicy"] == "Cluster"
    assert spec["allocateLoadBalancerNodePorts"] is True
    assert spec["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 10800}}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"ports": []}, "spec.ports: Required value"),
        (
            {"type": "Public"},
            (
                'spec.type: Unsupported value: "Public": supported values: "ClusterIP", '
                '"ExternalName", "LoadBalancer", "NodePort"'
            ),
        ),
        ({"ports": [{"port": 0}]}, None),
        ({"ports": [{"port": 1}, {"port": 2, "name": "b"}]}, "spec.ports[0].name: Required value"),
        (
            {"ports": [{"port": 1, "name": "a"}, {"port": 1, "name": "b"}]},
            'spec.ports[1]: Duplicate value: {"port":1,"protocol":"TCP"}',
        ),
        (
            {"ports": [{"port": 1, "nodePort": 30000}]},
            "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
        ),
        (
            {"type": "NodePort", "ports": [{"port": 1, "nodePort": 80}]},
            (
                "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid "
                "range. The range of valid ports is "
                "30000-32767"
            ),
        ),
        (
            {"clusterIP": "10.97.0.1"},
            (
                'spec.clusterIPs: Invalid value: ["10.97.0.1"]: failed to allocate IP 10.97.0.1: '
                "the provided IP (10.97.0.1) is "
                "not in the valid range. The range of valid IPs is 10.96.0.0/16"
            ),
        ),
        (
            {"clusterIP": "x"},
            'spec.clusterIPs[0]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)',
        ),
        ({"type": "ExternalName"}, "spec.externalName: Required value"),
        (
            {"sessionAffinity": "Sticky"},
            'spec.sessionAffinity: Unsupported value: "Sticky": supported values: "ClientIP", "None"',
        ),
        (
            {"type": "LoadBalancer", "clusterIP": "None"},
            "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for LoadBalancer services",
        ),
    ],
)
def test_rules(problems, spec, expected):
    found = problems("services", service(**spec))
    if expected is None:
        assert found[0] == "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"
    else:
        assert found == [expected]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            {"ipFamilyPolicy": "RequireDualStack"},
            (
                'spec.ipFamilyPolicy: Invalid value: "RequireDualStack": '
                "this cluster is not configured for dual-stack services"
            ),
        ),
        ({"ipFamilies": ["IPv6"]}, 'spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster'),
        (
            {"ipFamilies": ["IPv5"]},
            'spec.ipFamilies[0]: Unsupported value: "IPv5": supported values: "IPv4", "IPv6"',
        ),
        (
            {"type": "LoadBalancer", "healthCheckNodePort": 31000},
            (
                "spec.healthCheckNodePort: Invalid value: 31000: may only be set when `type` is 'LoadBalancer' and "
                "`externalTrafficPolicy` is 'Local'"
            ),
        ),
        (
            {"clusterIP": "10.96.255.255"},
            (
                'spec.clusterIPs: Invalid value: ["10.96.255.255"]: failed to allocate IP 10.96.255.255: '
                "the provided IP (10.96.255.255) is not in the valid range. The range of valid IPs is 10.96.0.0/16"
            ),
        ),
    ],
)
def test_rules_of_addresses(problems, spec, expected):
    assert problems("services", service(**spec)) == [expected]


def test_one_family_where_two_are_preferred(created, problems):
    spec = created("services", service(ipFamilyPolicy="PreferDualStack"))["spec"]
    assert (spec["ipFamilyPolicy"], spec["ipFamilies"]) == ("PreferDualStack", ["IPv4"])
    assert problems("services", service(ipFamilyPolicy="PreferDualStack")) == []


def test_a_headless_service_without_a_selector_may_have_endpoints_of_any_family(created, problems):
    spec = created("services", service(clusterIP="None"))["spec"]
    assert (spec["ipFamilyPolicy"], spec["ipFamilies"]) == ("RequireDualStack", ["IPv4", "IPv6"])
    selecting = created("services", service(clusterIP="None", selector={"app": "web"}))["spec"]
    assert (selecting["ipFamilyPolicy"], selecting["ipFamilies"]) == ("SingleStack", ["IPv4"])
    assert problems("services", service(clusterIP="None")) == []


def test_local_traffic_of_a_load_balancer_has_a_port_for_health_checks(created):
    local = {"type": "LoadBalancer", "externalTrafficPolicy": "Local"}
    made = created("services", service(**local))
    STRATEGY.allocate(made, frozenset(), "seed")
    port = made["spec"]["healthCheckNodePort"]
    assert port in NODE_PORTS
    assert port != made["spec"]["ports"][0]["nodePort"]
    assert f"node-port-{port}" in set(STRATEGY.claims(made))
    new = service(**local)
    STRATEGY.default(new)
    STRATEGY.prepare_update(new, made)
    assert new["spec"]["healthCheckNodePort"] == port
    changed = {**made, "spec": {**made["spec"], "externalTrafficPolicy": "Cluster"}}
    STRATEGY.prepare_update(changed, made)
    assert "healthCheckNodePort" not in changed["spec"]


def test_ports_of_two_protocols_share_their_node_port(created):
    ports = [{"name": "t", "port": 53}, {"name": "u", "port": 53, "protocol": "UDP"}, {"name": "x", "port": 80}]
    made = created("services", service(type="NodePort", ports=ports))
    STRATEGY.allocate(made, frozenset(), "seed")
    one, two, three = (port["nodePort"] for port in made["spec"]["ports"])
    assert one == two != three


def test_headless_services_need_no_ports(problems):
    assert problems("services", service(clusterIP="None", ports=[])) == []


def test_allocation(created):
    made = created("services", service(type="NodePort"))
    STRATEGY.allocate(made, frozenset(), "seed")
    spec = made["spec"]
    assert ip_address(spec["clusterIP"]) in SERVICE_RANGE
    assert spec["clusterIPs"] == [spec["clusterIP"]]
    assert spec["ports"][0]["nodePort"] in NODE_PORTS
    assert set(STRATEGY.claims(made)) == {spec["clusterIP"], f"node-port-{spec['ports'][0]['nodePort']}"}


@pytest.mark.parametrize("spec", [{"clusterIP": "None"}, {"type": "ExternalName", "externalName": "example.com"}])
def test_services_without_an_address_claim_nothing(created, spec):
    made = created("services", service(**spec))
    STRATEGY.allocate(made, frozenset(), "seed")
    assert list(STRATEGY.claims(made)) == []


@given(st.text(max_size=20), st.sets(st.integers(256, 2000), max_size=50))
def test_a_picked_address_is_free_in_the_range_and_repeatable(seed, offsets):
    used = {str(SERVICE_RANGE[offset]) for offset in offsets}
    address = RANGES.pick_address(used, seed)
    assert address not in used
    assert SERVICE_RANGE[256] <= ip_address(address) < SERVICE_RANGE[-1]
    assert RANGES.pick_address(used, seed) == address


def test_the_last_address_and_then_none():
    everything = {str(address) for address in SERVICE_RANGE.hosts()}
    assert RANGES.pick_address(everything - {"10.96.0.9"}, "x") == "10.96.0.9"
    with pytest.raises(ServiceUnavailableError):
        RANGES.pick_address(everything, "x")
    with pytest.raises(ServiceUnavailableError):
        RANGES.pick_port({f"node-port-{port}" for port in NODE_PORTS}, "x")


def test_an_update_keeps_address_and_node_ports(created):
    old = created("services", service(type="NodePort"))
    STRATEGY.allocate(old, frozenset(), "x")
    new = service(type="NodePort")
    STRATEGY.default(new)
    STRATEGY.prepare_update(new, old)
    assert new["spec"] == old["spec"]


def test_a_change_of_type_gives_up_what_the_new_type_has_not(created):
    old = created("services", service(type="NodePort"))
    STRATEGY.allocate(old, frozenset(), "x")
    new = {**old, "spec": {**old["spec"], "type": "ClusterIP", "ports": [dict(old["spec"]["ports"][0])]}}
    STRATEGY.prepare_update(new, old)
    assert "nodePort" not in new["spec"]["ports"][0]
    assert "externalTrafficPolicy" not in new["spec"]
    new = {**old, "spec": {**old["spec"], "type": "ExternalName", "externalName": "example.com", "ports": []}}
    STRATEGY.prepare_update(new, old)
    assert new["spec"].keys().isdisjoint({"clusterIP", "clusterIPs", "ipFamilies", "externalTrafficPolicy"})
    assert STRATEGY.validate(new) == []


def test_the_address_is_immutable(update_problems):
    assert update_problems("services", service(clusterIP="10.96.1.2"), service(clusterIP="10.96.1.1")) == [
        'spec.clusterIPs[0]: Invalid value: ["10.96.1.2"]: may not change once set'
    ]


def test_endpoints(problems):
    assert problems(
        "endpoints", {"metadata": {"name": "a", "namespace": "b"}, "subsets": [{"ports": [{"port": 1}]}]}
    ) == ["subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"]


def test_endpoints_are_not_on_the_node_itself(problems):
    subset = {"addresses": [{"ip": "127.0.0.1", "hostname": "Not a label"}], "ports": [{"port": 1}]}
    found = problems("endpoints", {"metadata": {"name": "a", "namespace": "b"}, "subsets": [subset]})
    assert found[0] == (
        'subsets[0].addresses[0].ip: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, '
        "::1/128)"
    )
    assert found[1].startswith('subsets[0].addresses[0].hostname: Invalid value: "Not a label"')
