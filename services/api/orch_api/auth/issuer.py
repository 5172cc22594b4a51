"""What others need to verify service accounts' tokens: OpenID's discovery document and the keys."""

from __future__ import annotations

from typing import Any, Final

from orch_api.auth.tokens import ServiceAccountTokens

CONFIGURATION_PATH: Final = "/.well-known/openid-configuration"
KEYS_PATH: Final = "/openid/v1/jwks"
KEYS_TYPE: Final = "application/jwk-set+json"


def configuration(tokens: ServiceAccountTokens) -> dict[str, Any]:
    """Return the discovery document; the keys are found below the issuer's address."""
    return {
        "issuer": tokens.issuer,
        "jwks_uri": f"{tokens.issuer.rstrip('/')}{KEYS_PATH}",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": tokens.keys.algorithms,
    }
