import msgspec
import pytest

from orch.errors import UnauthorizedError
from orch_api.auth.identity import Caller
from orch_api.auth.oidc.claims import ClaimsReader
from orch_api.auth.oidc.configuration import JwtIssuer

CLAIMS = {
    "sub": "248",
    "email": "jane@example.com",
    "email_verified": True,
    "groups": ["dev", "ops"],
    "role": "admin",
    "jti": "77",
    "exp": 1893456000,
    "https://example.com/roles": {"team.name": ["a", "", "b"]},
    "none": None,
}
BY_SUBJECT = {"username": {"claim": "sub", "prefix": ""}}
JTI = "authentication.kubernetes.io/credential-id"


def reader(mappings=BY_SUBJECT, **more):
    document = {"issuer": {"url": "https://idp"}, "claimMappings": mappings, **more}
    return ClaimsReader(msgspec.convert(document, JwtIssuer))


def refusal(found, claims):
    with pytest.raises(UnauthorizedError) as caught:
        found.caller(claims)
    return caught.value.message


def test_claims_with_prefixes():
    caller = reader(
        {
            "username": {"claim": "email", "prefix": "idp:"},
            "groups": {"claim": "groups", "prefix": "idp:"},
            "uid": {"claim": "sub"},
        }
    ).caller(CLAIMS)
    assert caller == Caller("idp:jane@example.com", ("idp:dev", "idp:ops"), "248", ((JTI, ("JTI=77",)),))


def test_a_group_may_be_a_single_text_or_absent():
    found = reader({**BY_SUBJECT, "groups": {"claim": "role", "prefix": ""}})
    assert found.caller(CLAIMS).groups == ("admin",)
    assert found.caller({"sub": "a"}).groups == ()


def test_expressions():
    caller = reader(
        {
            "username": {"expression": "'idp:' + claims.email.split('@')[0] + (claims.email_verified ? '' : '?')"},
            "groups": {"expression": "claims['https://example.com/roles']['team.name']"},
            "uid": {"expression": "claims.sub"},
            "extra": [
                {"key": "example.com/role", "valueExpression": "claims.role"},
                {"key": "example.com/list", "valueExpression": "claims.groups.filter(g, g != 'dev')"},
                {"key": "example.com/none", "valueExpression": "claims.none"},
                {"key": "example.com/empty", "valueExpression": "''"},
            ],
        }
    ).caller(CLAIMS)
    extra = ((JTI, ("JTI=77",)), ("example.com/list", ("ops",)), ("example.com/role", ("admin",)))
    assert caller == Caller("idp:jane", ("a", "b"), "248", extra)


def test_names_with_dots_may_be_written_escaped():
    claims = {"sub": "a", "k8s.io": {"pod.name": "p"}}
    assert reader({"username": {"expression": "claims.k8s__dot__io.pod__dot__name"}}).caller(claims).user == "p"


@pytest.mark.parametrize(
    ("claims", "problem"),
    [
        ({}, 'oidc: parse username claims "sub": claim not present'),
        ({"sub": 7}, 'oidc: parse username claims "sub": not a string'),
        ({"sub": ""}, 'oidc: the claim "sub" names no user'),
    ],
)
def test_claims_that_name_nobody(claims, problem):
    assert refusal(reader(), claims) == problem


def test_an_address_must_not_be_known_as_unverified():
    found = reader({"username": {"claim": "email", "prefix": ""}})
    assert found.caller({"email": "a@b"}).user == "a@b"
    assert refusal(found, {"email": "a@b", "email_verified": False}) == "oidc: email not verified"
    assert "parse 'email_verified' claim" in refusal(found, {"email": "a@b", "email_verified": "false"})


@pytest.mark.parametrize(
    ("mappings", "problem"),
    [
        ({"username": {"expression": "claims.exp"}}, "username claim expression must return a string"),
        ({"username": {"expression": "''"}}, "oidc: empty username via CEL expression is not allowed"),
        ({"username": {"expression": "claims.missing"}}, "oidc: error evaluating username claim expression: "),
        ({**BY_SUBJECT, "groups": {"expression": "claims.exp"}}, "must return a string or a list of strings"),
        ({**BY_SUBJECT, "groups": {"expression": "[1]"}}, "must return a string or a list of strings"),
        ({**BY_SUBJECT, "groups": {"claim": "exp", "prefix": ""}}, 'parse groups claim "exp"'),
        ({**BY_SUBJECT, "uid": {"expression": "claims.groups"}}, "uid claim expression must return a string"),
    ],
)
def test_what_expressions_must_return(mappings, problem):
    assert problem in refusal(reader(mappings), CLAIMS)


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ({"claim": "role", "requiredValue": "user"}, "value does not match. Got = admin, want = user"),
        ({"claim": "missing", "requiredValue": "x"}, "oidc: required claim missing not present in ID token"),
        ({"claim": "exp", "requiredValue": "x"}, "oidc: parse claim exp: not a string"),
        (
            {"expression": "claims.role == 'user'", "message": "users only"},
            "claim validation expression: validation expression 'claims.role == 'user'' failed: users only",
        ),
        ({"expression": "claims.missing == 'a'"}, "oidc: error evaluating claim validation expression: "),
    ],
)
def test_rules_about_claims(rule, problem):
    assert problem in refusal(reader(claimValidationRules=[rule]), CLAIMS)


def test_rules_about_the_user():
    rules = [
        {"expression": "!user.username.startsWith('system:')", "message": "reserved"},
        {"expression": "user.groups.all(group, !group.startsWith('system:'))", "message": "reserved group"},
    ]
    mappings = {**BY_SUBJECT, "groups": {"claim": "groups", "prefix": ""}}
    found = reader(mappings, userValidationRules=rules)
    assert found.caller(CLAIMS).user == "248"
    assert "failed: reserved" in refusal(found, {"sub": "system:admin"})
    assert "failed: reserved group" in refusal(found, {"sub": "a", "groups": ["system:masters"]})


def test_numbers_are_numbers():
    found = reader(claimValidationRules=[{"expression": "claims.exp > 5 && claims.ratio < 0.5 && claims.big > 1.0"}])
    assert found.caller({"sub": "a", "exp": 6, "ratio": 0.25, "big": 2**70}).user == "a"
