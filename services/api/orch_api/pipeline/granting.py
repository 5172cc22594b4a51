"""Nobody grants what he does not have: who writes a role or a binding must hold the rules that it gives.

Follows k8s.io/kubernetes/pkg/registry/rbac/*/policybased. The verbs `escalate` on a role and `bind` on the role that a
binding names free from it, and so does system:masters. It is no admission plugin: no setting turns it off.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec

from orch.errors import ForbiddenError, NotFoundError
from orch.objects.rbac import Binding, PolicyRule, RoleRules
from orch_api.admission import Request
from orch_api.auth.attributes import Attributes
from orch_api.auth.authorizer import Authorizer
from orch_api.auth.identity import MASTERS
from orch_api.auth.rbac.coverage import missing, refusal
from orch_api.auth.rbac.definitions import GROUP

Document = dict[str, Any]
_View = TypeVar("_View", Binding, RoleRules)

_ROLES: Final = frozenset({"roles", "clusterroles"})
_BINDINGS: Final = frozenset({"rolebindings", "clusterrolebindings"})
_FULL_AUTHORITY: Final = (
    PolicyRule(verbs=("*",), api_groups=("*",), resources=("*",)),
    PolicyRule(verbs=("*",), non_resource_urls=("*",)),
)
_COLLECTED: Final = frozenset({"ownerReferences", "finalizers", "managedFields", "resourceVersion"})
"""What the garbage collector changes without granting anything."""


def concerns(request: Request) -> bool:
    """Return whether a write may grant something."""
    return request.resource.group == GROUP and not request.subresource and request.resource.plural in _ROLES | _BINDINGS


async def refuse_escalation(authorizer: Authorizer, request: Request) -> None:
    """Return if the caller may grant what the document of a creation or an update grants.

    Raises ForbiddenError, and NotFoundError for a binding whose role does not exist.
    """
    document, caller = request.document, request.caller
    if document is None or MASTERS in caller.groups or _only_collected(document, request.old):
        return
    if request.resource.plural in _ROLES:
        await _refuse_rules(authorizer, request, document)
    else:
        await _refuse_binding(authorizer, request, document)


async def _refuse_rules(authorizer: Authorizer, request: Request, document: Document) -> None:
    resource = request.resource
    escalate = Attributes(
        verb="escalate",
        group=resource.group,
        version=resource.version,
        resource=resource.plural,
        namespace=request.namespace,
        name=request.name,
    )
    if (await authorizer.judge(request.caller, escalate)).allowed:
        return
    _refuse_lacking(authorizer, request, _read(document, RoleRules).rules or ())
    gathers = document.get("aggregationRule") or (request.old or {}).get("aggregationRule")
    held = authorizer.rbac.permitted(request.caller, request.namespace).rules
    if gathers and missing(held, _FULL_AUTHORITY):
        raise _forbidden(request, "must have cluster-admin privileges to use the aggregationRule")


async def _refuse_binding(authorizer: Authorizer, request: Request, document: Document) -> None:
    reference = _read(document, Binding).role_ref
    if reference.kind not in {"Role", "ClusterRole"}:
        return  # which validation refuses
    plural = "roles" if reference.kind == "Role" else "clusterroles"
    bind = Attributes(
        verb="bind",
        group=reference.api_group,
        version="*",
        resource=plural,
        namespace=request.namespace,
        name=reference.name,
    )
    if (await authorizer.judge(request.caller, bind)).allowed:
        return
    space = request.namespace if reference.kind == "Role" else ""
    rules = authorizer.rbac.rules_of(space, reference.name)
    if rules is None:
        raise NotFoundError.of(plural, GROUP, reference.name)
    _refuse_lacking(authorizer, request, rules)


def _refuse_lacking(authorizer: Authorizer, request: Request, wanted: tuple[PolicyRule, ...]) -> None:
    held = authorizer.rbac.permitted(request.caller, request.namespace)
    lacking = missing(held.rules, wanted)
    if lacking:
        raise _forbidden(request, refusal(request.caller, lacking, held.gap))


def _forbidden(request: Request, problem: str) -> ForbiddenError:
    return ForbiddenError.of(request.resource.plural, GROUP, request.name, problem)


def _read(document: Document, view: type[_View]) -> _View:
    """Return a document's typed view; what is not of its shape was refused by the schema before."""
    return msgspec.convert(document, view)


def _only_collected(document: Document, old: Document | None) -> bool:
    if old is None:
        return False
    if any(document.get(field) != old.get(field) for field in {*document, *old} - {"metadata"}):
        return False
    metadata, before = document["metadata"], old["metadata"]
    changed = {field for field in {*metadata, *before} if metadata.get(field) != before.get(field)}
    return changed <= _COLLECTED
