"""What kubectl tells of the api itself: its kinds and fields, who may do what, versions, use, and certificates."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from local_cluster import LocalCluster
from rest import Rest
from space import Space


@pytest.fixture(scope="module")
def space(simulated: LocalCluster) -> Iterator[Space]:
    """A namespace with a pod, of whose use the node tells in a while."""
    simulated.kubectl("create", "namespace", "tells")
    made = Space(simulated, "tells")
    made.kubectl("run", "used", "--image=a", "--labels=app=used")
    yield made
    simulated.kubectl("delete", "namespace", "tells", "--wait=false")


def test_fields_are_explained(space: Space) -> None:
    def explain(*what: str, check: bool = True) -> str:
        return space.kubectl("explain", *what, check=check)

    told = explain("pod.spec.containers.ports")
    assert told.startswith("KIND:       Pod\nVERSION:    v1\n\nFIELD: ports <[]ContainerPort>\n")
    assert "  containerPort\t<integer> -required-\n    Number of port to expose on the pod's IP address." in told
    told = explain("deployments.spec.strategy", "--recursive")
    assert "  rollingUpdate\t<RollingUpdateDeployment>\n    maxSurge\t<IntOrString>\n" in told
    told = explain("hpa", "--api-version=autoscaling/v1")
    assert told.startswith("GROUP:      autoscaling\nKIND:       HorizontalPodAutoscaler\nVERSION:    v1\n")
    told = explain("cronjob.spec.schedule", "--output=plaintext-openapiv2")
    assert told.startswith("KIND:     CronJob\nVERSION:  batch/v1\n\nFIELD:    schedule <string>\n")
    assert 'error: field "none" does not exist' in explain("pod.spec.none", check=False)
    assert explain("none", check=False) == 'the server doesn\'t have a resource type "none"\n'


def test_kinds_are_listed(space: Space) -> None:
    def kinds(*options: str) -> set[str]:
        return set(space.kubectl("api-resources", "-o", "name", *options).split())

    assert kinds("--api-group=apps") == {
        f"{name}.apps" for name in ("controllerrevisions", "daemonsets", "deployments", "replicasets", "statefulsets")
    }
    assert kinds("--categories=all") >= {"pods", "services", "deployments.apps", "jobs.batch", "cronjobs.batch"}
    assert kinds("--namespaced=false", "--verbs=list,deletecollection") >= {
        "nodes",
        "clusterroles.rbac.authorization.k8s.io",
    }
    assert "namespaces" not in kinds("--verbs=deletecollection")
    assert "tokenreviews.authentication.k8s.io" in kinds("--verbs=create")
    wide = space.kubectl("api-resources", "-o", "wide", "--sort-by=kind", "--no-headers")
    verbs = "create,delete,deletecollection,get,list,patch,update,watch"
    assert re.search(rf"^pods +po +v1 +true +Pod +{verbs} +all$", wide, re.MULTILINE)
    listed = [re.split(" +", line) for line in wide.splitlines()]
    assert {"v1", "apps/v1", "batch/v1"} <= {word for line in listed for word in line}
    versions = space.kubectl("api-versions").split()
    assert versions == sorted(versions)
    assert {"v1", "apps/v1", "autoscaling/v1", "autoscaling/v2", "metrics.k8s.io/v1beta1"} <= set(versions)


def test_who_may_do_what(space: Space) -> None:
    for question in ("create pods", "get pods --subresource=log", "get /healthz", "* * -A", "list deployments.apps/x"):
        assert space.code("auth", "can-i", *question.split()) == (0, "yes\n")
    assert "Warning: the server doesn't have a resource type 'nothing'" in space.kubectl(
        "auth", "can-i", "get", "nothing"
    )
    assert space.kubectl("auth", "can-i", "--list").split()[:3] == ["Resources", "Non-Resource", "URLs"]
    told = space.kubectl("auth", "whoami")
    assert re.search(r"Groups +\[system:masters system:authenticated\]", told)
    shown = json.loads(space.kubectl("auth", "whoami", "-o", "json"))
    assert shown["kind"] == "SelfSubjectReview"
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "reader", "namespace": space.name},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
    }
    told = space.kubectl("auth", "reconcile", "-f", "-", stdin=json.dumps(role))
    assert told.startswith("role.rbac.authorization.k8s.io/reader reconciled\n\treconciliation required create\n")
    role["rules"] = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    told = space.kubectl("auth", "reconcile", "-f", "-", stdin=json.dumps(role))
    assert "missing rules added:" in told
    assert [rule["verbs"] for rule in space.get("role", "reader")["rules"]] == [["get"], ["list"]]


def test_rights_that_roles_give(space: Space) -> None:
    def may(*question: str) -> bool:
        code, said = space.code("auth", "can-i", *question, "--as=ann", "--as-group=staff")
        assert (code, said) in ((0, "yes\n"), (1, "no\n"))
        return code == 0

    assert not may("get", "pods/used")
    space.kubectl("create", "role", "one-pod", "--verb=get,delete", "--resource=pods,pods/log", "--resource-name=used")
    space.kubectl("create", "rolebinding", "one-pod", "--role=one-pod", "--group=staff")
    assert may("get", "pods/used")
    assert may("get", "pods/used", "--subresource=log")
    assert not may("get", "pods/other")
    assert not may("deletecollection", "pods")
    space.kubectl("create", "rolebinding", "sees", "--clusterrole=view", "--user=ann")
    assert may("list", "deployments.apps")
    assert not may("get", "secrets")
    assert not may("list", "deployments.apps", "--all-namespaces")
    listed = space.kubectl("auth", "can-i", "--list", "--as=ann", "--as-group=staff")
    assert re.search(r"\npods +\[\] +\[used\] +\[get delete\]\n", listed)
    refused = space.kubectl("get", "secrets", "--as=ann", check=False)
    cannot = 'User "ann" cannot list resource "secrets" in API group "" in the namespace "tells"'
    assert refused == f"Error from server (Forbidden): secrets is forbidden: {cannot}\n"
    granted = ("create", "rolebinding", "more", "--clusterrole=edit", "--user=ann")
    assert "cannot create resource" in space.kubectl(*granted, "--as=ann", check=False)
    space.kubectl("create", "rolebinding", "admins", "--clusterrole=admin", "--user=ann")
    assert space.kubectl(*granted, "--as=ann") == "rolebinding.rbac.authorization.k8s.io/more created\n"
    everything = ("create", "rolebinding", "all", "--clusterrole=cluster-admin", "--user=ann")
    told = space.kubectl(*everything, "--as=ann", check=False)
    assert "is attempting to grant RBAC permissions not currently held:" in told
    assert '{APIGroups:["*"], Resources:["*"], Verbs:["*"]}' in told


def test_the_cluster_itself(space: Space) -> None:
    told = space.kubectl("cluster-info")
    assert f"Kubernetes control plane is running at https://127.0.0.1:{space.cluster.port}\n" in told
    version = json.loads(space.kubectl("version", "-o", "json"))["serverVersion"]
    assert (version["major"], version["minor"]) == ("1", "37")
    assert "current-context: orch\n" in space.kubectl("config", "view", "--minify")
    dumped = space.kubectl("cluster-info", "dump", "--namespaces", space.name)
    assert '"kind": "NodeList"' in dumped
    assert "==== START logs for container used of pod tells/used ====\nused started\n" in dumped


def test_certificates_are_approved_and_denied(space: Space, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "joe")])
    pem = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    request = base64.b64encode(pem.public_bytes(serialization.Encoding.PEM)).decode()
    spec = {"request": request, "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"]}
    kind = {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest"}
    requests = [{**kind, "metadata": {"name": name}, "spec": spec} for name in ("tells-a", "tells-b")]
    manifest = "\n---\n".join(map(json.dumps, requests))
    kubectl = space.cluster.kubectl
    kubectl("create", "-f", "-", stdin=manifest)
    try:
        told = kubectl("certificate", "approve", "tells-a")
        assert told == "certificatesigningrequest.certificates.k8s.io/tells-a approved\n"
        assert kubectl("certificate", "deny", "tells-b").endswith("tells-b denied\n")
        refused = kubectl("certificate", "approve", "tells-b", check=False)
        assert refused == 'error: certificate signing request "tells-b" is already Denied\n'
        kubectl("wait", "csr/tells-a", "--for=jsonpath={.status.certificate}", "--timeout=30s")
        shown = kubectl("get", "csr", "--no-headers", "tells-a", "tells-b").splitlines()
        assert [line.split()[2:] for line in shown] == [
            ["kubernetes.io/kube-apiserver-client", "orch:admin", "<none>", condition]
            for condition in ("Approved,Issued", "Denied")
        ]
        signed = kubectl("get", "csr", "tells-a", "-o", "jsonpath={.status.certificate}")
        (tmp_path / "joe.crt").write_bytes(base64.b64decode(signed))
        encoding = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (tmp_path / "joe.key").write_bytes(key.private_bytes(*encoding))
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        joe = Rest(space.cluster.port, space.cluster.layout.pki)
        joe.present(tmp_path / "joe.crt", tmp_path / "joe.key")
        answer = joe("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", review)
        assert answer.body["status"]["userInfo"]["username"] == "joe"
        assert "Common Name:    joe" in kubectl("describe", "csr", "tells-a")
    finally:
        kubectl("delete", "-f", "-", stdin=manifest)


def test_what_is_used(space: Space) -> None:
    def top(*options: str) -> list[list[str]]:
        return [line.split() for line in space.kubectl("top", *options, check=False).splitlines()]

    # Nodes tell of it every ten seconds.
    found = space.wait(lambda: [row for row in top("pods", "--no-headers") if row[0] == "used"], what="the use")
    assert found[0][2] == "16Mi"
    assert top("pods", "--containers", "-l", "app=used")[0] == ["POD", "NAME", "CPU(cores)", "MEMORY(bytes)"]
    assert top("pods", "--sum", "--no-headers")[-1][-1] == "16Mi"
    nodes = top("nodes", "--sort-by=memory")
    assert nodes[0] == ["NAME", "CPU(cores)", "CPU(%)", "MEMORY(bytes)", "MEMORY(%)"]
    assert {row[0] for row in nodes[1:]} == {"node-1", "node-2", "node-3"}
    assert all(re.fullmatch(r"\d+m", row[1]) and row[4].endswith("%") for row in nodes[1:]), nodes
    refused = space.kubectl("top", "pod", "none", check=False)
    assert refused == 'Error from server (NotFound): pods "none" not found\n'
