"""The chain of those who authorize: the first who permits or denies decides, and nobody's opinion is a refusal.

By default it is Kubernetes': the node authorizer, then roles and their bindings. A file may name others
(orch_api.auth.webhook.configuration), none of which comes before what is built in:

- `system:masters` may everything. Roles are objects in etcd: whoever mends a cluster, and the api itself when it makes
  the default roles at its first start, must not depend on them.
- /healthz, /livez and /readyz are anybody's, so that who watches over a process can, before there is anything in etcd.

All other identities, those of orch's own services included, are given their rights by roles
(orch_api.auth.rbac.system_roles), which exist before the api answers on the bus and are made again when they go
missing; and nodes by the node authorizer, which needs no objects but the pods that it is about.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from prometheus_client import Counter

from orch.errors import InternalError
from orch_api.auth.attributes import (
    ALLOWED,
    NO_OPINION,
    Attributes,
    Decision,
    Permitted,
    Requirement,
    Verdict,
    forbidden,
    namespace_of,
)
from orch_api.auth.audit_notes import NOTES
from orch_api.auth.identity import MASTERS, Caller
from orch_api.auth.nodes.authorizer import NodeAuthorizer
from orch_api.auth.rbac.index import RbacIndex
from orch_api.auth.rbac.user_roles import ROLES as USER_ROLES
from orch_api.auth.selector_requirements import field_requirements, label_requirements
from orch_api.registry import Resource
from orch_api.storage.cache import ObjectCache

DECISIONS: Final = Counter(
    "apiserver_authorization_decisions",
    "Decisions that ended the chain, by who made them",
    ("type", "name", "decision"),
)

ALWAYS_ALLOWED_PATHS: Final = frozenset({"/healthz", "/livez", "/readyz"})
_EVERYTHING: Final = USER_ROLES[0].rules
_COLLECTION_VERBS: Final = frozenset({"list", "watch", "deletecollection"})
_NAME: Final = "metadata.name"


class Judge(Protocol):
    """Decides at once."""

    def decide(self, caller: Caller, wanted: Attributes) -> Verdict:
        """Return its opinion."""
        ...


class RemoteJudge(Protocol):
    """Decides after asking somebody else."""

    async def ask(self, caller: Caller, wanted: Attributes) -> Verdict:
        """Return its opinion."""
        ...


class Always:
    """Permits everything, or denies it: only where somebody configured it."""

    def __init__(self, decision: Decision) -> None:
        self._verdict = Verdict(decision)

    def decide(self, caller: Caller, wanted: Attributes) -> Verdict:
        """Return always the same."""
        _ = caller, wanted
        return self._verdict


class Link:
    """One place in the chain: of one who decides at once, or of one who has to ask."""

    __slots__ = ("_allowed", "_denied", "judge", "remote")

    def __init__(self, kind: str, name: str, judge: Judge | None, remote: RemoteJudge | None = None) -> None:
        self.judge = judge
        self.remote = remote
        self._allowed = DECISIONS.labels(kind, name, "allowed")
        self._denied = DECISIONS.labels(kind, name, "denied")

    async def opinion(self, caller: Caller, wanted: Attributes) -> Verdict:
        """Return what the one in this place says."""
        if self.judge is not None:
            return self.judge.decide(caller, wanted)
        return NO_OPINION if self.remote is None else await self.remote.ask(caller, wanted)

    def count(self, verdict: Verdict) -> None:
        """Count a decision that this one made."""
        (self._allowed if verdict.allowed else self._denied).inc()


MakeChain = Callable[[NodeAuthorizer, RbacIndex], Sequence[Link]]
"""Makes the chain, of the two authorizers that are built in and of whatever else it knows."""


class Authorizer:
    """Decides who may what."""

    def __init__(self, cache: ObjectCache, chain: MakeChain) -> None:
        self.rbac: Final = RbacIndex(cache)
        self._nodes = NodeAuthorizer(cache)
        self._links = tuple(chain(self._nodes, self.rbac))
        self._told: list[Callable[[], None]] = []

    @property
    def asks_others(self) -> bool:
        """Whether decisions may change without any change in the cluster."""
        return any(link.remote is not None for link in self._links)

    def replace(self, chain: MakeChain) -> None:
        """Decide by another chain from now on; a decision that is under way ends by the former."""
        self._links = tuple(chain(self._nodes, self.rbac))
        for told in self._told:
            told()

    def on_change(self, told: Callable[[], None]) -> None:
        """Have `told` called after every change of roles, and when the chain is replaced."""
        self.rbac.on_change(told)
        self._told.append(told)

    async def permit(
        self,
        caller: Caller,
        verb: str,
        resource: Resource,
        namespace: str,
        name: str,
        subresource: str = "",
        *,
        selectors: tuple[str, str] = ("", ""),
    ) -> None:
        """Return if `caller` may; `selectors` are a collection's label and field selector, as they were sent.

        Raises ForbiddenError, worded as Kubernetes, and InternalError when somebody who has to be asked did not answer.
        """
        if MASTERS in caller.groups:
            if (notes := NOTES.get()) is not None:
                notes.permitted("")
            return
        await self.require(caller, attributes(verb, resource, namespace, name, subresource, selectors))

    async def permit_path(self, caller: Caller, verb: str, path: str) -> None:
        """Return if `caller` may do something with a path that is no resource's. Raises as `permit`."""
        await self.require(caller, Attributes(verb=verb, path=path))

    async def require(self, caller: Caller, wanted: Attributes) -> None:
        """Return if `caller` may do what is wanted; what is decided is audited. Raises as `permit`."""
        verdict = await self.judge(caller, wanted)
        notes = NOTES.get()
        if verdict.allowed:
            if notes is not None:
                notes.permitted(verdict.reason)
            return
        if verdict.error:
            if notes is not None:
                notes.undecided()
            raise InternalError(f"Internal error occurred: {verdict.error}")
        if notes is not None:
            notes.forbidden(verdict.reason)
        raise forbidden(caller, wanted, verdict.reason)

    async def judge(self, caller: Caller, wanted: Attributes) -> Verdict:
        """Return whether `caller` may do what is wanted, and why."""
        built_in = _built_in(caller, wanted)
        if built_in is not None:
            return built_in
        opinions: list[Verdict] = []
        for link in self._links:
            verdict = await link.opinion(caller, wanted)
            if verdict.decision != "none":
                link.count(verdict)
                return verdict
            opinions.append(verdict)
        return _nobody(opinions)

    def permitted(self, caller: Caller, namespace: str) -> Permitted:
        """Return what `caller` may do in a namespace. What nodes and webhooks permit is no list of rules: a gap."""
        if MASTERS in caller.groups:
            return Permitted(_EVERYTHING)
        found = self.rbac.permitted(caller, namespace)
        gaps = [found.gap] if found.gap else []
        if caller.node:
            gaps.append("node authorizer does not support user rule resolution")
        if self.asks_others:
            gaps.append("webhook authorizer does not support user rule resolution")
        return Permitted(found.rules, gaps[0] if len(gaps) == 1 else f"[{', '.join(gaps)}]" if gaps else "")


def default_chain(nodes: NodeAuthorizer, rbac: RbacIndex) -> tuple[Link, ...]:
    """Return Kubernetes' default as kubeadm sets it: Node, then RBAC."""
    return (Link("Node", "node", nodes), Link("RBAC", "rbac", rbac))


def _built_in(caller: Caller, wanted: Attributes) -> Verdict | None:
    if MASTERS in caller.groups or wanted.path in ALWAYS_ALLOWED_PATHS:
        return ALLOWED
    return None


def _nobody(opinions: Sequence[Verdict]) -> Verdict:
    """Return the end of a chain in which nobody decided, with all that was said on the way."""
    reasons = [one.reason for one in opinions if one.reason]
    errors = [one.error for one in opinions if one.error]
    if not reasons and not errors:
        return NO_OPINION
    return Verdict(
        "none", "\n".join(reasons), errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]" if errors else ""
    )


def attributes(
    verb: str,
    resource: Resource,
    namespace: str,
    name: str,
    subresource: str = "",
    selectors: tuple[str, str] = ("", ""),
) -> Attributes:
    """Return what a request for a resource wants, as k8s.io/apiserver's RequestInfo has it.

    A list or watch of the one object that a field selector names is for that name. Selectors that cannot be read
    require nothing here, and are refused where they are used.
    """
    namespace = namespace_of(resource.plural, namespace, name)
    labels: tuple[Requirement, ...] = ()
    fields: tuple[Requirement, ...] = ()
    if verb in _COLLECTION_VERBS and any(selectors):
        labels, fields = label_requirements(selectors[0]), field_requirements(selectors[1])
        if not name and verb != "deletecollection":
            exact = (one.values[0] for one in fields if one.key == _NAME and one.operator == "In")
            name = next(exact, "")
    return Attributes(
        verb=verb,
        group=resource.group,
        version=resource.version,
        resource=resource.plural,
        subresource=subresource,
        namespace=namespace,
        name=name,
        fields=fields,
        labels=labels,
    )
