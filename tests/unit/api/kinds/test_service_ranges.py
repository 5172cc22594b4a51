import pytest


def address(name="10.96.0.5", **parent):
    reference = {"resource": "services", "namespace": "default", "name": "web", **parent}
    return {"metadata": {"name": name}, "spec": {"parentRef": reference}}


def cidrs(*found):
    return {"metadata": {"name": "more"}, "spec": {"cidrs": list(found)}}


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("10.96.0.5", ""),
        ("2001:db8::1", ""),
        ("web", "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"),
        ("2001:DB8::1", 'must be in canonical form ("2001:db8::1")'),
    ],
)
def test_an_address_is_its_own_canonical_name(problems, name, problem):
    expected = [f'metadata.name: Invalid value: "{name}": {problem}'] if problem else []
    assert problems("ipaddresses", address(name)) == expected


def test_an_address_has_an_owner_for_good(problems, update_problems):
    assert problems("ipaddresses", {"metadata": {"name": "10.0.0.1"}}) == ["spec.parentRef: Required value"]
    assert problems("ipaddresses", address(resource="")) == ["spec.parentRef.resource: Required value"]
    (problem,) = update_problems("ipaddresses", address(resource="pods"), address())
    assert problem.endswith("field is immutable")


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (("10.97.0.0/16", "2001:db8::/64"), []),
        ((), ["spec.cidrs: Required value: at least one CIDR required"]),
        (("10.97.0.1/16",), None),
        (
            ("10.97.0.0/16", "10.98.0.0/16"),
            [
                (
                    'spec.cidrs: Invalid value: ["10.97.0.0/16","10.98.0.0/16"]: may specify no more than one IP '
                    "for each IP "
                    "family, i.e 192.168.0.0/24 and 2001:db8::/64"
                )
            ],
        ),
    ],
)
def test_range_rules(problems, found, expected):
    if expected is None:
        expected = [
            'spec.cidrs[0]: Invalid value: "10.97.0.1/16": must not have bits set beyond the prefix length',
            'spec.cidrs[0]: Invalid value: "10.97.0.1/16": must be in canonical form ("10.97.0.0/16")',
        ]
    assert problems("servicecidrs", cidrs(*found)) == expected


def test_a_second_range_may_come_and_nothing_else(update_problems):
    one, two = "10.97.0.0/16", "2001:db8::/64"
    assert update_problems("servicecidrs", cidrs(one, two), cidrs(one)) == []
    assert update_problems("servicecidrs", cidrs("10.98.0.0/16"), cidrs(one)) == [
        'spec.cidrs[0]: Invalid value: "10.98.0.0/16": field is immutable'
    ]
    assert update_problems("servicecidrs", cidrs(one), cidrs(one, two)) == [
        'spec.cidrs: Invalid value: ["10.97.0.0/16"]: field is immutable'
    ]
