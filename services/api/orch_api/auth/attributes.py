"""What is asked of those who authorize, and what they answer; all parts of the chain speak in these."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from orch.errors import ForbiddenError, StatusDetails
from orch.objects.rbac import PolicyRule
from orch.quoting import quote
from orch_api.auth.identity import Caller

Decision = Literal["allow", "deny", "none"]
"""`none`: no opinion, the next one in the chain is asked; at its end it is a refusal."""


class Requirement(msgspec.Struct, frozen=True):
    """One part of a selector, in Kubernetes' words for it: In, NotIn, Exists, DoesNotExist."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def is_exactly(self, key: str, value: str) -> bool:
        """Return whether nothing but `value` is let through."""
        return self.key == key and self.operator == "In" and self.values == (value,)


class Attributes(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody may want to do: with a resource, or with a path that is no resource's, which `path` then holds."""

    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str | None = None
    fields: tuple[Requirement, ...] = ()
    """What the field selector of a list, watch or deletecollection requires of each object."""
    labels: tuple[Requirement, ...] = ()

    @property
    def combined(self) -> str:
        """The resource with its subresource, as rules name it."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


class Verdict(msgspec.Struct, frozen=True):
    """An answer and its reason, which may be empty. `error` is what went wrong on the way to it."""

    decision: Decision
    reason: str = ""
    error: str = ""

    @property
    def allowed(self) -> bool:
        """Whether it is a permission."""
        return self.decision == "allow"


ALLOWED: Final = Verdict("allow")
NO_OPINION: Final = Verdict("none")


class Permitted(msgspec.Struct, frozen=True):
    """All that somebody may do in a namespace. `gap` says why there is more than the rules tell, if there is."""

    rules: tuple[PolicyRule, ...] = ()
    gap: str = ""


def namespace_of(resource: str, namespace: str, name: str) -> str:
    """Return in which namespace a request is, as k8s.io/apiserver's RequestInfo has it: a namespace is in itself.

    So the bindings in a namespace also say who may look at it.
    """
    return name if resource == "namespaces" else namespace


def forbidden(caller: Caller, wanted: Attributes, reason: str) -> ForbiddenError:
    """Return the refusal as k8s.io/apiserver words it; what the caller wrote into it is quoted, and is no HTML."""
    user = quote(caller.user)
    if wanted.path is not None:
        problem = f"User {user} cannot {wanted.verb} path {quote(wanted.path)}"
        return ForbiddenError(f"forbidden: {_because(problem, reason)}", StatusDetails())
    scope = f"in the namespace {quote(wanted.namespace)}" if wanted.namespace else "at the cluster scope"
    what = f"resource {quote(wanted.combined)} in API group {quote(wanted.group)} {scope}"
    problem = f"User {user} cannot {wanted.verb} {what}"
    return ForbiddenError.of(wanted.resource, wanted.group, wanted.name, _because(problem, reason))


def _because(problem: str, reason: str) -> str:
    problem = problem.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"{problem}: {reason}" if reason else problem
