"""Requests for objects: what the client asked is read here, done by the pipeline and the cache, and rendered here."""

from __future__ import annotations

from typing import Final

import msgspec

from orch.clock import Clock
from orch.errors import BadRequestError, MethodNotAllowedError, NotFoundError
from orch_api import wire
from orch_api.auth.authorizer import Authorizer, attributes
from orch_api.auth.identity import Caller
from orch_api.auth.vigil import Vigil
from orch_api.computed import Computed
from orch_api.http import cbor
from orch_api.http.audience import Audiences
from orch_api.http.exchange import Exchange, Header
from orch_api.http.media import YAML, accepted, body_as_json, is_yaml, patch_kind
from orch_api.http.options import Query, delete_body, list_options, write_options
from orch_api.http.refusal import warning_header
from orch_api.http.render import Renderer, json_only
from orch_api.http.request import Target, flag, number, text
from orch_api.http.watch import Watcher, WatchRequest, check_watch_options, refuse_initial_events, timeout_of
from orch_api.http.websocket_watch import WebSocketExchange
from orch_api.http.yaml_documents import repeated_keys
from orch_api.pipeline import Outcome, Pipeline, WriteOptions
from orch_api.pipeline.parts import YAML_ERRORS
from orch_api.registry import Registry, Resource
from orch_api.storage.cache import ObjectCache
from orch_api.storage.read import Reader, matcher, parse_version
from orch_api.storage.versions import served_json

_INCLUDE: Final = frozenset({"Metadata", "Object", "None"})
_NO_QUERY: Final[Query] = {}


class ObjectRequests:
    """Serves get, list, watch and every write of every resource."""

    def __init__(
        self,
        pipeline: Pipeline,
        reader: Reader,
        cache: ObjectCache,
        computed: Computed,
        authorizer: Authorizer,
        vigil: Vigil,
        clock: Clock,
        registry: Registry,
    ) -> None:
        self._registry = registry
        self._pipeline = pipeline
        self._reader = reader
        self._cache = cache
        self._computed = computed
        self._audiences = Audiences()
        self._authorizer = authorizer
        self._vigil = vigil
        self._clock = clock

    async def serve(
        self, exchange: Exchange, caller: Caller, verb: str, resource: Resource, target: Target, query: Query
    ) -> None:
        """Answer any verb but watch. Raises ApiError."""
        known = resource.subresources[target.subresource].verbs if target.subresource else resource.verbs
        if verb not in known:
            raise MethodNotAllowedError
        if resource.deprecation:
            exchange.extra.append((b"warning", warning_header(resource.deprecation)))
        renderer = self._renderer(exchange, resource, query, plain=bool(target.subresource))
        if verb == "get":
            await self._get(exchange, caller, resource, target, renderer)
        elif verb == "list":
            await self._list(exchange, caller, resource, target, query, renderer)
        else:
            await self._write(exchange, caller, verb, resource, target, query, renderer)

    def _renderer(self, exchange: Exchange, resource: Resource, query: Query, *, plain: bool = False) -> Renderer:
        question = not resource.stored and "create" in resource.verbs
        known = wire.is_known(resource.api_version, resource.kind)
        streamed = not isinstance(exchange, WebSocketExchange)
        form = accepted(exchange.header(b"accept"), protobuf=known, forms=not question, streamed=streamed)
        if plain:
            form = json_only(form)
        include = text(query, "includeObject") or "Metadata"
        if include not in _INCLUDE:
            raise BadRequestError(f'unrecognized includeObject value: "{include}"')
        return Renderer(resource, form, include, self._clock.now())  # pyright: ignore[reportArgumentType]

    async def _get(
        self, exchange: Exchange, caller: Caller, resource: Resource, target: Target, renderer: Renderer
    ) -> None:
        await self._authorize(caller, "get", resource, target)
        if not resource.stored:
            await self._cache.catch_up()
            body, version = await self._computed.get(resource, target.namespace, target.name), 0
        elif not target.subresource or resource.subresources[target.subresource].kind == resource.kind:
            await self._cache.catch_up()
            item = self._cache.get(resource.key(target.namespace, target.name))
            if item is None:
                raise NotFoundError.of(resource.plural, resource.group, target.name)
            (body,), version = await served_json(resource, (item.json,)), item.version
        else:
            outcome = await self._pipeline.get_subresource(resource, target.namespace, target.name, target.subresource)
            body, version = outcome.json, outcome.version
        await exchange.answer(200, renderer.object(body, version), renderer.media_type)

    async def _list(
        self,
        exchange: Exchange,
        caller: Caller,
        resource: Resource,
        target: Target,
        query: Query,
        renderer: Renderer,
    ) -> None:
        await self._authorize(caller, "list", resource, target, query)
        if not resource.stored:
            await self._list_computed(exchange, resource, target, query, renderer)
            return
        if "sendInitialEvents" in query:
            refuse_initial_events()
        page = await self._reader.list_page(resource, target.namespace, list_options(query))
        items = await served_json(resource, [item.json for item in page.items])
        facts = (items, page.version, page.continue_token, page.remaining)
        plain = renderer.plain_list(*facts)
        if plain is not None:
            await exchange.answer_list(plain)
        else:
            await exchange.answer(200, renderer.list(*facts), renderer.media_type)

    async def _list_computed(
        self, exchange: Exchange, resource: Resource, target: Target, query: Query, renderer: Renderer
    ) -> None:
        options = list_options(query)
        matches = matcher(resource, options.label_selector, options.field_selector)
        await self._cache.catch_up()
        found = await self._computed.documents(resource, target.namespace)
        items = [msgspec.json.encode(document) for item, document in found if matches(item)]
        await exchange.answer(200, renderer.list(items, self._cache.version), renderer.media_type)

    async def watch(self, exchange: Exchange, caller: Caller, resource: Resource, target: Target, query: Query) -> None:
        """Answer a watch until it ends. Raises ApiError before the answer has begun."""
        if "watch" not in resource.verbs or target.subresource:
            raise MethodNotAllowedError
        selectors = (text(query, "labelSelector"), text(query, "fieldSelector"))
        wanted = attributes("watch", resource, target.namespace, target.name, target.subresource, selectors)
        await self._authorizer.require(caller, wanted)
        if resource.deprecation:
            exchange.extra.append((b"warning", warning_header(resource.deprecation)))
        options = list_options(query)
        bookmarks = flag(query, "allowWatchBookmarks")
        send_initial = flag(query, "sendInitialEvents") if "sendInitialEvents" in query else None
        check_watch_options(send_initial, options.match, options.continue_token)
        fields = options.field_selector
        if target.name:
            fields = f"metadata.name={target.name}" + (f",{fields}" if fields else "")
        with self._vigil.over(caller, wanted) as standing:
            request = WatchRequest(
                resource=resource,
                namespace=target.namespace,
                name=target.name,
                selectors=(options.label_selector, fields),
                matches=matcher(resource, options.label_selector, fields),
                version=_watch_version(options.resource_version, send_initial=send_initial),
                consistent=not options.resource_version,
                bookmarks=bookmarks,
                send_initial_events=send_initial,
                timeout=timeout_of(number(query, "timeoutSeconds")),
                end=self._registry.end_of(resource),
                standing=standing,
            )
            await exchange.body()
            renderer = self._renderer(exchange, resource, query)
            await Watcher(self._cache, self._audiences, request, renderer, self._clock).serve(exchange)

    async def _write(
        self,
        exchange: Exchange,
        caller: Caller,
        verb: str,
        resource: Resource,
        target: Target,
        query: Query,
        renderer: Renderer,
    ) -> None:
        body = await exchange.body()
        content_type = exchange.header(b"content-type")
        kind = patch_kind(content_type, strategic=resource.schema is None) if verb == "patch" else ""
        options = write_options(query, kind if kind == "apply" else verb, exchange.header(b"user-agent"))
        do = self._pipeline
        where = (caller, resource, target.namespace)
        if kind == "apply":
            media_type = cbor.APPLY if content_type.startswith(cbor.APPLY) else YAML
            document, options = _read(media_type, body, options)
            if options.repeated and options.field_validation == "Strict":
                problem = "\n  ".join((YAML_ERRORS, *options.repeated))
                raise BadRequestError(f"error strict decoding YAML: error converting YAML to JSON: {problem}")
            outcome = await do.apply(*where, target.name, document, options, subresource=target.subresource)
            if options.repeated:
                outcome = msgspec.structs.replace(outcome, warnings=(*options.repeated, *outcome.warnings))
        elif kind:
            outcome = await do.patch(*where, target.name, body, kind, options, subresource=target.subresource)
        elif verb == "delete":
            document = body_as_json(content_type, body) if body else b""
            outcome = await do.delete(*where, target.name, delete_body(document, query), options)
        elif verb == "deletecollection":
            document = delete_body(body_as_json(content_type, body) if body else b"", query)
            chosen = list_options(query)
            gone = await do.delete_collection(*where, chosen.label_selector, chosen.field_selector, document, options)
            body = renderer.list(await served_json(resource, [item.json for item in gone]), self._cache.version)
            await exchange.answer(200, body, renderer.media_type)
            return
        elif verb == "update":
            document, options = _read(content_type, body, options)
            outcome = await do.replace(*where, target.name, document, options, subresource=target.subresource)
        else:
            document, options = _read(content_type, body, options)
            outcome = await do.create(*where, document, options, subresource=target.subresource, name=target.name)
        await self._answer_write(exchange, outcome, renderer)

    async def _answer_write(self, exchange: Exchange, outcome: Outcome, renderer: Renderer) -> None:
        headers: list[Header] = [(b"warning", warning_header(warning)) for warning in outcome.warnings]
        body, media_type = outcome.json, "application/json"
        if not outcome.deleted:
            body, media_type = renderer.object(body, outcome.version), renderer.media_type
        await exchange.answer(201 if outcome.created else 200, body, media_type, headers)

    async def _authorize(
        self, caller: Caller, verb: str, resource: Resource, target: Target, query: Query = _NO_QUERY
    ) -> None:
        selectors = (text(query, "labelSelector"), text(query, "fieldSelector"))
        where = (target.namespace, target.name, target.subresource)
        await self._authorizer.permit(caller, verb, resource, *where, selectors=selectors)


def _read(content_type: str, body: bytes, options: WriteOptions) -> tuple[bytes, WriteOptions]:
    """Return a written document as JSON, and the options with what only its YAML tells: which keys it has twice."""
    document = body_as_json(content_type, body)
    if options.field_validation == "Ignore" or not is_yaml(content_type):
        return document, options
    twice = repeated_keys(body, document)
    return document, msgspec.structs.replace(options, repeated=twice) if twice else options


def _watch_version(version: str, *, send_initial: bool | None) -> int | None:
    """Return the version to watch from; None starts with the current state, as "" and "0" do."""
    if not version or (version == "0" and not send_initial):
        return None
    return parse_version(version)
