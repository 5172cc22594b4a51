"""How the claims of a verified token become a user (k8s.io/apiserver/plugin/pkg/authenticator/token/oidc).

Claims that are spread over other servers (OpenID Connect Core 5.6.2) are not fetched.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from orch.errors import UnauthorizedError
from orch_api.auth.identity import CREDENTIAL_ID, Caller
from orch_api.auth.oidc.configuration import JwtIssuer, PrefixedClaim
from orch_api.auth.oidc.expressions import About, compiled
from orch_api.extensions.expressions.environment import ExpressionError
from orch_api.extensions.expressions.identities import readable

Claims = Mapping[str, Any]

_NO_TEXTS: Final = "expression must return a string or a list of strings"


class ClaimsReader:
    """Reads the claims of one issuer's tokens; its configuration has been checked."""

    def __init__(self, issuer: JwtIssuer) -> None:
        self._issuer = issuer
        self._mappings = issuer.claim_mappings
        self._expressions = compiled(issuer)

    def caller(self, claims: Claims) -> Caller:
        """Return the user. Raises UnauthorizedError, with what is wrong with the claims."""
        shown = readable(dict(claims))
        caller = Caller(
            user=self._name(claims, shown),
            groups=self._groups(claims, shown),
            uid=self._uid(claims, shown),
            extra=self._extra(claims, shown),
        )
        self._check_claims(claims, shown)
        self._check_user(caller)
        return caller

    def _name(self, claims: Claims, shown: Claims) -> str:
        mapping = self._mappings.username
        if mapping.expression:
            name = self._made("username", mapping.expression, shown)
            if not name:
                raise UnauthorizedError("oidc: empty username via CEL expression is not allowed")
            return name
        name = _text(claims, mapping.claim, "username claims")
        verified = claims.get("email_verified", True)
        if mapping.claim == "email" and verified is not True:
            if verified is False:
                raise UnauthorizedError("oidc: email not verified")
            raise UnauthorizedError("oidc: parse 'email_verified' claim: not a boolean")
        name = f"{mapping.prefix or ''}{name}"
        if not name:
            raise UnauthorizedError(f'oidc: the claim "{mapping.claim}" names no user')
        return name

    def _groups(self, claims: Claims, shown: Claims) -> tuple[str, ...]:
        mapping: PrefixedClaim = self._mappings.groups
        if mapping.expression:
            return _texts(self._value("claims", "group claim", mapping.expression, shown), "group claim")
        if not mapping.claim or mapping.claim not in claims:
            return ()
        value = claims[mapping.claim]
        listed = [value] if isinstance(value, str) else value
        if not isinstance(listed, list) or not all(isinstance(one, str) for one in cast("list[Any]", listed)):
            raise UnauthorizedError(f'oidc: parse groups claim "{mapping.claim}": not a string or a list of strings')
        return tuple(f"{mapping.prefix or ''}{one}" for one in cast("list[str]", listed))

    def _uid(self, claims: Claims, shown: Claims) -> str:
        mapping = self._mappings.uid
        if mapping.expression:
            return self._made("uid", mapping.expression, shown)
        return _text(claims, mapping.claim, "uid claim") if mapping.claim else ""

    def _extra(self, claims: Claims, shown: Claims) -> tuple[tuple[str, tuple[str, ...]], ...]:
        found: dict[str, tuple[str, ...]] = {}
        token = claims.get("jti")
        if isinstance(token, str) and token:
            found[CREDENTIAL_ID] = (f"JTI={token}",)
        for mapping in self._mappings.extra:
            about = f"extra claim expression: {mapping.value_expression}"
            if values := _texts(self._value("claims", about, mapping.value_expression, shown), about):
                found[mapping.key] = values
        return tuple(sorted(found.items()))

    def _check_claims(self, claims: Claims, shown: Claims) -> None:
        for rule in self._issuer.claim_validation_rules:
            if rule.expression:
                self._hold("rule", "claim validation", rule.expression, rule.message, shown)
                continue
            if rule.claim not in claims:
                raise UnauthorizedError(f"oidc: required claim {rule.claim} not present in ID token")
            found = claims[rule.claim]
            if not isinstance(found, str):
                raise UnauthorizedError(f"oidc: parse claim {rule.claim}: not a string")
            if found != rule.required_value:
                told = f"Got = {found}, want = {rule.required_value}"
                raise UnauthorizedError(f"oidc: required claim {rule.claim} value does not match. {told}")

    def _check_user(self, caller: Caller) -> None:
        rules = self._issuer.user_validation_rules
        if not rules:
            return
        user = {
            "username": caller.user,
            "uid": caller.uid,
            "groups": list(caller.groups),
            "extra": {key: list(values) for key, values in caller.extra},
        }
        shown = readable(user)
        for rule in rules:
            self._hold("user", "user info validation", rule.expression, rule.message, shown)

    def _hold(self, about: About, what: str, text: str, message: str, shown: Claims) -> None:
        """Raise UnauthorizedError unless a rule holds."""
        held = self._value(about, what, text, shown)
        if held is True:
            return
        problem = f"validation expression '{text}' failed: {message}"
        if not isinstance(held, bool):
            problem = "validation expression must return a boolean"
        raise UnauthorizedError(f"oidc: error evaluating {what} expression: {problem}")

    def _made(self, what: str, text: str, shown: Claims) -> str:
        value = self._value("claims", f"{what} claim", text, shown)
        if not isinstance(value, str):
            problem = f"{what} claim expression must return a string"
            raise UnauthorizedError(f"oidc: error evaluating {what} claim expression: {problem}")
        return value

    def _value(self, about: About, what: str, text: str, shown: Claims) -> Any:
        try:
            return self._expressions.of(about, text).evaluate(shown)
        except ExpressionError as error:
            raise UnauthorizedError(f"oidc: error evaluating {what} expression: {error}") from error


def _text(claims: Claims, claim: str, what: str) -> str:
    if claim not in claims:
        raise UnauthorizedError(f'oidc: parse {what} "{claim}": claim not present')
    value = claims[claim]
    if not isinstance(value, str):
        raise UnauthorizedError(f'oidc: parse {what} "{claim}": not a string')
    return value


def _texts(value: Any, what: str) -> tuple[str, ...]:
    """Return a text or a list of them without the empty ones."""
    if value is None:
        return ()
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list | tuple):
        raise UnauthorizedError(f"oidc: error evaluating {what} expression: {_NO_TEXTS}")
    found = tuple(cast("list[Any]", listed))
    if not all(isinstance(one, str) for one in found):
        raise UnauthorizedError(f"oidc: error evaluating {what} expression: {_NO_TEXTS}")
    return tuple(one for one in found if one)
