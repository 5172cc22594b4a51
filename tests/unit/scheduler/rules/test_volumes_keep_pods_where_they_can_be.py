"""Claims, volumes, classes and drivers: which nodes a pod with claims may run on, in kube-scheduler's words."""

from __future__ import annotations

import msgspec
import pytest

from orch.objects.pods import Pod
from orch.objects.storage import CSINode, PersistentVolume, PersistentVolumeClaim, StorageClass
from orch_scheduler.engine import Engine
from orch_scheduler.filters.volume_binding import bindings

ZONE = "topology.kubernetes.io/zone"
LOCAL, WAITING, MADE = "local", "waiting", "made"


@pytest.fixture
def cluster(columns, make_node):
    for number in range(4):
        columns.set_node(make_node(f"n{number}", labels={"host": f"n{number}", ZONE: f"z{number % 2}"}))
    classes = {LOCAL: "kubernetes.io/no-provisioner", MADE: "csi.example.com"}
    for name, provisioner in classes.items():
        found = {"metadata": {"name": name}, "provisioner": provisioner, "volumeBindingMode": "WaitForFirstConsumer"}
        columns.storage.set_class(name, msgspec.convert(found, StorageClass))
    return columns


@pytest.fixture
def claim(columns):
    def add(name, volume="", *, cls="", size="1Gi", phase=None, modes=("ReadWriteOnce",), **metadata):
        document = {
            "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}", **metadata},
            "spec": {
                "volumeName": volume,
                "storageClassName": cls,
                "accessModes": list(modes),
                "resources": {"requests": {"storage": size}},
            },
            "status": {"phase": phase or ("Bound" if volume else "Pending")},
        }
        columns.storage.set_claim("default", name, msgspec.convert(document, PersistentVolumeClaim))

    return add


@pytest.fixture
def volume(columns):
    def add(name, *, host="", cls="", size="1Gi", claim="", handle="", labels=None, modes=("ReadWriteOnce",)):
        spec = {"capacity": {"storage": size}, "storageClassName": cls, "accessModes": list(modes)}
        if host:
            expression = {"key": "host", "operator": "In", "values": host.split(",")}
            spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}
        if claim:
            spec["claimRef"] = {"namespace": "default", "name": claim}
        if handle:
            spec["csi"] = {"driver": "csi.example.com", "volumeHandle": handle}
        document = {"metadata": {"name": name, "labels": labels or {}}, "spec": spec, "status": {"phase": "Available"}}
        columns.storage.set_volume(name, msgspec.convert(document, PersistentVolume))

    return add


@pytest.fixture
def using(demands):
    def make(*claims, ephemeral=(), name="p"):
        volumes = [{"name": f"v{place}", "persistentVolumeClaim": {"claimName": c}} for place, c in enumerate(claims)]
        volumes += [{"name": volume, "ephemeral": {"volumeClaimTemplate": {}}} for volume in ephemeral]
        document = {
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"containers": [{"name": "c"}], "volumes": volumes},
        }
        return demands.of(msgspec.convert(document, Pod))

    return make


def places(columns, demand):
    return {each.node for each in Engine().scored(columns.snapshot(), demand)}


def message(columns, demand):
    return Engine().plan(columns.snapshot(), [demand])[0].refusal.message


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda claim: None, 'persistentvolumeclaim "data" not found'),
        (lambda claim: claim("data"), "pod has unbound immediate PersistentVolumeClaims"),
        (lambda claim: claim("data", cls="unknown"), "pod has unbound immediate PersistentVolumeClaims"),
        (
            lambda claim: claim("data", "pv", phase="Lost"),
            'persistentvolumeclaim "data" bound to non-existent persistentvolume "pv"',
        ),
        (
            lambda claim: claim("data", "pv", deletionTimestamp="2026-01-01T00:00:00Z"),
            'persistentvolumeclaim "data" is being deleted',
        ),
    ],
)
def test_claims_that_keep_a_pod_from_everywhere(cluster, claim, using, make, words):
    make(claim)
    assert message(cluster, using("data")) == f"0/4 nodes are available: {words}."


def test_an_ephemeral_claim_is_waited_for(cluster, claim, using):
    words = 'waiting for ephemeral volume controller to create the persistentvolumeclaim "p-scratch"'
    assert message(cluster, using(ephemeral=["scratch"])) == f"0/4 nodes are available: {words}."
    claim("p-scratch", cls=MADE)
    assert places(cluster, using(ephemeral=["scratch"])) == {"n0", "n1", "n2", "n3"}


def test_a_bound_volume_says_where(cluster, claim, volume, using):
    volume("pv", host="n1,n2")
    claim("data", "pv")
    assert places(cluster, using("data")) == {"n1", "n2"}
    for name in ("n1", "n2"):
        cluster.remove_node(name)
    words = "0/2 nodes are available: 2 node(s) didn't match PersistentVolume's node affinity."
    assert message(cluster, using("data")) == words


def test_a_claim_whose_volume_is_gone(cluster, claim, using):
    claim("data", "pv")
    words = "4 node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
    assert message(cluster, using("data")) == f"0/4 nodes are available: {words}."


def test_a_claim_that_waits_takes_the_smallest_volume_there_is_on_the_node(cluster, claim, volume, using):
    claim("data", cls=LOCAL, size="5Gi")
    words = "0/4 nodes are available: 4 node(s) didn't find available persistent volumes to bind."
    assert message(cluster, using("data")) == words
    volume("small", host="n0", cls=LOCAL, size="1Gi")
    volume("other", host="n1", cls="other", size="10Gi")
    volume("taken", host="n1", cls=LOCAL, size="10Gi", claim="somebody")
    volume("shared", host="n1", cls=LOCAL, size="10Gi", modes=("ReadOnlyMany",))
    assert message(cluster, using("data")) == words
    volume("big", host="n2", cls=LOCAL, size="10Gi")
    volume("enough", host="n2,n3", cls=LOCAL, size="6Gi")
    assert places(cluster, using("data")) == {"n2", "n3"}
    snapshot = cluster.snapshot()
    assert bindings(snapshot, using("data"), snapshot.rows["n2"]) == (("data", "enough"),)
    volume("promised", host="n3", cls=LOCAL, size="100Gi", claim="data")
    assert bindings(cluster.snapshot(), using("data"), snapshot.rows["n3"]) == (("data", "promised"),)


def test_two_claims_need_two_volumes(cluster, claim, volume, using):
    claim("one", cls=LOCAL)
    claim("two", cls=LOCAL)
    volume("a", host="n0,n1", cls=LOCAL)
    volume("b", host="n1", cls=LOCAL)
    assert places(cluster, using("one", "two")) == {"n1"}
    snapshot = cluster.snapshot()
    assert sorted(name for _, name in bindings(snapshot, using("one", "two"), snapshot.rows["n1"])) == ["a", "b"]


def test_a_volume_is_made_where_its_class_allows(cluster, claim, using):
    claim("data", cls=MADE)
    assert places(cluster, using("data")) == {"n0", "n1", "n2", "n3"}
    terms = [{"matchLabelExpressions": [{"key": ZONE, "values": ["z1"]}]}]
    found = {
        "metadata": {"name": MADE},
        "provisioner": "csi.example.com",
        "volumeBindingMode": "WaitForFirstConsumer",
        "allowedTopologies": terms,
    }
    cluster.storage.set_class(MADE, msgspec.convert(found, StorageClass))
    assert places(cluster, using("data")) == {"n1", "n3"}
    snapshot = cluster.snapshot()
    assert bindings(snapshot, using("data"), snapshot.rows["n1"]) == (("data", ""),)


def test_pods_with_the_same_waiting_claim_go_where_the_first_went(cluster, claim, using):
    claim("data", cls=MADE)
    placements = Engine().plan(cluster.snapshot(), [using("data")] * 3)
    assert len({placement.node for placement in placements}) == 1
    claim("chosen", cls=MADE, annotations={"volume.kubernetes.io/selected-node": "n3"})
    assert places(cluster, using("chosen")) == {"n3"}


def test_a_volume_in_a_zone_is_reached_from_there(cluster, claim, volume, make_node, using):
    volume("pv", labels={ZONE: "z0__z7"})
    claim("data", "pv")
    assert places(cluster, using("data")) == {"n0", "n2"}
    cluster.set_node(make_node("bare"))
    assert places(cluster, using("data")) == {"n0", "n2", "bare"}
    volume("pv", labels={ZONE: "z9"})
    cluster.remove_node("bare")
    assert message(cluster, using("data")) == "0/4 nodes are available: 4 node(s) had no available volume zone."


def test_a_claim_for_a_single_pod(cluster, claim, volume, using):
    volume("pv")
    claim("data", "pv", modes=["ReadWriteOncePod"])
    first, second = Engine().plan(cluster.snapshot(), [using("data")] * 2)
    assert first.node
    words = "4 node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
    assert second.refusal.message == f"0/4 nodes are available: {words}."
    cluster.place("user", "n0", using("data"))
    snapshot = cluster.snapshot()
    assert message(cluster, using("data")) == f"0/4 nodes are available: {words}."
    row = snapshot.rows["n0"]
    assert Engine().candidates(snapshot, using("data"))[row]
    assert Engine().without(snapshot, using("data"), row, {"user"})


def test_a_node_attaches_no_more_volumes_than_its_driver_can(cluster, claim, volume, using):
    driver = {"name": "csi.example.com", "allocatable": {"count": 2}}
    for number in range(4):
        name = f"n{number}"
        node = {"metadata": {"name": name}, "spec": {"drivers": [driver]}}
        cluster.storage.set_node(name, msgspec.convert(node, CSINode))
    for number in range(10):
        volume(f"pv{number}", handle=f"h{number}")
        claim(f"c{number}", f"pv{number}")
    asked = [using(f"c{number}", name=f"p{number}") for number in range(9)]
    placements = Engine().plan(cluster.snapshot(), asked)
    assert all(placement.node for placement in placements[:8])
    assert placements[8].refusal.message == "0/4 nodes are available: 4 node(s) exceed max volume count."
    for number in range(8):
        cluster.place(f"u{number}", placements[number].node, asked[number])
    assert message(cluster, asked[8]) == placements[8].refusal.message
    assert places(cluster, asked[0]) == {placements[0].node}
    snapshot = cluster.snapshot()
    row = snapshot.rows[placements[3].node]
    assert Engine().without(snapshot, asked[8], row, {"u3"})
    cluster.remove("u3")
    assert places(cluster, asked[8]) == {placements[3].node}
    claim("c3", "")
    claim("c4", "")
    cluster.storage.set_node("n0", None)
    assert "n0" in places(cluster, asked[8])
