import re

import pytest

from orch.errors import ForbiddenError
from orch_api.auth.identity import Caller, caller_on_bus

AUTHENTICATED = "system:authenticated"


@pytest.fixture
def may(driver):
    async def decide(user, verb, plural, namespace="default", name="", subresource="", group="", *, caller=None):
        resource = driver.resource(plural, group)
        try:
            await driver.core.authorizer.permit(
                caller or caller_on_bus(user), verb, resource, namespace, name, subresource
            )
        except ForbiddenError:
            return False
        return True

    return decide


async def test_masters_may_everything(may):
    assert await may("", "delete", "nodes", "", "n", caller=Caller("anyone", ("system:masters",)))


async def test_the_services_have_their_rights(may):
    scheduler = "system:kube-scheduler"
    assert await may(scheduler, "create", "pods", name="p", subresource="binding")
    assert await may(scheduler, "list", "nodes", "")
    assert await may(scheduler, "create", "events")
    assert not await may(scheduler, "create", "pods")
    assert not await may(scheduler, "get", "secrets", name="s")
    assert await may("system:kube-controller-manager", "create", "replicasets", group="apps")


async def test_a_user_without_rules_may_nothing(driver):
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
            await driver.core.authorizer.permit(
                Caller("jo", (AUTHENTICATED,)), verb, driver.resource(plural), namespace, name
            )
    deployments = driver.resource("deployments", "apps")
    message = (
        'deployments.apps "d" is forbidden: User "jo" cannot update resource "deployments/scale" '
        'in API group "apps" in the namespace "x"'
    )
    with pytest.raises(ForbiddenError, match=re.escape(message)):
        await driver.core.authorizer.permit(Caller("jo", ()), "update", deployments, "x", "d", "scale")


async def test_the_name_of_a_node_counts_with_its_group_only(may):
    pretender = Caller("system:node:n", (AUTHENTICATED,))
    assert await may("system:node:n", "get", "nodes", "", "n")
    assert not await may("", "get", "nodes", "", "n", caller=pretender)


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
        assert await may(node, "get", "secrets", name=name)
        assert not await may(node, "get", "secrets", "other", name)
        assert not await may("system:node:m", "get", "secrets", name=name)
    for name in ("by-env", "all-of-it", "projected"):
        assert await may(node, "get", "configmaps", name=name)
    assert not await may(node, "get", "secrets", name="by-env")
    assert not await may(node, "get", "configmaps", name="elsewhere")
    assert not await may(node, "list", "secrets")
    assert await may(node, "get", "pods", name="p")
    assert not await may("system:node:m", "get", "pods", name="p")
    assert await may("system:node:m", "get", "pods", name="gone")
    assert not await may(node, "update", "pods", name="p")
    assert not await may(node, "get", "nodes", "", "m")
    assert await may(node, "create", "events")


async def test_paths_that_are_no_resources(driver):
    path = driver.core.authorizer.permit_path
    anyone = Caller("system:anonymous", ("system:unauthenticated",))
    known = Caller("jo", (AUTHENTICATED,))
    await path(anyone, "get", "/healthz")
    await path(anyone, "get", "/version")
    await path(known, "get", "/openapi/v2")
    await path(known, "get", "/api")
    await path(Caller("root", ("system:masters",)), "get", "/metrics")
    for caller, where in ((anyone, "/api"), (known, "/metrics"), (known, "/apish")):
        with pytest.raises(ForbiddenError, match=f'^forbidden: User "{caller.user}" cannot get path "{where}"$'):
            await path(caller, "get", where)


async def test_those_who_monitor_read_figures_and_change_nothing(driver):
    path = driver.core.authorizer.permit_path
    prometheus = Caller("system:prometheus", ("system:monitoring", AUTHENTICATED))
    await path(prometheus, "get", "/metrics")
    for verb, where in (("post", "/metrics"), ("get", "/metricsx"), ("get", "/debug")):
        with pytest.raises(ForbiddenError):
            await path(prometheus, verb, where)


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
