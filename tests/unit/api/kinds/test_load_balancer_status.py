"""What a Service's status may say of where its load balancer takes traffic in."""

from typing import Any

import pytest

from orch_api.kinds.load_balancer_status import default_modes, load_balancer_status

AT = "status.loadBalancer.ingress"


def service(*ingress: dict[str, Any], kind: str = "LoadBalancer") -> dict[str, Any]:
    return {"spec": {"type": kind}, "status": {"loadBalancer": {"ingress": list(ingress)}}}


def test_an_address_takes_traffic_itself_unless_told_otherwise() -> None:
    found = service({"ip": "1.2.3.4"}, {"ip": "1.2.3.5", "ipMode": "Proxy"}, {"hostname": "a.example.com"})
    default_modes(found)
    assert [one.get("ipMode") for one in found["status"]["loadBalancer"]["ingress"]] == ["VIP", "Proxy", None]
    assert load_balancer_status(found) == []


@pytest.mark.parametrize(
    ("ingress", "expected"),
    [
        ({"ip": "1.2.3.4"}, f"{AT}[0].ipMode: Required value: must be specified when `ip` is set"),
        (
            {"hostname": "a.b", "ipMode": "VIP"},
            f"{AT}[0].ipMode: Forbidden: may not be specified when `ip` is not set",
        ),
        (
            {"ip": "1.2.3.4", "ipMode": "Other"},
            f'{AT}[0].ipMode: Unsupported value: "Other": supported values: "Proxy", "VIP"',
        ),
        ({"hostname": "1.2.3.4"}, f'{AT}[0].hostname: Invalid value: "1.2.3.4": must be a DNS name, not an IP address'),
    ],
)
def test_what_is_wrong(ingress: dict[str, Any], expected: str) -> None:
    assert [f"{one.field}: {one.message}" for one in load_balancer_status(service(ingress))] == [expected]


def test_only_load_balancers_have_one() -> None:
    (problem,) = load_balancer_status(service({"ip": "1.2.3.4", "ipMode": "VIP"}, kind="ClusterIP"))
    assert problem.message == "Forbidden: may only be used when `spec.type` is 'LoadBalancer'"
