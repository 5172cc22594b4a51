"""Every generator of `kubectl create`, and `run`, `expose` and `autoscale`, which make objects from flags, too."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from local_cluster import LocalCluster
from space import Space


@pytest.fixture(scope="module")
def space(simulated: LocalCluster) -> Iterator[Space]:
    simulated.kubectl("create", "namespace", "creates")
    yield Space(simulated, "creates")
    simulated.kubectl("delete", "namespace", "creates", "--wait=false")


WORKLOADS = {
    "deployment d1 --image=web:1 --image=side --replicas=2 --port=80": (
        "deployment/d1 {.spec.replicas} {.spec.template.spec.containers[*].name}",
        "2 web side",
    ),
    "job j1 --image=a -- sleep 1": ("job/j1 {.spec.template.spec.containers[0].command}", '["sleep","1"]'),
    "cronjob c1 --image=a --schedule=*/5+*+*+*+* -- date": ("cronjob/c1 {.spec.schedule}", "*/5 * * * *"),
    "job j2 --from=cronjob/c1": (
        "job/j2 {.metadata.ownerReferences[0].kind} {.metadata.annotations}",
        'CronJob {"cronjob.kubernetes.io/instantiate":"manual"}',
    ),
}
SERVICES = {
    "service clusterip s1 --tcp=80:8080": (
        "service/s1 {.spec.type} {.spec.ports[0].port} {.spec.ports[0].targetPort} {.spec.ports[0].name}",
        "ClusterIP 80 8080 80-8080",
    ),
    "service clusterip s2 --clusterip=None --tcp=80": ("service/s2 {.spec.clusterIP}", "None"),
    "service nodeport s3 --tcp=80": ("service/s3 {.spec.type}", "NodePort"),
    "service loadbalancer s4 --tcp=80": ("service/s4 {.spec.allocateLoadBalancerNodePorts}", "true"),
    "service externalname s5 --external-name=example.org": ("service/s5 {.spec.externalName}", "example.org"),
    "ingress i1 --rule=a.example.org/p*=s1:80,tls=t --default-backend=s1:80 --class=x": (
        "ingress/i1 {.spec.rules[0].http.paths[0].pathType} {.spec.tls[0].hosts} {.spec.ingressClassName}",
        'Prefix ["a.example.org"] x',
    ),
}
SETTINGS = {
    "configmap m1 --from-literal=a=1": ("configmap/m1 {.data}", '{"a":"1"}'),
    "secret generic g1 --from-literal=a=1 --type=example.org/t": ("secret/g1 {.data.a} {.type}", "MQ== example.org/t"),
    "secret docker-registry g2 --docker-username=u --docker-password=p --docker-server=s": (
        "secret/g2 {.type}",
        "kubernetes.io/dockerconfigjson",
    ),
    "serviceaccount a1": ("serviceaccount/a1 {.metadata.name}", "a1"),
    "quota q1 --hard=pods=20,cpu=50 --scopes=NotBestEffort": (
        "quota/q1 {.spec.hard.pods} {.spec.scopes}",
        '20 ["NotBestEffort"]',
    ),
    "poddisruptionbudget p1 --selector=app=none --min-available=50%": ("pdb/p1 {.spec.minAvailable}", "50%"),
    "priorityclass creates-p --value=10 --preemption-policy=Never": (
        "priorityclass/creates-p {.value} {.preemptionPolicy}",
        "10 Never",
    ),
}
RIGHTS = {
    "role r1 --verb=get,list --resource=pods,deployments.apps/scale --resource-name=x": (
        "role/r1 {.rules[*].resources} {.rules[1].apiGroups}",
        '["pods"] ["deployments/scale"] ["apps"]',
    ),
    "rolebinding b1 --role=r1 --user=u --serviceaccount=creates:a1 --group=g": (
        "rolebinding/b1 {.subjects[*].kind} {.roleRef.name}",
        "User Group ServiceAccount r1",
    ),
    "clusterrole creates-r --verb=get --non-resource-url=/healthz": (
        "clusterrole/creates-r {.rules[0].nonResourceURLs}",
        '["/healthz"]',
    ),
    "clusterrole creates-s --aggregation-rule=a=b": (
        "clusterrole/creates-s {.aggregationRule.clusterRoleSelectors[0].matchLabels}",
        '{"a":"b"}',
    ),
    "clusterrolebinding creates-b --clusterrole=creates-r --user=u": (
        "clusterrolebinding/creates-b {.roleRef.kind} {.subjects[0].apiGroup}",
        "ClusterRole rbac.authorization.k8s.io",
    ),
}
_SOME_DAY, _LATER = datetime(2026, 1, 1, tzinfo=UTC), datetime(2036, 1, 1, tzinfo=UTC)
NOT_IN_A_NAMESPACE = "priorityclass/creates-p clusterrole/creates-r clusterrole/creates-s clusterrolebinding/creates-b"


def words(text: str) -> list[str]:
    """Split a command; a plus stands for a space within a word."""
    return [word.replace("+", " ") for word in text.split()]


@pytest.mark.parametrize("table", [WORKLOADS, SERVICES, SETTINGS, RIGHTS])
def test_generators(space: Space, table: dict[str, tuple[str, str]]) -> None:
    try:
        for command, (asked, expected) in table.items():
            assert space.kubectl("create", *words(command)).endswith(" created\n")
            place, template = asked.split(" ", 1)
            assert space.kubectl("get", place, "-o", f"jsonpath={template}") == expected, command
            again = space.kubectl("create", *words(command), check=False)
            assert f'"{place.split("/")[1]}" already exists' in again, again
    finally:
        space.kubectl("delete", "--ignore-not-found", *NOT_IN_A_NAMESPACE.split())


def test_a_certificate_and_its_key(space: Space, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "web")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(_SOME_DAY).not_valid_after(_LATER)
    encoding = serialization.Encoding.PEM
    pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (tmp_path / "cert").write_bytes(made.sign(key, hashes.SHA256()).public_bytes(encoding))
    (tmp_path / "key").write_bytes(key.private_bytes(encoding, pkcs8, plain))
    space.kubectl("create", "secret", "tls", "web-tls", f"--cert={tmp_path}/cert", f"--key={tmp_path}/key")
    found = space.get("secret", "web-tls")
    assert found["type"] == "kubernetes.io/tls"
    assert base64.b64decode(found["data"]["tls.crt"]) == (tmp_path / "cert").read_bytes()


def test_a_namespace_and_a_token_in_it(space: Space) -> None:
    cluster = space.cluster
    assert cluster.kubectl("create", "namespace", "creates-more") == "namespace/creates-more created\n"
    try:
        again = cluster.kubectl("create", "namespace", "creates-more", check=False)
        assert again == 'Error from server (AlreadyExists): namespaces "creates-more" already exists\n'
        cluster.kubectl("-n", "creates-more", "create", "serviceaccount", "robot")
        asked = ("-n", "creates-more", "create", "token", "robot", "--duration=1h", "--audience=somewhere")
        claims = cluster.kubectl(*asked).split(".")[1]
        told = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
        assert (told["sub"], told["aud"]) == ("system:serviceaccount:creates-more:robot", ["somewhere"])
        assert told["exp"] - told["iat"] == 3600
        refused = cluster.kubectl("-n", "creates-more", "create", "token", "robot", "--duration=1s", check=False)
        assert "spec.expirationSeconds: Invalid value: 1: may not specify a duration less than 10 minutes" in refused
        refused = cluster.kubectl("-n", "creates-more", "create", "token", "nobody", check=False)
        assert refused == 'error: failed to create token: serviceaccounts "nobody" not found\n'
    finally:
        cluster.kubectl("delete", "namespace", "creates-more", "--wait=false")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("namespace BAD", 'The Namespace "BAD" is invalid: metadata.name: Invalid value: "BAD": a lowercase RFC 1123'),
        ("cronjob x --image=a --schedule=bad", 'spec.schedule: Invalid value: "bad": expected exactly 5 fields'),
        (
            "service nodeport x --tcp=80 --node-port=80",
            "spec.ports[0].nodePort: Invalid value: 80: provided port is",
        ),
        ("quota x --hard=cpu=1 --scopes=BestEffort", 'Invalid value: ["BestEffort"]: unsupported scope applied to res'),
        ("quota x --hard=pods=-1", "must be greater than or equal to 0"),
        ("priorityclass x --value=2000000000", "maximum allowed value of a user defined priority is 1000000000"),
        ("job x --from=cronjob/none", 'cronjobs.batch "none" not found'),
        ("role x --verb=get --resource=things", 'the server doesn\'t have a resource type "things"'),
        ("configmap x --from-literal=b+d=1", '"b d" is not a valid key name for a ConfigMap'),
        ("deployment x --image=+", 'image: Invalid value: " ": must not have leading or trailing whitespace'),
    ],
)
def test_what_is_refused(space: Space, command: str, said: str) -> None:
    assert said in space.kubectl("create", *words(command), check=False)


def test_a_pod_from_flags(space: Space) -> None:
    shown = json.loads(space.kubectl("run", "dry", "--image=a", "--dry-run=client", "-o", "json"))
    assert (shown["spec"]["restartPolicy"], "schedulerName" in shown["spec"]) == ("Always", False)
    shown = json.loads(space.kubectl("run", "dry", "--image=a", "--dry-run=server", "-o", "json"))
    assert shown["spec"]["schedulerName"] == "default-scheduler"
    made = ("--image=a", "--restart=Never", "--labels=a=b", "--env=A=1", "--port=80", "--expose")
    assert space.kubectl("run", "kept", *made) == "pod/kept created\nservice/kept created\n"
    found = space.get("pod", "kept")
    assert (found["spec"]["restartPolicy"], found["metadata"]["labels"]) == ("Never", {"a": "b"})
    assert space.get("service", "kept")["spec"]["selector"] == {"a": "b"}
    assert 'pods "kept" already exists' in space.kubectl("run", "kept", "--image=a", check=False)


def test_a_service_from_what_it_leads_to(space: Space) -> None:
    space.kubectl("create", "deployment", "back", "--image=a", "--port=8080")
    assert space.kubectl("expose", "deployment", "back") == "service/back exposed\n"
    options = ("--name=front", "--port=81", "--target-port=http", "--type=NodePort", "--session-affinity=ClientIP")
    space.kubectl("expose", "deployment", "back", *options)
    found: list[dict[str, Any]] = [space.get("service", name)["spec"] for name in ("back", "front")]
    assert [each["selector"] for each in found] == [{"app": "back"}] * 2
    assert [each["ports"][0]["targetPort"] for each in found] == [8080, "http"]
    assert (found[1]["type"], found[1]["sessionAffinityConfig"]) == (
        "NodePort",
        {"clientIP": {"timeoutSeconds": 10800}},
    )
    assert "service/third exposed" in space.kubectl("expose", "service", "back", "--name=third", "--port=82")
    refused = space.kubectl("expose", "configmap", "kube-root-ca.crt", "--port=1", check=False)
    assert "cannot expose a ConfigMap" in refused or "not found" in refused


def test_an_autoscaler_from_what_it_scales(space: Space) -> None:
    space.kubectl("create", "deployment", "elastic", "--image=a")
    told = space.kubectl("autoscale", "deployment", "elastic", "--min=1", "--max=3", "--cpu=50%", "--memory=64Mi")
    assert told == "horizontalpodautoscaler.autoscaling/elastic autoscaled\n"
    found = space.get("hpa", "elastic")
    assert found["apiVersion"] == "autoscaling/v2"
    targets = [each["resource"]["target"] for each in found["spec"]["metrics"]]
    assert targets == [
        {"type": "Utilization", "averageUtilization": 50},
        {"type": "AverageValue", "averageValue": "64Mi"},
    ]
    older = "horizontalpodautoscalers.v1.autoscaling"
    assert space.get(older, "elastic")["spec"]["targetCPUUtilizationPercentage"] == 50
    space.kubectl("autoscale", "deployment", "elastic", "--name=plain", "--max=2")
    # Who says nothing of metrics gets 80 % of the CPU that is asked for.
    assert space.get(older, "plain")["spec"]["targetCPUUtilizationPercentage"] == 80
    refused = space.kubectl("autoscale", "deployment", "elastic", "--name=odd", "--min=3", "--max=2", check=False)
    assert "--max=MAXPODS must be larger or equal to --min=MINPODS" in refused
