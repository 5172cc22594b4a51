"""Everything beside nodes and pods that columns are told of survives the journal."""

from __future__ import annotations

import asyncio
import zlib

import msgspec
import pytest

from orch.bus.memory import MemoryBroker
from orch.clock import ManualClock
from orch.objects.meta import LabelSelector
from orch.objects.storage import (
    CSIDriver,
    CSINode,
    CSIStorageCapacity,
    PersistentVolume,
    PersistentVolumeClaim,
    StorageClass,
)
from orch_pb.v1.journal_pb2 import JournalChunk, JournalEntries, Told
from orch_scheduler.columns import Columns
from orch_scheduler.replay.journal import Journal
from orch_scheduler.replay.recompute import JournalError, Replay
from orch_scheduler.replay.recorded import RecordedColumns, RecordedDemands
from orch_scheduler.replay.told import TellingError, retell


def made(view, **content):
    return msgspec.convert(content, view)


CLAIM = {
    "metadata": {"name": "c", "namespace": "d"},
    "spec": {"storageClassName": "fast", "accessModes": ["ReadWriteOnce"]},
}
VOLUME = {"metadata": {"name": "v"}, "spec": {"storageClassName": "fast", "capacity": {"storage": "1Gi"}}}


@pytest.fixture
def columns():
    journal = Journal(MemoryBroker().connect("system:kube-scheduler"), ManualClock())
    return RecordedColumns(journal, RecordedDemands(journal), ())


def tell(columns: Columns) -> None:
    columns.set_namespace("d", {"team": "a"})
    columns.set_namespace("gone", {})
    columns.set_namespace("gone", None)
    columns.workloads.set_service("d", "s", {"app": "a"})
    columns.workloads.set_service("d", "none", None)
    columns.workloads.set_owner("ReplicaSet", "d", "r", LabelSelector(match_labels={"app": "a"}))
    columns.workloads.set_owner("StatefulSet", "d", "gone", LabelSelector(match_labels={"app": "b"}))
    columns.workloads.set_owner("StatefulSet", "d", "gone", None)
    columns.storage.set_claim("d", "c", made(PersistentVolumeClaim, **CLAIM))
    columns.storage.set_volume("v", made(PersistentVolume, **VOLUME))
    columns.storage.set_class("fast", made(StorageClass, metadata={"name": "fast"}, provisioner="p"))
    columns.storage.set_node("n", made(CSINode, spec={"drivers": [{"name": "p", "allocatable": {"count": 3}}]}))
    columns.storage.set_driver("p", made(CSIDriver, metadata={"name": "p"}, spec={"storageCapacity": True}))
    room = {"storageClassName": "fast", "capacity": "5Gi", "nodeTopology": {"matchLabels": {"zone": "a"}}}
    columns.storage.set_capacity("d", "k", made(CSIStorageCapacity, metadata={"name": "k", "namespace": "d"}, **room))


def state(columns: Columns) -> object:
    snapshot = columns.snapshot()
    storage, workloads = snapshot.storage, snapshot.workloads
    return (
        dict(snapshot.namespaces),
        {space: dict(services) for space, services in workloads._services.items() if services},
        dict(workloads._owners),
        storage.claim("d", "c"),
        dict(storage.volumes),
        dict(storage.classes),
        {node: dict(limits) for node, limits in storage.limits.items()},
        storage.capacities.tells("p"),
        storage.capacities.room_for("fast", 1),
    )


def test_a_checkpoint_has_all_of_it(columns):
    tell(columns)
    again = Columns()
    for piece in columns._checkpoint():
        for entry in piece:
            if entry.HasField("told"):
                assert retell(again, entry.told)
    assert state(again) == state(columns)


def test_what_is_told_later_is_told_again_too(columns):
    """Each change is an entry; what is told twice alike is one."""
    again = Columns()
    columns._journal.begin()
    columns._journal._broken = False
    for _ in range(2):
        tell(columns)
    entries = columns._journal._take()
    for entry in entries:
        assert retell(again, entry.told)
    assert state(again) == state(columns)
    told = [entry.told.what for entry in entries]
    assert told.count("claim") == told.count("volume") == told.count("service") == 1


def test_what_is_not_known_is_refused():
    assert not retell(Columns(), Told(what="weather", name="x", json=b"{}"))
    with pytest.raises(TellingError, match="volume v cannot be read"):
        retell(Columns(), Told(what="volume", name="v", json=b"[]"))
    entries = JournalEntries()
    entries.entries.add().began.SetInParent()
    entries.entries.add().told.what = "weather"
    chunk = JournalChunk(term=1, number=1, checkpoint=True, entries=zlib.compress(entries.SerializeToString()))
    with pytest.raises(JournalError, match="'weather', which this version does not know"):
        Replay().run([chunk])


async def test_nothing_is_written_while_nobody_leads(columns):
    tell(columns)
    await asyncio.sleep(0)
    assert columns._journal._entries == []
