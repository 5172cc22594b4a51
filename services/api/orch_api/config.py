"""The api's settings."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from orch.config import Duration, EtcdConfig, NatsConfig, TelemetryConfig

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]


class ApiConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the api service. Empty files are absent: no client certificates, no tokens."""

    address: str = "0.0.0.0"  # noqa: S104 - users reach the api from elsewhere
    port: Port = 6443
    tls_cert_file: str = ""
    tls_key_file: str = ""
    client_ca_file: str = ""
    root_ca_file: str = ""
    """By whose certificate nodes and pods know the api (ConfigMap cluster-info); the bus's authority when empty."""
    token_file: str = ""
    proxy_client_cert_file: str = ""
    proxy_client_key_file: str = ""
    """By what the api proves to the servers of aggregated APIs that it is the api."""
    service_account_key_file: str = ""
    """Private and public keys in PEM: the first private one signs service accounts' tokens, all verify them.

    Without a file the process makes a key of its own, so that tokens end with it; no other process would know them.
    """
    service_account_issuer: str = "https://kubernetes.default.svc.cluster.local"
    service_account_former_issuers: tuple[str, ...] = ()
    """What the issuer was called before: its tokens still count."""
    service_account_max_token_expiration: Duration = 0.0
    """The longest life that a token can be asked for with, at least an hour; 0: there is no such limit."""
    api_audiences: tuple[str, ...] = ()
    """Who the api is to those who make tokens for it; the issuer when there are none."""
    bootstrap_token_auth: bool = True
    """Whether Secrets of the type bootstrap.kubernetes.io/token are tokens."""
    anonymous_auth: bool = True
    """Whether requests may be anonymous; what these may do is the authorizer's business."""
    authentication_config_file: str = ""
    """An AuthenticationConfiguration of apiserver.config.k8s.io/v1: issuers of JWTs, anonymous requests."""
    authentication_token_webhook_config_file: str = ""
    """A kubeconfig that names the webhook to be asked about tokens that nobody else knows."""
    authentication_token_webhook_version: Literal["v1", "v1beta1"] = "v1"
    authentication_token_webhook_cache_ttl: Duration = 120.0
    requestheader_client_ca_file: str = ""
    """Who vouches for authenticating proxies; without it X-Remote-* headers are nobody's word."""
    requestheader_allowed_names: tuple[str, ...] = ()
    """The common names of proxies that are believed; all of them when empty."""
    requestheader_username_headers: tuple[str, ...] = ("X-Remote-User",)
    requestheader_uid_headers: tuple[str, ...] = ("X-Remote-Uid",)
    requestheader_group_headers: tuple[str, ...] = ("X-Remote-Group",)
    requestheader_extra_headers_prefix: tuple[str, ...] = ("X-Remote-Extra-",)
    processes: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    """Processes that share the port."""
    requests_in_flight: Annotated[int, msgspec.Meta(ge=1)] = 600
    """Requests that a process serves at a time, watches not counted; others wait (see orch_api.http.fairness)."""
    audit_policy_file: str = ""
    """A Policy of audit.k8s.io/v1; without one only denials are recorded."""
    audit_log_file: str = ""
    """Where events are written as JSON lines; processes may share it."""
    audit_log_max_size: Annotated[int, msgspec.Meta(ge=1)] = 100
    """Megabytes after which the file is moved away."""
    audit_log_backups: Annotated[int, msgspec.Meta(ge=0)] = 10
    """How many files that were moved away are kept."""
    audit_denials: bool = True
    """Whether what is refused is recorded even where the policy leaves the request out."""
    audit_stream: bool = False
    """Whether events are also put on the bus, into the stream AUDIT."""
    service_cidr: str = "10.96.0.0/16"
    """The range of the services' cluster addresses."""
    service_node_port_range: str = "30000-32767"
    """The ports of nodes that services are given."""
    advertise_address: str = ""
    """Where pods reach the api: the endpoint of the service `kubernetes`; by default the host's own address."""
    metrics_rules_file: str = ""
    """Which custom and external metrics there are (see orch_api.foreign_metrics.rules); without one, none."""
    authorization_config_file: str = ""
    """An AuthorizationConfiguration of apiserver.config.k8s.io/v1: authorizers in order; without one, Node and RBAC."""
    enable_admission_plugins: tuple[str, ...] = ()
    """Admission plugins that are on beside those that are on by default (see orch_api.admission.plugins)."""
    disable_admission_plugins: tuple[str, ...] = ()
    """Admission plugins that are off although they are on by default."""
    admission_control_config_file: str = ""
    """An AdmissionConfiguration of apiserver.config.k8s.io/v1: what plugins are configured with."""
    outgoing_allowed: tuple[str, ...] = ()
    """Where webhooks, aggregated APIs and registries may be although their addresses are loopback or link-local ones:
    "127.0.0.0/8", "127.0.0.1:9443" (see orch_api.extensions.outgoing)."""
    default_not_ready_toleration_seconds: Annotated[int, msgspec.Meta(ge=0)] = 3
    """How long pods stay bound to a node that is not ready, unless they say so themselves (docs/adr/0003)."""
    default_unreachable_toleration_seconds: Annotated[int, msgspec.Meta(ge=0)] = 3
    """How long pods stay bound to a node that cannot be reached, unless they say so themselves."""
    bus_keys_file: str = ""
    """Where the keys of nodes that joined are written, for whoever configures the NATS server; empty: nowhere."""
    compaction_interval: Duration = 300.0
    """How often the store's old revisions are forgotten, and how long they are kept."""
    event_ttl: Duration = 3600.0
    """How long Event objects are kept."""
    encryption_provider_config: str = ""
    """An EncryptionConfiguration of apiserver.config.k8s.io/v1: what is encrypted in etcd, and with what."""
    secrets_in_plain_text: bool = False
    """Whether the api may serve without such a file, its Secrets plain in etcd."""
    etcd: EtcdConfig = EtcdConfig()
    nats: NatsConfig = NatsConfig()
    telemetry: TelemetryConfig = TelemetryConfig()
