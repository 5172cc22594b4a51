"""Every verb on every resource and subresource that is served, for each role for people: what Kubernetes documents."""

from typing import Any

import pytest
from role_feed import Feed

from orch_api.auth.attributes import Attributes
from orch_api.auth.identity import Caller
from orch_api.auth.rbac.index import RbacIndex
from orch_api.default_roles import BINDINGS, DEFAULTS, ROLES
from orch_api.registry import REGISTRY

READ = frozenset({"get", "list", "watch"})
WRITE = frozenset({"create", "update", "patch", "delete", "deletecollection"})
VERBS = READ | WRITE | {"impersonate", "escalate", "bind", "approve", "sign", "proxy", "use", "*"}

_LETTERS = {"r": READ, "w": WRITE, "c": {"create"}, "i": {"impersonate"}, "-": frozenset()}

# What may be done: r get list watch, w create update patch delete deletecollection, c create, i impersonate.
# One line: what view, what edit and what admin may, then the resources.
FACTS = """
r rw  rw  pods configmaps services persistentvolumeclaims replicationcontrollers replicationcontrollers/scale
r rwi rwi serviceaccounts
r r   r   endpoints namespaces namespaces/status limitranges resourcequotas resourcequotas/status bindings
r r   r   pods/log pods/status services/status persistentvolumeclaims/status replicationcontrollers/status
- rw  rw  secrets pods/attach pods/exec pods/portforward pods/proxy services/proxy
- c   c   pods/eviction serviceaccounts/token
r rw  rw  events events.events.k8s.io
r r   r   endpointslices.discovery.k8s.io
r rw  rw  deployments.apps statefulsets.apps daemonsets.apps replicasets.apps
r rw  rw  deployments.apps/scale statefulsets.apps/scale replicasets.apps/scale
r r   r   controllerrevisions.apps
r r   r   deployments.apps/status statefulsets.apps/status daemonsets.apps/status replicasets.apps/status
r rw  rw  horizontalpodautoscalers.autoscaling jobs.batch cronjobs.batch
r r   r   horizontalpodautoscalers.autoscaling/status jobs.batch/status cronjobs.batch/status
r rw  rw  poddisruptionbudgets.policy networkpolicies.networking.k8s.io ingresses.networking.k8s.io
r r   r   poddisruptionbudgets.policy/status ingresses.networking.k8s.io/status
r rw  rw  resourceclaims.resource.k8s.io resourceclaimtemplates.resource.k8s.io
r r   r   resourceclaims.resource.k8s.io/status
- rw  rw  leases.coordination.k8s.io
- -   rw  roles.rbac.authorization.k8s.io rolebindings.rbac.authorization.k8s.io
- -   c   localsubjectaccessreviews.authorization.k8s.io
"""


def facts() -> dict[str, dict[str, frozenset[str]]]:
    """Return what each role may, by resource."""
    found: dict[str, dict[str, frozenset[str]]] = {}
    for line in FACTS.strip().splitlines():
        view, edit, admin, *resources = line.split()
        for resource in resources:
            letters = {"view": view, "edit": edit, "admin": admin}
            found[resource] = {
                role: frozenset().union(*(_LETTERS[letter] for letter in text)) for role, text in letters.items()
            }
    return found


def served() -> list[tuple[str, str, str]]:
    """Return group, resource and subresource of everything that is served, and of what is only ever authorized."""
    found = {(one.group, one.plural, "") for one in REGISTRY.resources}
    found |= {(one.group, one.plural, name) for one in REGISTRY.resources for name in one.subresources}
    return sorted(found | {("", "users", ""), ("", "groups", ""), ("certificates.k8s.io", "signers", "")})


@pytest.fixture(scope="module")
def index() -> RbacIndex:
    feed = Feed()
    made = RbacIndex(feed)  # pyright: ignore[reportArgumentType]
    for default in DEFAULTS:
        feed.put("rbac.authorization.k8s.io", default.plural, default.document)
    for role in ("view", "edit", "admin"):
        feed.bind(f"{role}s", role, ("User", role), namespace="here")
    feed.bind("root", "cluster-admin", ("User", "root"))
    return made


def allowed(index: RbacIndex, user: str, **wanted: Any) -> bool:
    return index.decide(Caller(user, ()), Attributes(**wanted)).allowed


def test_every_fact_is_about_something_that_is_served():
    names = {f"{r}.{g}".rstrip(".") + (f"/{s}" if s else "") for g, r, s in served()}
    assert set(facts()) - names == set()


@pytest.mark.parametrize("role", ["view", "edit", "admin"])
def test_what_a_role_permits_in_its_namespace(index, role):
    expected = facts()
    wrong = []
    for group, resource, subresource in served():
        name = f"{resource}.{group}".rstrip(".") + (f"/{subresource}" if subresource else "")
        may = expected.get(name, {}).get(role, frozenset())
        for verb in VERBS:
            wanted = {"verb": verb, "group": group, "resource": resource, "subresource": subresource, "name": "x"}
            if allowed(index, role, namespace="here", **wanted) != (verb in may):
                wrong.append((verb, name))
            if allowed(index, role, namespace="there", **wanted) or allowed(index, role, **wanted):
                wrong.append((verb, name, "elsewhere"))
    assert wrong == []
    assert not allowed(index, role, verb="get", path="/metrics")


def test_a_cluster_s_administrator_may_everything_everywhere(index):
    for group, resource, subresource in served():
        for verb in VERBS:
            for namespace in ("here", ""):
                wanted = {"verb": verb, "group": group, "resource": resource, "subresource": subresource}
                assert allowed(index, "root", namespace=namespace, **wanted)
    assert allowed(index, "root", verb="post", path="/anything")


@pytest.mark.parametrize(
    ("groups", "path", "may"),
    [
        (("system:unauthenticated",), "/version", True),
        (("system:unauthenticated",), "/version/", True),
        (("system:unauthenticated",), "/healthz", True),
        (("system:unauthenticated",), "/healthz/etcd", False),
        (("system:unauthenticated",), "/api", False),
        (("system:authenticated",), "/apis/apps/v1", True),
        (("system:authenticated",), "/openapi/v3", True),
        (("system:authenticated",), "/apish", False),
        (("system:authenticated",), "/metrics", False),
        (("system:monitoring",), "/metrics", True),
        (("system:monitoring",), "/metrics/slis", True),
        (("system:monitoring",), "/livez/etcd", True),
        (("system:serviceaccounts",), "/openid/v1/jwks", True),
        (("system:authenticated",), "/.well-known/openid-configuration", False),
    ],
)
def test_what_everybody_may_look_at(index, groups, path, may):
    caller = Caller("x", groups)
    assert index.decide(caller, Attributes(verb="get", path=path)).allowed is may
    assert not index.decide(caller, Attributes(verb="post", path=path)).allowed


def test_every_binding_s_role_is_there_and_no_name_comes_twice():
    roles = [(one.namespace, one.name) for one in ROLES]
    assert len(set(roles)) == len(roles)
    bindings = [(one.namespace, one.name) for one in BINDINGS]
    assert len(set(bindings)) == len(bindings)
    assert {(one.namespace, one.role) for one in BINDINGS} <= set(roles)


def test_aggregated_roles_are_made_with_what_they_will_gather():
    documents = {one.name: one.document for one in DEFAULTS if one.plural == "clusterroles"}
    assert documents["admin"]["aggregationRule"]["clusterRoleSelectors"] == [
        {"matchLabels": {"rbac.authorization.k8s.io/aggregate-to-admin": "true"}}
    ]
    for smaller, larger in (("view", "edit"), ("edit", "admin")):
        rules = documents[larger]["rules"]
        assert all(rule in rules for rule in documents[smaller]["rules"])
    assert documents["edit"]["metadata"]["annotations"] == {"rbac.authorization.kubernetes.io/autoupdate": "true"}
    assert documents["edit"]["metadata"]["labels"]["kubernetes.io/bootstrapping"] == "rbac-defaults"
