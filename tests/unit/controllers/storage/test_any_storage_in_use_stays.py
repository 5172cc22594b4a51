"""Claims, volumes and classes that are deleted while they are used, against late events, crashes and lost answers."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from lagging_world import Document
from registry_world import RegistryMachine, is_leaving, topic

from orch.objects.scheme import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, VOLUME_ATTRIBUTES_CLASSES, Kind

CLAIMS = st.sampled_from(["data", "logs"])
FINALIZERS = {
    PERSISTENT_VOLUME_CLAIMS.qualified: "kubernetes.io/pvc-protection",
    PERSISTENT_VOLUMES.qualified: "kubernetes.io/pv-protection",
    VOLUME_ATTRIBUTES_CLASSES.qualified: "kubernetes.io/vac-protection",
}


class StorageMachine(RegistryMachine):
    """Two claims, a volume and a class, with pods that come and go."""

    kinds = [PODS, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, VOLUME_ATTRIBUTES_CLASSES]
    topics = (topic("storage_protection"),)

    def prepare(self) -> None:
        self.made = 0
        self.make_claim("data", fast=True)
        self.make_volume()
        self.make_class()

    # -- what can happen -----------------------------------------------------------------------------------------

    @rule(name=CLAIMS, fast=st.booleans())
    def make_claim(self, name: str, *, fast: bool) -> None:
        if self.world.find(PERSISTENT_VOLUME_CLAIMS, name) is None:
            spec = {"volumeAttributesClassName": "fast"} if fast else {}
            self.world.create(PERSISTENT_VOLUME_CLAIMS, "default", {"metadata": {"name": name}, "spec": spec})

    @rule()
    def make_volume(self) -> None:
        if self.world.find(PERSISTENT_VOLUMES, "disk", "") is None:
            body = {"metadata": {"name": "disk"}, "spec": {}, "status": {"phase": "Available"}}
            self.world.create(PERSISTENT_VOLUMES, "", body)

    @rule()
    def make_class(self) -> None:
        if self.world.find(VOLUME_ATTRIBUTES_CLASSES, "fast", "") is None:
            self.world.create(VOLUME_ATTRIBUTES_CLASSES, "", {"metadata": {"name": "fast"}, "driverName": "x"})

    @rule(phase=st.sampled_from(["Available", "Bound", "Released"]))
    def bind_volume(self, phase: str) -> None:
        found = self.world.find(PERSISTENT_VOLUMES, "disk", "")
        if found is not None and not (is_leaving(found) and phase == "Bound"):
            self.world.change(
                PERSISTENT_VOLUMES, "disk", lambda document: document.update(status={"phase": phase}), namespace=""
            )

    @rule(name=CLAIMS)
    def use_claim(self, name: str) -> None:
        claim = self.world.find(PERSISTENT_VOLUME_CLAIMS, name)
        if claim is None or is_leaving(claim) or len(self.world.pods()) > 3:
            return
        self.made += 1
        volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": name}}]
        body = {"metadata": {"name": f"pod-{self.made}"}, "spec": {"containers": [], "volumes": volumes}}
        self.world.bind(self.world.create(PODS, "default", body), "node-1")

    @precondition(lambda self: self.world.pods())
    @rule(which=st.integers(0, 3), happens=st.sampled_from(["lives", "ends", "leaves", "is gone"]))
    def change_pod(self, which: int, happens: str) -> None:
        pods = self.world.pods()
        pod = pods[which % len(pods)]
        if happens == "lives":
            self.world.live(pod, "node-1")
        elif happens == "ends":
            self.world.report(pod, "Succeeded", ready=False)
        else:
            self.world.delete(PODS, pod["metadata"]["name"], grace=0 if happens == "is gone" else 30)

    @rule(kind=st.sampled_from([PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, VOLUME_ATTRIBUTES_CLASSES]))
    def delete(self, kind: Kind[Any]) -> None:
        for each in self.world.all(kind):
            self.world.delete(kind, each["metadata"]["name"], namespace=each["metadata"]["namespace"])

    # -- what must hold ------------------------------------------------------------------------------------------

    def check(self, kind: Kind[Any], old: Document | None, new: Document | None) -> None:
        finalizer = FINALIZERS.get(kind.qualified, "")
        if old is None or not is_leaving(old) or finalizer not in old["metadata"].get("finalizers", ()):
            return
        if new is None or finalizer not in new["metadata"].get("finalizers", ()):
            assert not self.is_used(kind, old), "it goes while it is used"

    def has_converged(self) -> bool:
        return all(
            self.is_used(kind, each) if is_leaving(each) else FINALIZERS[kind.qualified] in finalizers_of(each)
            for kind in self.kinds[1:]
            for each in self.world.all(kind)
        )

    def is_used(self, kind: Kind[Any], found: Document) -> bool:
        name = found["metadata"]["name"]
        if kind.qualified == PERSISTENT_VOLUMES.qualified:
            return found["status"]["phase"] == "Bound"
        if kind.qualified == VOLUME_ATTRIBUTES_CLASSES.qualified:
            claims = self.world.all(PERSISTENT_VOLUME_CLAIMS)
            return any(each["spec"].get("volumeAttributesClassName") == name for each in claims)
        return any(
            each["spec"].get("nodeName") and each["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] == name
            for each in self.world.pods()
        )


def finalizers_of(document: Document) -> list[str]:
    return document["metadata"].get("finalizers") or []


TestStorage = StorageMachine.TestCase
TestStorage.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
