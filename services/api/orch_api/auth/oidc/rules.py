"""Reads the file that names issuers, and says what is wrong with it.

Follows k8s.io/apiserver/pkg/apis/apiserver/validation; expressions are compiled on the way.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

from orch import config
from orch.errors import Cause, ConfigError
from orch_api.auth.oidc.configuration import (
    AuthenticationConfiguration,
    ExtraMapping,
    Issuer,
    JwtIssuer,
    PrefixedClaim,
)
from orch_api.auth.oidc.expressions import About, Expressions, compiled
from orch_api.validation import duplicate, invalid, required

_MOST: Final = 64
_MATCH_ANY: Final = "MatchAny"
_EMAIL: Final = (
    "claims.email_verified must be used in claimMappings.username.expression or claimMappings.extra[*].valueExpression "
    "or claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression"
)
_BOTH: Final = "claim and expression can't both be set"
_EITHER: Final = "claim or expression is required"
_KEY: Final = re.compile(
    r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"
)
_RESERVED: Final = re.compile(r"([^/]*\.)?(kubernetes|k8s)\.io/")


def read(file: Path, own_issuers: Iterable[str]) -> AuthenticationConfiguration:
    """Return what a file says. Raises ConfigError with every place in it that is wrong."""
    found = config.read(file, AuthenticationConfiguration)
    causes = list(problems(found, own_issuers))
    if causes:
        raise ConfigError(str(file), "; ".join(f"{cause.field}: {cause.message}" for cause in causes))
    return found


def problems(found: AuthenticationConfiguration, own_issuers: Iterable[str]) -> Iterator[Cause]:
    """Yield what is wrong; issuers must not be the api's own."""
    if len(found.jwt) > _MOST:
        yield Cause("FieldValueTooMany", f"Too many: {len(found.jwt)}: must have at most {_MOST} items", "jwt")
        return
    own = sorted(own_issuers)
    urls: set[str] = set()
    discovery: set[str] = set()
    for index, one in enumerate(found.jwt):
        at = f"jwt[{index}]"
        yield from _issuer(one.issuer, own, f"{at}.issuer")
        yield from _rules(one, at)
        if one.issuer.url in urls:
            yield duplicate(f"{at}.issuer.url", one.issuer.url)
        urls.add(one.issuer.url)
        if (place := one.issuer.discovery_url) and place in discovery:
            yield duplicate(f"{at}.issuer.discoveryURL", place)
        discovery.add(one.issuer.discovery_url)
    anonymous = found.anonymous
    if anonymous is not None and anonymous.conditions and not anonymous.enabled:
        listed = [one.path for one in anonymous.conditions]
        yield invalid("anonymous.conditions", listed, "enabled should be set to true when conditions are defined")


def _issuer(issuer: Issuer, own: Sequence[str], at: str) -> Iterator[Cause]:
    if not issuer.url:
        yield required(f"{at}.url")
    else:
        if issuer.url in own:
            listed = f"[{' '.join(own)}]"
            problem = f"URL must not overlap with disallowed issuers: {listed}"
            yield invalid(f"{at}.url", issuer.url, problem)
        yield from _url(issuer.url, f"{at}.url")
    if issuer.discovery_url:
        if issuer.url and issuer.url.rstrip("/") == issuer.discovery_url.rstrip("/"):
            yield invalid(f"{at}.discoveryURL", issuer.discovery_url, "discoveryURL must be different from URL")
        yield from _url(issuer.discovery_url, f"{at}.discoveryURL")
    yield from _audiences(issuer, at)
    if issuer.certificate_authority and (problem := _authority_problem(issuer.certificate_authority)):
        yield invalid(f"{at}.certificateAuthority", "<omitted>", problem)
    if issuer.egress_selector_type:
        problem = "there are no egress selectors here: requests go out as they are"
        yield invalid(f"{at}.egressSelectorType", issuer.egress_selector_type, problem)


def _url(url: str, at: str) -> Iterator[Cause]:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        yield invalid(at, url, str(error))
        return
    for wrong, problem in _url_problems(parts):
        if wrong:
            yield invalid(at, url, problem)


def _url_problems(parts: SplitResult) -> Iterator[tuple[bool, str]]:
    yield parts.scheme != "https", "URL scheme must be https"
    yield not parts.hostname, "URL must name a host"
    yield parts.username is not None, "URL must not contain a username or password"
    yield bool(parts.query), "URL must not contain a query"
    yield bool(parts.fragment), "URL must not contain a fragment"


def _audiences(issuer: Issuer, at: str) -> Iterator[Cause]:
    if not issuer.audiences:
        yield required(f"{at}.audiences", f"at least one {at}.audiences is required")
        return
    for index, audience in enumerate(issuer.audiences):
        if not audience:
            yield required(f"{at}.audiences[{index}]")
        if audience in issuer.audiences[:index]:
            yield duplicate(f"{at}.audiences[{index}]", audience)
    policy = issuer.audience_match_policy
    if len(issuer.audiences) > 1 and policy != _MATCH_ANY:
        problem = "audienceMatchPolicy must be MatchAny for multiple audiences"
        yield invalid(f"{at}.audienceMatchPolicy", policy, problem)
    elif policy not in {"", _MATCH_ANY}:
        problem = "audienceMatchPolicy must be empty or MatchAny for single audience"
        yield invalid(f"{at}.audienceMatchPolicy", policy, problem)


def _authority_problem(text: str) -> str:
    try:
        ssl.create_default_context(cadata=text)
    except (ssl.SSLError, ValueError) as error:
        return f"data does not contain any valid RSA or ECDSA certificates: {error}"
    return ""


def _rules(one: JwtIssuer, at: str) -> Iterator[Cause]:
    expressions = compiled(one)
    yield from _claim_rules(one, expressions, f"{at}.claimValidationRules")
    mappings = one.claim_mappings
    at_mappings = f"{at}.claimMappings"
    yield from _mapping(mappings.username, expressions, f"{at_mappings}.username", needed=True)
    yield from _mapping(mappings.groups, expressions, f"{at_mappings}.groups", needed=False)
    if mappings.uid.claim and mappings.uid.expression:
        yield invalid(f"{at_mappings}.uid", "", _BOTH)
    elif mappings.uid.expression:
        yield from _expression(expressions, mappings.uid.expression, f"{at_mappings}.uid.expression")
    yield from _extra(mappings.extra, expressions, f"{at_mappings}.extra")
    if expressions.trusts_email:
        yield invalid(f"{at_mappings}.username.expression", mappings.username.expression, _EMAIL)
    seen: set[str] = set()
    for index, rule in enumerate(one.user_validation_rules):
        place = f"{at}.userValidationRules[{index}].expression"
        if not rule.expression:
            yield required(place)
        elif rule.expression in seen:
            yield duplicate(place, rule.expression)
        else:
            yield from _expression(expressions, rule.expression, place, about="user")
        seen.add(rule.expression)


def _claim_rules(one: JwtIssuer, expressions: Expressions, at: str) -> Iterator[Cause]:
    seen: set[tuple[str, str]] = set()
    for index, rule in enumerate(one.claim_validation_rules):
        place = f"{at}[{index}]"
        if rule.claim and rule.expression:
            yield invalid(place, rule.claim, _BOTH)
        elif rule.claim:
            if rule.message:
                yield invalid(f"{place}.message", rule.message, "may not be specified when claim is set")
            if ("claim", rule.claim) in seen:
                yield duplicate(f"{place}.claim", rule.claim)
            seen.add(("claim", rule.claim))
        elif rule.expression:
            if rule.required_value:
                problem = "may not be specified when expression is set"
                yield invalid(f"{place}.requiredValue", rule.required_value, problem)
            if ("expression", rule.expression) in seen:
                yield duplicate(f"{place}.expression", rule.expression)
            seen.add(("expression", rule.expression))
            yield from _expression(expressions, rule.expression, f"{place}.expression", about="rule")
        else:
            yield required(place, _EITHER)


def _mapping(mapping: PrefixedClaim, expressions: Expressions, at: str, *, needed: bool) -> Iterator[Cause]:
    if mapping.claim and mapping.expression:
        yield invalid(at, "", _BOTH)
    elif mapping.expression:
        if mapping.prefix is not None:
            yield invalid(f"{at}.prefix", mapping.prefix, "may not be specified when expression is set")
        yield from _expression(expressions, mapping.expression, f"{at}.expression")
    elif mapping.claim:
        if mapping.prefix is None:
            problem = "prefix is required when claim is set. It can be set to an empty string to disable prefixing"
            yield required(f"{at}.prefix", problem)
    elif needed:
        yield required(at, _EITHER)


def _extra(mappings: Sequence[ExtraMapping], expressions: Expressions, at: str) -> Iterator[Cause]:
    seen: set[str] = set()
    for index, mapping in enumerate(mappings):
        place, key = f"{at}[{index}]", mapping.key
        if not key:
            yield required(f"{place}.key")
        elif key != key.lower():
            yield invalid(f"{place}.key", key, "must be lowercase")
        elif not _KEY.fullmatch(key):
            yield invalid(f"{place}.key", key, "must be a domain-prefixed path (such as 'acme.io/foo')")
        elif _RESERVED.match(key):
            problem = "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use"
            yield invalid(f"{place}.key", key, problem)
        if key in seen:
            yield duplicate(f"{place}.key", key)
        elif not mapping.value_expression:
            yield required(f"{place}.valueExpression")
        else:
            yield from _expression(expressions, mapping.value_expression, f"{place}.valueExpression")
        seen.add(key)


def _expression(expressions: Expressions, text: str, at: str, *, about: About = "claims") -> Iterator[Cause]:
    if problem := expressions.problem(about, text):
        yield invalid(at, text, problem)
