"""Service accounts' tokens as clients see them: made, presented, verified by others."""

import json

import jwt
import pytest
from asgi import ADMIN, Connection

from orch.errors import ConfigError
from orch_api.config import ApiConfig
from orch_api.memory import in_memory_api
from orch_api.site import application

TOKENS = "/api/v1/namespaces/default/serviceaccounts/robot/token"


@pytest.fixture
async def token(http):
    await http("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "robot"}})
    answer = await http("POST", TOKENS, {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1"})
    assert answer.status == 201, answer.json
    return answer.json["status"]["token"]


async def test_a_token_says_who_sends_the_request(anonymous, token):
    answer = await anonymous(
        "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, authorization=f"Bearer {token}"
    )
    assert answer.status == 201
    assert answer.json["status"]["userInfo"]["username"] == "system:serviceaccount:default:robot"
    refused = await anonymous("GET", "/api", authorization=f"Bearer {token}x")
    assert (refused.status, refused.json["message"]) == (401, "Unauthorized")


async def test_others_find_the_keys(anonymous, http, token):
    about = await anonymous("GET", "/.well-known/openid-configuration", authorization=f"Bearer {token}")
    assert about.json == {
        "issuer": "https://kubernetes.default.svc.cluster.local",
        "jwks_uri": "https://kubernetes.default.svc.cluster.local/openid/v1/jwks",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    }
    assert about.headers["content-type"] == "application/json"
    keys = await http("GET", "/openid/v1/jwks")
    assert keys.headers["content-type"] == "application/jwk-set+json"
    (key,) = keys.json["keys"]
    said = jwt.decode(token, jwt.PyJWK(key), ["ES256"], audience=about.json["issuer"])
    assert said["sub"] == "system:serviceaccount:default:robot"
    assert (await anonymous("GET", "/openid/v1/jwks")).status == 403


async def test_questions_can_only_be_asked(http):
    url = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    assert (await http("GET", url)).status == 405
    resources = (await http("GET", "/apis/authorization.k8s.io/v1")).json["resources"]
    assert {one["name"]: one["verbs"] for one in resources}["selfsubjectaccessreviews"] == ["create"]


async def test_approval_is_served(http):
    resources = (await http("GET", "/apis/certificates.k8s.io/v1")).json["resources"]
    named = {one["name"]: one for one in resources}
    assert named["certificatesigningrequests/approval"]["verbs"] == ["get", "patch", "update"]


async def test_several_processes_need_a_key_to_share():
    with pytest.raises(ConfigError, match="is needed when several processes share the port"):
        async with in_memory_api(config=ApiConfig(processes=2)):
            pass


async def test_flow_control_is_there_from_the_start(http):
    schemas = (await http("GET", "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas")).json["items"]
    levels = (await http("GET", "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations")).json["items"]
    assert {one["spec"]["priorityLevelConfiguration"]["name"] for one in schemas} <= {
        one["metadata"]["name"] for one in levels
    }
    assert len(schemas) == 13
    assert len(levels) == 8


async def test_tokens_live_no_longer_than_the_settings_say():
    config = ApiConfig(service_account_max_token_expiration=7200.0)
    async with in_memory_api(config=config) as api:
        http = Connection(application(api.core, config))
        await http("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "robot"}})
        answer = await http("POST", TOKENS, {"spec": {"expirationSeconds": 86400}})
        assert answer.json["spec"]["expirationSeconds"] == 7200
        warning = "requested expiration of 86400 seconds shortened to 7200 seconds"
        assert answer.headers["warning"] == f'299 - "{warning}"'
        claims = jwt.decode(answer.json["status"]["token"], options={"verify_signature": False})
        assert claims["exp"] - claims["iat"] == 7200


async def test_a_life_that_is_too_short_for_anything_is_refused():
    with pytest.raises(ConfigError, match="service_account_max_token_expiration: must be between 1 hour"):
        async with in_memory_api(config=ApiConfig(service_account_max_token_expiration=60.0)):
            pass


async def test_tokens_of_a_former_issuer_count():
    config = ApiConfig(service_account_issuer="https://new", service_account_former_issuers=("https://old",))
    async with in_memory_api(config=config) as api:
        http, anyone = (Connection(application(api.core, config), peer) for peer in (ADMIN, None))
        await http("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "robot"}})
        made = (await http("POST", TOKENS, {"spec": {}})).json["status"]["token"]
        claims = jwt.decode(made, options={"verify_signature": False})
        for issuer, status in (("https://new", 201), ("https://old", 201), ("https://other", 401)):
            token = api.core.tokens.keys.sign(json.dumps({**claims, "iss": issuer}).encode())
            review = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
            assert (await anyone("POST", review, {}, authorization=f"Bearer {token}")).status == status
