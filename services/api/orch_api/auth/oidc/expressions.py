"""The expressions of one issuer, compiled once: for the check of the configuration and for every token after it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from orch_api.auth.oidc.configuration import JwtIssuer
from orch_api.extensions.expressions.environment import ExpressionError
from orch_api.extensions.expressions.identities import IdentityExpression, compile_claims, compile_user

About = Literal["claims", "rule", "user"]
"""What an expression is: a value made of the claims, a rule about the claims, a rule about the user."""


class Expressions:
    """What compiled, and why the rest did not."""

    def __init__(
        self,
        known: Mapping[tuple[About, str], IdentityExpression],
        problems: Mapping[tuple[About, str], str],
        *,
        trusts_email: bool,
    ) -> None:
        self._known = known
        self._problems = problems
        self.trusts_email = trusts_email
        """Whether the name is taken from an e-mail address that nobody has verified."""

    def problem(self, about: About, text: str) -> str:
        """Return why an expression does not compile, "" when it does."""
        return self._problems.get((about, text), "")

    def of(self, about: About, text: str) -> IdentityExpression:
        """Return an expression that compiled."""
        return self._known[about, text]


def compiled(issuer: JwtIssuer) -> Expressions:
    """Compile every expression of an issuer."""
    known: dict[tuple[About, str], IdentityExpression] = {}
    problems: dict[tuple[About, str], str] = {}
    for about, text in _all(issuer):
        try:
            known[about, text] = _compile(about, text)
        except ExpressionError as error:
            problems[about, text] = str(error)
    name = known.get(("claims", issuer.claim_mappings.username.expression))
    uses_email = name is not None and "email" in name.selected
    return Expressions(known, problems, trusts_email=uses_email and not _verifies_email(issuer, known))


def _verifies_email(issuer: JwtIssuer, known: Mapping[tuple[About, str], IdentityExpression]) -> bool:
    mappings = issuer.claim_mappings
    values = (mappings.username.expression, *(one.value_expression for one in mappings.extra))
    rules = [one.expression for one in issuer.claim_validation_rules]
    return any(
        "email_verified" in one.selected
        for (about, text), one in known.items()
        if (about == "claims" and text in values) or (about == "rule" and text in rules)
    )


def _all(issuer: JwtIssuer) -> Iterator[tuple[About, str]]:
    mappings = issuer.claim_mappings
    values = (mappings.username.expression, mappings.groups.expression, mappings.uid.expression)
    for text in (*values, *(one.value_expression for one in mappings.extra)):
        if text:
            yield "claims", text
    for rule in issuer.claim_validation_rules:
        if rule.expression:
            yield "rule", rule.expression
    for rule in issuer.user_validation_rules:
        if rule.expression:
            yield "user", rule.expression


def _compile(about: About, text: str) -> IdentityExpression:
    return compile_user(text) if about == "user" else compile_claims(text, rule=about == "rule")
