import re

import pytest

from orch.errors import ForbiddenError
from orch_api.auth.identity import Caller, caller_on_bus

AUTHENTICATED = "system:authenticated"


@pytest.fixture
def may(driver):
    def decide(user, verb, plural, namespace="default", name="", subresource="", group="", *, caller=None):
        resource = driver.resource(plural, group)
        try:
            driver.core.authorizer.authorize(
                caller or caller_on_bus(user), verb, resource, namespace, name, subresource
            )
        except ForbiddenError:
            return False
        return True

    return decide


def test_masters_may_everything(may):
    assert may("", "delete", "nodes", "", "n", caller=Caller("anyone", ("system:masters",)))


def test_the_services_have_their_rights(may):
    scheduler = "system:kube-scheduler"
    assert may(scheduler, "create", "pods", name="p", subresource="binding")
    assert may(scheduler, "list", "nodes", "")
    assert may(scheduler, "create", "events")
    assert not may(scheduler, "create", "pods")
    assert not may(scheduler, "get", "secrets", name="s")
    assert may("system:kube-controller-manager", "create", "replicasets", group="apps")


def test_a_user_without_rules_may_nothing(driver):
    refused = (
        (
            "list",
            "pods",
            "default",
            "",
            'pods is forbidden: User "jo" cannot list resource "pods" in API group "" in the namespace "default"',
        ),
        (
            "get",
            "nodes",
            "",
            "n",
            'nodes "n" is forbidden: User "jo" cannot get resource "nodes" in API group "" at the cluster scope',
        ),
    )
    for verb, plural, namespace, name, message in refused:
        with pytest.raises(ForbiddenError, match=f"^{re.escape(message)}$"):
            driver.core.authorizer.authorize(
                Caller("jo", (AUTHENTICATED,)), verb, driver.resource(plural), namespace, name
            )
    deployments = driver.resource("deployments", "apps")
    message = (
        'deployments.apps "d" is forbidden: User "jo" cannot update resource "deployments/scale" '
        'in API group "apps" in the namespace "x"'
    )
    with pytest.raises(ForbiddenError, match=re.escape(message)):
        driver.core.authorizer.authorize(Caller("jo", ()), "update", deployments, "x", "d", "scale")


def test_the_name_of_a_node_counts_with_its_group_only(may):
    pretender = Caller("system:node:n", (AUTHENTICATED,))
    assert may("system:node:n", "get", "nodes", "", "n")
    assert not may("", "get", "nodes", "", "n", caller=pretender)


async def test_a_node_reads_its_own_pods_and_what_they_refer_to(driver, may, make_pod):
    source = {"name": "v", "valueFrom": {"configMapKeyRef": {"name": "by-env", "key": "k"}}}
    container = {
        "name": "c",
        "image": "i",
        "env": [source],
        "envFrom": [{"secretRef": {"name": "by-env-from"}}, {"configMapRef": {"name": "all-of-it"}}],
    }
    volumes = [
        {"name": "one", "secret": {"secretName": "by-volume"}},
        {"name": "two", "projected": {"sources": [{"configMap": {"name": "projected"}}]}},
    ]
    document = make_pod("p", containers=[container], volumes=volumes, imagePullSecrets=[{"name": "by-pull"}])
    document["spec"]["nodeName"] = "n"
    await driver.create("pods", document)
    await driver.core.cache.catch_up()
    node = "system:node:n"
    for name in ("by-env-from", "by-volume", "by-pull"):
        assert may(node, "get", "secrets", name=name)
        assert not may(node, "get", "secrets", "other", name)
        assert not may("system:node:m", "get", "secrets", name=name)
    for name in ("by-env", "all-of-it", "projected"):
        assert may(node, "get", "configmaps", name=name)
    assert not may(node, "get", "secrets", name="by-env")
    assert not may(node, "get", "configmaps", name="elsewhere")
    assert not may(node, "list", "secrets")
    assert may(node, "get", "pods", name="p")
    assert not may("system:node:m", "get", "pods", name="p")
    assert may("system:node:m", "get", "pods", name="gone")
    assert not may(node, "update", "pods", name="p")
    assert not may(node, "get", "nodes", "", "m")
    assert may(node, "create", "events")


def test_paths_that_are_no_resources(driver):
    path = driver.core.authorizer.authorize_path
    anyone = Caller("system:anonymous", ("system:unauthenticated",))
    known = Caller("jo", (AUTHENTICATED,))
    path(anyone, "get", "/healthz")
    path(anyone, "get", "/version")
    path(known, "get", "/openapi/v2")
    path(known, "get", "/api")
    path(Caller("root", ("system:masters",)), "get", "/metrics")
    for caller, where in ((anyone, "/api"), (known, "/metrics"), (known, "/apish")):
        with pytest.raises(ForbiddenError, match=f'^forbidden: User "{caller.user}" cannot get path "{where}"$'):
            path(caller, "get", where)


def test_those_who_monitor_read_figures_and_change_nothing(driver):
    path = driver.core.authorizer.authorize_path
    prometheus = Caller("system:prometheus", ("system:monitoring", AUTHENTICATED))
    path(prometheus, "get", "/metrics")
    for verb, where in (("post", "/metrics"), ("get", "/metricsx"), ("get", "/debug")):
        with pytest.raises(ForbiddenError):
            path(prometheus, verb, where)


@pytest.mark.parametrize(
    ("user", "groups", "node"),
    [
        ("system:node:a", ("system:nodes", AUTHENTICATED), "a"),
        ("orch:admin", ("system:masters", AUTHENTICATED), ""),
        ("system:apiserver", ("system:masters", AUTHENTICATED), ""),
        ("jo", (AUTHENTICATED,), ""),
    ],
)
def test_the_bus_s_users_are_kubernetes_users(user, groups, node):
    caller = caller_on_bus(user)
    assert (caller.groups, caller.node) == (groups, node)
