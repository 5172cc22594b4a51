"""The checker that whole clusters are run under: what it finds, and what it does not hold against the scheduler."""

from __future__ import annotations

from typing import Any

import pytest
from commitment_ledger import CommitmentLedger
from rest import Answer


class Nodes:
    """An api that has nodes of two cpus, or of what `cpu` says."""

    def __init__(self) -> None:
        self.cpu = "2"
        self.asked = 0

    def __call__(self, method: str, path: str, **_: Any) -> Answer:
        self.asked += 1
        name = path.rpartition("/")[2]
        status = {"allocatable": {"cpu": self.cpu, "pods": "10"}}
        return Answer(404 if name == "gone" else 200, {}, {"metadata": {"name": name}, "status": status})


@pytest.fixture
def nodes() -> Nodes:
    return Nodes()


@pytest.fixture
def ledger(nodes: Nodes) -> CommitmentLedger:
    made = CommitmentLedger(lambda: nodes)  # type: ignore[arg-type]
    made.take([])
    return made


def pod(name: str, node: str = "", cpu: str = "1", phase: str = "Pending") -> dict[str, Any]:
    container = {"name": "c", "resources": {"requests": {"cpu": cpu}}}
    spec = {"containers": [container], **({"nodeName": node} if node else {})}
    return {"metadata": {"name": name, "namespace": "d", "uid": name}, "spec": spec, "status": {"phase": phase}}


def bind(ledger: CommitmentLedger, name: str, node: str = "n", cpu: str = "1") -> None:
    ledger.see({"type": "ADDED", "object": pod(name, cpu=cpu)})
    ledger.see({"type": "MODIFIED", "object": pod(name, node, cpu)})


def test_a_node_that_was_promised_too_much_is_found(ledger: CommitmentLedger) -> None:
    for name in ("a", "b"):
        bind(ledger, name)
    assert ledger.problems == []
    bind(ledger, "c")
    assert ledger.problems == ["n: 3000 thousandths of cpu are requested of 2000"]
    assert ledger.looked == 3


def test_what_has_ended_or_gone_gives_its_room_back(ledger: CommitmentLedger) -> None:
    bind(ledger, "a")
    bind(ledger, "b")
    ledger.see({"type": "MODIFIED", "object": pod("a", "n", phase="Succeeded")})
    ledger.see({"type": "DELETED", "object": pod("b", "n")})
    bind(ledger, "c", cpu="2")
    assert ledger.problems == []


def test_a_pod_that_is_bound_twice_is_found(ledger: CommitmentLedger) -> None:
    bind(ledger, "a")
    ledger.see({"type": "MODIFIED", "object": pod("a", "m")})
    assert ledger.problems == ["d/a was bound to n, then to m"]


def test_a_pod_that_came_with_its_node_is_nobodys_fault(ledger: CommitmentLedger) -> None:
    for name in ("a", "b", "c"):
        ledger.see({"type": "ADDED", "object": pod(name, "n")})
    assert (ledger.problems, ledger.looked) == ([], 0)
    bind(ledger, "d")
    assert ledger.problems == ["n: 4000 thousandths of cpu are requested of 2000"]


def test_what_was_bound_while_nobody_looked_is_judged(ledger: CommitmentLedger) -> None:
    ledger.take([pod("a", "n"), pod("b", "n"), pod("c", "n")])
    assert ledger.problems == ["n: 3000 thousandths of cpu are requested of 2000"]


def test_what_was_there_before_is_not_judged(nodes: Nodes) -> None:
    ledger = CommitmentLedger(lambda: nodes)  # type: ignore[arg-type]
    ledger.take([pod("a", "n", cpu="9")])
    assert ledger.problems == []


def test_a_node_is_asked_for_only_when_it_seems_to_be_full(ledger: CommitmentLedger, nodes: Nodes) -> None:
    for name in ("a", "b"):
        bind(ledger, name)
    assert nodes.asked == 1
    nodes.cpu = "4"
    bind(ledger, "c")
    assert (ledger.problems, nodes.asked) == ([], 2)


def test_a_node_that_has_gone_promised_nothing(ledger: CommitmentLedger) -> None:
    bind(ledger, "a", "gone", cpu="9")
    assert ledger.problems == []
