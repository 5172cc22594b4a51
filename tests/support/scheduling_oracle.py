"""Where a pod may run and where it would best: plain, slow and one node at a time, from Kubernetes' documentation.

Objects are what the api would serve, as dicts. Nothing here knows the scheduler's own code: it is what that is compared
with. `Cluster.refusals` says for each node which rule refuses it first and why, `Cluster.points` what each score gives
to each node that is left.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache

ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - what a port without an address has
HOSTNAME = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"
SUFFIXES = {"": 1, "m": Fraction(1, 1000), "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "k": 10**3, "M": 10**6}
WEIGHTS = {
    "TaintToleration": 3,
    "NodeAffinity": 2,
    "PodTopologySpread": 2,
    "InterPodAffinity": 2,
    "NodeResourcesFit": 1,
    "NodeResourcesBalancedAllocation": 1,
    "ImageLocality": 1,
}
MB = 1024 * 1024


@cache
def amount(resource, text):
    """Return a quantity as a whole number: thousandths of a cpu, units of everything else."""
    number = Fraction(text.rstrip("mKikMG")) * SUFFIXES[text.lstrip("0123456789.")]
    return math.ceil(number * 1000) if resource == "cpu" else math.ceil(number)


def labels_of(thing):
    return thing["metadata"].get("labels", {})


def name_of(thing):
    return thing["metadata"]["name"]


def namespace_of(pod):
    return pod["metadata"].get("namespace", "default")


# Selectors


def requirement_holds(requirement, labels):
    key, operator, values = requirement["key"], requirement["operator"], requirement.get("values", [])
    has, value = key in labels, labels.get(key)
    if operator == "In":
        return has and value in values
    if operator == "NotIn":
        return not has or value not in values
    if operator == "Exists":
        return has
    if operator == "DoesNotExist":
        return not has
    if not has or not value.lstrip("-").isdigit():
        return False
    return int(value) > int(values[0]) if operator == "Gt" else int(value) < int(values[0])


def selects(selector, labels):
    """Return whether a label selector selects; an absent one selects nothing."""
    if selector is None:
        return False
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()) and all(
        requirement_holds(each, labels) for each in selector.get("matchExpressions", [])
    )


def node_term_holds(term, node):
    expressions, fields = term.get("matchExpressions", []), term.get("matchFields", [])
    if not expressions and not fields:
        return False
    return all(requirement_holds(each, labels_of(node)) for each in expressions) and all(
        requirement_holds(each, {"metadata.name": name_of(node)}) for each in fields
    )


def node_selected(pod, node):
    """Return whether nodeSelector and required node affinity select a node."""
    spec = pod["spec"]
    if any(labels_of(node).get(key) != value for key, value in spec.get("nodeSelector", {}).items()):
        return False
    required = affinity(pod, "nodeAffinity").get("requiredDuringSchedulingIgnoredDuringExecution")
    return required is None or any(node_term_holds(term, node) for term in required["nodeSelectorTerms"])


def affinity(pod, kind):
    return pod["spec"].get("affinity", {}).get(kind, {})


def required_terms(pod, kind):
    return affinity(pod, kind).get("requiredDuringSchedulingIgnoredDuringExecution", [])


def preferred_terms(pod, kind):
    """Return (weight, term) pairs."""
    preferred = affinity(pod, kind).get("preferredDuringSchedulingIgnoredDuringExecution", [])
    return [(each["weight"], each["podAffinityTerm"]) for each in preferred]


# Resources


def requests(pod, assume=False):
    """Return what a pod needs at its most demanding moment; with `assume`, containers that name none have defaults."""

    def asked(container):
        wanted = container.get("resources", {}).get("requests", {})
        found = {"cpu": 100, "memory": 200 * MB} if assume else {}
        return {**found, **{name: amount(name, text) for name, text in wanted.items()}}

    def add(left, right):
        return {name: left.get(name, 0) + right.get(name, 0) for name in {**left, **right}}

    def most(left, right):
        return {name: max(left.get(name, 0), right.get(name, 0)) for name in {**left, **right}}

    total, sidecars, peak = {}, {}, {}
    for container in pod["spec"]["containers"]:
        total = add(total, asked(container))
    for container in pod["spec"].get("initContainers", []):
        if container.get("restartPolicy") == "Always":
            sidecars = add(sidecars, asked(container))
            peak = most(peak, sidecars)
        else:
            peak = most(peak, add(sidecars, asked(container)))
    total = most(add(total, sidecars), peak)
    return add(total, {name: amount(name, text) for name, text in pod["spec"].get("overhead", {}).items()})


# Taints


def tolerates(tolerations, taint):
    for each in tolerations:
        if each.get("effect") and each["effect"] != taint["effect"]:
            continue
        if each.get("key") and each["key"] != taint["key"]:
            continue
        if each.get("operator", "Equal") == "Exists":
            return True
        if each.get("key") and each.get("value", "") == taint.get("value", ""):
            return True
    return False


def host_ports(pod):
    sidecars = [each for each in pod["spec"].get("initContainers", []) if each.get("restartPolicy") == "Always"]
    return [
        (port.get("hostIP") or ANY_ADDRESS, port.get("protocol", "TCP"), port["hostPort"])
        for container in pod["spec"]["containers"] + sidecars
        for port in container.get("ports", [])
        if port.get("hostPort")
    ]


def ports_clash(left, right):
    return left[1:] == right[1:] and (left[0] == right[0] or ANY_ADDRESS in (left[0], right[0]))


class Cluster:
    """Nodes, the pods on them (by spec.nodeName), the labels of namespaces, services and the pods' owners."""

    def __init__(self, nodes, pods, namespaces, services=(), owners=None):
        self.nodes = nodes
        self.pods = pods
        self.namespaces = namespaces
        self.services = services
        self.owners = owners or {}
        self._needs = {}

    def on(self, node):
        return [pod for pod in self.pods if pod["spec"]["nodeName"] == name_of(node)]

    def needs(self, pod, assume=False):
        """Return what a placed pod needs, which is worked out once."""
        key = (pod["metadata"]["name"], assume)
        if key not in self._needs:
            self._needs[key] = requests(pod, assume)
        return self._needs[key]

    def placed(self):
        """Return (pod, node) pairs."""
        nodes = {name_of(node): node for node in self.nodes}
        return [(pod, nodes[pod["spec"]["nodeName"]]) for pod in self.pods if pod["spec"]["nodeName"] in nodes]

    def refusals(self, pod):
        """Return for each node the first rule that refuses it and its reasons, or None where the pod may run."""
        return {name_of(node): self.refusal(pod, node) for node in self.nodes}

    def refusal(self, pod, node):
        names = named_nodes(pod)
        if names is not None and name_of(node) not in names:
            return "NodeAffinity", ["node(s) didn't satisfy plugin(s) [NodeAffinity]"]
        for rule, reasons in (
            ("NodeUnschedulable", self.unschedulable),
            ("TaintToleration", self.tainted),
            ("NodeAffinity", self.unselected),
            ("NodePorts", self.ports_taken),
            ("NodeResourcesFit", self.short),
            ("PodTopologySpread", self.uneven),
            ("InterPodAffinity", self.unneighbourly),
        ):
            found = reasons(pod, node)
            if found:
                return rule, found
        return None

    def message(self, pod):
        """Return the text of the event for a pod that no node takes."""
        if not self.nodes:
            return "no nodes available to schedule pods"
        counts = {}
        for refusal in self.refusals(pod).values():
            for reason in refusal[1]:
                counts[reason] = counts.get(reason, 0) + 1
        reasons = sorted(f"{count} {reason}" for reason, count in counts.items())
        return f"0/{len(self.nodes)} nodes are available: {', '.join(reasons)}."

    # Rules: each returns why the node is refused

    def unschedulable(self, pod, node):
        taint = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
        if node["spec"].get("unschedulable") and not tolerates(pod["spec"].get("tolerations", []), taint):
            return ["node(s) were unschedulable"]
        return []

    def tainted(self, pod, node):
        for taint in node["spec"].get("taints", []):
            if taint["effect"] != "PreferNoSchedule" and not tolerates(pod["spec"].get("tolerations", []), taint):
                return ["node(s) had untolerated taint(s)"]
        return []

    def unselected(self, pod, node):
        return [] if node_selected(pod, node) else ["node(s) didn't match Pod's node affinity/selector"]

    def ports_taken(self, pod, node):
        taken = [port for other in self.on(node) for port in host_ports(other)]
        if any(ports_clash(port, other) for port in host_ports(pod) for other in taken):
            return ["node(s) didn't have free ports for the requested pod ports"]
        return []

    def used(self, node, name, assume=False):
        return sum(self.needs(pod, assume).get(name, 0) for pod in self.on(node))

    def short(self, pod, node):
        allocatable = node["status"]["allocatable"]
        reasons = []
        if len(self.on(node)) + 1 > int(allocatable.get("pods", "0")):
            reasons.append("Too many pods")
        for name, needed in requests(pod).items():
            if needed and needed > amount(name, allocatable.get(name, "0")) - self.used(node, name):
                reasons.append(f"Insufficient {name}")
        return reasons

    def matching(self, node, constraint, pod):
        """Return how many pods of a node a spread constraint counts."""
        return sum(
            1
            for other in self.on(node)
            if namespace_of(other) == namespace_of(pod)
            and "deletionTimestamp" not in other["metadata"]
            and selects(spread_selector(constraint, pod), labels_of(other))
        )

    def counts_for(self, node, constraint, pod):
        """Return whether a node counts by the constraint's policies."""
        if constraint.get("nodeAffinityPolicy", "Honor") == "Honor" and not node_selected(pod, node):
            return False
        return constraint.get("nodeTaintsPolicy", "Ignore") == "Ignore" or not self.tainted(pod, node)

    def uneven(self, pod, node):
        constraints = [each for each in own_constraints(pod) if each["whenUnsatisfiable"] == "DoNotSchedule"]
        keys = [each["topologyKey"] for each in constraints]
        for constraint in constraints:
            key = constraint["topologyKey"]
            if key not in labels_of(node):
                return ["node(s) didn't match pod topology spread constraints (missing required label)"]
            domains = {}
            for other in self.nodes:
                if all(each in labels_of(other) for each in keys) and self.counts_for(other, constraint, pod):
                    value = labels_of(other)[key]
                    domains[value] = domains.get(value, 0) + self.matching(other, constraint, pod)
            least = min(domains.values(), default=2**31 - 1)
            if len(domains) < constraint.get("minDomains", 1):
                least = 0
            itself = int(selects(spread_selector(constraint, pod), labels_of(pod)))
            if domains.get(labels_of(node)[key], 0) + itself - least > constraint["maxSkew"]:
                return ["node(s) didn't match pod topology spread constraints"]
        return []

    def means(self, term, holder, other):
        """Return whether a term of `holder` means the other pod."""
        if not selects(term_selector(term, holder), labels_of(other)):
            return False
        namespaces, chosen = term.get("namespaces", []), term.get("namespaceSelector")
        if not namespaces and chosen is None:
            return namespace_of(other) == namespace_of(holder)
        return namespace_of(other) in namespaces or (
            chosen is not None and selects(chosen, self.namespaces.get(namespace_of(other), {}))
        )

    def together(self, node, other, key):
        """Return whether two nodes are one neighbourhood."""
        return key in labels_of(node) and labels_of(node)[key] == labels_of(other).get(key)

    def unneighbourly(self, pod, node):
        near, away = required_terms(pod, "podAffinity"), required_terms(pod, "podAntiAffinity")
        if near and not self.near_enough(pod, node, near):
            return ["node(s) didn't match pod affinity rules"]
        for term in away:
            key = term["topologyKey"]
            if any(self.means(term, pod, other) and self.together(node, at, key) for other, at in self.placed()):
                return ["node(s) didn't match pod anti-affinity rules"]
        for other, at in self.placed():
            for term in required_terms(other, "podAntiAffinity"):
                if self.means(term, other, pod) and self.together(node, at, term["topologyKey"]):
                    return ["node(s) didn't satisfy existing pods anti-affinity rules"]
        return []

    def near_enough(self, pod, node, terms):
        if any(term["topologyKey"] not in labels_of(node) for term in terms):
            return False
        friends = [at for other, at in self.placed() if all(self.means(term, pod, other) for term in terms)]
        if all(any(self.together(node, at, term["topologyKey"]) for at in friends) for term in terms):
            return True
        found = any(term["topologyKey"] in labels_of(at) for at in friends for term in terms)
        return not found and all(self.means(term, pod, pod) for term in terms)

    # Scores

    def points(self, pod):
        """Return for each node where the pod may run the weighted points of each score."""
        nodes = [node for node in self.nodes if self.refusal(pod, node) is None]
        found = {name_of(node): {} for node in nodes}
        for score, points in (
            ("TaintToleration", self.fewer_taints(pod, nodes)),
            ("NodeAffinity", self.preferred_nodes(pod, nodes)),
            ("NodeResourcesFit", [self.least_allocated(pod, node) for node in nodes]),
            ("PodTopologySpread", self.evenness(pod, nodes)),
            ("InterPodAffinity", self.company(pod, nodes)),
            ("NodeResourcesBalancedAllocation", [self.balance(pod, node) for node in nodes]),
            ("ImageLocality", [self.images(pod, node) for node in nodes]),
        ):
            for node, value in zip(nodes, points, strict=True):
                found[name_of(node)][score] = WEIGHTS[score] * value
        return found

    def fewer_taints(self, pod, nodes):
        tolerations = [
            each for each in pod["spec"].get("tolerations", []) if each.get("effect", "") in ("", "PreferNoSchedule")
        ]
        counts = [
            sum(
                1
                for taint in node["spec"].get("taints", [])
                if taint["effect"] == "PreferNoSchedule" and not tolerates(tolerations, taint)
            )
            for node in nodes
        ]
        most = max(counts, default=0)
        return [100 - (100 * count // most if most else 0) for count in counts]

    def preferred_nodes(self, pod, nodes):
        preferred = affinity(pod, "nodeAffinity").get("preferredDuringSchedulingIgnoredDuringExecution", [])
        counts = [sum(each["weight"] for each in preferred if node_term_holds(each["preference"], n)) for n in nodes]
        most = max(counts, default=0)
        return [100 * count // most if most else 0 for count in counts]

    def least_allocated(self, pod, node):
        total = weights = 0
        for name in ("cpu", "memory"):
            there = amount(name, node["status"]["allocatable"].get(name, "0"))
            if not there:
                continue
            used = self.used(node, name, assume=True) + requests(pod, assume=True)[name]
            total += (there - used) * 100 // there if used <= there else 0
            weights += 1
        return total // weights if weights else 0

    def balance(self, pod, node):
        if not any(requests(pod).values()):
            return 0

        def even(extra):
            fractions = []
            for name in ("cpu", "memory"):
                there = amount(name, node["status"]["allocatable"].get(name, "0"))
                if there:
                    used = self.used(node, name) + extra.get(name, 0)
                    fractions.append(min(used / there, 1.0))
            deviation = abs((fractions[0] - fractions[1]) / 2) if len(fractions) == 2 else 0.0
            return int((1 - deviation) * 100)

        return 50 + (50 + even(requests(pod)) - even({})) // 2

    def images(self, pod, node):
        def listed(node):
            return {name: image["sizeBytes"] for image in node["status"].get("images", []) for name in image["names"]}

        containers = pod["spec"].get("initContainers", []) + pod["spec"]["containers"]
        total = 0
        for container in containers:
            name = container["image"] if ":" in container["image"] else container["image"] + ":latest"
            if name in listed(node):
                part = sum(1 for other in self.nodes if name in listed(other)) / len(self.nodes)
                total += int(listed(node)[name] * part)
        least, most = 23 * MB, 1000 * MB * len(containers)
        return 100 * (min(max(total, least), most) - least) // (most - least)

    def evenness(self, pod, nodes):
        constraints = [each for each in own_constraints(pod) if each["whenUnsatisfiable"] == "ScheduleAnyway"]
        strict = bool(own_constraints(pod))
        if not strict:
            constraints = self.default_constraints(pod)
        if not constraints:
            return [0] * len(nodes)

        def labelled(node):
            return not strict or all(each["topologyKey"] in labels_of(node) for each in constraints)

        scored = [node for node in nodes if labelled(node)]
        raw = []
        for node in scored:
            score = 0.0
            for constraint in constraints:
                key = constraint["topologyKey"]
                if key not in labels_of(node):
                    continue
                if key == HOSTNAME:
                    domains, count = len(scored), self.matching(node, constraint, pod)
                else:
                    domains = len({labels_of(each).get(key) for each in scored})
                    count = sum(
                        self.matching(other, constraint, pod)
                        for other in self.nodes
                        if labelled(other)
                        and labels_of(other).get(key) == labels_of(node)[key]
                        and self.counts_for(other, constraint, pod)
                    )
                score += count * math.log(domains + 2) + (constraint["maxSkew"] - 1)
            raw.append(math.floor(score + 0.5))
        most, least = max(raw, default=0), min(raw, default=0)
        values = {
            name_of(n): 100 * (most + least - r) // most if most else 100 for n, r in zip(scored, raw, strict=True)
        }
        return [values.get(name_of(node), 0) for node in nodes]

    def default_constraints(self, pod):
        """Return the system's, about the pods that the pod's services and its owner select."""
        labels, expressions = {}, []
        for service in self.services:
            if service["metadata"]["namespace"] == namespace_of(pod) and selects(
                {"matchLabels": service["spec"]["selector"]}, labels_of(pod)
            ):
                labels.update(service["spec"]["selector"])
        for owner in pod["metadata"].get("ownerReferences", []):
            selector = self.owners.get((owner["kind"], namespace_of(pod), owner["name"]))
            if selector:
                wanted = selector.get("matchLabels", {}).items()
                expressions += [{"key": key, "operator": "In", "values": [value]} for key, value in wanted]
                expressions += selector.get("matchExpressions", [])
        if not labels and not expressions:
            return []
        selector = {"matchLabels": labels, "matchExpressions": expressions}
        return [
            {"maxSkew": skew, "topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": selector}
            for key, skew in ((HOSTNAME, 3), (ZONE, 5))
        ]

    def company(self, pod, nodes):
        raw = []
        for node in nodes:
            total = 0
            for other, at in self.placed():
                for sign, kind in ((1, "podAffinity"), (-1, "podAntiAffinity")):
                    for holder, meant in ((pod, other), (other, pod)):
                        for weight, term in preferred_terms(holder, kind):
                            if self.means(term, holder, meant) and self.together(node, at, term["topologyKey"]):
                                total += sign * weight
                for term in required_terms(other, "podAffinity"):
                    if self.means(term, other, pod) and self.together(node, at, term["topologyKey"]):
                        total += 1
            raw.append(total)
        least, most = min(raw, default=0), max(raw, default=0)
        return [int(100 * ((each - least) / (most - least))) if most > least else 0 for each in raw]


def own_constraints(pod):
    return pod["spec"].get("topologySpreadConstraints", [])


def spread_selector(constraint, pod):
    return with_own(constraint.get("labelSelector"), constraint.get("matchLabelKeys", []), [], pod)


def term_selector(term, pod):
    return with_own(term.get("labelSelector"), term.get("matchLabelKeys", []), term.get("mismatchLabelKeys", []), pod)


def with_own(selector, alike, unlike, pod):
    """Return a selector that also looks at the pod's own values of some labels."""
    if selector is None:
        return None
    labels = labels_of(pod)
    more = [{"key": key, "operator": "In", "values": [labels[key]]} for key in alike if key in labels]
    more += [{"key": key, "operator": "NotIn", "values": [labels[key]]} for key in unlike if key in labels]
    return {**selector, "matchExpressions": selector.get("matchExpressions", []) + more}


def named_nodes(pod):
    """Return the nodes that required node affinity names, None when a term of it does not name any."""
    required = affinity(pod, "nodeAffinity").get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None or not required["nodeSelectorTerms"]:
        return None
    names = set()
    for term in required["nodeSelectorTerms"]:
        lists = [set(each["values"]) for each in term.get("matchFields", []) if each["operator"] == "In"]
        if not lists:
            return None
        names |= set.intersection(*lists)
    return names
