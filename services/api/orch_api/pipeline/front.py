"""The pipeline as its callers see it: HTTP and rpc."""

from __future__ import annotations

from collections.abc import Sequence

from orch.clock import Clock
from orch.errors import MethodNotAllowedError, NotFoundError
from orch.store.protocol import Compare, Store
from orch_api.admission import Chain
from orch_api.auth.authenticator import Authenticator
from orch_api.auth.authorizer import Authorizer
from orch_api.auth.identity import Caller
from orch_api.auth.tokens import ServiceAccountTokens
from orch_api.pipeline import scale
from orch_api.pipeline.applying import Applying
from orch_api.pipeline.binding import Binder
from orch_api.pipeline.changing import SCALE, Changing, PatchKind
from orch_api.pipeline.creation import Creation
from orch_api.pipeline.deletion import Deletion
from orch_api.pipeline.eviction import Eviction
from orch_api.pipeline.parts import Outcome, Parts, WriteOptions
from orch_api.pipeline.preempting import Preempting
from orch_api.pipeline.replacing import Replacing
from orch_api.pipeline.reviews import Reviews
from orch_api.pipeline.token_requests import TokenRequests
from orch_api.registry import Registry, Resource
from orch_api.schema import Schemas
from orch_api.storage.cache import Cached, ObjectCache
from orch_api.storage.claims import Claims
from orch_api.storage.commit import Committer
from orch_api.storage.objects import to_document, to_json
from orch_api.storage.versions import as_served
from orch_pb.v1.preemption_pb2 import Preempted
from orch_pb.v1.rpc_pb2 import Binding, WriteReply


class Pipeline:
    """One path for every write. Every method raises ApiError, and UnavailableError when the store is away."""

    def __init__(
        self,
        registry: Registry,
        schemas: Schemas,
        store: Store,
        cache: ObjectCache,
        authorizer: Authorizer,
        admission: Chain,
        clock: Clock,
        authenticator: Authenticator,
        tokens: ServiceAccountTokens,
    ) -> None:
        committer = Committer(store, cache)
        self._cache = cache
        self.claims = Claims(store, cache, clock)
        parts = Parts(registry, schemas, cache, committer, self.claims, authorizer, admission, clock)
        self._creation = Creation(parts)
        self._changing = Changing(parts)
        self._applying = Applying(parts, self._changing, self._creation)
        self._replacing = Replacing(parts, self._changing, self._creation)
        self._deletion = Deletion(parts)
        self._reviews = Reviews(parts, authenticator)
        self._tokens = TokenRequests(parts, tokens)
        pods = registry.stored("", "pods")
        self._binder = None if pods is None else Binder(parts, pods)
        self._preempting = None if pods is None else Preempting(parts, self._deletion, pods)
        budgets = registry.stored("policy", "poddisruptionbudgets")
        self._eviction = None if pods is None or budgets is None else Eviction(parts, self._deletion, pods, budgets)

    async def create(
        self,
        caller: Caller,
        resource: Resource,
        namespace: str,
        body: bytes,
        options: WriteOptions,
        *,
        subresource: str = "",
        name: str = "",
    ) -> Outcome:
        """Create an object, answer a question, bind or evict the pod `name`, or make a token of the account `name`."""
        if not subresource and not name:
            if resource.kind == "Binding" and self._binder is not None:
                return await self._binder.bind_any(caller, resource, namespace, body, options)
            if not resource.stored:
                return await self._reviews.answer(caller, resource, namespace, body, options)
            return await self._creation.create(caller, resource, namespace, body, options)
        if subresource == "token" and resource.plural == "serviceaccounts":
            return await self._tokens.create(caller, resource, namespace, name, body, options)
        if subresource == "binding" and resource.plural == "pods" and self._binder is not None:
            return await self._binder.bind_one(caller, namespace, name, body, options)
        if subresource == "eviction" and resource.plural == "pods" and self._eviction is not None:
            return await self._eviction.evict(caller, namespace, name, body, options)
        raise MethodNotAllowedError

    async def update(
        self,
        caller: Caller,
        resource: Resource,
        namespace: str,
        name: str,
        body: bytes,
        options: WriteOptions,
        *,
        subresource: str = "",
    ) -> Outcome:
        """Replace an object that is there, its status, its scale or a namespace's finalizers."""
        return await self._changing.update(caller, resource, namespace, name, body, options, subresource)

    async def replace(
        self,
        caller: Caller,
        resource: Resource,
        namespace: str,
        name: str,
        body: bytes,
        options: WriteOptions,
        *,
        subresource: str = "",
    ) -> Outcome:
        """Do what `update` does, and make objects that are not there, of the kinds for which Kubernetes does."""
        return await self._replacing.replace(caller, resource, namespace, name, body, options, subresource)

    async def patch(
        self,
        caller: Caller,
        resource: Resource,
        namespace: str,
        name: str,
        patch: bytes,
        kind: PatchKind,
        options: WriteOptions,
        *,
        subresource: str = "",
    ) -> Outcome:
        """Patch an object or a subresource; tried again on the newer state when another write came first."""
        return await self._changing.patch(caller, resource, namespace, name, patch, kind, options, subresource)

    async def apply(
        self,
        caller: Caller,
        resource: Resource,
        namespace: str,
        name: str,
        body: bytes,
        options: WriteOptions,
        *,
        subresource: str = "",
    ) -> Outcome:
        """Apply a configuration, in JSON, to an object or a subresource; an object that is not there is made."""
        return await self._applying.apply(caller, resource, namespace, name, body, options, subresource)

    async def delete(
        self, caller: Caller, resource: Resource, namespace: str, name: str, body: bytes, options: WriteOptions
    ) -> Outcome:
        """Delete an object; `body` is DeleteOptions as JSON or empty."""
        return await self._deletion.delete(caller, resource, namespace, name, body, options)

    async def delete_collection(
        self,
        caller: Caller,
        resource: Resource,
        namespace: str,
        label_selector: str,
        field_selector: str,
        body: bytes,
        options: WriteOptions,
    ) -> list[Cached]:
        """Delete what the selectors select; return the objects as they were."""
        return await self._deletion.delete_collection(
            caller, resource, namespace, label_selector, field_selector, body, options
        )

    async def bind(self, caller: Caller, bindings: Sequence[Binding], fence: Compare | None) -> list[WriteReply]:
        """Bind pods to nodes in one group commit; each succeeds or fails alone."""
        if self._binder is None:
            raise NotFoundError.path()
        return await self._binder.bind(caller, bindings, fence)

    async def preempt(
        self, caller: Caller, pods: Sequence[Preempted], agent: str, fence: Compare | None
    ) -> list[WriteReply]:
        """Make pods go for more important ones, each told why; each succeeds or fails alone."""
        if self._preempting is None:
            raise NotFoundError.path()
        return await self._preempting.preempt(caller, pods, agent, fence)

    async def get_subresource(self, resource: Resource, namespace: str, name: str, subresource: str) -> Outcome:
        """Return a subresource that has a document of its own: the scale. The caller has authorized it."""
        if subresource != SCALE or resource.scale is None:
            raise NotFoundError.path()
        await self._cache.catch_up()
        item = self._cache.get(resource.key(namespace, name))
        if item is None:
            raise NotFoundError.of(resource.plural, resource.group, name)
        document = await as_served(resource, to_document(item.json))
        return Outcome(to_json(scale.render(resource, document)), item.version)
