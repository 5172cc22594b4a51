"""Serves one api process over HTTPS: the application over the core, its health checks and its listening socket."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from orch.bus.subjects import OBJECTS
from orch.errors import ConfigError, UnavailableError
from orch_api.config import ApiConfig
from orch_api.http.aggregation import Aggregation
from orch_api.http.app import Application, Site
from orch_api.http.audit import Auditor
from orch_api.http.audit_log import LogFile, LogStream, Queue
from orch_api.http.audit_policy import Policy, Rules, read_policy
from orch_api.http.care import Care
from orch_api.http.discovery import Discovery
from orch_api.http.fairness import Fairness
from orch_api.http.handler import ObjectsApplication
from orch_api.http.health import Check
from orch_api.http.metrics_apis import MetricsApis, serve_metrics
from orch_api.http.objects import ObjectRequests
from orch_api.http.openapi import OpenApiDocuments
from orch_api.http.server import Server, listen, server
from orch_api.http.streams import Streams
from orch_api.wiring import Core

log = logging.getLogger(__name__)

_STOP_SECONDS: Final = 6.0


def audit_queues(core: Core, config: ApiConfig) -> list[Queue]:
    """Return where audit events go; each queue has to be run. Raises ConfigError when there is nowhere."""
    queues: list[Queue] = []
    if config.audit_log_file:
        file = LogFile(Path(config.audit_log_file), config.audit_log_max_size << 20, config.audit_log_backups)
        queues.append(Queue("log", file.write, core.clock))
    if config.audit_stream:
        queues.append(Queue("stream", LogStream(core.bus).write, core.clock))
    if config.audit_policy_file and not queues:
        raise ConfigError("audit_policy_file", "is of no use without audit_log_file or audit_stream")
    return queues


def application(core: Core, config: ApiConfig, audited: Sequence[Queue] = ()) -> Application:
    """Return the HTTP application over a core, recording denials, and what the audit policy says, in `audited`.

    Raises ConfigError for a policy that cannot be read.
    """
    policy = read_policy(Path(config.audit_policy_file)) if config.audit_policy_file else Policy(())
    auditor = Auditor(Rules(policy), audited, core.clock, denials=config.audit_denials) if audited else None
    core.rpc.denials = auditor
    authenticator = core.authenticator
    objects = ObjectRequests(
        core.pipeline,
        core.reader,
        core.cache,
        core.computed,
        core.authorizer,
        core.vigil,
        core.clock,
        core.registry,
    )
    streams = Streams(core.bus, core.cache, core.authorizer, core.admission, core.clock)
    discovery = Discovery(core.registry, server_address=f"{config.address}:{config.port}")
    documents = OpenApiDocuments(core.registry, core.schemas, core.api_services.documents)
    site = Site(authenticator, core.authorizer, discovery, documents, core.tokens, checks(core))
    care = Care(Fairness(core.cache, config.requests_in_flight), auditor)
    aggregation = Aggregation(core.api_services, core.registry, core.authorizer, core.vigil)
    serve_metrics(core.metrics, core.registry)
    handler = ObjectsApplication(
        core.registry,
        discovery,
        authenticator,
        core.authorizer,
        objects,
        streams,
        care,
        core.definitions,
        aggregation,
        MetricsApis(core.metrics, core.authorizer),
    )
    return Application(handler, site, auditor)


def checks(core: Core) -> Mapping[str, Check]:
    """Return what /readyz and /healthz look at; /livez looks at the first of it."""

    async def ping() -> None:
        """Answer: this process runs."""

    async def started() -> None:
        if not core.ready:
            raise UnavailableError("still starting")

    async def etcd() -> None:
        await core.store.revision()

    async def cache() -> None:
        await core.cache.catch_up()

    async def nats() -> None:
        await core.bus.last_message(OBJECTS.name)

    async def kms() -> None:
        problems = [plugin.problem for plugin in plugins if plugin.problem]
        if problems:
            raise UnavailableError("; ".join(problems))

    plugins = core.vault.plugins if core.vault is not None else ()
    made = {"ping": ping, "etcd": etcd, "nats": nats, "watch-cache": cache, "poststarthook/start-orch-api": started}
    return {**made, "kms-providers": kms} if plugins else made


async def serve(core: Core, config: ApiConfig) -> None:
    """Run the core and serve it until cancelled; connections that are open then get a few seconds to end."""
    queues = audit_queues(core, config)
    app: Any = application(core, config, queues)
    listener = listen(config.address, config.port)
    site = server(
        app,
        certificate=config.tls_cert_file,
        key=config.tls_key_file,
        client_ca=config.client_ca_file,
        proxy_ca=config.requestheader_client_ca_file,
    )
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(core.run(), name="core")
        settling = tasks.create_task(_settle(core), name="settle")
        audits = [tasks.create_task(queue.run(), name="audit") for queue in queues]
        serving = tasks.create_task(site.serve(sockets=[listener]), name="https")
        log.info("serving on %s:%d", config.address, config.port)
        try:
            await asyncio.wait((running, serving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _stop(site, serving)
            running.cancel()
            settling.cancel()
            for audit in audits:
                audit.cancel()


async def _settle(core: Core) -> None:
    """Once the process serves, spare the garbage collector what stays for good: a look at it takes 50 ms and more."""
    while not core.ready:
        with contextlib.suppress(UnavailableError):
            await core.wait_ready()
    gc.collect()
    gc.freeze()


async def _stop(site: Server, serving: asyncio.Task[None]) -> None:
    """End the server: no new requests, then those under way, then whatever is left."""
    site.should_exit = True
    await asyncio.wait((serving,), timeout=_STOP_SECONDS)
    serving.cancel()
