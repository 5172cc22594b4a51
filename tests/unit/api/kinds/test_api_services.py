import pytest

from orch_api.auth.identity import Caller
from orch_api.kinds.api_services import RESOURCES

SERVICE = {"name": "s", "namespace": "n"}


def api_service(name="v1.example.com", **spec):
    body = {"group": "example.com", "version": "v1", "groupPriorityMinimum": 10, "versionPriority": 10, **spec}
    return {"metadata": {"name": name}, "spec": body}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (api_service(), []),
        (api_service(service=SERVICE, insecureSkipTLSVerify=True), []),
        (
            api_service("x"),
            ['metadata.name: Invalid value: "x": must be `spec.version+"."+spec.group`: "v1.example.com"'],
        ),
        (
            api_service(groupPriorityMinimum=0),
            ["spec.groupPriorityMinimum: Invalid value: 0: must be positive and less than 20000"],
        ),
        (
            api_service(versionPriority=1001),
            ["spec.versionPriority: Invalid value: 1001: must be positive and less than 1000"],
        ),
        (
            api_service(insecureSkipTLSVerify=True),
            [
                "spec.insecureSkipTLSVerify: Invalid value: true: local APIServices may not have insecureSkipTLSVerify",
            ],
        ),
        (
            api_service(caBundle="YWI="),
            ['spec.caBundle: Invalid value: "2 bytes": local APIServices may not have a caBundle'],
        ),
        (
            api_service(service=SERVICE, caBundle="YWI=", insecureSkipTLSVerify=True),
            ["spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present"],
        ),
        (api_service(service={"name": "s"}), ["spec.service.namespace: Required value"]),
        (
            api_service("v2.", group="", version="v2"),
            ["spec.group: Required value: only v1 may have an empty group and it's better to be legacy kube"],
        ),
    ],
)
def test_api_services(problems, given, expected):
    assert problems("apiservices", given) == expected


def test_services_are_reached_at_443(created):
    assert created("apiservices", api_service(service=dict(SERVICE)))["spec"]["service"]["port"] == 443


def test_what_the_api_serves_itself_is_available(created, cells):
    strategy = RESOURCES[0].strategy
    local, remote = created("apiservices", api_service()), created("apiservices", api_service(service=SERVICE))
    for one in (local, remote):
        strategy.stamp(one, None, Caller("jo", ()), "2026-01-01T00:00:00Z")
    assert (cells("apiservices", local)["Service"], cells("apiservices", local)["Available"]) == ("Local", "True")
    assert (cells("apiservices", remote)["Service"], cells("apiservices", remote)["Available"]) == ("n/s", "Unknown")
    remote["status"] = {"conditions": [{"type": "Available", "status": "False", "reason": "MissingEndpoints"}]}
    assert cells("apiservices", remote)["Available"] == "False (MissingEndpoints)"
