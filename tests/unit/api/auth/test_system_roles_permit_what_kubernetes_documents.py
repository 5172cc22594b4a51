"""Every verb on every resource and subresource that is served, for each role of a cluster's own parts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from role_feed import Feed

from orch.bus.permissions import CONTROLLERS, FLEET, SCHEDULER
from orch_api.auth.attributes import Attributes
from orch_api.auth.identity import Caller
from orch_api.auth.rbac.index import RbacIndex
from orch_api.default_roles import BINDINGS, DEFAULTS, ROLES
from orch_api.registry import REGISTRY

WORDS = "get list watch create update patch delete deletecollection"
LETTERS = dict(zip("glwcupdD", WORDS.split(), strict=True))
VERBS = (*LETTERS.values(), "approve", "sign", "attest", "escalate", "bind", "impersonate", "proxy", "use")
CONTROLLER = "system:controller:"
Where = tuple[str, str, str]
"""Group, resource and subresource."""


class Facts:
    """What one role may: verbs by what they are permitted on, and by the names that alone are meant."""

    def __init__(self) -> None:
        self.resources: dict[Where, set[str]] = {}
        self.named: dict[tuple[Where, str], set[str]] = {}
        self.paths: dict[str, set[str]] = {}

    def add(self, verbs: set[str], what: str) -> None:
        if what.startswith("/"):
            self.paths.setdefault(what, set()).update(verbs)
            return
        what, _, names = what.partition("=")
        whole, _, subresource = what.partition("/")
        resource, _, group = whole.partition(".")
        for name in names.split(",") if names else ():
            self.named.setdefault(((group, resource, subresource), name), set()).update(verbs)
        if not names:
            self.resources.setdefault((group, resource, subresource), set()).update(verbs)

    def permits(self, verb: str, where: Where, name: str = "") -> bool:
        found = [*(self.resources.get(one, set()) for one in _wider(where)), self.named.get((where, name), set())]
        return any(verb in verbs or "*" in verbs for verbs in found)


def _wider(where: Where) -> Iterator[Where]:
    group, resource, subresource = where
    for one in (group, "*"):
        yield (one, resource, subresource)
        yield (one, "*", subresource)
        yield (one, "*", "")


def facts() -> dict[str, Facts]:
    found: dict[str, Facts] = {}
    current = Facts()
    for line in Path(__file__).with_name("system_roles.txt").read_text().splitlines():
        if line.startswith("#"):
            continue
        if not line.startswith(" "):
            current = found[line] = Facts()
            continue
        written, *listed = line.split()
        letters, *others = written.split("+")
        for one in listed:
            current.add({*(LETTERS[letter] for letter in letters), *others}, one)
    return found


FACTS = facts()
SERVED = {(one.group, one.plural, "") for one in REGISTRY.resources}
SERVED |= {(one.group, one.plural, name) for one in REGISTRY.resources for name in one.subresources}
SERVED |= {where for role in FACTS.values() for where in role.resources if "*" not in where}
SERVED |= {("", "users", ""), ("", "nodes", "proxy"), ("example.com", "things", ""), ("example.com", "things", "scale")}


@pytest.fixture(scope="module")
def index() -> RbacIndex:
    """The default roles and bindings; and each role that Kubernetes gives no account, given to a user of its name."""
    feed = Feed()
    made = RbacIndex(feed)  # pyright: ignore[reportArgumentType]
    for default in DEFAULTS:
        feed.put("rbac.authorization.k8s.io", default.plural, default.document)
    for role in ROLES:
        if not role.namespace and not role.name.startswith(CONTROLLER):
            feed.bind(f"test:{role.name}", role.name, ("User", role.name))
        elif role.name.startswith("system::"):
            feed.bind(f"test:{role.name}", role.name, ("User", role.name), namespace=role.namespace, kind="Role")
    return made


def holder(role: str) -> Caller:
    """Return who has a role alone: a controller's account by the default bindings."""
    if role.startswith(CONTROLLER):
        return Caller(f"system:serviceaccount:kube-system:{role.removeprefix(CONTROLLER)}", ())
    return Caller(role, ())


def test_every_role_is_told_of() -> None:
    system = [role for role in ROLES if role.name.startswith("system:") and "aggregate-to" not in role.name]
    assert {f"{one.namespace}/{one.name}" if one.namespace else one.name for one in system} == set(FACTS)


@pytest.mark.parametrize("role", sorted(FACTS))
def test_what_a_role_permits(index: RbacIndex, role: str) -> None:
    fact = FACTS[role]
    namespace, _, name = role.rpartition("/") if role.startswith("kube-") else ("", "", role)
    caller = holder(name)

    def allowed(verb: str, where: Where, of: str = "", space: str = namespace) -> bool:
        group, resource, subresource = where
        wanted = Attributes(
            verb=verb, group=group, resource=resource, subresource=subresource, namespace=space, name=of
        )
        return index.decide(caller, wanted).allowed

    if name in {SCHEDULER, CONTROLLERS}:  # whose user has other roles besides
        rules = index.rules_of(namespace, name)
        assert rules is not None
        feed = Feed()
        index = RbacIndex(feed)  # pyright: ignore[reportArgumentType]
        (default,) = (
            one for one in DEFAULTS if one.document["metadata"]["name"] == name and one.plural == "clusterroles"
        )
        feed.put("rbac.authorization.k8s.io", "clusterroles", default.document)
        feed.bind("test", name, ("User", name))
    wrong = [
        (verb, where)
        for where in SERVED
        for verb in VERBS
        if allowed(verb, where, "some") != fact.permits(verb, where)
        or (namespace and allowed(verb, where, "", "other"))
    ]
    for (where, of), verbs in fact.named.items():
        wrong += [(verb, where, of) for verb in VERBS if allowed(verb, where, of) != fact.permits(verb, where, of)]
        assert verbs, where
    assert wrong == []
    for path, verbs in fact.paths.items():
        assert verbs == {"get"}
        assert index.decide(caller, Attributes(verb="get", path=path.rstrip("*"))).allowed
    assert not index.decide(caller, Attributes(verb="post", path="/api")).allowed
    assert index.decide(caller, Attributes(verb="get", path="/logs")).allowed is False


def test_who_is_given_which_role() -> None:
    given = {(one.namespace, one.name): (one.role, [(who.kind, who.name) for who in one.subjects]) for one in BINDINGS}
    for role in ROLES:
        if role.name.startswith(CONTROLLER):
            account = role.name.removeprefix(CONTROLLER)
            assert given.pop((role.namespace, role.name)) == (role.name, [("ServiceAccount", account)])
    scheduler, manager = [("User", SCHEDULER)], [("User", CONTROLLERS)]
    own = {name: value for (_, name), value in given.items() if name.startswith("orch:")}
    assert own == {
        "orch:scheduler": ("orch:scheduler", scheduler),
        "orch:controllers": ("orch:controllers", manager),
        "orch:simulated-nodes": ("orch:simulated-nodes", [("User", FLEET)]),
    }
    assert given["", "system:kube-scheduler"] == ("system:kube-scheduler", scheduler)
    assert given["", "system:volume-scheduler"] == ("system:volume-scheduler", scheduler)
    assert given["", "system:kube-controller-manager"] == ("system:kube-controller-manager", manager)
    assert given["", "system:node-proxier"] == ("system:node-proxier", [("User", "system:kube-proxy")])
    assert given["", "system:kube-dns"] == ("system:kube-dns", [("ServiceAccount", "kube-dns")])
    assert given["", "system:node"] == ("system:node", []), "nodes have their rights from the node authorizer"
    bound = {role for role, _ in given.values()}
    unbound = {role.name for role in ROLES if not role.namespace and not role.name.startswith(CONTROLLER)} - bound
    assert {name for name in unbound if name.startswith("system:")} == {
        *("system:aggregate-to-admin", "system:aggregate-to-edit", "system:aggregate-to-view"),
        *("system:auth-delegator", "system:heapster", "system:kube-aggregator", "system:kubelet-api-admin"),
        *("system:node-problem-detector", "system:persistent-volume-provisioner"),
        "system:certificates.k8s.io:kube-apiserver-client-approver",
        "system:certificates.k8s.io:kube-apiserver-client-kubelet-approver",
        "system:certificates.k8s.io:kubelet-serving-approver",
        "system:certificates.k8s.io:legacy-unknown-approver",
    }
