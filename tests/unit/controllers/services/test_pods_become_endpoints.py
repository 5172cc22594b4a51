"""Which pods are among a service's endpoints, with which ports, conditions, names and hints."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from orch.objects.discovery import EndpointPort
from orch.objects.networking import Service
from orch.objects.pods import Pod
from orch.runtime.reconcile import Key
from orch_controllers.endpoint_slices.backends import endpoints_of
from orch_controllers.endpoints.subsets import MOST, subsets_of, truncated
from orch_controllers.trigger_times import TriggerTimes

ZONES = {"node-1": "east", "node-2": "west", "node-3": ""}


def service(**spec: Any) -> Service:
    ports = [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]
    body = {
        "metadata": {"name": "web", "namespace": "default", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"selector": {"app": "web"}, "ports": ports, **spec},
    }
    return msgspec.convert(body, Service)


def pod(name: str = "a", ip: str = "10.0.0.1", *, ready: bool = True, **changes: Any) -> Pod:
    spec = {
        "nodeName": "node-1",
        "containers": [{"name": "main", "ports": [{"name": "web", "containerPort": 9000, "protocol": "TCP"}]}],
        **changes.pop("spec", {}),
    }
    condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": "2026-01-01T00:01:00Z"}
    status = {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": [condition]}
    status |= changes.pop("status", {})
    meta = {"name": name, "namespace": "default", "uid": name, **changes}
    return msgspec.convert({"metadata": meta, "spec": spec, "status": status}, Pod)


def only(service_: Service, pod_: Pod) -> Any:
    found = endpoints_of(service_, [pod_], "IPv4", ZONES.get)
    return next((endpoints[0] for endpoints in found.values()), None)


@pytest.mark.parametrize(
    ("changes", "conditions"),
    [
        ({}, (True, True, False)),
        ({"ready": False}, (False, False, False)),
        ({"deletionTimestamp": "2026-01-01T00:02:00Z"}, (False, True, True)),
        ({"deletionTimestamp": "2026-01-01T00:02:00Z", "ready": False}, (False, False, True)),
    ],
)
def test_conditions(changes: dict[str, Any], conditions: tuple[bool, bool, bool]) -> None:
    found = only(service(), pod(**changes)).conditions
    assert (found.ready, found.serving, found.terminating) == conditions


def test_addresses_of_pods_that_are_not_ready_can_be_asked_for() -> None:
    found = only(service(publishNotReadyAddresses=True), pod(ready=False)).conditions
    assert (found.ready, found.serving) == (True, False)


@pytest.mark.parametrize(
    "status", [{"phase": "Succeeded"}, {"phase": "Failed"}, {"podIP": "", "podIPs": []}], ids=["done", "failed", "bare"]
)
def test_pods_that_cannot_serve_are_left_out(status: dict[str, Any]) -> None:
    assert only(service(), pod(status=status)) is None
    assert subsets_of(service(), [pod(status=status)]) == ()


def test_a_pod_of_a_node_that_is_gone_is_left_out_unless_all_are_wanted() -> None:
    stranded = pod(spec={"nodeName": "gone"})
    assert only(service(), stranded) is None
    assert only(service(publishNotReadyAddresses=True), stranded) is not None


def test_named_ports_are_those_of_each_pod() -> None:
    named = service(ports=[{"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP"}])
    other = pod("b", "10.0.0.2", spec={"containers": [{"name": "m", "ports": [{"name": "web", "containerPort": 1}]}]})
    missing = pod("c", "10.0.0.3", spec={"containers": [{"name": "m"}]})
    sidecar = {"name": "s", "restartPolicy": "Always", "ports": [{"name": "web", "containerPort": 2}]}
    beside = pod("d", "10.0.0.4", spec={"containers": [{"name": "m"}], "initContainers": [sidecar]})
    found = endpoints_of(named, [pod(), other, missing, beside], "IPv4", ZONES.get)
    numbers = {
        tuple(port.port for port in ports): [each.addresses[0] for each in some] for ports, some in found.items()
    }
    assert numbers == {(9000,): ["10.0.0.1"], (1,): ["10.0.0.2"], (): ["10.0.0.3"], (2,): ["10.0.0.4"]}
    assert [[port.port for port in each.ports] for each in subsets_of(named, [pod(), other, missing, beside])] == [
        [1],
        [2],
        [9000],
    ]


def test_pods_with_a_name_below_the_services_show_it() -> None:
    named = pod("web-0", spec={"hostname": "web-0", "subdomain": "web"})
    headless = service(clusterIP="None")
    assert only(headless, named).hostname == "web-0"
    assert only(headless, pod(spec={"hostname": "web-0", "subdomain": "other"})).hostname is None
    assert subsets_of(headless, [named])[0].addresses[0].hostname == "web-0"


def test_headless_services_need_no_ports() -> None:
    headless = service(clusterIP="None", ports=[])
    (subset,) = subsets_of(headless, [pod(), pod("b", "10.0.0.2", ready=False)])
    assert ([each.ip for each in subset.addresses], [each.ip for each in subset.not_ready_addresses]) == (
        ["10.0.0.1"],
        ["10.0.0.2"],
    )
    assert list(endpoints_of(headless, [pod()], "IPv4", ZONES.get)) == [()]


@pytest.mark.parametrize(
    ("wanted", "node", "zones", "nodes"),
    [
        ("PreferSameZone", "node-1", ["east"], []),
        ("PreferClose", "node-2", ["west"], []),
        ("PreferSameNode", "node-1", ["east"], ["node-1"]),
        ("PreferSameNode", "node-3", [], ["node-3"]),
    ],
)
def test_hints(wanted: str, node: str, zones: list[str], nodes: list[str]) -> None:
    found = only(service(trafficDistribution=wanted), pod(spec={"nodeName": node}))
    assert found.hints is not None
    assert [each.name for each in found.hints.for_zones] == zones
    assert [each.name for each in found.hints.for_nodes] == nodes
    assert only(service(), pod(spec={"nodeName": node})).hints is None
    assert only(service(trafficDistribution=wanted), pod(ready=False, spec={"nodeName": node})).hints is None


def test_without_a_zone_nothing_is_hinted() -> None:
    assert only(service(trafficDistribution="PreferSameZone"), pod(spec={"nodeName": "node-3"})).hints is None


def test_addresses_are_of_the_services_families() -> None:
    both = pod(status={"podIPs": [{"ip": "10.0.0.1"}, {"ip": "2001:db8::1"}]})
    (six,) = endpoints_of(service(ipFamilies=["IPv6"]), [both], "IPv6", ZONES.get).values()
    assert six[0].addresses == ("2001:db8::1",)
    assert endpoints_of(service(), [pod()], "IPv6", ZONES.get) == {}


def test_a_thousand_addresses_are_kept_ready_ones_first() -> None:
    pods = [pod(f"p{n}", f"10.0.{n >> 8}.{n & 255}", ready=n >= 300) for n in range(1, 1300)]
    whole = subsets_of(service(), pods)
    cut, was = truncated(whole)
    assert was
    assert sum(len(subset.addresses) for subset in cut) == 1000
    assert sum(len(subset.not_ready_addresses) for subset in cut) == 0
    few, was = truncated(subsets_of(service(), pods[:MOST]))
    assert not was
    assert sum(len(each.addresses) + len(each.not_ready_addresses) for each in few) == MOST


def test_subsets_are_ordered_whatever_order_pods_come_in() -> None:
    pods = [pod("a", "10.0.0.10"), pod("b", "10.0.0.9"), pod("c", "10.0.0.100")]
    (subset,) = subsets_of(service(), pods)
    assert subset.ports == (EndpointPort(name="http", port=8080, protocol="TCP"),)
    assert [each.ip for each in subset.addresses] == ["10.0.0.9", "10.0.0.10", "10.0.0.100"]
    assert subsets_of(service(), pods[::-1]) == (subset,)


def test_the_earliest_new_change_counts() -> None:
    times, key = TriggerTimes(), Key("default", "web")
    assert times.changed(key, service(), [pod()]) == "2026-01-01T00:00:00Z"
    assert times.changed(key, service(), [pod()]) == ""
    later = {"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T00:05:00Z"}
    latest = {**later, "lastTransitionTime": "2026-01-01T00:06:00Z"}
    changed = [pod(status={"conditions": [later]}), pod("b", status={"conditions": [latest]})]
    assert times.changed(key, service(), changed) == "2026-01-01T00:05:00Z"
