"""Services, their pods and the addresses before them, against late and lost events, crashes and lost answers."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from lagging_world import Document
from registry_world import RegistryMachine, is_leaving, topic
from workload_world import ENDED, is_ready

from orch.objects.scheme import (
    ENDPOINT_SLICES,
    ENDPOINTS,
    IP_ADDRESSES,
    NODES,
    PODS,
    SERVICE_CIDRS,
    SERVICES,
    Kind,
)
from orch_controllers.config import ControllersConfig

NAMES = st.sampled_from(["web", "db"])
APPS = st.sampled_from(["web", "db", "other"])
_MANAGED = "endpointslice.kubernetes.io/managed-by"
_OURS = "endpointslice-controller.k8s.io"


class ServiceMachine(RegistryMachine):
    """Two services and a few pods in a world in which everything that may happen does."""

    kinds = [SERVICES, PODS, NODES, ENDPOINTS, ENDPOINT_SLICES, SERVICE_CIDRS, IP_ADDRESSES]
    topics = (topic("endpoints"), topic("service_addresses"), topic("garbage"))
    settings = ControllersConfig(load_balancer_ranges=("127.64.0.0/30",))

    def prepare(self) -> None:
        self.world.create(NODES, "", {"metadata": {"name": "node-1"}, "spec": {}, "status": {}})
        self.pods_made = 0
        self.serve("web", "web", balanced=True)
        for _ in range(2):
            self.start_pod("web")

    # -- what can happen -----------------------------------------------------------------------------------------

    @rule(name=NAMES, app=APPS, balanced=st.booleans())
    def serve(self, name: str, app: str, *, balanced: bool) -> None:
        spec: Document = {
            "type": "LoadBalancer" if balanced else "ClusterIP",
            "clusterIP": "10.96.0.10",
            "ipFamilies": ["IPv4"],
            "selector": {"app": app},
            "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080}],
        }
        if (found := self.world.find(SERVICES, name)) is None:
            self.world.create(SERVICES, "default", {"metadata": {"name": name}, "spec": spec, "status": {}})
        elif not is_leaving(found):
            self.world.change(SERVICES, name, lambda document: document.update(spec=spec))

    @rule(name=NAMES)
    def stop_serving(self, name: str) -> None:
        if self.world.find(SERVICES, name) is not None:
            self.world.delete(SERVICES, name)

    @rule(app=APPS)
    def start_pod(self, app: str) -> None:
        if len(self.world.pods()) < 5:
            self.pods_made += 1
            body = {"metadata": {"name": f"pod-{self.pods_made}", "labels": {"app": app}}, "spec": {"containers": []}}
            self.world.live(self.world.create(PODS, "default", body), "node-1")

    @precondition(lambda self: self.world.pods())
    @rule(which=st.integers(0, 4), happens=st.sampled_from(["lives", "lives", "stumbles", "fails", "leaves", "moves"]))
    def change_pod(self, which: int, happens: str) -> None:
        pods = self.world.pods()
        pod = pods[which % len(pods)]
        name = pod["metadata"]["name"]
        if happens == "leaves":
            self.world.delete(PODS, name)
        elif happens == "moves":
            self.world.change(PODS, name, lambda found: found["metadata"]["labels"].update(app="other"))
        elif happens == "lives":
            self.world.live(pod, "node-1")
        elif pod["spec"].get("nodeName") and pod["status"]["phase"] not in ENDED and not is_leaving(pod):
            self.world.report(pod, "Failed" if happens == "fails" else "Running", ready=False)

    @precondition(lambda self: self.world.all(ENDPOINT_SLICES))
    @rule(which=st.integers(0, 3), gone=st.booleans())
    def meddle(self, which: int, *, gone: bool) -> None:
        """Change or delete a slice, as somebody may: it is put right."""
        slices = self.world.all(ENDPOINT_SLICES)
        name = slices[which % len(slices)]["metadata"]["name"]
        if gone:
            self.world.delete(ENDPOINT_SLICES, name)
        else:
            self.world.change(ENDPOINT_SLICES, name, lambda found: found.update(endpoints=[]))

    # -- what must hold ------------------------------------------------------------------------------------------

    def check(self, kind: Kind[Any], old: Document | None, new: Document | None) -> None:
        if kind.qualified == SERVICES.qualified and new is not None:
            others = [each for each in self.world.all(SERVICES) if each["metadata"]["uid"] != new["metadata"]["uid"]]
            taken = {address for each in others for address in balanced(each)}
            assert not taken & set(balanced(new)), "one address for two services"

    def live(self) -> None:
        for pod in self.world.pods():
            self.world.live(pod, "node-1")

    def has_converged(self) -> bool:
        return all(map(self.is_told, self.world.all(SERVICES))) and self.nothing_is_left()

    def is_told(self, service: Document) -> bool:
        name, app = service["metadata"]["name"], service["spec"]["selector"]["app"]
        pods = [pod for pod in self.world.pods() if pod["metadata"]["labels"]["app"] == app]
        serving = [pod for pod in pods if pod["status"].get("podIP") and pod["status"]["phase"] not in ENDED]
        told = [
            (endpoint["addresses"][0], endpoint["conditions"]["ready"])
            for each in self.slices_of(name)
            for endpoint in each.get("endpoints") or ()
        ]
        expected = [(pod["status"]["podIP"], is_ready(pod) and not is_leaving(pod)) for pod in serving]
        found = self.world.find(ENDPOINTS, name) or {}
        older = [each["ip"] for subset in found.get("subsets") or () for each in subset.get("addresses") or ()]
        wanted = 1 if service["spec"]["type"] == "LoadBalancer" else 0
        return (
            sorted(told) == sorted(expected)
            and sorted(older) == sorted(address for address, ready in expected if ready)
            and len(balanced(service)) == wanted
        )

    def slices_of(self, name: str) -> list[Document]:
        found = [each for each in self.world.all(ENDPOINT_SLICES) if each["metadata"]["labels"][_MANAGED] == _OURS]
        return [each for each in found if each["metadata"]["labels"]["kubernetes.io/service-name"] == name]

    def nothing_is_left(self) -> bool:
        names = {each["metadata"]["name"] for each in self.world.all(SERVICES)}
        told = {each["metadata"]["labels"]["kubernetes.io/service-name"] for each in self.world.all(ENDPOINT_SLICES)}
        return told <= names and {each["metadata"]["name"] for each in self.world.all(ENDPOINTS)} <= names


def balanced(service: Document) -> list[str]:
    return [each["ip"] for each in service.get("status", {}).get("loadBalancer", {}).get("ingress") or ()]


TestServices = ServiceMachine.TestCase
TestServices.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
