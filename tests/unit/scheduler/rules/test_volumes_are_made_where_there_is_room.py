"""Storage capacity tracking: a volume is made for a pod only where its driver has room, in kube-scheduler's words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.objects.cluster import Node
from orch.objects.pods import Pod
from orch.objects.storage import CSIDriver, CSIStorageCapacity, PersistentVolumeClaim, StorageClass
from orch_scheduler.columns import Columns
from orch_scheduler.demand import Demand, Demands
from orch_scheduler.engine import Engine

ZONE, DRIVER, CLASS = "topology.kubernetes.io/zone", "csi.example.com", "made"
NO_ROOM = "node(s) did not have enough free storage"


def fill(columns: Columns, nodes: int = 4) -> Columns:
    for number in range(nodes):
        labels = {"host": f"n{number}", ZONE: f"z{number % 2}"}
        document = {
            "metadata": {"name": f"n{number}", "labels": labels},
            "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"}},
        }
        columns.set_node(msgspec.convert(document, Node))
    made = {"metadata": {"name": CLASS}, "provisioner": DRIVER, "volumeBindingMode": "WaitForFirstConsumer"}
    columns.storage.set_class(CLASS, msgspec.convert(made, StorageClass))
    return columns


def claim(columns: Columns, size: str = "5Gi", name: str = "data") -> None:
    document = {
        "metadata": {"name": name, "namespace": "default", "uid": name},
        "spec": {"storageClassName": CLASS, "resources": {"requests": {"storage": size}}},
        "status": {"phase": "Pending"},
    }
    columns.storage.set_claim("default", name, msgspec.convert(document, PersistentVolumeClaim))


def driver(columns: Columns, *, tells: bool = True) -> bool:
    document = {"metadata": {"name": DRIVER}, "spec": {"storageCapacity": tells}}
    return columns.storage.set_driver(DRIVER, msgspec.convert(document, CSIDriver))


def room(columns: Columns, name: str, **content: Any) -> bool:
    document = {"metadata": {"name": name, "namespace": "d"}, "storageClassName": CLASS, **content}
    return columns.storage.set_capacity("d", name, msgspec.convert(document, CSIStorageCapacity))


def using(*claims: str) -> Demand:
    volumes = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in claims or ("data",)]
    spec = {"containers": [{"name": "c"}], "volumes": volumes}
    return Demands().of(msgspec.convert({"metadata": {"name": "p", "namespace": "default"}, "spec": spec}, Pod))


def places(columns: Columns, demand: Demand) -> set[str]:
    return {each.node for each in Engine().scored(columns.snapshot(), demand)}


def message(columns: Columns, demand: Demand) -> str:
    refusal = Engine().plan(columns.snapshot(), [demand])[0].refusal
    assert refusal is not None
    return refusal.message


@pytest.fixture
def cluster(columns: Columns) -> Columns:
    claim(fill(columns))
    return columns


def test_a_driver_that_does_not_tell_is_believed_to_have_room(cluster: Columns) -> None:
    room(cluster, "z0", capacity="1", nodeTopology={})
    assert places(cluster, using()) == {"n0", "n1", "n2", "n3"}
    driver(cluster, tells=False)
    assert places(cluster, using()) == {"n0", "n1", "n2", "n3"}


def test_there_is_room_where_a_driver_tells_of_it(cluster: Columns) -> None:
    driver(cluster)
    assert message(cluster, using()) == f"0/4 nodes are available: 4 {NO_ROOM}."
    room(cluster, "z0", capacity="5Gi", nodeTopology={"matchLabels": {ZONE: "z0"}})
    room(cluster, "z1", capacity="4Gi", nodeTopology={"matchLabels": {ZONE: "z1"}})
    assert places(cluster, using()) == {"n0", "n2"}
    room(cluster, "host", capacity="1Ti", nodeTopology={"matchExpressions": [{"key": "host", "operator": "Exists"}]})
    assert places(cluster, using()) == {"n0", "n1", "n2", "n3"}


@pytest.mark.parametrize(
    "told",
    [
        {"nodeTopology": {}},
        {"nodeTopology": {}, "capacity": "5Gi", "maximumVolumeSize": "4Gi"},
        {"nodeTopology": {}, "capacity": "5Gi", "storageClassName": "other"},
        {"capacity": "5Gi"},
    ],
)
def test_what_tells_of_no_room_for_the_volume(cluster: Columns, told: Mapping[str, Any]) -> None:
    driver(cluster)
    room(cluster, "k", **told)
    assert message(cluster, using()) == f"0/4 nodes are available: 4 {NO_ROOM}."


def test_the_largest_volume_counts_more_than_the_room(cluster: Columns) -> None:
    driver(cluster)
    room(cluster, "k", capacity="1Gi", maximumVolumeSize="5Gi", nodeTopology={})
    assert places(cluster, using()) == {"n0", "n1", "n2", "n3"}


def test_only_what_brings_room_wakes_pods(cluster: Columns) -> None:
    assert not driver(cluster)
    where = {"nodeTopology": {"matchLabels": {ZONE: "z0"}}}
    assert room(cluster, "k", capacity="2Gi", **where)
    assert not room(cluster, "k", capacity="2Gi", **where)
    assert not room(cluster, "k", capacity="1Gi", **where)
    assert room(cluster, "k", capacity="3Gi", **where)
    assert room(cluster, "k", capacity="1Gi", nodeTopology={})
    assert not cluster.storage.set_capacity("d", "k", None)
    assert driver(cluster, tells=False)


def test_an_amount_that_cannot_be_read_changes_nothing(cluster: Columns) -> None:
    driver(cluster)
    room(cluster, "k", capacity="5Gi", nodeTopology={})
    with pytest.raises(ValueError, match="quantities must match"):
        room(cluster, "k", capacity="much", nodeTopology={})
    assert places(cluster, using()) == {"n0", "n1", "n2", "n3"}


OPERATORS: Mapping[str, Callable[[str | None, list[str]], bool]] = {
    "In": lambda value, values: value in values,
    "NotIn": lambda value, values: value not in values,
    "Exists": lambda value, values: value is not None,
    "DoesNotExist": lambda value, values: value is None,
}
expressions = st.builds(
    lambda key, operator, values: {
        "key": key,
        "operator": operator,
        "values": values if operator in {"In", "NotIn"} else [],
    },
    st.sampled_from([ZONE, "host", "none"]),
    st.sampled_from(sorted(OPERATORS)),
    st.lists(st.sampled_from(["z0", "z1", "n0", "n3"]), min_size=1, max_size=2),
)
topologies = st.fixed_dictionaries(
    {},
    optional={
        "matchLabels": st.dictionaries(
            st.sampled_from([ZONE, "host"]), st.sampled_from(["z0", "z1", "n2"]), max_size=1
        ),
        "matchExpressions": st.lists(expressions, max_size=2),
    },
)
sizes = st.integers(1, 8)
rooms = st.lists(
    st.fixed_dictionaries({}, optional={"capacity": sizes, "maximumVolumeSize": sizes, "nodeTopology": topologies}),
    max_size=4,
)


def has_room(told: Mapping[str, Any], size: int, labels: Mapping[str, str]) -> bool:
    """Say it as Kubernetes' documentation of storage capacity does."""
    limit = told.get("maximumVolumeSize", told.get("capacity"))
    topology = told.get("nodeTopology")
    if limit is None or size > limit or topology is None:
        return False
    equal = all(labels.get(key) == value for key, value in topology.get("matchLabels", {}).items())
    return equal and all(
        OPERATORS[one["operator"]](labels.get(one["key"]), one["values"])
        for one in topology.get("matchExpressions", ())
    )


@given(rooms, sizes, sizes)
def test_it_agrees_with_the_documentation(told: list[dict[str, Any]], first: int, second: int) -> None:
    columns = fill(Columns())
    claim(columns, f"{first}Gi", "one")
    claim(columns, f"{second}Gi", "two")
    driver(columns)
    for number, one in enumerate(told):
        amounts = {key: f"{one[key]}Gi" for key in ("capacity", "maximumVolumeSize") if key in one}
        room(columns, f"k{number}", **{**one, **amounts})
    expected = set()
    for number in range(4):
        labels = {"host": f"n{number}", ZONE: f"z{number % 2}"}
        if all(any(has_room(one, size, labels) for one in told) for size in (first, second)):
            expected.add(f"n{number}")
    assert places(columns, using("one", "two")) == expected
