"""Puts the parts of one api process together, below whatever serves it to users."""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from pathlib import Path
from typing import Final

import msgspec

from orch.bus.protocol import Bus
from orch.bus.sealed_requests import RequestKeys
from orch.bus.subjects import STREAMS
from orch.clock import Clock, SystemClock
from orch.errors import ConfigError, OrchError, UnavailableError
from orch.store.protocol import Store
from orch_api.addresses.advertising import Advertiser, own_address
from orch_api.addresses.ranges import ServiceRanges
from orch_api.addresses.setting import follow, with_ranges
from orch_api.admission.ground import Ground
from orch_api.admission.plugins import build as build_chain
from orch_api.admission.webhooks.calling import WebhookCalls
from orch_api.auth.assembly import Authentication
from orch_api.auth.authorizer import Authorizer
from orch_api.auth.vigil import Vigil
from orch_api.auth.webhook.following import ChainFile
from orch_api.bootstrap import SystemObjects
from orch_api.bus_access import BusAccess
from orch_api.components import Components
from orch_api.computed import Computed
from orch_api.config import ApiConfig
from orch_api.encryption.renewal import Renewal
from orch_api.encryption.store import SealedStore
from orch_api.encryption.vault import Vault
from orch_api.extensions.api_services import ApiServices, ClientCertificate
from orch_api.extensions.connections import Connections
from orch_api.extensions.follower import DefinitionFollower
from orch_api.extensions.lifecycle import DefinitionLifecycle
from orch_api.extensions.outgoing import Guard, guard
from orch_api.extensions.service_addresses import ServiceAddresses
from orch_api.extensions.webhook import WebhookConverters
from orch_api.foreign_metrics.endpoint import MetricsEndpoint
from orch_api.foreign_metrics.rules import read_rules
from orch_api.foreign_metrics.sources import MetricSources
from orch_api.pipeline import Pipeline, scale
from orch_api.policy_status import PolicyStatus
from orch_api.recipients import Recipients
from orch_api.registry import REGISTRY, Registry
from orch_api.reports import ReportConsumer
from orch_api.rpc import RpcEndpoints
from orch_api.schema import Schemas
from orch_api.storage.cache import ObjectCache
from orch_api.storage.commit import Committer
from orch_api.storage.read import Reader
from orch_api.storage.relay import Relay
from orch_api.storage.upkeep import Upkeep
from orch_api.usage import Usage

log = logging.getLogger(__name__)

_FIRST_BACKOFF: Final = 0.1
_MAX_BACKOFF: Final = 5.0


class Core:
    """One api process without its HTTP side. `run` keeps it going; the rest may be used once `wait_ready` returned."""

    def __init__(
        self,
        store: Store,
        bus: Bus,
        config: ApiConfig,
        *,
        clock: Clock | None = None,
        identity: str = "",
        registry: Registry = REGISTRY,
    ) -> None:
        clock = clock or SystemClock()
        identity = identity or f"{socket.gethostname()}-{secrets.token_hex(4)}"
        schemas = Schemas.load()
        ranges = ServiceRanges(config.service_cidr, config.service_node_port_range)
        registry = with_ranges(registry, ranges)  # a copy: what users define is each process's own
        self.bus = bus
        self.clock = clock
        self.registry = registry
        self.schemas = schemas
        self._identity = identity
        self._config = config
        self.store = store = self._sealed(store)
        self.cache = ObjectCache(store, clock)
        follow(ranges, self.cache)
        self._write_and_read(_outgoing(config))
        self._look_after()
        self._system = SystemObjects(self.pipeline, self.cache, registry, ranges, config, clock)
        self._ready = asyncio.Event()

    def _sealed(self, store: Store) -> Store:
        """Return the store as the rest shall see it: what is sealed in it is open."""
        self.vault: Vault | None = None
        self._renewal: Renewal | None = None
        if not self._config.encryption_provider_config:
            return store
        self.vault = Vault(Path(self._config.encryption_provider_config), self.clock)
        sealed = SealedStore(store, self.vault)
        self._renewal = Renewal(store, sealed, self.vault, self._identity, self.clock)
        return sealed

    def _write_and_read(self, outgoing: Guard) -> None:
        """Put together what requests go through: who asks, whether that is permitted, admission, the pipeline."""
        store, config, clock, registry, schemas = self.store, self._config, self.clock, self.registry, self.schemas
        self.reader = Reader(store, self.cache)
        self._chain_file = ChainFile(config.authorization_config_file, clock)
        self.authorizer = Authorizer(self.cache, self._chain_file.chain)
        self.vigil = Vigil(self.authorizer, clock)
        authentication = Authentication(config, self.cache, clock)
        self.tokens, self.authenticator = authentication.tokens, authentication.authenticator
        self.connections = Connections(clock)
        calls = WebhookCalls(ServiceAddresses(self.cache), outgoing, self.connections)
        committer = Committer(store, self.cache)
        ground = Ground(self.cache, self.authorizer, registry, committer, clock, schemas, scale, calls, outgoing)
        self.admission = build_chain(ground, config)
        self.pipeline = Pipeline(
            registry,
            schemas,
            store,
            self.cache,
            self.authorizer,
            self.admission,
            clock,
            self.authenticator,
            self.tokens,
        )
        recipients = Recipients(config.nats.ca_file, clock)
        request_keys = RequestKeys(config.nats, clock)
        self.rpc = RpcEndpoints(
            registry, self.pipeline, self.reader, self.cache, self.authorizer, recipients, request_keys
        )
        self.definitions = DefinitionFollower(
            self.cache, registry, schemas, WebhookConverters(ServiceAddresses(self.cache), outgoing), clock
        )
        proof = ClientCertificate(config.proxy_client_cert_file, config.proxy_client_key_file)
        pipeline, identity = self.pipeline, self._identity
        self.api_services = ApiServices(store, self.cache, registry, pipeline, identity, clock, proof, outgoing)
        self.usage = Usage(self.bus, self.cache, clock)
        self.computed = Computed(self.usage, Components(store, self.bus))
        self.metrics = MetricSources(read_rules(config.metrics_rules_file), self.cache, registry, self.usage, clock)
        self._metrics_endpoint = MetricsEndpoint(self.metrics, registry, self.authorizer, self.api_services)

    def _look_after(self) -> None:
        """Put together what goes on beside requests; of most, one of all processes does it."""
        store, bus, config, clock, registry = self.store, self.bus, self._config, self.clock, self.registry
        pipeline, identity = self.pipeline, self._identity
        self.relay = Relay(store, bus, self.cache, registry, identity, clock)
        self.reports = ReportConsumer(store, bus, self.cache, registry, self.schemas, identity, clock)
        self.upkeep = Upkeep(
            store,
            self.cache,
            pipeline.claims,
            registry,
            identity,
            clock,
            compaction_interval=config.compaction_interval,
            event_ttl=config.event_ttl,
        )
        self.lifecycle = DefinitionLifecycle(store, self.cache, registry, pipeline, self.definitions, identity, clock)
        self.policies = PolicyStatus(store, self.cache, registry, self.schemas, pipeline, identity, clock)
        self.advertiser = Advertiser(
            store, self.cache, pipeline, registry, clock, config.advertise_address, config.port
        )
        self.bus_access = BusAccess(self.cache, config.bus_keys_file, clock)

    @property
    def ready(self) -> bool:
        """Whether requests can be served."""
        return self._ready.is_set()

    async def wait_ready(self, timeout: float = 60) -> None:
        """Wait until requests can be served. Raises UnavailableError when that takes too long."""
        try:
            async with asyncio.timeout(timeout):
                await self._ready.wait()
        except TimeoutError as error:
            raise UnavailableError("the api did not become ready in time") from error

    async def run(self) -> None:
        """Run until cancelled. Raises what a part ends with: nothing of it is expected to end."""
        async with asyncio.TaskGroup() as tasks:
            extensions = (self.definitions, self.lifecycle, self.api_services)
            for part in (
                self.cache,
                self.authenticator,
                self.vigil,
                *extensions,
                self.connections,
                self.relay,
                self.reports,
                self.usage,
                self.upkeep,
                self.advertiser,
                self.bus_access,
                self.policies,
                *(part for part in (self.vault, self._renewal) if part is not None),
            ):
                tasks.create_task(part.run(), name=type(part).__name__)
            tasks.create_task(self._chain_file.run(self.authorizer), name="ChainFile")
            await self._serve()

    async def _serve(self) -> None:
        await self.cache.wait_ready(timeout=300)
        await self._start()
        subscriptions = [*await self.rpc.serve(self.bus), *await self._metrics_endpoint.serve(self.bus)]
        self._ready.set()
        try:
            await self._system.run()  # until this is cancelled
        finally:
            self._ready.clear()
            await asyncio.gather(*(subscription.stop() for subscription in subscriptions))

    async def _start(self) -> None:
        """Make sure of the streams and the system's objects, waiting for what is not there yet."""
        backoff = _FIRST_BACKOFF
        while True:
            try:
                for spec in STREAMS:
                    await self.bus.ensure_stream(spec)
                await self._system.begin()
            except OrchError as error:
                log.warning("the api cannot start yet, next try in %.1f s: %s", backoff, error)
                await self.clock.sleep(backoff)
                backoff = min(backoff * 2, _MAX_BACKOFF)
            else:
                return


def _outgoing(config: ApiConfig) -> Guard:
    """Return the guard of what the api connects to for others. Raises ConfigError."""
    own = (config.address, config.advertise_address or config.address)
    places = (f"[{host}]:{config.port}" if ":" in host else f"{host}:{config.port}" for host in own)
    return guard(config.outgoing_allowed, (*config.etcd.endpoints, *config.nats.servers, *places))


def build(store: Store, bus: Bus, config: ApiConfig, *, clock: Clock | None = None, identity: str = "") -> Core:
    """Return an api process's core over a store and a bus. Raises ConfigError."""
    if not config.encryption_provider_config and not config.secrets_in_plain_text:
        problem = "is required, unless secrets_in_plain_text says that Secrets may be plain in etcd"
        raise ConfigError("encryption_provider_config", problem)
    address = own_address(config.advertise_address, config.address)
    config = msgspec.structs.replace(config, advertise_address=address)
    return Core(store, bus, config, clock=clock, identity=identity)
