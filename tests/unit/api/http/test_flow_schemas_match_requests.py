"""Which requests the rules of a FlowSchema are about."""

from typing import Any

import pytest

from orch_api.auth.identity import Caller
from orch_api.http.flow_matching import Asked, read_rules

ANN = Caller("ann", ("devs",))
ROBOT = Caller("system:serviceaccount:ns:robot", ("system:serviceaccounts",))
PODS = {"verbs": ["list"], "apiGroups": [""], "resources": ["pods", "pods/log"], "namespaces": ["a", "b"]}


def matches(caller: Caller, asked: Asked, *subjects: dict[str, Any], **rule: Any) -> bool:
    (found,) = read_rules({"rules": [{"subjects": list(subjects), **rule}]})
    return found.matches(caller, asked)


@pytest.mark.parametrize(
    ("caller", "subject", "expected"),
    [
        (ANN, {"kind": "User", "user": {"name": "ann"}}, True),
        (ANN, {"kind": "User", "user": {"name": "bob"}}, False),
        (ANN, {"kind": "User", "user": {"name": "*"}}, True),
        (ANN, {"kind": "Group", "group": {"name": "devs"}}, True),
        (ANN, {"kind": "Group", "group": {"name": "ops"}}, False),
        (ANN, {"kind": "Group", "group": {"name": "*"}}, True),
        (ROBOT, {"kind": "ServiceAccount", "serviceAccount": {"namespace": "ns", "name": "robot"}}, True),
        (ROBOT, {"kind": "ServiceAccount", "serviceAccount": {"namespace": "ns", "name": "*"}}, True),
        (ROBOT, {"kind": "ServiceAccount", "serviceAccount": {"namespace": "n", "name": "*"}}, False),
        (ANN, {"kind": "ServiceAccount", "serviceAccount": {"namespace": "ns", "name": "*"}}, False),
    ],
)
def test_subjects(caller: Caller, subject: dict[str, Any], expected: bool) -> None:
    everything = {"verbs": ["*"], "nonResourceURLs": ["*"]}
    assert matches(caller, Asked("get", path="/api"), subject, nonResourceRules=[everything]) is expected


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (Asked("list", "", "pods", "a"), True),
        (Asked("list", "", "pods/log", "b"), True),
        (Asked("list", "", "pods/exec", "b"), False),
        (Asked("get", "", "pods", "a"), False),
        (Asked("list", "apps", "pods", "a"), False),
        (Asked("list", "", "pods", "c"), False),
        (Asked("list", "", "pods"), False),
    ],
)
def test_resources(asked: Asked, expected: bool) -> None:
    subject = {"kind": "User", "user": {"name": "ann"}}
    assert matches(ANN, asked, subject, resourceRules=[PODS]) is expected
    everywhere = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": True}
    assert matches(ANN, asked, subject, resourceRules=[everywhere])


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("*", "/x", True),
        ("/healthz", "/healthz", True),
        ("/a/*", "/a/b", True),
        ("/a/*", "/a", False),
        ("/a", "/b", False),
    ],
)
def test_paths(pattern: str, path: str, expected: bool) -> None:
    subject = {"kind": "User", "user": {"name": "ann"}}
    rule = {"verbs": ["get"], "nonResourceURLs": [pattern]}
    assert matches(ANN, Asked("get", path=path), subject, nonResourceRules=[rule]) is expected
    assert not matches(ANN, Asked("post", path=path), subject, nonResourceRules=[rule])
