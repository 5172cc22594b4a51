"""Puts the ways together by which a sender is known, as the settings say."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from orch.clock import Clock
from orch.errors import ConfigError
from orch_api.auth.authenticator import Anonymity, Authenticator, ForApi, TokenAuthenticator
from orch_api.auth.bootstrap_tokens import BootstrapTokens
from orch_api.auth.certificates import Authorities, CertificateReader
from orch_api.auth.front_proxy import FrontProxy, ProxyHeaders
from orch_api.auth.keys import FixedKeys, KeyFile, Keys, SigningKeys
from orch_api.auth.kubeconfig import read_webhook
from orch_api.auth.oidc.following import ConfigurationFile
from orch_api.auth.token_file import StaticTokens
from orch_api.auth.token_reviews import TokenReviews
from orch_api.auth.tokens import ServiceAccountTokens
from orch_api.config import ApiConfig
from orch_api.storage.cache import ObjectCache

_HOUR: Final = 3600
_FOR_EVER: Final = 2**32


class Authentication:
    """Who sends requests (`authenticator`), and the making of service accounts' tokens (`tokens`).

    Raises ConfigError for settings and files that cannot be used.
    """

    def __init__(self, config: ApiConfig, cache: ObjectCache, clock: Clock) -> None:
        longest = config.service_account_max_token_expiration
        if longest and not _HOUR <= longest <= _FOR_EVER:
            problem = "must be between 1 hour and 2^32 seconds, or 0"
            raise ConfigError("service_account_max_token_expiration", problem)
        work: list[Callable[[], Awaitable[None]]] = []
        keys = _signing_keys(config, clock)
        if isinstance(keys, KeyFile):
            work.append(keys.run)
        self.tokens = ServiceAccountTokens(
            keys,
            config.service_account_issuer,
            config.api_audiences,
            cache,
            clock,
            former=config.service_account_former_issuers,
            longest=longest,
        )
        api = self.tokens.audiences
        kinds: list[TokenAuthenticator] = []
        if config.token_file:
            kinds.append(ForApi(StaticTokens.read(Path(config.token_file)), api))
        kinds.append(self.tokens)
        if config.bootstrap_token_auth:
            kinds.append(ForApi(BootstrapTokens(cache, clock), api))
        anonymity = Anonymity(allowed=config.anonymous_auth)
        following: ConfigurationFile | None = None
        if config.authentication_config_file:
            own = (config.service_account_issuer, *config.service_account_former_issuers)
            following = ConfigurationFile(Path(config.authentication_config_file), own, clock, anonymity)
            kinds.append(ForApi(following.tokens, api))
            work.append(following.run)
        if config.authentication_token_webhook_config_file:
            webhook = read_webhook(Path(config.authentication_token_webhook_config_file))
            version, ttl = config.authentication_token_webhook_version, config.authentication_token_webhook_cache_ttl
            kinds.append(TokenReviews(webhook, version, ttl, api, clock))
        clients, proxy = _authorities(config)
        self.authenticator = Authenticator(
            kinds,
            api,
            clock=clock,
            certificates=CertificateReader(clients, proxy),
            front_proxy=FrontProxy(_proxy_headers(config)) if proxy is not None else None,
            anonymity=lambda: anonymity if following is None else following.anonymity,
            background=work,
        )


def _signing_keys(config: ApiConfig, clock: Clock) -> Keys:
    """Return the keys of service accounts' tokens. Raises ConfigError when several processes have none to share."""
    setting = "service_account_key_file"
    if config.service_account_key_file:
        return KeyFile(Path(config.service_account_key_file), setting, clock)
    if config.processes > 1:
        raise ConfigError(setting, "is needed when several processes share the port")
    return FixedKeys(SigningKeys.generate())


def _authorities(config: ApiConfig) -> tuple[Authorities | None, Authorities | None]:
    """Return the authorities of clients and of the authenticating proxy; one alone need not be told apart."""
    if not config.requestheader_client_ca_file:
        return None, None
    proxy = Authorities.read(config.requestheader_client_ca_file, "requestheader_client_ca_file")
    clients = Authorities.read(config.client_ca_file, "client_ca_file") if config.client_ca_file else None
    return clients, proxy


def _proxy_headers(config: ApiConfig) -> ProxyHeaders:
    return ProxyHeaders(
        allowed_names=config.requestheader_allowed_names,
        users=config.requestheader_username_headers,
        uids=config.requestheader_uid_headers,
        groups=config.requestheader_group_headers,
        extra_prefixes=config.requestheader_extra_headers_prefix,
    )
