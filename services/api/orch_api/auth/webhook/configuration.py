"""The file that names authorizers in their order: an AuthorizationConfiguration of apiserver.config.k8s.io/v1.

Checked as k8s.io/apiserver's validation checks it. Nothing in it comes before what the chain has built in, and a file
that does not name RBAC or Node is without them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from orch import config
from orch.clock import Clock
from orch.config import Duration
from orch.errors import ConfigError
from orch_api import validation
from orch_api.auth.authorizer import Always, Link, MakeChain
from orch_api.auth.kubeconfig import read_webhook
from orch_api.auth.nodes.authorizer import NodeAuthorizer
from orch_api.auth.rbac.index import RbacIndex
from orch_api.auth.webhook.conditions import Conditions
from orch_api.auth.webhook.reviewer import Settings, WebhookAuthorizer

Kind = Literal["Webhook", "Node", "RBAC", "AlwaysAllow", "AlwaysDeny"]

_LONGEST_TIMEOUT: Final = 30.0
_AUTHORIZED_TTL: Final = 300.0
_UNAUTHORIZED_TTL: Final = 30.0
_MOST_CONDITIONS: Final = 64
_FILE: Final = "KubeConfigFile"


class Condition(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """An expression that must hold for the webhook to be asked."""

    expression: str


class Connection(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """How the webhook is reached."""

    type: Literal["KubeConfigFile", "InClusterConfig"]
    kube_config_file: str = ""


class WebhookPart(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What is said of a webhook."""

    timeout: Duration
    authorized_ttl: Duration = msgspec.field(default=_AUTHORIZED_TTL, name="authorizedTTL")
    unauthorized_ttl: Duration = msgspec.field(default=_UNAUTHORIZED_TTL, name="unauthorizedTTL")
    cache_authorized_requests: bool = True
    cache_unauthorized_requests: bool = True
    subject_access_review_version: Literal["v1", "v1beta1"]
    match_condition_subject_access_review_version: Literal["v1", ""] = ""
    failure_policy: Literal["NoOpinion", "Deny"]
    connection_info: Connection
    match_conditions: tuple[Condition, ...] = ()


class Place(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One authorizer."""

    type: Kind
    name: str
    webhook: WebhookPart | None = None


class AuthorizationConfiguration(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The whole file."""

    api_version: Literal[
        "apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1", "apiserver.config.k8s.io/v1alpha1"
    ]
    kind: Literal["AuthorizationConfiguration"]
    authorizers: tuple[Place, ...] = ()


def read_chain(file: Path, clock: Clock) -> MakeChain:
    """Return what makes the chain that a file names. Raises ConfigError with the place in it that is wrong."""
    return make_chain(read_configuration(file), file, clock)


def read_configuration(file: Path) -> AuthorizationConfiguration:
    """Return what a file says. Raises ConfigError with the place in it that is wrong."""
    found = config.read(file, AuthorizationConfiguration)
    for at, problem in _problems(found):
        raise ConfigError(f"{file}: {at}", problem)
    return found


def make_chain(found: AuthorizationConfiguration, file: Path, clock: Clock) -> MakeChain:
    """Return what makes the chain that a file, which was read, names. Raises ConfigError."""
    webhooks = {
        place.name: _webhook(file, index, place.name, place.webhook, clock)
        for index, place in enumerate(found.authorizers)
        if place.webhook is not None
    }

    def made(nodes: NodeAuthorizer, rbac: RbacIndex) -> Sequence[Link]:
        return [_link(place, webhooks.get(place.name), nodes, rbac) for place in found.authorizers]

    return made


def _link(place: Place, webhook: WebhookAuthorizer | None, nodes: NodeAuthorizer, rbac: RbacIndex) -> Link:
    if webhook is not None:
        return Link(place.type, place.name, None, webhook)
    match place.type:
        case "Node":
            return Link(place.type, place.name, nodes)
        case "RBAC":
            return Link(place.type, place.name, rbac)
        case _:
            return Link(place.type, place.name, Always("allow" if place.type == "AlwaysAllow" else "deny"))


def _webhook(file: Path, index: int, name: str, part: WebhookPart, clock: Clock) -> WebhookAuthorizer:
    at = f"{file}: authorizers[{index}].webhook"
    texts = [one.expression for one in part.match_conditions]
    settings = Settings(
        name=name,
        version=part.subject_access_review_version,
        timeout=part.timeout,
        authorized_ttl=part.authorized_ttl if part.cache_authorized_requests else 0.0,
        unauthorized_ttl=part.unauthorized_ttl if part.cache_unauthorized_requests else 0.0,
        fails_closed=part.failure_policy == "Deny",
    )
    webhook = read_webhook(Path(part.connection_info.kube_config_file))
    return WebhookAuthorizer(webhook, settings, Conditions(name, texts, f"{at}.matchConditions"), clock)


def _problems(found: AuthorizationConfiguration) -> Iterator[tuple[str, str]]:
    if not found.authorizers:
        yield "authorizers", "at least one authorization mode must be defined"
    kinds: set[str] = set()
    names: set[str] = set()
    for index, place in enumerate(found.authorizers):
        at = f"authorizers[{index}]"
        if place.type != "Webhook" and place.type in kinds:
            yield f"{at}.type", f"there is another of the type {place.type}"
        if place.name in names:
            yield f"{at}.name", f"there is another with the name {place.name!r}"
        for problem in validation.dns_subdomain(place.name):
            yield f"{at}.name", problem
        kinds.add(place.type)
        names.add(place.name)
        if (place.type == "Webhook") != (place.webhook is not None):
            wrong = (
                "required when type=Webhook" if place.type == "Webhook" else "may only be specified when type=Webhook"
            )
            yield f"{at}.webhook", wrong
        elif place.webhook is not None:
            yield from _webhook_problems(f"{at}.webhook", place.webhook)


def _webhook_problems(at: str, part: WebhookPart) -> Iterator[tuple[str, str]]:
    if not 0 < part.timeout <= _LONGEST_TIMEOUT:
        yield f"{at}.timeout", f"must be above zero and {_LONGEST_TIMEOUT:g}s at most"
    for name, ttl in (("authorizedTTL", part.authorized_ttl), ("unauthorizedTTL", part.unauthorized_ttl)):
        if ttl <= 0:
            yield f"{at}.{name}", "must be above zero"
    if part.match_conditions and not part.match_condition_subject_access_review_version:
        yield f"{at}.matchConditionSubjectAccessReviewVersion", "required if match conditions are specified"
    if len(part.match_conditions) > _MOST_CONDITIONS:
        yield f"{at}.matchConditions", f"must have at most {_MOST_CONDITIONS} items"
    expressions: set[str] = set()
    for index, one in enumerate(part.match_conditions):
        if not one.expression.strip():
            yield f"{at}.matchConditions[{index}].expression", "must not be empty"
        if one.expression in expressions:
            yield f"{at}.matchConditions[{index}].expression", "there is another like it"
        expressions.add(one.expression)
    connection = part.connection_info
    if connection.type != _FILE:
        yield f"{at}.connectionInfo.type", "orch's api runs in no pod: only KubeConfigFile can be used"
    elif not Path(connection.kube_config_file).is_absolute():
        yield f"{at}.connectionInfo.kubeConfigFile", "must be an absolute path"
