"""The index against an oracle that looks at every binding and every rule, over random changes."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from role_feed import RBAC, Feed

from orch.objects.rbac import PolicyRule
from orch_api.auth.attributes import Attributes
from orch_api.auth.identity import Caller
from orch_api.auth.rbac.coverage import missing
from orch_api.auth.rbac.index import RbacIndex

USERS = ("ann", "bob", "system:serviceaccount:one:robot")
GROUPS = ("staff", "guests")
SPACES = ("one", "two")
NAMES = ("a", "b")


def some(values: Any, *, least: int = 1) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), min_size=least, max_size=3, unique=True)


RULES = st.one_of(
    st.fixed_dictionaries(
        {
            "verbs": some(("get", "list", "create", "*")),
            "apiGroups": some(("", "apps", "*")),
            "resources": some(("pods", "pods/log", "*/scale", "deployments", "deployments/scale", "*")),
        },
        optional={"resourceNames": some(NAMES, least=0)},
    ),
    st.fixed_dictionaries(
        {"verbs": some(("get", "post", "*")), "nonResourceURLs": some(("/a", "/a/*", "/b*", "*"))},
    ),
)
SUBJECTS = st.one_of(
    st.tuples(st.just("User"), st.sampled_from(USERS)),
    st.tuples(st.just("Group"), st.sampled_from(GROUPS)),
    st.tuples(st.just("ServiceAccount"), st.just("robot"), st.sampled_from(("one", "two"))),
    st.tuples(st.just("ServiceAccount"), st.just("robot")),
    st.tuples(st.just("Other"), st.just("ann")),
)
PLACES = st.sampled_from(("", *SPACES))
CHANGES = st.one_of(
    st.tuples(st.just("role"), PLACES, st.sampled_from("rst"), st.lists(RULES, max_size=3)),
    st.tuples(st.just("no role"), PLACES, st.sampled_from("rst")),
    st.tuples(
        st.just("binding"),
        PLACES,
        st.sampled_from([f"b{number}" for number in range(14)]),
        st.sampled_from("rst"),
        st.sampled_from(("Role", "ClusterRole")),
        st.lists(SUBJECTS, max_size=3),
    ),
    st.tuples(st.just("no binding"), PLACES, st.sampled_from([f"b{number}" for number in range(14)])),
)
WANTED = st.one_of(
    st.builds(
        Attributes,
        verb=st.sampled_from(("get", "list", "create", "delete", "*")),
        group=st.sampled_from(("", "apps", "batch", "*")),
        resource=st.sampled_from(("pods", "deployments", "*")),
        subresource=st.sampled_from(("", "log", "scale")),
        namespace=PLACES,
        name=st.sampled_from(("", *NAMES, "c")),
    ),
    st.builds(
        Attributes,
        verb=st.sampled_from(("get", "post", "put")),
        path=st.sampled_from(("/a", "/a/b", "/a/", "/b", "/bc", "/c")),
    ),
)
CALLERS = st.builds(Caller, st.sampled_from(USERS), st.lists(st.sampled_from(GROUPS), unique=True).map(tuple))


class Oracle:
    """Roles and bindings as they are written, searched from end to end."""

    def __init__(self) -> None:
        self.roles: dict[tuple[str, str], list[Any]] = {}
        self.bindings: dict[tuple[str, str], tuple[str, str, list[Any]]] = {}

    def allows(self, caller: Caller, wanted: Attributes) -> bool:
        for (space, _), (role, kind, subjects) in self.bindings.items():
            if space and space != wanted.namespace:
                continue
            if any(_is(caller, subject, space) for subject in subjects):
                rules = self.roles.get((space if kind == "Role" else "", role), [])
                if any(permits(rule, wanted) for rule in rules):
                    return True
        return False


def _is(caller: Caller, subject: tuple[str, ...], space: str) -> bool:
    kind, name, *rest = subject
    if kind == "User":
        return caller.user == name
    if kind == "Group":
        return name in caller.groups
    home = rest[0] if rest else space
    return kind == "ServiceAccount" and bool(home) and caller.user == f"system:serviceaccount:{home}:{name}"


def permits(rule: dict[str, Any], wanted: Attributes) -> bool:
    if not {wanted.verb, "*"}.intersection(rule["verbs"]):
        return False
    if wanted.path is not None:
        urls = rule.get("nonResourceURLs", ())
        return any(url == wanted.path or (url[-1] == "*" and wanted.path.startswith(url[:-1])) for url in urls)
    named = {wanted.combined, "*"} | ({f"*/{wanted.subresource}"} if wanted.subresource else set())
    if not named.intersection(rule.get("resources", ())):
        return False
    if not {wanted.group, "*"}.intersection(rule.get("apiGroups", ())):
        return False
    return not rule.get("resourceNames") or wanted.name in rule["resourceNames"]


@settings(max_examples=60)
@given(st.lists(CHANGES, max_size=40), st.lists(st.tuples(CALLERS, WANTED), min_size=5, max_size=15))
def test_the_index_agrees_with_a_plain_search(changes, questions):
    feed, oracle = Feed(), Oracle()
    index = RbacIndex(feed)  # pyright: ignore[reportArgumentType]
    for number, change in enumerate(changes):
        apply(feed, oracle, change)
        if number % 7 == 0:  # in between, so that what is made of many bindings has to be made anew
            for caller, wanted in questions:
                assert index.decide(caller, wanted).allowed == oracle.allows(caller, wanted)
    for caller, wanted in questions:
        assert index.decide(caller, wanted).allowed == oracle.allows(caller, wanted)


def apply(feed: Feed, oracle: Oracle, change: tuple[Any, ...]) -> None:
    match change:
        case ("role", space, name, rules):
            feed.role(name, *rules, namespace=space)
            oracle.roles[space, name] = rules
        case ("no role", space, name):
            feed.delete(RBAC, "roles" if space else "clusterroles", space, name)
            oracle.roles.pop((space, name), None)
        case ("binding", space, name, role, kind, subjects):
            kind = kind if space else "ClusterRole"
            feed.bind(name, role, *subjects, namespace=space, kind=kind)
            oracle.bindings[space, name] = (role, kind, subjects)
        case (_, space, name):
            feed.delete(RBAC, "rolebindings" if space else "clusterrolebindings", space, name)
            oracle.bindings.pop((space, name), None)


def test_nothing_is_left_of_what_is_gone():
    feed = Feed()
    index = RbacIndex(feed)  # pyright: ignore[reportArgumentType]
    feed.bind("b", "r", ("User", "ann"), ("Group", "staff"), namespace="one")
    feed.role("r", {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]})
    feed.delete(RBAC, "rolebindings", "one", "b")
    feed.delete(RBAC, "clusterroles", "", "r")
    assert not index._roles
    assert not index._absent
    assert not index._bindings
    assert not index._spaces
    assert index.generation == 4


def as_rule(document: dict[str, Any]) -> PolicyRule:
    return PolicyRule(
        verbs=tuple(document["verbs"]),
        api_groups=tuple(document.get("apiGroups", ())),
        resources=tuple(document.get("resources", ())),
        resource_names=tuple(document.get("resourceNames", ())),
        non_resource_urls=tuple(document.get("nonResourceURLs", ())),
    )


@settings(max_examples=100)
@given(st.lists(RULES, max_size=3), st.lists(RULES, max_size=2), st.lists(WANTED, min_size=5, max_size=15))
def test_who_covers_rules_may_all_that_they_permit(owned, granted, questions):
    lacking = missing([as_rule(one) for one in owned], [as_rule(one) for one in granted])
    for wanted in questions:
        if not lacking and any(permits(one, wanted) for one in granted):
            assert any(permits(one, wanted) for one in owned)
    assert missing([as_rule(one) for one in granted], [as_rule(one) for one in granted]) == []
