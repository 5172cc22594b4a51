"""The ranking of many nodes at once against the toll of each, computed pod by pod."""

from __future__ import annotations

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from orch.objects.cluster import Node
from orch.objects.pods import Pod
from orch_scheduler.columns import Columns
from orch_scheduler.demand import Demands
from orch_scheduler.preemption.census import Census
from orch_scheduler.preemption.nominations import guest_uid
from orch_scheduler.preemption.victims import Occupant, toll_by_room

STARTS = ("", "2026-01-01T00:00:00Z", "2026-01-01T00:00:05Z", "2026-01-02T00:00:00Z")

tenants = st.tuples(
    st.integers(0, 4),  # priority
    st.integers(0, 3),  # cpu
    st.sampled_from(STARTS),
    st.sampled_from(("pod", "pod", "pod", "leaving", "guest")),
    st.sampled_from(("", "", "x", "y")),  # whose budget it has
)
clusters = st.lists(st.tuples(st.integers(1, 8), st.lists(tenants, max_size=6)), min_size=1, max_size=5)


class Budgets:
    """Two budgets, by a label of the pods."""

    generation = 0

    def __init__(self, allowed):
        self._allowed = allowed

    def of(self, demand):
        owner = demand.labels.get("budget", "")
        return ("xy".index(owner),) if owner else ()

    def allowed(self, number):
        return self._allowed[number]


def pod(demands, priority, cpu, owner):
    document = {
        "metadata": {"name": "p", "namespace": "d", "labels": {"budget": owner} if owner else {}},
        "spec": {
            "priority": priority,
            "containers": [{"name": "c", "resources": {"requests": {"cpu": str(cpu)} if cpu else {}}}],
        },
    }
    return demands.of(msgspec.convert(document, Pod))


@given(clusters, st.integers(0, 6), st.integers(0, 5), st.tuples(st.integers(0, 2), st.integers(0, 2)))
def test_the_ranking_is_that_of_the_exact_tolls(cluster, cpu, priority, allowed):
    columns, demands, budgets, going = Columns(), Demands(), Budgets(allowed), dict[str, float]()
    for number, (capacity, tenants) in enumerate(cluster):
        amounts = {"cpu": str(capacity), "memory": "8Gi", "pods": "6"}
        name = f"n{number}"
        columns.set_node(msgspec.convert({"metadata": {"name": name}, "status": {"allocatable": amounts}}, Node))
        for place, (rank, taken, started, kind, owner) in enumerate(tenants):
            uid = f"{number}-{place}"
            if kind == "leaving":
                going[uid] = 1.0
            columns.place(guest_uid(uid) if kind == "guest" else uid, name, pod(demands, rank, taken, owner), started)
    needed = columns.needed(pod(demands, priority, cpu, ""))
    rows = np.arange(len(cluster))
    ranked = Census(columns, budgets, going).rank(rows, needed, priority)
    expected = []
    for row in rows.tolist():
        occupants = [
            Occupant(
                one.uid,
                one.priority,
                one.started,
                columns.amounts(one.demand),
                one.priority < priority if one.uid.startswith("nominated/") else one.uid in going,
                budgets.of(one.demand),
            )
            for one in columns.pods_on(row)
        ]
        toll = toll_by_room(row, columns.free(row), needed, priority, occupants, budgets.allowed)
        if toll is not None:
            expected.append(toll.cost)
    assert ranked == sorted(expected)


def test_a_row_is_taken_anew_when_its_pods_change():
    columns, demands, going = Columns(), Demands(), dict[str, float]()
    amounts = {"cpu": "2", "memory": "8Gi", "pods": "60"}
    columns.set_node(msgspec.convert({"metadata": {"name": "n"}, "status": {"allocatable": amounts}}, Node))
    census = Census(columns, Budgets((0, 0)), going)
    needed = columns.needed(pod(demands, 10, 2, ""))
    rows = np.asarray([0])
    for number in range(40):  # more than there was room for at first
        columns.place(f"p{number}", "n", pod(demands, 1, 0, ""), STARTS[1])
    columns.place("large", "n", pod(demands, 1, 2, ""), STARTS[1])
    ((*_, count, _, _),) = census.rank(rows, needed, 10)
    assert count == 1
    going["large"] = 1.0
    census.touch("n")
    ((*_, count, _, _),) = census.rank(rows, needed, 10)
    assert count == 0
    columns.remove("large")
    columns.place("important", "n", pod(demands, 20, 2, ""), STARTS[1])
    assert census.rank(rows, needed, 10) == []
