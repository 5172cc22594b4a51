"""The audit policy: which requests are recorded, and how much of them. Shape and rules are audit.k8s.io/v1's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeVar

import msgspec
import yaml

from orch.errors import ConfigError
from orch_api.auth.attributes import Attributes as Wanted
from orch_api.auth.identity import Caller

Level = Literal["None", "Metadata", "Request", "RequestResponse"]
Stage = Literal["RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"]

StructT = TypeVar("StructT", bound=msgspec.Struct)

_PLACE: Final = re.compile(r" - at `\$\.?(.*)`$")
_GROUP: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


class GroupResources(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Resources of an API group; "" is the core group, "*" all of them."""

    group: str = ""
    resources: tuple[str, ...] = ()
    resource_names: tuple[str, ...] = ()


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """How much of the requests that match is recorded; the first rule that matches counts."""

    level: Level
    users: tuple[str, ...] = ()
    user_groups: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    resources: tuple[GroupResources, ...] = ()
    namespaces: tuple[str, ...] = ()
    non_resource_urls: tuple[str, ...] = msgspec.field(default=(), name="nonResourceURLs")
    omit_stages: tuple[Stage, ...] = ()
    omit_managed_fields: bool | None = None


class _Outline(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """A policy file, its rules as they stand there."""

    api_version: Literal["audit.k8s.io/v1"]
    kind: Literal["Policy"]
    metadata: dict[str, Any] = {}
    rules: tuple[Any, ...]
    omit_stages: tuple[Stage, ...] = ()
    omit_managed_fields: bool = False


class Policy(msgspec.Struct, frozen=True):
    """The rules of a policy file, and what holds for all of them."""

    rules: tuple[Rule, ...]
    omit_stages: tuple[Stage, ...] = ()
    omit_managed_fields: bool = False


class Attributes(msgspec.Struct, frozen=True, kw_only=True):
    """What rules look at. A request without a `resource` is for a path that is none."""

    caller: Caller
    verb: str
    path: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""


def attributes_for(caller: Caller, wanted: Wanted, path: str) -> Attributes:
    """Return what rules look at, of what somebody wants."""
    return Attributes(
        caller=caller,
        verb=wanted.verb,
        path=path,
        group=wanted.group,
        version=wanted.version,
        resource=wanted.resource,
        subresource=wanted.subresource,
        namespace=wanted.namespace,
        name=wanted.name,
    )


class Recording(NamedTuple):
    """How a request is recorded."""

    level: Level
    omitted: frozenset[Stage]
    omit_managed_fields: bool


def read_policy(file: Path) -> Policy:
    """Return the policy of a file. Raises ConfigError with the place in it that is wrong."""
    try:
        content = yaml.safe_load(file.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(str(file), f"cannot be read: {' '.join(str(error).split())}") from error
    outline = _convert(content, _Outline, str(file), "")
    rules = tuple(_convert(rule, Rule, str(file), f"rules[{number}]") for number, rule in enumerate(outline.rules))
    policy = Policy(rules, outline.omit_stages, outline.omit_managed_fields)
    for place, problem in _problems(policy):
        raise ConfigError(f"{file}: {place}", problem)
    return policy


def _convert(content: Any, kind: type[StructT], file: str, place: str) -> StructT:
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        problem = str(error)
        if inner := _PLACE.search(problem):
            problem = problem[: inner.start()]
            place = f"{place}.{inner[1]}" if place else inner[1]
        raise ConfigError(f"{file}: {place}" if place else file, problem[:1].lower() + problem[1:]) from error


def _problems(policy: Policy) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a policy beyond its shape, by place."""
    if not policy.rules:
        yield "rules", "there must be at least one"
    for number, rule in enumerate(policy.rules):
        place = f"rules[{number}]"
        for index, url in enumerate(rule.non_resource_urls):
            if url != "*" and not url.startswith("/"):
                yield f"{place}.nonResourceURLs[{index}]", "non-resource URL rules must begin with a '/' character"
            if "*" in url[:-1]:
                problem = "non-resource URL wildcards '*' must be the final character of the rule"
                yield f"{place}.nonResourceURLs[{index}]", problem
        if rule.non_resource_urls and (rule.resources or rule.namespaces):
            yield f"{place}.nonResourceURLs", "rules cannot apply to both regular resources and non-resource URLs"
        for index, chosen in enumerate(rule.resources):
            if chosen.group not in {"", "*"} and not _GROUP.fullmatch(chosen.group):
                yield f"{place}.resources[{index}].group", f"{chosen.group!r} is no API group"
            if chosen.resource_names and not chosen.resources:
                yield f"{place}.resources[{index}].resourceNames", "using resourceNames requires at least one resource"


class Rules:
    """A policy that is asked about requests."""

    def __init__(self, policy: Policy) -> None:
        self._rules = [(rule, _recording(policy, rule)) for rule in policy.rules]
        self._default = Recording("None", frozenset(policy.omit_stages), policy.omit_managed_fields)

    @property
    def empty(self) -> bool:
        """Whether nothing is recorded, whatever is asked."""
        return not self._rules

    def of(self, asked: Attributes) -> Recording:
        """Return how a request is recorded."""
        for rule, recording in self._rules:
            if _matches(rule, asked):
                return recording
        return self._default


def _recording(policy: Policy, rule: Rule) -> Recording:
    omit = policy.omit_managed_fields if rule.omit_managed_fields is None else rule.omit_managed_fields
    return Recording(rule.level, frozenset((*policy.omit_stages, *rule.omit_stages)), omit)


def _matches(rule: Rule, asked: Attributes) -> bool:
    if rule.users and asked.caller.user not in rule.users:
        return False
    if rule.user_groups and not set(rule.user_groups).intersection(asked.caller.groups):
        return False
    if rule.verbs and asked.verb not in rule.verbs:
        return False
    if rule.namespaces or rule.resources:
        return bool(asked.resource) and _matches_resource(rule, asked)
    if rule.non_resource_urls:
        return not asked.resource and any(_matches_path(asked.path, each) for each in rule.non_resource_urls)
    return True


def _matches_path(path: str, pattern: str) -> bool:
    return pattern in {"*", path} or (pattern.endswith("*") and path.startswith(pattern.rstrip("*")))


def _matches_resource(rule: Rule, asked: Attributes) -> bool:
    if rule.namespaces and asked.namespace not in rule.namespaces:
        return False
    return not rule.resources or any(_covers(chosen, asked) for chosen in rule.resources)


def _covers(chosen: GroupResources, asked: Attributes) -> bool:
    if chosen.group not in {"*", asked.group}:
        return False
    if not chosen.resources:
        return True
    if chosen.resource_names and asked.name not in chosen.resource_names:
        return False
    return any(pattern in _patterns(asked) for pattern in chosen.resources)


def _patterns(asked: Attributes) -> Sequence[str]:
    """Return the patterns that name a request's resource; a subresource is not covered by its resource's name."""
    if not asked.subresource:
        return ("*", asked.resource, f"{asked.resource}/*")
    return ("*", f"{asked.resource}/{asked.subresource}", f"*/{asked.subresource}", f"{asked.resource}/*")
