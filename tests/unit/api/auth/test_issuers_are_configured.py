"""An AuthenticationConfiguration: what is wrong with one is said with its place, as kube-apiserver does."""

from pathlib import Path

import pytest
import yaml
from certificates import make

from orch.errors import ConfigError
from orch_api.auth.oidc.rules import read

ISSUER = {"url": "https://idp.example.com", "audiences": ["orch"]}
NAME = {"username": {"claim": "sub", "prefix": ""}}
GOOD = {"issuer": ISSUER, "claimMappings": NAME}


@pytest.fixture
def file(tmp_path):
    def write(document):
        path = tmp_path / "authentication.yaml"
        whole = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", **document}
        path.write_text(yaml.safe_dump(whole))
        return path

    return write


@pytest.fixture
def problem(file):
    """Return what is said of a file with one issuer, without the file's own path."""

    def check(jwt):
        path = file({"jwt": [jwt]})
        with pytest.raises(ConfigError) as caught:
            read(path, ["https://own.example.com"])
        return str(caught.value).removeprefix(f"{path}: ")

    return check


def issuer(**changes):
    return {**GOOD, "issuer": {**ISSUER, **changes}}


def mappings(**changes):
    return {**GOOD, "claimMappings": {**NAME, **changes}}


def test_everything_that_can_be_said(file, tmp_path):
    found = read(
        file(
            {
                "jwt": [
                    {
                        "issuer": {
                            **ISSUER,
                            "discoveryURL": "https://idp.internal/.well-known/openid-configuration",
                            "certificateAuthority": Path(make(tmp_path).ca).read_text(),
                            "audiences": ["orch", "cli"],
                            "audienceMatchPolicy": "MatchAny",
                        },
                        "claimValidationRules": [
                            {"claim": "hd", "requiredValue": "example.com"},
                            {"expression": "claims.exp - claims.nbf <= 86400", "message": "too long"},
                        ],
                        "claimMappings": {
                            "username": {"expression": "claims.email_verified ? claims.email : claims.sub"},
                            "groups": {"claim": "groups", "prefix": "idp:"},
                            "uid": {"expression": "claims.sub"},
                            "extra": [{"key": "example.com/tenant", "valueExpression": "claims.tenant"}],
                        },
                        "userValidationRules": [{"expression": "!user.username.startsWith('system:')"}],
                    }
                ],
                "anonymous": {"enabled": True, "conditions": [{"path": "/livez"}]},
            }
        ),
        [],
    )
    assert found.jwt[0].claim_mappings.groups.prefix == "idp:"
    assert found.anonymous is not None
    assert [one.path for one in found.anonymous.conditions] == ["/livez"]


def test_there_may_be_no_issuer_yet(file):
    assert read(file({}), []).jwt == ()


BAD_URLS = {
    "": "Required value",
    "http://idp.example.com": 'Invalid value: "http://idp.example.com": URL scheme must be https',
    "https://a:b@idp.example.com": "URL must not contain a username or password",
    "https://idp.example.com?a=b": "URL must not contain a query",
    "https://idp.example.com#a": "URL must not contain a fragment",
    "https://own.example.com": "URL must not overlap with disallowed issuers: [https://own.example.com]",
}


@pytest.mark.parametrize(("url", "detail"), BAD_URLS.items())
def test_addresses_of_issuers(problem, url, detail):
    said = problem(issuer(url=url))
    assert said.startswith("jwt[0].issuer.url: ")
    assert detail in said


ISSUERS = [
    ({"discoveryURL": "https://idp.example.com/"}, "jwt[0].issuer.discoveryURL", "must be different from URL"),
    ({"discoveryURL": "http://other"}, "jwt[0].issuer.discoveryURL", "URL scheme must be https"),
    ({"audiences": []}, "jwt[0].issuer.audiences", "at least one jwt[0].issuer.audiences is required"),
    ({"audiences": [""]}, "jwt[0].issuer.audiences[0]", "Required value"),
    ({"audiences": ["a", "b"]}, "jwt[0].issuer.audienceMatchPolicy", "must be MatchAny for multiple audiences"),
    ({"audienceMatchPolicy": "MatchAll"}, "jwt[0].issuer.audienceMatchPolicy", "must be empty or MatchAny"),
    ({"certificateAuthority": "nonsense"}, "jwt[0].issuer.certificateAuthority", 'Invalid value: "<omitted>"'),
    ({"egressSelectorType": "cluster"}, "jwt[0].issuer.egressSelectorType", "there are no egress selectors"),
]


@pytest.mark.parametrize(("changes", "field", "detail"), ISSUERS)
def test_what_is_said_of_issuers(problem, changes, field, detail):
    said = problem(issuer(**changes))
    assert said.startswith(f"{field}: ")
    assert detail in said


MAPPINGS = [
    ({"username": {}}, "username", "Required value: claim or expression is required"),
    ({"username": {"claim": "sub"}}, "username.prefix", "Required value: prefix is required when claim is set."),
    ({"username": {"claim": "a", "prefix": "", "expression": "b"}}, "username", "can't both be set"),
    ({"username": {"expression": "'a'", "prefix": "x"}}, "username.prefix", "may not be specified when expression is"),
    ({"username": {"expression": "claims."}}, "username.expression", "compilation failed: "),
    ({"username": {"expression": "user.name"}}, "username.expression", "undeclared reference to 'user"),
    ({"username": {"expression": "claims.email"}}, "username.expression", "claims.email_verified must be used in"),
    ({"username": {"expression": "claims.?email.orValue('')"}}, "username.expression", "claims.email_verified must be"),
    ({"uid": {"claim": "a", "expression": "b"}}, "uid", "can't both be set"),
    ({"groups": {"claim": "groups"}}, "groups.prefix", "prefix is required"),
    ({"extra": [{"valueExpression": "'a'"}]}, "extra[0].key", "Required value"),
    ({"extra": [{"key": "tenant", "valueExpression": "'a'"}]}, "extra[0].key", "must be a domain-prefixed path"),
    ({"extra": [{"key": "example.com/Tenant", "valueExpression": "'a'"}]}, "extra[0].key", "must be lowercase"),
    ({"extra": [{"key": "a.k8s.io/b", "valueExpression": "'a'"}]}, "extra[0].key", "reserved for Kubernetes use"),
    ({"extra": [{"key": "example.com/a"}]}, "extra[0].valueExpression", "Required value"),
    ({"extra": [{"key": "a.io/b", "valueExpression": "'a'"}] * 2}, "extra[1].key", 'Duplicate value: "a.io/b"'),
]


@pytest.mark.parametrize(("changes", "field", "detail"), MAPPINGS)
def test_what_is_said_of_mappings(problem, changes, field, detail):
    said = problem(mappings(**changes))
    assert said.startswith(f"jwt[0].claimMappings.{field}: ")
    assert detail in said


RULES = [
    ({"claimValidationRules": [{}]}, "claimValidationRules[0]", "claim or expression is required"),
    ({"claimValidationRules": [{"claim": "a", "expression": "b"}]}, "claimValidationRules[0]", "can't both be set"),
    (
        {"claimValidationRules": [{"claim": "a", "message": "b"}]},
        "claimValidationRules[0].message",
        "may not be specif",
    ),
    ({"claimValidationRules": [{"claim": "a"}] * 2}, "claimValidationRules[1].claim", "Duplicate value"),
    ({"claimValidationRules": [{"expression": "claims.a"}]}, "claimValidationRules[0].expression", "evaluate to bool"),
    ({"userValidationRules": [{}]}, "userValidationRules[0].expression", "Required value"),
    ({"userValidationRules": [{"expression": "user.name == ''"}]}, "userValidationRules[0].expression", "undefined fi"),
    ({"userValidationRules": [{"expression": "true"}] * 2}, "userValidationRules[1].expression", "Duplicate value"),
]


@pytest.mark.parametrize(("changes", "field", "detail"), RULES)
def test_what_is_said_of_rules(problem, changes, field, detail):
    said = problem({**GOOD, **changes})
    assert said.startswith(f"jwt[0].{field}: ")
    assert detail in said


def test_all_that_is_wrong_is_said_at_once(file):
    path = file({"jwt": [GOOD, issuer(audiences=["a", "a"])], "anonymous": {"conditions": [{"path": "/"}]}})
    with pytest.raises(ConfigError) as caught:
        read(path, [])
    said = str(caught.value)
    assert 'jwt[1].issuer.audiences[1]: Duplicate value: "a"' in said
    assert 'jwt[1].issuer.url: Duplicate value: "https://idp.example.com"' in said
    assert "anonymous.conditions: " in said
    assert "enabled should be set to true when conditions are defined" in said


def test_there_are_at_most_64_issuers(file):
    path = file({"jwt": [GOOD] * 65})
    with pytest.raises(ConfigError, match="jwt: Too many: 65: must have at most 64 items"):
        read(path, [])


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ({"jwts": []}, "jwts"),
        ({"kind": "Policy"}, "kind"),
        ({"apiVersion": "v1"}, "apiVersion"),
        ({"jwt": [{"issuer": {"uri": "x"}}]}, "jwt[0].issuer.uri"),
        ({"jwt": [{"issuer": {"audiences": [1]}}]}, "jwt[0].issuer.audiences[0]"),
    ],
)
def test_what_is_not_of_that_shape(file, document, place):
    path = file(document)
    with pytest.raises(ConfigError) as caught:
        read(path, [])
    assert str(caught.value).startswith(f"{path}: {place}: ")
