"""What each built-in identity may do. Users other than the built-in ones are refused until RBAC follows.

A node may read its own Node, the pods that are bound to it, and the ConfigMaps and Secrets which those pods refer to;
that follows Kubernetes' node authorizer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from orch.errors import ForbiddenError, StatusDetails
from orch.store.keys import ObjectKey
from orch_api.auth.identity import AUTHENTICATED, MASTERS, MONITORING, SERVICE_ACCOUNTS, Caller
from orch_api.registry import Resource
from orch_api.storage.cache import Cached, ObjectCache
from orch_api.storage.objects import to_document
from orch_api.strategy import section

_READ: Final = frozenset({"get", "list", "watch"})
_WRITE: Final = frozenset({"create", "update", "patch"})
_ANY: Final = frozenset({"*"})
_READ_PATH: Final = frozenset({"get"})


class Rule(msgspec.Struct, frozen=True):
    """Permits `verbs` on `resources`, each written "plural.group" or "plural.group/subresource"; "*" permits all."""

    verbs: frozenset[str]
    resources: frozenset[str]

    def permits(self, verb: str, resource: str) -> bool:
        """Return whether this rule permits `verb` on `resource`."""
        return (verb in self.verbs or "*" in self.verbs) and (resource in self.resources or "*" in self.resources)


class Attributes(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody may want to do: with a resource, or with a path that is no resource's, which `path` then holds."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str | None = None

    @property
    def qualified(self) -> str:
        """The resource as rules name it: "plural.group" or "plural.group/subresource"."""
        whole = f"{self.resource}.{self.group}"
        return f"{whole}/{self.subresource}" if self.subresource else whole


class PathRule(msgspec.Struct, frozen=True):
    """Permits `verbs` on `paths` that are no resources'; a path may end in "*"."""

    verbs: frozenset[str]
    paths: frozenset[str]


class Permitted(msgspec.Struct, frozen=True):
    """All that somebody may do in a namespace. `gap` says why there is more than the rules tell, if there is."""

    rules: tuple[Rule, ...] = ()
    paths: tuple[PathRule, ...] = ()
    gap: str = ""


_EVENTS: Final = Rule(_WRITE, frozenset({"events."}))
_LEASES: Final = Rule(_READ | _WRITE, frozenset({"leases.coordination.k8s.io"}))

RULES: Final[Mapping[str, tuple[Rule, ...]]] = {
    "system:apiserver": (Rule(_ANY, _ANY),),
    "system:kube-controller-manager": (Rule(_ANY, _ANY),),
    "system:kube-scheduler": (
        Rule(
            _READ,
            frozenset(
                {"pods.", "nodes.", "namespaces.", "services.", "replicasets.apps", "deployments.apps", "events."}
            ),
        ),
        Rule(frozenset({"create"}), frozenset({"pods./binding"})),
        Rule(frozenset({"update", "patch"}), frozenset({"pods./status", "podgroups.scheduling.x-k8s.io/status"})),
        Rule(frozenset({"delete"}), frozenset({"pods."})),
        Rule(_READ | frozenset({"update", "patch"}), frozenset({"persistentvolumes.", "persistentvolumeclaims."})),
        _EVENTS,
        _LEASES,
    ),
    # the one identity of a fleet of simulated nodes, which run nothing and keep nothing from one another
    "system:nodes:simulated": (
        Rule(frozenset({"get"}), frozenset({"nodes.", "pods.", "configmaps.", "secrets."})),
        _EVENTS,
    ),
}
"""The rules of each user that a service runs under."""

_ALL: Final = Permitted((Rule(_ANY, _ANY),), (PathRule(_ANY, _ANY),))
_SELF_QUESTIONS: Final = Rule(
    frozenset({"create"}),
    frozenset(
        {
            "selfsubjectaccessreviews.authorization.k8s.io",
            "selfsubjectrulesreviews.authorization.k8s.io",
            "selfsubjectreviews.authentication.k8s.io",
        }
    ),
)
"""What everybody who is known may ask about himself: Kubernetes' system:basic-user."""

PUBLIC_PATHS: Final = frozenset({"/healthz", "/livez", "/readyz", "/version", "/version/"})
_METRICS_PATH: Final = "/metrics"
ISSUER_PATHS: Final = frozenset({"/.well-known/openid-configuration", "/openid/v1/jwks"})
"""By what others verify service accounts' tokens: Kubernetes' system:service-account-issuer-discovery."""
_DISCOVERY_PREFIXES: Final = ("/api", "/apis", "/openapi", "/docs", *sorted(PUBLIC_PATHS))


class Authorizer:
    """Decides by the built-in rules; nodes by what the cache says of their pods."""

    def __init__(self, cache: ObjectCache) -> None:
        self._cache = cache

    def authorize(
        self, caller: Caller, verb: str, resource: Resource, namespace: str, name: str, subresource: str = ""
    ) -> None:
        """Return if `caller` may. Raises ForbiddenError, worded as Kubernetes."""
        qualified = f"{resource.plural}.{resource.group}"
        if subresource:
            qualified = f"{qualified}/{subresource}"
        if not self._may(caller, verb, qualified, namespace, name):
            raise _forbidden(caller, verb, resource, namespace, name, subresource)

    def authorize_path(self, caller: Caller, verb: str, path: str) -> None:
        """Return if `caller` may read a path that is no resource's. Raises ForbiddenError."""
        if not _may_read(caller, verb, path):
            raise ForbiddenError(f'forbidden: User "{caller.user}" cannot {verb} path "{path}"', StatusDetails())

    def decide(self, caller: Caller, wanted: Attributes) -> tuple[bool, str]:
        """Return whether `caller` may do what is wanted, and why; the reason may be empty."""
        if wanted.path is not None:
            return _may_read(caller, wanted.verb, wanted.path), ""
        return self._may(caller, wanted.verb, wanted.qualified, wanted.namespace, wanted.name), ""

    def permitted(self, caller: Caller) -> Permitted:
        """Return what `caller` may do, in every namespace alike; what a node may depends on its pods, and is a gap."""
        if MASTERS in caller.groups:
            return _ALL
        rules = RULES.get(caller.user, ())
        paths = [PathRule(_READ_PATH, PUBLIC_PATHS)]
        if AUTHENTICATED in caller.groups:
            rules = (*rules, _SELF_QUESTIONS)
            below = {f"{prefix}/*" for prefix in _DISCOVERY_PREFIXES if not prefix.endswith("/")}
            paths.append(PathRule(_READ_PATH, frozenset(below.union(_DISCOVERY_PREFIXES))))
        if MONITORING in caller.groups:
            paths.append(PathRule(_READ_PATH, frozenset({_METRICS_PATH})))
        if SERVICE_ACCOUNTS in caller.groups:
            paths.append(PathRule(_READ_PATH, ISSUER_PATHS))
        gap = "node authorizer does not support user rule resolution" if caller.node else ""
        return Permitted(rules, tuple(paths), gap)

    def _may(self, caller: Caller, verb: str, qualified: str, namespace: str, name: str) -> bool:
        if MASTERS in caller.groups or any(rule.permits(verb, qualified) for rule in RULES.get(caller.user, ())):
            return True
        if caller.node and self._node_may(caller.node, verb, qualified, namespace, name):
            return True
        return AUTHENTICATED in caller.groups and _SELF_QUESTIONS.permits(verb, qualified)

    def _node_may(self, node: str, verb: str, resource: str, namespace: str, name: str) -> bool:
        if resource == "events.":
            return verb in _WRITE
        if verb != "get" or not name:
            return False
        if resource == "nodes.":
            return name == node
        pods = (pod for pod in self._cache.pods_of(node) if pod.key.namespace == namespace)
        if resource == "pods.":
            # That a pod is gone is told to any node: only so can its agent clear away what is left of it.
            gone = self._cache.get(ObjectKey("", "pods", namespace, name)) is None
            return gone or any(pod.key.name == name for pod in pods)
        if resource in {"configmaps.", "secrets."}:
            wanted = name.encode()
            kind = "configMap" if resource == "configmaps." else "secret"
            return any(wanted in pod.json and name in references(pod, kind) for pod in pods)
        return False


def _may_read(caller: Caller, verb: str, path: str) -> bool:
    """Return whether `caller` may read a path that is no resource's; nobody but masters does anything else with one."""
    if path in PUBLIC_PATHS or MASTERS in caller.groups:
        return True
    if verb != "get":
        return False
    discovery = any(path == prefix or path.startswith(f"{prefix}/") for prefix in _DISCOVERY_PREFIXES)
    return (
        (discovery and AUTHENTICATED in caller.groups)
        or (path == _METRICS_PATH and MONITORING in caller.groups)
        or (path in ISSUER_PATHS and SERVICE_ACCOUNTS in caller.groups)
    )


def references(pod: Cached, kind: str) -> frozenset[str]:
    """Return the names of the "configMap" or "secret" objects that a pod's environment, volumes and pulls refer to."""
    return frozenset(_references(section(to_document(pod.json), "spec"), kind))


def _references(spec: Mapping[str, Any], kind: str) -> Iterator[str]:
    containers = [
        container
        for field in ("initContainers", "containers", "ephemeralContainers")
        for container in spec.get(field) or ()
    ]
    for container in containers:
        for variable in container.get("env") or ():
            yield from _name(section(variable, "valueFrom").get(f"{kind}KeyRef"))
        for source in container.get("envFrom") or ():
            yield from _name(source.get(f"{kind}Ref"))
    for volume in spec.get("volumes") or ():
        yield from _volume(volume, kind)
    if kind == "secret":
        for reference in spec.get("imagePullSecrets") or ():
            yield from _name(reference)


def _volume(volume: Mapping[str, Any], kind: str) -> Iterator[str]:
    name_field = "secretName" if kind == "secret" else "name"
    yield from _name(volume.get(kind), name_field)
    for source in section(volume, "projected").get("sources") or ():
        yield from _name(source.get(kind))


def _name(reference: Mapping[str, Any] | None, field: str = "name") -> Iterator[str]:
    if reference and (name := reference.get(field)):
        yield name


def _forbidden(
    caller: Caller, verb: str, resource: Resource, namespace: str, name: str, subresource: str
) -> ForbiddenError:
    what = f"{resource.plural}/{subresource}" if subresource else resource.plural
    scope = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
    problem = f'User "{caller.user}" cannot {verb} resource "{what}" in API group "{resource.group}" {scope}'
    return ForbiddenError.of(resource.plural, resource.group, name, problem)
