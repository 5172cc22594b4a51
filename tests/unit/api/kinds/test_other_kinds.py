import base64

import pytest

from orch_api.kinds.namespaces import NamespaceStrategy
from orch_api.kinds.nodes import NodeStrategy


def named(**fields):
    return {"metadata": {"name": "a", "namespace": "default"}, **fields}


def test_a_namespace_starts_active_and_labelled(created):
    made = created("namespaces", {"metadata": {"name": "team"}, "status": {"phase": "Terminating"}})
    assert made["metadata"]["labels"] == {"kubernetes.io/metadata.name": "team"}
    assert made["spec"] == {"finalizers": ["kubernetes"]}
    assert made["status"] == {"phase": "Active"}


def test_only_finalize_changes_a_namespaces_finalizers(created):
    strategy = NamespaceStrategy()
    old = created("namespaces", {"metadata": {"name": "team"}})
    new = {"metadata": {"name": "team"}, "spec": {"finalizers": []}}
    strategy.prepare_update(new, old)
    assert new["spec"] == {"finalizers": ["kubernetes"]}
    new = {"metadata": {"name": "team", "labels": {}}, "spec": {"finalizers": []}, "status": {}}
    strategy.prepare_subresource("finalize", new, old)
    assert new == {**old, "spec": {"finalizers": []}}


def test_a_namespace_is_terminating_only_while_it_is_deleted():
    old = {"metadata": {"name": "a"}}
    (cause,) = NamespaceStrategy().validate_status({**old, "status": {"phase": "Terminating"}}, old)
    assert cause.message == "Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty"


def test_a_node_registers_with_its_status(created):
    made = created(
        "nodes",
        {"metadata": {"name": "n"}, "status": {"capacity": {"cpu": "2000m"}}, "spec": {"podCIDR": "10.1.0.0/24"}},
    )
    assert made["status"] == {"capacity": {"cpu": "2"}, "allocatable": {"cpu": "2"}}
    assert made["spec"]["podCIDRs"] == ["10.1.0.0/24"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"taints": [{"key": "a"}]}, "spec.taints[0].effect: Required value"),
        (
            {"taints": [{"key": "a", "effect": "Maybe"}]},
            (
                'spec.taints[0].effect: Unsupported value: "Maybe": supported values: "NoSchedule", '
                '"PreferNoSchedule", "NoExecute"'
            ),
        ),
        (
            {"taints": [{"key": "a", "effect": "NoExecute"}] * 2},
            (
                'spec.taints[1]: Duplicate value: {"effect":"NoExecute","key":"a"}: taints must be '
                "unique by key and effect pair"
            ),
        ),
        (
            {"podCIDR": "x"},
            'spec.podCIDRs[0]: Invalid value: "x": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)',
        ),
    ],
)
def test_node_rules(problems, spec, expected):
    assert problems("nodes", {"metadata": {"name": "n"}, "spec": spec}) == [expected]


def test_a_nodes_range_is_set_once(update_problems):
    node = {"metadata": {"name": "n"}, "spec": {"podCIDR": "10.1.0.0/24"}}
    other = {"metadata": {"name": "n"}, "spec": {"podCIDR": "10.2.0.0/24"}}
    assert update_problems("nodes", node, {"metadata": {"name": "n"}}) == []
    assert update_problems("nodes", other, node) == [
        'spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid'
    ]
    assert (
        update_problems("nodes", {"metadata": {}, "spec": {"unschedulable": True, "taints": []}}, {"metadata": {}})
        == []
    )


def test_a_nodes_duplicate_address():
    address = {"type": "InternalIP", "address": "10.0.0.1"}
    (cause,) = NodeStrategy().validate_status({"status": {"addresses": [address, address]}}, {})
    assert cause.field == "status.addresses[1]"


KEY = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or "
    "'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"data": {"a/b": ""}}, [f'data[a/b]: Invalid value: "a/b": {KEY}']),
        ({"data": {"..": ""}}, ["data[..]: Invalid value: \"..\": must not be '..'"]),
        ({"data": {"..a": ""}}, ["data[..a]: Invalid value: \"..a\": must not start with '..'"]),
        (
            {"data": {"a": ""}, "binaryData": {"a": ""}},
            ['data[a]: Invalid value: "a": duplicate of key present in binaryData'],
        ),
        ({"data": {"a": "x" * (1024 * 1024)}}, []),
        ({"data": {"a": "x" * (1024 * 1024 + 1)}}, ["data: Too long: may not be more than 1048576 bytes"]),
        ({"binaryData": {"a": base64.b64encode(b"x" * (1024 * 1024)).decode()}}, []),
    ],
)
def test_config_maps(problems, fields, expected):
    assert problems("configmaps", named(**fields)) == expected


def test_immutable_config_maps(update_problems):
    old = named(data={"a": "1"}, immutable=True)
    assert update_problems("configmaps", named(data={"a": "1"}, immutable=True), old) == []
    assert update_problems("configmaps", named(data={"a": "2"}), old) == [
        "immutable: Forbidden: field is immutable when `immutable` is set",
        "data: Forbidden: field is immutable when `immutable` is set",
    ]


def test_secrets_take_plain_text(created):
    made = created("secrets", named(data={"a": "MQ==", "b": "MQ=="}, stringData={"b": "zwei"}))
    assert made["type"] == "Opaque"
    assert made["data"] == {"a": "MQ==", "b": base64.b64encode(b"zwei").decode()}
    assert "stringData" not in made


@pytest.mark.parametrize(
    ("kind", "data", "expected"),
    [
        ("kubernetes.io/tls", {"tls.crt": ""}, ["data[tls.key]: Required value"]),
        ("kubernetes.io/ssh-auth", {}, ["data[ssh-privatekey]: Required value"]),
        ("kubernetes.io/basic-auth", {}, ["data[username]: Required value", "data[password]: Required value"]),
        ("kubernetes.io/basic-auth", {"username": "eA=="}, []),
        ("kubernetes.io/dockerconfigjson", {}, ["data[.dockerconfigjson]: Required value"]),
        ("kubernetes.io/dockerconfigjson", {".dockerconfigjson": "e30="}, []),
        ("example.com/any", {}, []),
    ],
)
def test_what_a_secrets_type_asks_for(problems, kind, data, expected):
    assert problems("secrets", named(type=kind, data=data)) == expected


def test_a_broken_docker_config_is_not_shown(problems):
    (problem,) = problems("secrets", named(type="kubernetes.io/dockercfg", data={".dockercfg": "c2VjcmV0"}))
    assert "<secret contents redacted>" in problem
    assert "c2VjcmV0" not in problem


def test_a_secrets_type_is_immutable(update_problems):
    assert update_problems("secrets", named(type="a"), named()) == ['type: Invalid value: "a": field is immutable']


def test_events_belong_to_their_objects_namespace(problems):
    assert problems("events", named(involvedObject={"namespace": "default"})) == []
    assert problems("events", named(involvedObject={})) == []
    assert problems("events", named(involvedObject={"namespace": "other"})) == [
        'involvedObject.namespace: Invalid value: "other": does not match event.namespace'
    ]


def test_events_of_the_new_form_are_checked(problems):
    found = problems("events", named(involvedObject={}, eventTime="2026-01-01T00:00:00.000000Z", type="Odd"))
    assert [problem for problem in found if problem.endswith("Required value")] == [
        "reportingController: Required value",
        "reportingInstance: Required value",
        "action: Required value",
        "reason: Required value",
    ]


def test_leases(problems):
    assert problems("leases", named(spec={"leaseDurationSeconds": 0, "leaseTransitions": -1})) == [
        "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
        "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
    ]
