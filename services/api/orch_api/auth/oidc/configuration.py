"""The file that names issuers: an AuthenticationConfiguration of apiserver.config.k8s.io/v1."""

from __future__ import annotations

from typing import Literal

import msgspec


class Issuer(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Who makes the tokens, whom they must be for, and where the issuer's keys are found."""

    url: str = ""
    discovery_url: str = msgspec.field(default="", name="discoveryURL")
    certificate_authority: str = ""
    audiences: tuple[str, ...] = ()
    audience_match_policy: str = ""
    egress_selector_type: str = ""


class ClaimRule(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What a token must claim."""

    claim: str = ""
    required_value: str = ""
    expression: str = ""
    message: str = ""


class PrefixedClaim(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A claim with something put before it, or what an expression makes of the claims."""

    claim: str = ""
    prefix: str | None = None
    expression: str = ""


class PlainClaim(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A claim, or what an expression makes of the claims."""

    claim: str = ""
    expression: str = ""


class ExtraMapping(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """An extra value of the user."""

    key: str = ""
    value_expression: str = ""


class ClaimMappings(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """How claims become a user."""

    username: PrefixedClaim = PrefixedClaim()
    groups: PrefixedClaim = PrefixedClaim()
    uid: PlainClaim = PlainClaim()
    extra: tuple[ExtraMapping, ...] = ()


class UserRule(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What the user must be that came of a token."""

    expression: str = ""
    message: str = ""


class JwtIssuer(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One issuer, and how its tokens are read."""

    issuer: Issuer = Issuer()
    claim_validation_rules: tuple[ClaimRule, ...] = ()
    claim_mappings: ClaimMappings = ClaimMappings()
    user_validation_rules: tuple[UserRule, ...] = ()


class Condition(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A path that may be asked for anonymously."""

    path: str


class Anonymous(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Whether requests may be anonymous, and which."""

    enabled: bool = False
    conditions: tuple[Condition, ...] = ()


class AuthenticationConfiguration(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The whole file."""

    api_version: Literal[
        "apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1", "apiserver.config.k8s.io/v1alpha1"
    ]
    kind: Literal["AuthenticationConfiguration"]
    jwt: tuple[JwtIssuer, ...] = ()
    anonymous: Anonymous | None = None
