"""Impersonation: `kubectl --as` and its headers."""

from __future__ import annotations

from typing import Any

import pytest
from asgi import Connection

PODS = "/api/v1/namespaces/default/pods"
WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
JANE = {"impersonate_user": "jane"}


async def who(http: Any, **headers: str) -> dict[str, Any]:
    answer = await http("POST", WHO, {}, **headers)
    assert answer.status == 201, answer.body
    return answer.json["status"]["userInfo"]


async def test_the_rights_are_those_of_whom_one_asks_as(http: Any) -> None:
    assert (await http("GET", PODS)).status == 200
    refused = await http("GET", PODS, **JANE)
    assert refused.status == 403
    assert 'User "jane" cannot list resource "pods"' in refused.json["message"]


async def test_the_identity_is_put_together_as_kubernetes_does(http: Any) -> None:
    assert await who(http, **JANE) == {"username": "jane", "groups": ["system:authenticated"]}
    asked = {**JANE, "impersonate_group": "dev", "impersonate_uid": "7", "impersonate_extra_example.com%2fscope": "x"}
    assert await who(http, **asked) == {
        "username": "jane",
        "uid": "7",
        "groups": ["dev", "system:authenticated"],
        "extra": {"example.com/scope": ["x"]},
    }
    account = await who(http, impersonate_user="system:serviceaccount:default:robot")
    assert account["groups"] == ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"]
    masters = {**JANE, "impersonate_group": "system:masters"}
    assert (await http("GET", PODS, **masters)).status == 200


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        (JANE, 'users "jane" is forbidden: User "bob" cannot impersonate resource "users" in API group "" '),
        (
            {"impersonate_user": "system:serviceaccount:a:b"},
            'serviceaccounts "b" is forbidden: User "bob" cannot impersonate resource "serviceaccounts" in API group ',
        ),
    ],
)
async def test_who_may_not_is_refused(app: Any, headers: dict[str, str], problem: str) -> None:
    bob = Connection(app, {"subject": ((("commonName", "bob"),),)})
    refused = await bob("GET", PODS, **headers)
    assert refused.status == 403
    assert refused.json["message"].startswith(problem)


async def test_nobody_is_impersonated_without_a_user(http: Any) -> None:
    refused = await http("GET", PODS, impersonate_group="dev")
    assert refused.status == 400
    assert refused.json["message"] == "requested [impersonate-group] without impersonating a user"
