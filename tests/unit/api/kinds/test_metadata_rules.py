import pytest

from orch_api.registry import REGISTRY
from orch_api.strategy import restore_meta, validate_meta, validate_meta_update

CONFIG_MAPS = REGISTRY.find("", "v1", "configmaps")
NODES = REGISTRY.find("", "v1", "nodes")
NAMESPACES = REGISTRY.find("", "v1", "namespaces")
SERVICES = REGISTRY.find("", "v1", "services")

SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
NAME_PART = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)


def problems(resource=CONFIG_MAPS, **meta):
    document = {"metadata": {"name": "a", "namespace": "default", **meta}}
    return [f"{cause.field}: {cause.message}" for cause in validate_meta(document, resource)]


def test_nothing_wrong():
    assert (
        problems(
            labels={"app.kubernetes.io/name": "web", "empty": ""}, annotations={"a": "b"}, finalizers=["example.com/a"]
        )
        == []
    )


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ({"name": ""}, "metadata.name: Required value: name or generateName is required"),
        ({"name": "A"}, f'metadata.name: Invalid value: "A": {SUBDOMAIN}'),
        ({"name": "a" * 254}, f'metadata.name: Invalid value: "{"a" * 254}": must be no more than 253 bytes'),
        ({"generateName": "A-"}, f'metadata.generateName: Invalid value: "A-": {SUBDOMAIN}'),
        ({"namespace": ""}, "metadata.namespace: Required value"),
        ({"labels": {"a b": "x"}}, f'metadata.labels: Invalid value: "a b": {NAME_PART}'),
        ({"labels": {"/x": "x"}}, 'metadata.labels: Invalid value: "/x": prefix part must be non-empty'),
        ({"finalizers": ["mine"]}, None),
        (
            {"finalizers": ["orphan", "foregroundDeletion"]},
            (
                'metadata.finalizers: Invalid value: ["orphan","foregroundDeletion"]: finalizers '
                "orphan and foregroundDeletion "
                "cannot be both set"
            ),
        ),
        (
            {"annotations": {"big": "x" * (256 * 1024)}},
            "metadata.annotations: Too long: may not be more than 262144 bytes",
        ),
        (
            {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p"}]},
            'metadata.ownerReferences.uid: Invalid value: "": uid must not be empty',
        ),
        ({"generation": -1}, "metadata.generation: Invalid value: -1: must be greater than or equal to 0"),
    ],
)
def test_each_rule(meta, expected):
    if expected is None:
        problem = "name is neither a standard finalizer name nor is it fully qualified"
        expected = f'metadata.finalizers[0]: Invalid value: "mine": {problem}'
    assert problems(**meta) == [expected]


def test_a_generated_names_dash_is_fine():
    assert problems(generateName="web-") == []


def test_only_one_controller():
    owners = [{"apiVersion": "v1", "kind": "Pod", "name": name, "uid": name, "controller": True} for name in "pq"]
    (problem,) = problems(ownerReferences=owners)
    assert problem.endswith(
        'Only one reference can have Controller set to true. Found "true" in references for p and q'
    )


def test_kinds_have_their_own_rules_for_names():
    assert problems(NODES, namespace="", name="node-1.example.com") == []
    assert problems(NODES) == ["metadata.namespace: Forbidden: not allowed on this type"]
    assert problems(NAMESPACES, namespace="", name="a.b")[0].startswith(
        'metadata.name: Invalid value: "a.b": a lowercase RFC 1123 label'
    )
    assert problems(SERVICES, name="1a")[0].startswith(
        'metadata.name: Invalid value: "1a": a DNS-1035 label must consist'
    )


def update(new, old):
    obj, before = {"metadata": {"name": "a", **new}}, {"metadata": {"name": "a", **old}}
    restore_meta(obj, before)
    return obj, [f"{cause.field}: {cause.message}" for cause in validate_meta_update(obj, before)]


def test_an_update_cannot_change_what_the_system_sets():
    obj, found = update(
        {"creationTimestamp": "x", "generation": 9, "deletionTimestamp": "now"},
        {"uid": "u", "creationTimestamp": "then", "generation": 3},
    )
    assert found == []
    assert obj["metadata"] == {"name": "a", "uid": "u", "creationTimestamp": "then", "generation": 3}


def test_an_update_keeps_a_deletion_under_way():
    obj, found = update({}, {"deletionTimestamp": "then", "deletionGracePeriodSeconds": 30})
    assert found == []
    assert obj["metadata"]["deletionTimestamp"] == "then"
    assert obj["metadata"]["deletionGracePeriodSeconds"] == 30


def test_another_uid_or_name_is_refused():
    assert update({"uid": "v"}, {"uid": "u"})[1] == ['metadata.uid: Invalid value: "v": field is immutable']
    assert update({"name": "b"}, {})[1] == ['metadata.name: Invalid value: "b": field is immutable']


def test_a_dying_object_gets_no_new_finalizers():
    dying = {"deletionTimestamp": "then", "finalizers": ["a.b/c"]}
    assert update({"finalizers": []}, dying)[1] == []
    assert update({"finalizers": ["a.b/c", "a.b/d"]}, dying)[1] == [
        (
            "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being "
            "deleted, found new finalizers "
            '[]string{"a.b/d"}'
        )
    ]
