"""A Deployment in the middle of a rolling update, and what must hold of it in the end whatever happened."""

from __future__ import annotations

from typing import Any

from local_cluster import LocalCluster
from pod_ledger import PodLedger
from rest import Rest

NAME = "web"
_MERGE = "application/merge-patch+json"


class Rollout:
    """One Deployment named "web" in a namespace of its own, and the update of its image."""

    def __init__(self, cluster: LocalCluster, namespace: str, *, replicas: int, surge: int) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.replicas = replicas
        self.surge = surge
        self.rest: Rest = cluster.rest()
        self._sets = f"/apis/apps/v1/namespaces/{namespace}/replicasets"
        self._path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{NAME}"

    def start(self) -> None:
        """Create the Deployment and wait until all its pods are ready."""
        manifest = deployment(self.replicas, self.surge)
        manifest["metadata"]["namespace"] = self.namespace
        self.cluster.apply(manifest)
        self.cluster.wait(self.complete, timeout=120, what="the first rollout is complete")

    def update(self, image: str) -> None:
        """Begin to replace all pods by ones of another image."""
        self._patch({"template": {"spec": {"containers": [{"name": "main", "image": image}]}}})

    def scale(self, replicas: int) -> None:
        """Ask for another number of pods."""
        self._patch({"replicas": replicas})
        self.replicas = replicas

    def _patch(self, spec: dict[str, Any]) -> None:
        answer = self.rest("PATCH", self._path, {"spec": spec}, content_type=_MERGE)
        assert answer.status == 200, answer.body

    def complete(self) -> bool:
        """Say whether the controller has seen the last change and all pods are of it and available."""
        found = self.rest("GET", self._path).body
        status = found.get("status", {})
        counts = [status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")]
        return status.get("observedGeneration") == found["metadata"]["generation"] and counts == [self.replicas] * 3

    def set_of(self, image: str) -> str:
        """Return the name of the ReplicaSet of this image, "" while there is none."""
        for each in self.sets():
            if each["spec"]["template"]["spec"]["containers"][0]["image"] == image:
                return str(each["metadata"]["name"])
        return ""

    def sets(self) -> list[dict[str, Any]]:
        """Return the Deployment's ReplicaSets."""
        return self.rest("GET", self._sets).body["items"]

    def finish(self, ledger: PodLedger, image: str) -> None:
        """Wait for the end of the rollout; assert that nothing was lost and nothing doubled on the way."""
        self.cluster.wait(self._finished, timeout=120, what=f"the rollout of {image} is complete")
        new = self.set_of(image)
        ledger.wait(lambda: ledger.live() == ledger.ready(new) == self.replicas)
        lives = ledger.of(new)
        assert len(lives) == self.replicas, f"pods were made twice: {ledger.summary()}"
        assert not [life.name for life in lives if life.marked or life.gone], "pods of the new kind were lost"
        assert not [life.name for life in lives if len(life.nodes) != 1], "a pod was bound twice"
        assert ledger.most_live <= self.replicas + self.surge, f"{ledger.most_live} pods at a time"
        wanted = {each["metadata"]["name"]: each["spec"]["replicas"] for each in self.sets()}
        assert {name: ledger.live(name) for name in wanted} == wanted
        assert sum(wanted.values()) == wanted[new] == self.replicas

    def _finished(self) -> bool:
        try:
            return self.complete()
        except OSError:  # the api is being restarted
            return False


def deployment(replicas: int, surge: int, image: str = "web:1") -> dict[str, Any]:
    """Return a Deployment that never has less than `replicas` pods ready and never more than `surge` above."""
    labels = {"app": NAME}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": image}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": 0}},
            "template": template,
        },
    }
