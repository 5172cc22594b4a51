"""Random nodes and pods as the api would serve them, with little to choose from, so that rules meet one another."""

from __future__ import annotations

import random

HOSTNAME = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"
APPS = ("a", "b", "c")
NAMESPACES = {"default": {"team": "x"}, "other": {"team": "y"}, "third": {}}
IMAGES = {"small": 10, "large:v1": 900, "huge:v2": 4000}
MB = 1024 * 1024


class Maker:
    """Makes everything from one seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - clusters, no secrets

    def maybe(self, chance: float) -> bool:
        return self.random.random() < chance

    def some(self, values, most=2):
        return self.random.sample(list(values), self.random.randint(0, min(most, len(values))))

    def one(self, values):
        return self.random.choice(list(values))

    def node(self, number: int) -> dict:
        name = f"n{number}"
        labels = {}
        if self.maybe(0.9):
            labels[HOSTNAME] = name
        if self.maybe(0.85):
            labels[ZONE] = self.one(("z1", "z2", "z3"))
        if self.maybe(0.5):
            labels["size"] = self.one(("1", "2", "30"))
        if self.maybe(0.4):
            labels["disk"] = self.one(("ssd", "hdd"))
        allocatable = {
            "cpu": self.one(("1", "2", "4", "3500m")),
            "memory": self.one(("1Gi", "4Gi", "8Gi")),
            "pods": self.one(("2", "5", "110", "110")),
        }
        if self.maybe(0.3):
            allocatable["example.com/gpu"] = self.one(("1", "4"))
        if self.maybe(0.2):
            allocatable["ephemeral-storage"] = "10Gi"
        spec = {"unschedulable": True} if self.maybe(0.08) else {}
        if self.maybe(0.3):
            taints = [self.taint() for _ in range(self.random.randint(1, 2))]
            spec["taints"] = list({(taint["key"], taint["effect"]): taint for taint in taints}.values())
        images = [
            {"names": [name if ":" in name else f"{name}:latest"], "sizeBytes": IMAGES[name] * MB}
            for name in self.some(IMAGES)
        ]
        status = {"allocatable": allocatable, "images": images}
        return {"metadata": {"name": name, "labels": labels}, "spec": spec, "status": status}

    def taint(self) -> dict:
        return {
            "key": self.one(("t1", "t2")),
            "value": self.one(("", "v")),
            "effect": self.one(("NoSchedule", "PreferNoSchedule", "PreferNoSchedule", "NoExecute")),
        }

    def container(self, number: int, port_chance: float = 0.1) -> dict:
        requests = {}
        if self.maybe(0.7):
            requests["cpu"] = self.one(("100m", "250m", "1", "1500m"))
        if self.maybe(0.6):
            requests["memory"] = self.one(("64Mi", "512Mi", "1Gi"))
        if self.maybe(0.05):
            requests["example.com/gpu"] = "1"
        if self.maybe(0.05):
            requests["ephemeral-storage"] = "1Gi"
        found = {"name": f"c{number}", "image": self.one((*IMAGES, "none:v9")), "resources": {"requests": requests}}
        if self.maybe(port_chance):
            port = {"containerPort": 80, "hostPort": self.one((80, 81)), "protocol": self.one(("TCP", "UDP"))}
            if self.maybe(0.5):
                port["hostIP"] = self.one(("10.0.0.1", "10.0.0.2", "0.0.0.0"))  # noqa: S104 - part of a manifest
            found["ports"] = [port]
        return found

    def selector(self):
        if self.maybe(0.05):
            return None
        if self.maybe(0.1):
            return {}
        if self.maybe(0.5):
            return {"matchLabels": {"app": self.one(APPS)}}
        operator = self.one(("In", "NotIn", "Exists", "DoesNotExist"))
        values = self.some(APPS, 2) or ["a"]
        expression = {"key": self.one(("app", "tier")), "operator": operator}
        return {"matchExpressions": [{**expression, "values": values} if "In" in operator else expression]}

    def key(self) -> str:
        return self.one((HOSTNAME, ZONE, ZONE, "disk"))

    def term(self) -> dict:
        term = {"topologyKey": self.key(), "labelSelector": self.selector()}
        if self.maybe(0.2):
            term["namespaces"] = self.some(NAMESPACES)
        if self.maybe(0.2):
            term["namespaceSelector"] = self.one(({}, {"matchLabels": {"team": "x"}}))
        if term["labelSelector"] is not None and self.maybe(0.15):
            term[self.one(("matchLabelKeys", "mismatchLabelKeys"))] = ["tier"]
        return term

    def terms(self) -> dict:
        found = {}
        if self.maybe(0.5):
            found["requiredDuringSchedulingIgnoredDuringExecution"] = [self.term() for _ in range(self.one((1, 1, 2)))]
        if self.maybe(0.5):
            found["preferredDuringSchedulingIgnoredDuringExecution"] = [
                {"weight": self.random.randint(1, 100), "podAffinityTerm": self.term()} for _ in range(self.one((1, 2)))
            ]
        return found

    def expression(self) -> dict:
        operator = self.one(("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"))
        if operator in {"Gt", "Lt"}:
            return {"key": self.one(("size", "disk")), "operator": operator, "values": [self.one(("1", "2", "5"))]}
        key, values = self.one((("size", ("1", "2", "30")), ("disk", ("ssd", "hdd")), (ZONE, ("z1", "z2", "z9"))))
        found = {"key": key, "operator": operator}
        return {**found, "values": self.some(values) or [values[0]]} if "In" in operator else found

    def node_term(self) -> dict:
        term = {"matchExpressions": [self.expression() for _ in range(self.one((0, 1, 1, 2)))]}
        if self.maybe(0.25):
            names = [f"n{number}" for number in range(6)]
            field = {"key": "metadata.name", "operator": self.one(("In", "In", "NotIn"))}
            term["matchFields"] = [{**field, "values": [self.one(names)]}]
        return term

    def node_affinity(self) -> dict:
        found = {}
        if self.maybe(0.5):
            terms = [self.node_term() for _ in range(self.one((1, 1, 2)))]
            found["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": terms}
        if self.maybe(0.6):
            found["preferredDuringSchedulingIgnoredDuringExecution"] = [
                {"weight": self.random.randint(1, 100), "preference": self.node_term()} for _ in range(2)
            ]
        return found

    def spread(self) -> dict:
        constraint = {
            "maxSkew": self.one((1, 1, 2, 5)),
            "topologyKey": self.key(),
            "whenUnsatisfiable": self.one(("DoNotSchedule", "ScheduleAnyway")),
            "labelSelector": self.selector(),
        }
        if self.maybe(0.2) and constraint["whenUnsatisfiable"] == "DoNotSchedule":
            constraint["minDomains"] = self.one((2, 3, 4))
        if self.maybe(0.2):
            constraint["nodeAffinityPolicy"] = self.one(("Honor", "Ignore"))
        if self.maybe(0.2):
            constraint["nodeTaintsPolicy"] = self.one(("Honor", "Ignore"))
        if constraint["labelSelector"] is not None and self.maybe(0.15):
            constraint["matchLabelKeys"] = ["tier"]
        return constraint

    def metadata(self, name: str) -> dict:
        metadata = {"name": name, "namespace": self.one(("default", "default", "other", "third")), "labels": {}}
        if self.maybe(0.9):
            metadata["labels"]["app"] = self.one(APPS)
        if self.maybe(0.4):
            metadata["labels"]["tier"] = self.one(("1", "2"))
        if self.maybe(0.3):
            owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": self.one(("r1", "r2")), "controller": True}
            metadata["ownerReferences"] = [owner]
        return metadata

    def pod(self, name: str) -> dict:
        metadata = self.metadata(name)
        spec = {"containers": [self.container(number) for number in range(self.one((1, 1, 2)))]}
        if self.maybe(0.15):
            spec["initContainers"] = [self.container(9, 0.3)]
            if self.maybe(0.5):
                spec["initContainers"][0]["restartPolicy"] = "Always"
        if self.maybe(0.1):
            spec["overhead"] = {"cpu": "50m"}
        if self.maybe(0.15):
            spec["nodeSelector"] = {"disk": self.one(("ssd", "hdd"))}
        if self.maybe(0.3):
            spec["tolerations"] = [self.toleration() for _ in range(self.one((1, 2)))]
        affinity = {}
        if self.maybe(0.25):
            affinity["nodeAffinity"] = self.node_affinity()
        if self.maybe(0.25):
            affinity["podAffinity"] = self.terms()
        if self.maybe(0.25):
            affinity["podAntiAffinity"] = self.terms()
        if affinity:
            spec["affinity"] = affinity
        if self.maybe(0.3):
            spec["topologySpreadConstraints"] = [self.spread() for _ in range(self.one((1, 1, 2)))]
        return {"metadata": metadata, "spec": spec}

    def toleration(self) -> dict:
        found = {"operator": self.one(("Exists", "Equal"))}
        if found["operator"] == "Equal" or self.maybe(0.8):
            found["key"] = self.one(("t1", "t2", "node.kubernetes.io/unschedulable"))
        if found["operator"] == "Equal":
            found["value"] = self.one(("", "v"))
        if self.maybe(0.5):
            found["effect"] = self.one(("NoSchedule", "PreferNoSchedule", "NoExecute"))
        return found

    def services(self) -> list[dict]:
        return [
            {"metadata": {"name": f"s{app}", "namespace": "default"}, "spec": {"selector": {"app": app}}}
            for app in self.some(APPS)
        ]

    def owners(self) -> dict:
        found = {("ReplicaSet", "default", "r1"): {"matchLabels": {"app": "a"}}}
        if self.maybe(0.5):
            expression = {"key": "tier", "operator": "In", "values": ["1"]}
            found["ReplicaSet", "other", "r2"] = {"matchExpressions": [expression]}
        return found
