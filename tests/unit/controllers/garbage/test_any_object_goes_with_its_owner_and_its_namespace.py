"""Owners, their dependents, namespaces and quotas, against late and lost events, crashes and lost answers."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from lagging_world import Document
from registry_world import RegistryMachine, is_leaving, topic

from orch.objects.scheme import (
    CONFIG_MAPS,
    NAMESPACES,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    RESOURCE_QUOTAS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    Kind,
)

PLACES = ["default", "other"]
OWNED: list[Kind[Any]] = [CONFIG_MAPS, SECRETS]


class OwnershipMachine(RegistryMachine):
    """ConfigMaps and Secrets that own one another in two namespaces, in a world in which all that may happen does."""

    kinds = [
        NAMESPACES,
        CONFIG_MAPS,
        SECRETS,
        SERVICE_ACCOUNTS,
        RESOURCE_QUOTAS,
        PODS,
        SERVICES,
        PERSISTENT_VOLUME_CLAIMS,
    ]
    topics = (topic("garbage"), topic("namespace"), topic("service_account"), topic("resource_quota"))

    def prepare(self) -> None:
        self.made = 0
        self.orphaning: set[str] = set()
        for name in PLACES:
            self.found_namespace(name)

    def found_namespace(self, name: str) -> None:
        self.world.create(NAMESPACES, "", {"metadata": {"name": name}})
        hard = {"count/configmaps": "10", "count/secrets": "10"}
        quota = {"metadata": {"name": "quota"}, "spec": {"hard": hard}, "status": {}}
        self.world.create(RESOURCE_QUOTAS, name, quota)

    # -- what can happen -----------------------------------------------------------------------------------------

    @rule(kind=st.sampled_from(OWNED), owners=st.lists(st.integers(0, 9), max_size=2), blocks=st.booleans())
    def create_owned(self, kind: Kind[Any], owners: list[int], *, blocks: bool) -> None:
        """Make something that belongs to what is there already, in the namespace of the first owner."""
        there = self.everything()
        chosen = [there[number % len(there)] for number in owners] if there else []
        place = chosen[0][1]["metadata"]["namespace"] if chosen else PLACES[self.made % 2]
        namespace = self.world.find(NAMESPACES, place, "")
        if namespace is None or is_leaving(namespace):
            return
        self.made += 1
        references = {
            each["metadata"]["uid"]: self.reference(of, each, blocks=blocks)
            for of, each in chosen
            if each["metadata"]["namespace"] == place
        }
        meta = {"name": f"thing-{self.made}", "ownerReferences": list(references.values())}
        self.world.create(kind, place, {"metadata": meta})

    @precondition(lambda self: self.everything())
    @rule(which=st.integers(0, 9), how=st.sampled_from(["Background", "Foreground", "Orphan"]))
    def delete(self, which: int, how: str) -> None:
        there = self.everything()
        kind, found = there[which % len(there)]
        meta = found["metadata"]
        if how == "Orphan" and not is_leaving(found):
            self.orphaning.add(meta["uid"])
        self.world.delete(kind, meta["name"], namespace=meta["namespace"], propagation=how)

    @rule(place=st.sampled_from(PLACES))
    def delete_namespace(self, place: str) -> None:
        if self.world.find(NAMESPACES, place, "") is None:
            self.found_namespace(place)
        else:
            self.world.delete(NAMESPACES, place, namespace="")

    @rule(place=st.sampled_from(PLACES))
    def delete_account(self, place: str) -> None:
        if self.world.find(SERVICE_ACCOUNTS, "default", place) is not None:
            self.world.delete(SERVICE_ACCOUNTS, "default", namespace=place)

    # -- what must hold ------------------------------------------------------------------------------------------

    def check(self, kind: Kind[Any], old: Document | None, new: Document | None) -> None:
        if old is None or (new is not None and is_leaving(new) == is_leaving(old)):
            return
        meta = old["metadata"]
        if kind.qualified == NAMESPACES.qualified:
            assert new is not None or not self.world.within(meta["name"]), "its contents would stay behind"
            return
        if new is None:
            blocked = [each for each in self.dependents(meta["uid"]) if self.blocks(each, meta["uid"])]
            waits = "foregroundDeletion" in meta.get("finalizers", ())
            assert not (waits and blocked), "it goes before what it waits for"
        namespace = self.world.find(NAMESPACES, meta["namespace"], "")
        if self.driver.acting and not is_leaving(old) and namespace is not None and not is_leaving(namespace):
            assert meta.get("ownerReferences"), "nobody owned it"
            assert not any(map(self.stands, meta["ownerReferences"])), "an owner stands"
            orphaned = self.orphaning & {each["uid"] for each in meta["ownerReferences"]}
            assert not orphaned, "it was to be left behind"

    def has_converged(self) -> bool:
        for place in PLACES:
            namespace = self.world.find(NAMESPACES, place, "")
            if namespace is None:
                assert not self.world.within(place)
            elif (
                is_leaving(namespace)
                or self.world.find(SERVICE_ACCOUNTS, "default", place) is None
                or not self.is_counted(place)
            ):
                return False
        there = [each for _, each in self.everything()]
        fallen = [each for each in there for owner in owners_of(each) if not self.exists(owner)]
        return not fallen and not any(map(is_leaving, there))

    def is_counted(self, place: str) -> bool:
        quota = self.world.find(RESOURCE_QUOTAS, "quota", place)
        if quota is None:
            return True
        counts = {
            f"count/{kind.resource}": str(sum(each["metadata"]["namespace"] == place for each in self.world.all(kind)))
            for kind in OWNED
        }
        return quota["status"].get("used") == counts

    # -- how it is done ------------------------------------------------------------------------------------------

    def everything(self) -> list[tuple[Kind[Any], Document]]:
        return [(kind, each) for kind in OWNED for each in self.world.all(kind)]

    def dependents(self, uid: str) -> list[Document]:
        return [each for _, each in self.everything() if any(owner["uid"] == uid for owner in owners_of(each))]

    def blocks(self, dependent: Document, uid: str) -> bool:
        return any(owner["uid"] == uid and owner.get("blockOwnerDeletion") for owner in owners_of(dependent))

    def exists(self, owner: Document) -> bool:
        return any(each["metadata"]["uid"] == owner["uid"] for _, each in self.everything())

    def stands(self, owner: Document) -> bool:
        found = [each for _, each in self.everything() if each["metadata"]["uid"] == owner["uid"]]
        return any("foregroundDeletion" not in each["metadata"].get("finalizers", ()) for each in found)

    def reference(self, kind: Kind[Any], owner: Document, *, blocks: bool) -> Document:
        meta = owner["metadata"]
        return {
            "apiVersion": kind.api_version,
            "kind": kind.name,
            "name": meta["name"],
            "uid": meta["uid"],
            "blockOwnerDeletion": blocks,
        }


def owners_of(document: Document) -> list[Document]:
    return document["metadata"].get("ownerReferences") or []


TestOwnership = OwnershipMachine.TestCase
TestOwnership.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
