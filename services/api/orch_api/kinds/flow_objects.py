"""The priority levels and flow schemas that every cluster starts with: the two mandatory ones, and the suggested ones.

The values are those of k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from orch_api.strategy import Document

EXEMPT: Final = "exempt"
CATCH_ALL: Final = "catch-all"

_AUTO_UPDATE: Final = "apf.kubernetes.io/autoupdate-spec"
_EVERY: Final = ("*",)
_LEASES: Final = "coordination.k8s.io"
_ELECTION_VERBS: Final = ("get", "create", "update")
_ALL_USERS: Final = ("system:unauthenticated", "system:authenticated")
_SYSTEM: Final = "kube-system"
_CONTROLLERS: Final = "system:kube-controller-manager"
_SCHEDULER: Final = "system:kube-scheduler"


def _object(name: str, spec: Document) -> Document:
    return {"metadata": {"name": name, "annotations": {_AUTO_UPDATE: "true"}}, "spec": spec}


def _queued(name: str, shares: int, lendable: int, queues: int, hand: int = 6) -> Document:
    queuing = {"queues": queues, "handSize": hand, "queueLengthLimit": 50}
    limited = {
        "nominalConcurrencyShares": shares,
        "lendablePercent": lendable,
        "limitResponse": {"type": "Queue", "queuing": queuing},
    }
    return _object(name, {"type": "Limited", "limited": limited})


_EXEMPT_LEVEL: Final = _object(
    EXEMPT, {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}}
)
_CATCH_ALL_LEVEL: Final = _object(
    CATCH_ALL,
    {
        "type": "Limited",
        "limited": {"nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": {"type": "Reject"}},
    },
)

PRIORITY_LEVELS: Final[Sequence[Document]] = (
    _EXEMPT_LEVEL,
    _CATCH_ALL_LEVEL,
    _queued("system", 30, 33, 64),
    _queued("node-high", 40, 25, 64),
    _queued("leader-election", 10, 0, 16, hand=4),
    _queued("workload-high", 40, 50, 128),
    _queued("workload-low", 100, 90, 128),
    _queued("global-default", 20, 50, 128),
)


def _groups(*names: str) -> list[Document]:
    return [{"kind": "Group", "group": {"name": name}} for name in names]


def _users(*names: str) -> list[Document]:
    return [{"kind": "User", "user": {"name": name}} for name in names]


def _accounts(*names: str) -> list[Document]:
    return [{"kind": "ServiceAccount", "serviceAccount": {"name": name, "namespace": _SYSTEM}} for name in names]


def _resources(
    verbs: Iterable[str], group: str, resources: Iterable[str], namespace: str = "*", *, cluster: bool = False
) -> Document:
    rule: dict[str, Any] = {
        "verbs": list(verbs),
        "apiGroups": [group],
        "resources": list(resources),
        "namespaces": [namespace],
    }
    if cluster:
        rule["clusterScope"] = True
    return rule


def _paths(verbs: Iterable[str], paths: Iterable[str]) -> Document:
    return {"verbs": list(verbs), "nonResourceURLs": list(paths)}


def _everything(subjects: list[Document]) -> Document:
    return {
        "subjects": subjects,
        "resourceRules": [_resources(_EVERY, "*", _EVERY, cluster=True)],
        "nonResourceRules": [_paths(_EVERY, _EVERY)],
    }


def _election(subjects: list[Document], namespace: str) -> Document:
    return {
        "subjects": subjects,
        "resourceRules": [
            _resources(_ELECTION_VERBS, "", ("endpoints", "configmaps"), namespace),
            _resources(_ELECTION_VERBS, _LEASES, ("leases",)),
        ],
    }


def _schema(name: str, level: str, precedence: int, distinguisher: str, *rules: Document) -> Document:
    spec: Document = {"priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence}
    if distinguisher:
        spec["distinguisherMethod"] = {"type": distinguisher}
    return _object(name, {**spec, "rules": list(rules)})


_NODES_AND_LEASES: Final = {
    "subjects": _groups("system:nodes"),
    "resourceRules": [
        _resources(_EVERY, "", ("nodes", "nodes/status"), cluster=True),
        _resources(_EVERY, _LEASES, ("leases",)),
    ],
}
_ENDPOINTS: Final = {
    "subjects": [*_users(_CONTROLLERS), *_accounts("endpoint-controller", "endpointslicemirroring-controller")],
    "resourceRules": [_resources(_ELECTION_VERBS, "", ("endpoints",))],
}
_PROBES: Final = {
    "subjects": _groups(*_ALL_USERS),
    "nonResourceRules": [_paths(("get",), ("/healthz", "/readyz", "/livez"))],
}

_EXEMPT_SCHEMA: Final = _schema(EXEMPT, EXEMPT, 1, "", _everything(_groups("system:masters")))
_CATCH_ALL_SCHEMA: Final = _schema(CATCH_ALL, CATCH_ALL, 10000, "ByUser", _everything(_groups(*_ALL_USERS)))

FLOW_SCHEMAS: Final[Sequence[Document]] = (
    _EXEMPT_SCHEMA,
    _CATCH_ALL_SCHEMA,
    _schema("probes", EXEMPT, 2, "", _PROBES),
    _schema(
        "system-leader-election",
        "leader-election",
        100,
        "ByUser",
        _election([*_users(_CONTROLLERS, _SCHEDULER), *_accounts("*")], _SYSTEM),
    ),
    _schema("endpoint-controller", "workload-high", 150, "ByUser", _ENDPOINTS),
    _schema("workload-leader-election", "leader-election", 200, "ByUser", _election(_accounts("*"), "*")),
    _schema("system-node-high", "node-high", 400, "ByUser", _NODES_AND_LEASES),
    _schema("system-nodes", "system", 500, "ByUser", _everything(_groups("system:nodes"))),
    _schema("kube-controller-manager", "workload-high", 800, "ByNamespace", _everything(_users(_CONTROLLERS))),
    _schema("kube-scheduler", "workload-high", 800, "ByNamespace", _everything(_users(_SCHEDULER))),
    _schema("kube-system-service-accounts", "workload-high", 900, "ByNamespace", _everything(_accounts("*"))),
    _schema("service-accounts", "workload-low", 9000, "ByUser", _everything(_groups("system:serviceaccounts"))),
    _schema("global-default", "global-default", 9900, "ByUser", _everything(_groups(*_ALL_USERS))),
)

MANDATORY_LEVELS: Final[Mapping[str, Document]] = {EXEMPT: _EXEMPT_LEVEL["spec"], CATCH_ALL: _CATCH_ALL_LEVEL["spec"]}
"""What the specs of the mandatory priority levels must be, by their names."""

MANDATORY_SCHEMAS: Final[Mapping[str, Document]] = {
    EXEMPT: _EXEMPT_SCHEMA["spec"],
    CATCH_ALL: _CATCH_ALL_SCHEMA["spec"],
}
"""What the specs of the mandatory flow schemas must be, by their names."""
