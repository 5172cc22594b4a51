"""Priority and fairness: seats by level, turns within a level, refusals when there is no room."""

import asyncio

import pytest

from orch_api.auth.identity import Caller
from orch_api.config import ApiConfig
from orch_api.http.fairness import Fairness, RejectedError, schema_of
from orch_api.http.request import Call, Target
from orch_api.registry import REGISTRY
from orch_api.site import application

from .conftest import Connection

NS = "/api/v1/namespaces/default"
AUTHENTICATED = "system:authenticated"


def user(name="ann", *groups):
    return Caller(name, (*groups, AUTHENTICATED))


def account(namespace="default", name="robot"):
    return user(f"system:serviceaccount:{namespace}:{name}", "system:serviceaccounts")


CONTROLLERS = user("system:kube-controller-manager")
NODE = user("system:node:n", "system:nodes")
ANYONE = Caller("system:anonymous", ("system:unauthenticated",))


def call(caller, verb="get", plural="configmaps", *, group="", namespace="default", name="x", **query):
    resource = REGISTRY.stored(group, plural)
    if verb in {"list", "watch", "create"}:
        name = ""
    target = Target(group, "v1", plural, namespace, name)
    return Call(caller, verb, resource, target, {key: [value] for key, value in query.items()})


@pytest.fixture
def make(api):
    return lambda seats: Fairness(api.core.cache, seats)


@pytest.mark.parametrize(
    ("caller", "asked", "schema"),
    [
        (user("root", "system:masters"), ("list", "", "pods"), "exempt"),
        (CONTROLLERS, ("update", "coordination.k8s.io", "leases"), "system-leader-election"),
        (CONTROLLERS, ("list", "coordination.k8s.io", "leases"), "kube-controller-manager"),
        (user("system:kube-scheduler"), ("create", "", "pods", "binding"), "kube-scheduler"),
        (account("kube-system"), ("get", "coordination.k8s.io", "leases"), "system-leader-election"),
        (account("kube-system"), ("get", "", "pods"), "kube-system-service-accounts"),
        (account(), ("get", "coordination.k8s.io", "leases"), "service-accounts"),
        (NODE, ("update", "", "nodes", "status"), "system-node-high"),
        (NODE, ("update", "coordination.k8s.io", "leases"), "system-node-high"),
        (NODE, ("get", "", "secrets"), "system-nodes"),
        (user(), ("get", "", "pods"), "global-default"),
        (user(), ("get",), "global-default"),
        (ANYONE, ("get", "", "pods"), "catch-all"),
    ],
)
def test_schemas_are_those_of_kubernetes(caller, asked, schema):
    assert schema_of(caller, *asked) == schema


def fill(fairness, caller, most=1000):
    """Take seats until none is granted; return them."""
    taken = []
    while len(taken) < most:
        ticket = fairness.ticket(call(caller))
        if not ticket.granted:
            return taken
        taken.append(ticket)
    raise AssertionError


async def test_users_cannot_take_the_seats_of_nodes_and_leaders(make):
    fairness = make(49)  # of 245 shares: each seat is five shares
    taken = fill(fairness, user())
    assert len(taken) > 4  # more than their own, as the others lend
    lease = call(CONTROLLERS, "update", "leases", group="coordination.k8s.io")
    assert [fairness.ticket(lease).granted for _ in range(3)] == [True, True, False]
    node = [fairness.ticket(call(NODE, "get", "nodes", namespace="", name="n")).granted for _ in range(8)]
    assert all(node)
    assert fairness.ticket(call(user("root", "system:masters"))).granted
    assert fairness.path_ticket(ANYONE, "get", "/readyz").granted


async def test_flows_take_turns(make):
    fairness = make(5)
    taken = fill(fairness, user())
    order = []

    async def ask(name):
        ticket = fairness.ticket(call(user(name)))
        assert not ticket.granted
        await fairness.wait(ticket, 60)
        order.append(name)
        return ticket

    asked = [asyncio.ensure_future(ask(name)) for name in ("busy", "busy", "busy", "quiet", "rare")]
    await asyncio.sleep(0)
    for ticket in taken:
        ticket.release()
    for waiting in asyncio.as_completed(asked):
        (await waiting).release()
    assert order == ["busy", "quiet", "rare", "busy", "busy"]
    assert fairness.ticket(call(user())).granted


async def test_namespaces_of_controllers_take_turns(make):
    fairness = make(49)
    taken = fill(fairness, CONTROLLERS)
    waiting = [fairness.ticket(call(CONTROLLERS, namespace=space)) for space in ("a", "a", "b")]
    turns = [asyncio.ensure_future(fairness.wait(ticket, 60)) for ticket in waiting]
    await asyncio.sleep(0)
    while not waiting[2].granted:
        taken.pop().release()
    assert [ticket.granted for ticket in waiting] == [True, False, True]
    turns[1].cancel()
    await asyncio.gather(*turns, return_exceptions=True)
    for ticket in (*taken, waiting[0], waiting[2]):
        ticket.release()
    assert [ticket.granted for ticket in waiting] == [False, False, False]  # who has left is not called up


async def test_a_wait_ends_after_a_quarter_of_the_time(make):
    fairness = make(5)
    taken = fill(fairness, user())
    with pytest.raises(RejectedError) as refused:
        await fairness.wait(fairness.ticket(call(user())), 0.04)
    assert refused.value.details.retry_after_seconds == 1
    for ticket in taken:
        ticket.release()
    assert fairness.ticket(call(user())).granted  # nobody waits any more


async def test_one_flow_does_not_fill_the_queue(make):
    fairness = make(5)
    fill(fairness, user("greedy"))
    waiting = [asyncio.ensure_future(fairness.wait(fairness.ticket(call(user("greedy"))), 60)) for _ in range(300)]
    await asyncio.sleep(0)
    with pytest.raises(RejectedError):
        await fairness.wait(fairness.ticket(call(user("greedy"))), 60)
    other = asyncio.ensure_future(fairness.wait(fairness.ticket(call(user("other"))), 60))
    await asyncio.sleep(0)
    assert not other.done()
    for each in (*waiting, other):
        each.cancel()
    await asyncio.gather(*waiting, other, return_exceptions=True)


async def test_the_anonymous_do_not_wait(make):
    fairness = make(5)
    fill(fairness, ANYONE)
    with pytest.raises(RejectedError):
        await fairness.wait(fairness.ticket(call(ANYONE)), 60)


async def test_long_lists_are_wide(make, http):
    for number in range(250):
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"c{number}"}}
        await http("POST", f"{NS}/configmaps", body)
    fairness = make(600)

    def width(verb, **query):
        return fairness.ticket(call(user(), verb, **query)).width

    assert width("list") == 3
    assert width("list", limit="100") == 1
    assert width("list", limit="many") == 3
    assert width("list", fieldSelector="metadata.name=c1") == 1
    assert width("list", namespace="empty") == 1
    assert width("watch", resourceVersion="5") == 1
    assert width("watch") == 3
    assert width("watch", resourceVersion="5", sendInitialEvents="true") == 3
    assert width("get") == 1
    assert make(5).ticket(call(user(), "list")).width == 1  # as many seats as there are


async def test_objects_share_the_seats_anew(make, api, monkeypatch):
    level = {"limited": {"nominalConcurrencyShares": 225, "limitResponse": {"type": "Reject"}}}
    fairness = make(450)
    before = len(fill(fairness, account()))

    def found(plural):
        documents = {"prioritylevelconfigurations": {"global-default": level}, "flowschemas": {"global-default": {}}}
        return {name: (f"{plural[:5]}-uid", {"spec": spec}) for name, spec in documents[plural].items()}

    changed = Fairness(api.core.cache, 450)
    monkeypatch.setattr(changed, "_objects", found)
    ticket = changed.ticket(call(user()))
    assert dict(ticket.headers) == {
        b"x-kubernetes-pf-flowschema-uid": b"flows-uid",
        b"x-kubernetes-pf-prioritylevel-uid": b"prior-uid",
    }
    assert len(fill(changed, user())) > 225  # half of all, and what is lent
    assert len(fill(changed, account())) < before
    with pytest.raises(RejectedError):
        await changed.wait(changed.ticket(call(user())), 60)


async def test_what_the_client_is_told(api, figures):
    app = application(api.core, ApiConfig(requests_in_flight=5))
    ann = {"subject": ((("commonName", "ann"),),)}
    level = {"priority_level": "catch-all", "flow_schema": "catch-all"}
    of_level = frozenset(level.items())
    refused_so_far = frozenset({**level, "reason": "concurrency-limit"}.items())
    before = (await figures("apiserver_flowcontrol_rejected_requests_total")).get(refused_so_far, 0)
    running = (await figures("apiserver_flowcontrol_current_executing_requests"))[of_level]
    taken = fill(app._objects._care._fairness, ANYONE)
    assert (await figures("apiserver_flowcontrol_current_executing_requests"))[of_level] == running + len(taken)
    refused = await Connection(app, None)("GET", f"{NS}/configmaps")
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    assert refused.json == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "the server has received too many requests and has asked us to try again later",
        "reason": "TooManyRequests",
        "details": {"retryAfterSeconds": 1},
        "code": 429,
    }
    assert (await Connection(app, ann)("GET", f"{NS}/configmaps")).status == 403  # seated, and then not allowed
    assert (await figures("apiserver_flowcontrol_rejected_requests_total"))[refused_so_far] == before + 1
    ended = await figures("apiserver_request_terminations_total")
    assert any({("code", "429"), ("resource", "configmaps"), ("verb", "LIST")} <= labels for labels in ended)
    for ticket in taken:
        ticket.release()
    assert (await figures("apiserver_flowcontrol_current_executing_seats"))[of_level] == running


async def test_a_watch_keeps_its_seat_only_until_it_has_caught_up(http, app, eventually):
    fairness = app._objects._care._fairness
    exempt = fairness._levels["exempt"]
    answer, task, leave = http.begin("GET", f"{NS}/configmaps?watch=1")
    await eventually(lambda: answer.status == 200 and exempt.used == 0)
    assert not answer.ended
    leave.set()
    await task
    assert exempt.used == 0
