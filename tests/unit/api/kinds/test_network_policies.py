import pytest


def policy(**spec):
    return {"metadata": {"name": "a", "namespace": "default"}, "spec": {"podSelector": {}, **spec}}


def test_directions_follow_from_the_rules(created):
    assert created("networkpolicies", policy())["spec"]["policyTypes"] == ["Ingress"]
    made = created("networkpolicies", policy(egress=[{"ports": [{"port": 53}]}]))
    assert made["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert made["spec"]["egress"][0]["ports"] == [{"port": 53, "protocol": "TCP"}]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"ingress": [{"ports": [{"port": 80, "endPort": 90}]}]}, []),
        (
            {"ingress": [{"ports": [{"port": 80, "endPort": 79}]}]},
            ["spec.ingress[0].ports[0].endPort: Invalid value: 79: must be greater than or equal to `port`"],
        ),
        (
            {"ingress": [{"ports": [{"port": "http", "endPort": 79}]}]},
            ["spec.ingress[0].ports[0].endPort: Invalid value: 79: may not be specified when `port` is non-numeric"],
        ),
        (
            {"egress": [{"ports": [{"endPort": 79}]}]},
            ["spec.egress[0].ports[0].endPort: Invalid value: 79: may not be specified when `port` is not specified"],
        ),
        ({"ingress": [{"from": [{}]}]}, ["spec.ingress[0].from[0]: Required value: must specify a peer"]),
        (
            {"ingress": [{"from": [{"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}}]}]},
            ["spec.ingress[0].from[0]: Forbidden: may not specify both ipBlock and another peer"],
        ),
        (
            {"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/16", "except": ["10.0.0.0/16", "10.0.1.0/24", "x"]}}]}]},
            [
                (
                    'spec.egress[0].to[0].ipBlock.except[0]: Invalid value: "10.0.0.0/16": must be a strict subset '
                    "of `cidr`"
                ),
                (
                    'spec.egress[0].to[0].ipBlock.except[2]: Invalid value: "x": must be a valid CIDR value, (e.g. '
                    "10.9.8.0/24 or 2001:db8::/64)"
                ),
            ],
        ),
        ({"ingress": [{"from": [{"ipBlock": {}}]}]}, ["spec.ingress[0].from[0].ipBlock.cidr: Required value"]),
        (
            {"policyTypes": ["Sideways"]},
            ['spec.policyTypes[0]: Unsupported value: "Sideways": supported values: "Ingress", "Egress"'],
        ),
    ],
)
def test_network_policy_rules(problems, spec, expected):
    assert problems("networkpolicies", policy(**spec)) == expected
