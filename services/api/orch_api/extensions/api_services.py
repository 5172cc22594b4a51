"""Aggregated APIs: which groups and versions other servers serve, whether they can be reached, and what they offer.

Every process looks for itself, as it must know whom to send requests to; the elected one writes the Available
conditions. Follows kube-aggregator's pkg/controllers/status/remote and pkg/apiserver.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import ssl
from typing import Any, Final
from urllib.parse import quote

import msgspec
from prometheus_client import Counter, Gauge

from orch.clock import Clock, rfc3339
from orch.errors import ApiError, ConflictError, ExpiredError, NotFoundError, OrchError, ServiceUnavailableError
from orch.runtime.leader import LeaderElector
from orch.store.keys import ObjectKey
from orch.store.protocol import Compare, Store
from orch_api.auth.identity import APISERVER, Caller
from orch_api.extensions.https import Request, ask, trust
from orch_api.extensions.naming import with_conditions
from orch_api.extensions.outgoing import Guard
from orch_api.extensions.remote_documents import RemoteDocument, RemoteDocuments, own_part
from orch_api.extensions.remote_resources import remote_resources
from orch_api.extensions.service_addresses import Address, ServiceAddresses
from orch_api.kinds.api_services import AVAILABLE, GROUP, PLURAL
from orch_api.pipeline import Pipeline, WriteOptions
from orch_api.registry import Registry
from orch_api.resource import Resource
from orch_api.storage.cache import ObjectCache
from orch_api.storage.objects import to_document, to_json
from orch_api.strategy import Document, put_section, section

log = logging.getLogger(__name__)

FAILURES: Final = Counter("orch_apiservice_status_failures", "Conditions of APIServices that could not be written")
UNAVAILABLE: Final = Gauge("aggregator_unavailable_apiservice", "Whether an APIService cannot be reached", ("name",))

_TIMEOUT: Final = 5.0
_RETRY: Final = 1.0
_PERIOD: Final = 15.0
_MAX_ANSWER: Final = 8 << 20
_DOCUMENTS_PERIOD: Final = 60.0
_MANAGER: Final = "kube-apiserver"

_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


class Verdict(msgspec.Struct, frozen=True):
    """Whether an aggregated API can be used."""

    available: bool
    reason: str
    message: str


_UNCHECKED: Final = Verdict(available=False, reason="Unknown", message="no check has been made yet")


class RemoteApi(msgspec.Struct, frozen=True):
    """A group and version that a service serves."""

    name: str
    group: str
    version: str
    namespace: str
    service: str
    port: int
    ca_bundle: str = ""
    insecure: bool = False

    @property
    def host(self) -> str:
        """The name in the server's certificate."""
        return f"{self.service}.{self.namespace}.svc"

    @property
    def place(self) -> str:
        """Where its discovery document is."""
        return f"/apis/{self.group}/{self.version}"


class ClientCertificate(msgspec.Struct, frozen=True):
    """By what the api proves to aggregated servers that it is the api; empty: by nothing."""

    certificate: str = ""
    key: str = ""


class ApiServices:
    """Follows the APIServices that name a service."""

    def __init__(
        self,
        store: Store,
        cache: ObjectCache,
        registry: Registry,
        pipeline: Pipeline,
        identity: str,
        clock: Clock,
        proof: ClientCertificate,
        guard: Guard,
    ) -> None:
        self.guard = guard
        self._cache = cache
        self._registry = registry
        self._pipeline = pipeline
        self._clock = clock
        self._proof = proof
        self._addresses = ServiceAddresses(cache)
        self._elector = LeaderElector(store, "apiservices", identity, clock=clock)
        self._seen = -1
        self._apis: dict[tuple[str, str], RemoteApi] = {}
        self._verdicts: dict[str, Verdict] = {}
        self._contexts: dict[RemoteApi, ssl.SSLContext] = {}
        self._offered: dict[str, bytes] = {}
        self._due: dict[str, float] = {}
        self.documents = RemoteDocuments()
        """What the servers tell of themselves in OpenAPI."""

    async def run(self) -> None:
        """Follow and check, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._elector.run(_for_ever))
            tasks.create_task(self._follow())

    def find(self, group: str, version: str) -> RemoteApi | None:
        """Return who else serves a group and version."""
        self._sync()
        return self._apis.get((group, version))

    def verdict(self, api: RemoteApi) -> Verdict:
        """Return whether an API could be used when it was last looked at."""
        return self._verdicts.get(api.name, _UNCHECKED)

    async def address(self, api: RemoteApi) -> Address:
        """Return where an API is dialled. Raises ServiceUnavailableError."""
        return await self._addresses.find(api.namespace, api.service, api.port)

    def tls(self, api: RemoteApi) -> ssl.SSLContext:
        """Return how an API's server is verified, and what the api proves itself by. Raises OSError, ValueError."""
        made = self._contexts.get(api)
        if made is None:
            made = self._contexts[api] = _context(api, self._proof)
        return made

    async def _follow(self) -> None:
        await self._cache.wait_ready(timeout=300)
        while True:
            subscription = self._cache.subscribe(GROUP, PLURAL, since=None)
            try:
                changes = aiter(subscription)
                while True:
                    self._sync()
                    healthy = await self._check_all()
                    try:
                        async with asyncio.timeout(_PERIOD if healthy else _RETRY):
                            await anext(changes)
                    except TimeoutError:
                        continue
            except ExpiredError:
                await self._clock.sleep(_RETRY)
            finally:
                subscription.close()

    def _sync(self) -> None:
        """Bring the list up to what the cache holds."""
        changed = self._cache.changed(GROUP, PLURAL)
        if changed == self._seen:
            return
        self._seen = changed
        apis = [_remote(to_document(item.json)) for item in self._cache.select(GROUP, PLURAL)]
        self._apis = {(api.group, api.version): api for api in apis if api is not None}
        self._contexts = {api: made for api, made in self._contexts.items() if api in self._apis.values()}
        names = {api.name for api in self._apis.values()}
        for name in self._verdicts.keys() - names:
            del self._verdicts[name]
            self._offer(name, (), b"")
            self._due.pop(name, None)
            self.documents.drop(name)
            UNAVAILABLE.remove(name)

    async def _check_all(self) -> bool:
        """Look at every API; return whether all are available."""
        apis = list(self._apis.values())
        await asyncio.gather(*map(self._check, apis))
        return all(self.verdict(api).available for api in apis)

    async def _check(self, api: RemoteApi) -> None:
        try:
            document = await self._discover(api)
            verdict = Verdict(available=True, reason="Passed", message="all checks passed")
            self._offer(api.name, remote_resources(api.group, api.version, document), msgspec.json.encode(document))
        except _UnavailableError as error:
            verdict = error.verdict
        self._verdicts[api.name] = verdict
        if verdict.available and self._clock.monotonic() >= self._due.get(api.name, 0):
            await self._read_documents(api)
        UNAVAILABLE.labels(api.name).set(not verdict.available)
        if self._elector.leading:
            await self._write(api, verdict)

    def _offer(self, name: str, resources: tuple[Resource, ...], content: bytes) -> None:
        """Let discovery tell what an API offers."""
        if self._offered.get(name, b"") == content:
            return
        try:
            self._registry.replace(f"apiservice/{name}", resources)
        except ValueError as error:
            log.error("the resources of the APIService %s cannot be listed: %s", name, error)
            return
        self._offered[name] = content

    async def _discover(self, api: RemoteApi) -> Document:
        """Return an API's discovery document. Raises _UnavailableError."""
        where = f'service/{api.service} in "{api.namespace}"'
        if self._cache.get(ObjectKey("", "services", api.namespace, api.service)) is None:
            raise _UnavailableError("ServiceNotFound", f"{where} is not present")
        try:
            host, port = await self.address(api)
        except ServiceUnavailableError as error:
            raise _UnavailableError("MissingEndpoints", f"{where}: {error}") from error
        except ApiError as error:
            raise _UnavailableError("FailedDiscoveryCheck", f"{where}: {error}") from error
        url = f"https://{host}:{port}{api.place}"
        try:
            return _decode(await self._get(api, host, port, api.place))
        except (OSError, ValueError) as error:
            detail = f"failing or missing response from {url}: {error or type(error).__name__}"
            raise _UnavailableError("FailedDiscoveryCheck", detail) from error

    async def _read_documents(self, api: RemoteApi) -> None:
        """Read what a server tells of itself in OpenAPI; one that tells nothing is used all the same."""
        self._due[api.name] = self._clock.monotonic() + _DOCUMENTS_PERIOD
        place = api.place.removeprefix("/")
        v3 = v2 = b""
        try:
            host, port = await self.address(api)
            v3 = await self._get(api, host, port, f"/openapi/v3{api.place}")
            _decode(v3)
        except (OSError, ValueError, ApiError) as error:
            log.info("the APIService %s has no OpenAPI v3 document: %s", api.name, error)
            v3 = b""
        try:
            host, port = await self.address(api)
            v2 = own_part(_decode(await self._get(api, host, port, "/openapi/v2")), place)
        except (OSError, ValueError, ApiError) as error:
            log.info("the APIService %s has no OpenAPI v2 document: %s", api.name, error)
        self.documents.put(api.name, RemoteDocument(place, v3, v2))

    async def _get(self, api: RemoteApi, host: str, port: int, target: str) -> bytes:
        """Return the document at a place of the API's server. Raises OSError and ValueError."""
        headers = (*identity_headers(APISERVER), (b"host", api.host.encode()), (b"accept", b"application/json"))
        request = Request(
            host=host,
            port=port,
            server_name=api.host,
            tls=self.tls(api),
            guard=self.guard,
            target=target.encode(),
            headers=headers,
            timeout=_TIMEOUT,
        )
        async with asyncio.timeout(_TIMEOUT), ask(request) as answer:
            body = await answer.body(_MAX_ANSWER)
        if answer.status != 200:
            raise ValueError(f"bad status from https://{host}:{port}{target}: {answer.status}")
        return body

    async def _write(self, api: RemoteApi, verdict: Verdict) -> None:
        item = self._cache.get(ObjectKey(GROUP, PLURAL, "", api.name))
        resource = self._registry.stored(GROUP, PLURAL)
        if item is None or resource is None:
            return
        document = to_document(item.json)
        wanted = {
            "type": AVAILABLE,
            "status": "True" if verdict.available else "False",
            "reason": verdict.reason,
            "message": verdict.message,
        }
        conditions = with_conditions(document, (wanted,), rfc3339(self._clock.now()))
        if conditions == section(document, "status").get("conditions"):
            return
        put_section(document, "status")["conditions"] = conditions
        try:
            fence = self._elector.fence()
            compare = None if fence is None else Compare(fence.key.encode(), fence.create_revision)
            options = WriteOptions(field_manager=_MANAGER, fence=compare)
            await self._pipeline.update(
                APISERVER, resource, "", api.name, to_json(document), options, subresource="status"
            )
        except (ConflictError, NotFoundError):
            return  # its change comes here again
        except OrchError as error:
            FAILURES.inc()
            log.warning("the condition of the APIService %s could not be written: %s", api.name, error)


class _UnavailableError(OrchError):
    """An API cannot be used."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.verdict = Verdict(available=False, reason=reason, message=message)


def identity_headers(caller: Caller) -> list[tuple[bytes, bytes]]:
    """Return the headers that tell an aggregated server who asks (the request header authentication)."""
    headers = [(b"x-remote-user", caller.user.encode())]
    headers += [(b"x-remote-group", group.encode()) for group in caller.groups]
    if caller.uid:
        headers.append((b"x-remote-uid", caller.uid.encode()))
    for key, values in caller.extra:
        name = f"x-remote-extra-{quote(key.lower(), safe='')}".encode()
        headers += [(name, value.encode()) for value in values]
    return headers


def _remote(document: Document) -> RemoteApi | None:
    """Return what an APIService says, None when the api serves it itself."""
    spec = section(document, "spec")
    service: Document | None = spec.get("service")
    if service is None:
        return None
    return RemoteApi(
        document["metadata"]["name"],
        spec.get("group") or "",
        spec.get("version") or "",
        service.get("namespace") or "",
        service.get("name") or "",
        service.get("port") or 443,
        spec.get("caBundle") or "",
        spec.get("insecureSkipTLSVerify") or False,
    )


def _context(api: RemoteApi, proof: ClientCertificate) -> ssl.SSLContext:
    bundle = base64.b64decode(api.ca_bundle).decode("ascii", "replace") if api.ca_bundle else None
    context = trust(bundle)
    if api.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if proof.certificate:
        context.load_cert_chain(proof.certificate, proof.key or None)
    return context


async def _for_ever() -> None:
    await asyncio.get_running_loop().create_future()
