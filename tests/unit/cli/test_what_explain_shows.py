"""The words of explanations, from what the bus and the API say."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from orch.bus.memory import MemoryBroker
from orch.bus.subjects import DECISIONS, decision_subject, scheduler_question
from orch.errors import BusError, NotFoundError, UnavailableError
from orch.objects.meta import ObjectMeta
from orch.objects.pods import Pod, PodSpec, PodStatus
from orch_cli.answers import duration, some, table
from orch_cli.explain import add_explain
from orch_cli.explain_pod import explain_pod
from orch_cli.session import Session
from orch_cli.why_not import add_why_not
from orch_pb.v1.decision_pb2 import Candidate, Preemption, Refusal, SchedulingDecision, Score, ScorePart, Victim
from orch_pb.v1.question_pb2 import ExplainReply, Remedy


class Api:
    """Has one pod, or none."""

    def __init__(self, pod: Pod | None) -> None:
        self.pod = pod

    async def get(self, path, view):
        if self.pod is None:
            raise NotFoundError.of("pods", "", "web")
        assert path == "/api/v1/namespaces/d/pods/web"
        return self.pod


def pod(node="", phase="Pending", uid="u"):
    return Pod(
        metadata=ObjectMeta(name="web", namespace="d", uid=uid),
        spec=PodSpec(node_name=node, scheduler_name="default-scheduler"),
        status=PodStatus(phase=phase),
    )


PLACED = SchedulingDecision(
    namespace="d",
    name="web",
    uid="u",
    node="n2",
    nodes=5,
    feasible=2,
    refusals=[Refusal(rule="NodeResourcesFit", reason="Insufficient cpu", nodes=3, names=["n1", "n3", "n4"])],
    best=[
        Score(node="n2", total=150.5, parts=[ScorePart(rule="Fit", share=100), ScorePart(rule="Balance", share=50.5)]),
        Score(node="n5", total=90, parts=[ScorePart(rule="Fit", share=40), ScorePart(rule="Balance", share=50)]),
    ],
    time=1_700_000_000_000_000,
    took=21_000,
    attempts=2,
    profile="default-scheduler",
    profile_hash="abc",
    batch=4,
    place=1,
    term=9,
    revision=77,
)
REFUSED = SchedulingDecision(
    namespace="d",
    name="web",
    uid="u",
    nodes=5,
    refusals=[Refusal(rule="NodeResourcesFit", reason="Insufficient cpu", nodes=5, names=["n1", "n2", "n3"])],
    message="0/5 nodes are available: 5 Insufficient cpu.",
)
LOW = Victim(namespace="d", name="low", uid="l", priority=-1)
WEB = Victim(namespace="d", name="web", uid="u", priority=3, budgets=["d/guard"], violates=True)


def candidate(node: str, *victims: int, started: int = 20_260_101_000_000, violations: int = 0) -> Candidate:
    """Return what a node costs whose victims have these priorities."""
    total = sum(priority + (1 << 31) for priority in victims)
    cost = {"highest": max(victims), "sum": total, "victims": len(victims), "latest": -started}
    return Candidate(node=node, violations=violations, **cost)


def made(preemptor: str, *victims: Victim, best: Sequence[Candidate], candidates: int = 3) -> SchedulingDecision:
    """Return the record of room for a pod on n2."""
    return SchedulingDecision(
        namespace="d",
        name=preemptor,
        uid="u" if preemptor == "web" else preemptor,
        time=1_700_000_000_000_000,
        message="0/3 nodes are available: 3 Insufficient cpu.",
        preemption=Preemption(
            priority=1000, node="n2", candidates=candidates, victims=victims, best=best, violations=len(victims)
        ),
    )


@pytest.fixture
async def bus():
    bus = MemoryBroker().connect("orch:admin")
    await bus.ensure_stream(DECISIONS)
    yield bus
    await bus.close()


async def told(bus, api, decision=None):
    if decision is not None:
        await bus.append(decision_subject("scheduler", "d", "web"), decision.SerializeToString())
    return await explain_pod(Session(bus, api, 1.0), "d", "web")


async def test_a_placed_pod_says_what_refused_and_what_scored(bus):
    text = (await told(bus, Api(pod("n2", "Running")), PLACED)).text()
    assert text.splitlines() == [
        "Pod       d/web",
        "State     on n2 (Running)",
        "Why       the best of 2 that would do, of 5 nodes",
        "Decided   2023-11-14T22:13:20Z in 21 µs, at attempt 2",
        "Recorded  place 1 of batch 4, term 9, revision 77; profile default-scheduler (abc), seed 0",
        "",
        "RULE              REFUSED  REASON            NODES",
        "NodeResourcesFit        3  Insufficient cpu  n1, n3, n4",
        "",
        "NODE   SCORE     Fit  Balance",
        "n2    150.50  100.00    50.50  chosen",
        "n5     90.00   40.00    50.00",
    ]


async def test_a_pod_that_is_gone_is_still_explained(bus):
    found = await told(bus, Api(None), PLACED)
    assert found.state == "gone"
    assert "gone; it was on n2" in found.text()


async def test_a_pod_of_which_nobody_knows_is_an_error(bus):
    with pytest.raises(NotFoundError, match='pods "web" not found'):
        await told(bus, Api(None))


async def test_the_decision_about_a_predecessor_is_not_shown(bus):
    found = await told(bus, Api(pod("n1", "Running", uid="another")), PLACED)
    assert found.decision is None
    assert "no decision is on record" in found.text()


async def test_a_pending_pod_says_what_would_help(bus):
    async def answer(_):
        return ExplainReply(
            place="unschedulable",
            attempts=3,
            waited=185,
            now=REFUSED,
            remedies=[
                Remedy(rule="NodeResourcesFit", text="2 more cpu on any of 5 nodes", nodes=5, names=["n1", "n2"])
            ],
            wakes=["a node is added", "a pod leaves a node"],
            retry=60,
        ).SerializeToString()

    await bus.serve(scheduler_question("default-scheduler", "explain"), answer)
    text = (await told(bus, Api(pod()), REFUSED)).text()
    assert "State     pending for 3m 5s, tried 3 times; unschedulable" in text
    assert "Why       0/5 nodes are available: 5 Insufficient cpu." in text
    assert "  2 more cpu on any of 5 nodes (n1, n2 and 3 more)" in text
    assert "It is tried again when a node is added or a pod leaves a node, at the latest in 1m 0s." in text


async def tell(bus, role, name, record):
    await bus.append(decision_subject(role, "d", name), record.SerializeToString())


async def test_a_pod_for_which_room_was_made_says_at_whose_cost_and_what_others_would_have_cost(bus):
    best = [candidate("n2", -1), candidate("n5", 4), candidate("n1", -1, -7, started=20_250_101_000_000)]
    await tell(bus, "preemptor", "web", made("web", LOW, best=best, candidates=9))
    text = (await told(bus, Api(pod("n2", "Running")), PLACED)).text()
    assert (
        "Room      made on n2 at 2023-11-14T22:13:20Z, of 9 nodes that could make some: "
        "1 pod had to go for its priority 1000\n"
        "          without that: 0/3 nodes are available: 3 Insufficient cpu.\n"
    ) in text
    assert "VICTIM  PRIORITY  DISRUPTION BUDGETS\nd/low         -1  none\n" in text
    assert text.split("\n\n")[2].splitlines() == [
        "NODE  VICTIMS  VIOLATING  HIGHEST PRIORITY  SUM  RUNNING SINCE",
        "n2          1          0  -1                -1   2026-01-01T00:00:00Z  chosen",
        "n5          1          0  4                 4    2026-01-01T00:00:00Z  a more important pod would have to go",
        "n1          2          0  -1                -8   2025-01-01T00:00:00Z  the victims are worth more together",
        "and 6 more that could make room",
    ]


async def test_where_room_was_made_no_other_node_was_looked_at(bus):
    alone = SchedulingDecision(namespace="d", name="web", uid="u", node="n2", nodes=3, feasible=1)
    await tell(bus, "preemptor", "web", made("web", LOW, best=[candidate("n2", -1)], candidates=1))
    text = (await told(bus, Api(pod("n2", "Running")), alone)).text()
    assert "Why       room was made for it there" in text
    assert ", the only node that could: 1 pod had to go for its priority 1000" in text


async def test_a_victim_that_is_gone_says_for_whom_it_went(bus):
    best = [candidate("n2", 3, violations=1), candidate("n5", 3, violations=2)]
    await tell(bus, "victim", "web", made("high", WEB, LOW, best=best))
    found = await told(bus, Api(None))
    assert found.state == "gone"
    text = found.text()
    assert "State      gone; it was on n2" in text
    assert "Sent away  for d/high of priority 1000; its own is 3, at 2023-11-14T22:13:20Z" in text
    assert "           without that: 0/3 nodes are available: 3 Insufficient cpu." in text
    assert "d/web          3  d/guard (violated)  this pod" in text
    assert "more disruption budgets are violated" in text


async def test_a_victim_that_is_still_there_and_the_successor_of_one_are_told_apart(bus):
    await tell(bus, "victim", "web", made("high", WEB, best=[candidate("n2", 3)]))
    assert "it was to go for d/high" in (await told(bus, Api(pod("n2", "Running")))).text()
    later = (await told(bus, Api(pod("n1", "Running", uid="another")))).text()
    assert "a pod of this name before it went for d/high of priority 1000" in later
    leaving = pod("n2", "Running")
    leaving = replace(leaving, metadata=replace(leaving.metadata, deletion_timestamp="2026-01-01T00:00:00Z"))
    text = (await told(bus, Api(leaving))).text()
    assert "State      on n2 (Running, leaving)" in text
    assert "Sent away  for d/high of priority 1000; its own is 3" in text


async def test_a_record_that_cannot_be_read_is_an_error(bus):
    await bus.append(decision_subject("victim", "d", "web"), b"\xff\xff")
    with pytest.raises(BusError, match=r"the decision on orch\.decisions\.victim\.d\.web cannot be read"):
        await told(bus, Api(None))


async def test_without_a_scheduler_the_error_says_so(bus):
    with pytest.raises(UnavailableError, match='no scheduler named "default-scheduler" answers'):
        await told(bus, Api(pod()))


@pytest.mark.parametrize("add", [add_explain, add_why_not])
def test_without_a_name_nothing_is_asked(add, capsys):
    parser = argparse.ArgumentParser()
    add(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(["pod", "", "node"][: 2 + (add is add_why_not)])
    assert "argument NAME: a name is needed" in capsys.readouterr().err


def test_tables_align():
    assert table(("NAME", "N"), [("a", 1), ("long", 20)]) == ["NAME   N", "a      1", "long  20"]
    assert table(("NAME",), []) == ["NAME"]


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.0000213, "21 µs"), (0.25, "250 ms"), (4.2, "4.2 s"), (61, "1m 1s"), (7260, "2h 1m")]
)
def test_times_are_readable(seconds, words):
    assert duration(seconds) == words


def test_some_names_of_many():
    assert some(("a", "b"), 2) == "a, b"
    assert some(("a", "b"), 5) == "a, b and 3 more"
