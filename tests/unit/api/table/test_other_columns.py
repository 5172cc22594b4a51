import pytest


def test_nodes(row):
    node = {
        "metadata": {"labels": {"node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/edge": ""}},
        "spec": {"unschedulable": True},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
            "nodeInfo": {"kubeletVersion": "orch-0.1", "osImage": "Debian", "containerRuntimeVersion": "podman://4"},
        },
    }
    assert row("nodes", node) == {
        "NAME": "a",
        "STATUS": "Ready,SchedulingDisabled",
        "ROLES": "edge,worker",
        "AGE": "60m",
        "VERSION": "orch-0.1",
        "INTERNAL-IP": "10.0.0.1",
        "EXTERNAL-IP": "<none>",
        "OS-IMAGE": "Debian",
        "KERNEL-VERSION": "<unknown>",
        "CONTAINER-RUNTIME": "podman://4",
    }


@pytest.mark.parametrize(("status", "word"), [("True", "Ready"), ("False", "NotReady"), ("Unknown", "NotReady")])
def test_a_nodes_state(row, status, word):
    assert row("nodes", {"status": {"conditions": [{"type": "Ready", "status": status}]}})["STATUS"] == word
    assert row("nodes", {})["STATUS"] == "Unknown"


def test_workloads(row):
    spec = {
        "replicas": 3,
        "selector": {
            "matchLabels": {"app": "web"},
            "matchExpressions": [{"key": "tier", "operator": "In", "values": ["b", "a"]}],
        },
        "template": {"spec": {"containers": [{"name": "x", "image": "i:1"}, {"name": "y", "image": "j:2"}]}},
    }
    status = {"replicas": 4, "readyReplicas": 2, "updatedReplicas": 1, "availableReplicas": 2}
    wide = {"CONTAINERS": "x,y", "IMAGES": "i:1,j:2", "SELECTOR": "app=web,tier in (a,b)"}
    assert row("deployments", {"spec": spec, "status": status}) == {
        "NAME": "a",
        "READY": "2/3",
        "UP-TO-DATE": 1,
        "AVAILABLE": 2,
        "AGE": "60m",
        **wide,
    }
    assert row("replicasets", {"spec": spec, "status": status}) == {
        "NAME": "a",
        "DESIRED": 3,
        "CURRENT": 4,
        "READY": 2,
        "AGE": "60m",
        **wide,
    }


@pytest.mark.parametrize(
    ("spec", "status", "external"),
    [
        ({"type": "ClusterIP"}, {}, "<none>"),
        ({"type": "NodePort", "externalIPs": ["1.2.3.4"]}, {}, "1.2.3.4"),
        ({"type": "LoadBalancer"}, {}, "<pending>"),
        (
            {"type": "LoadBalancer"},
            {"loadBalancer": {"ingress": [{"ip": "1.1.1.1"}, {"hostname": "lb"}]}},
            "1.1.1.1,lb",
        ),
        ({"type": "ExternalName", "externalName": "example.com"}, {}, "example.com"),
    ],
)
def test_services(row, spec, status, external):
    ports = [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]
    cells = row("services", {"spec": {**spec, "ports": ports, "selector": {"b": "2", "a": "1"}}, "status": status})
    assert list(cells) == ["NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE", "SELECTOR"]
    assert cells["EXTERNAL-IP"] == external
    assert cells["CLUSTER-IP"] == "<none>"
    assert cells["PORT(S)"] == "80:30080/TCP,53/UDP"
    assert cells["SELECTOR"] == "a=1,b=2"


def test_endpoints(row):
    addresses = [{"ip": f"10.0.0.{number}"} for number in range(1, 5)]
    assert row("endpoints", {"subsets": [{"addresses": addresses, "ports": [{"port": 80}]}]})["ENDPOINTS"] == (
        "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 1 more..."
    )
    assert row("endpoints", {"subsets": [{"addresses": addresses[:1]}]})["ENDPOINTS"] == "10.0.0.1"
    assert row("endpoints", {})["ENDPOINTS"] == "<none>"


def test_events(row):
    event = {
        "type": "Warning",
        "reason": "BackOff",
        "message": " Back-off restarting \n",
        "count": 4,
        "firstTimestamp": "2026-01-01T11:50:00Z",
        "lastTimestamp": "2026-01-01T11:59:00Z",
        "involvedObject": {"kind": "Pod", "name": "web", "fieldPath": "spec.containers{web}"},
        "source": {"component": "agent", "host": "n1"},
    }
    assert row("events", event) == {
        "LAST SEEN": "60s",
        "TYPE": "Warning",
        "REASON": "BackOff",
        "OBJECT": "pod/web",
        "SUBOBJECT": "spec.containers{web}",
        "SOURCE": "agent, n1",
        "MESSAGE": "Back-off restarting",
        "FIRST SEEN": "10m",
        "COUNT": 4,
        "NAME": "a",
    }


def test_events_of_the_new_form(row):
    event = {"eventTime": "2026-01-01T11:50:00.000000Z", "reportingComponent": "x", "reportingInstance": "x-1"}
    cells = row("events", event)
    assert (cells["LAST SEEN"], cells["FIRST SEEN"], cells["COUNT"], cells["SOURCE"]) == ("10m", "10m", 1, "x, x-1")
    cells = row("events", {**event, "series": {"count": 7, "lastObservedTime": "2026-01-01T11:59:00.5Z"}})
    assert (cells["LAST SEEN"], cells["COUNT"]) == ("59s", 7)


@pytest.mark.parametrize(
    ("plural", "document", "expected"),
    [
        ("namespaces", {"status": {"phase": "Active"}}, {"NAME": "a", "STATUS": "Active", "AGE": "60m"}),
        ("configmaps", {"data": {"x": ""}, "binaryData": {"y": ""}}, {"NAME": "a", "DATA": 2, "AGE": "60m"}),
        ("secrets", {"type": "Opaque", "data": {"x": ""}}, {"NAME": "a", "TYPE": "Opaque", "DATA": 1, "AGE": "60m"}),
        ("serviceaccounts", {}, {"NAME": "a", "SECRETS": 0, "AGE": "60m"}),
        ("leases", {"spec": {"holderIdentity": "me"}}, {"NAME": "a", "HOLDER": "me", "AGE": "60m"}),
    ],
)
def test_small_kinds(row, plural, document, expected):
    assert row(plural, document) == expected


def test_an_unreadable_time_is_unknown(row):
    assert row("leases", {"metadata": {"creationTimestamp": "yesterday"}})["AGE"] == "<unknown>"
