"""The operations that the server offers on each resource, from which both OpenAPI documents are written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from orch_api.http.discovery import foreign_group_version
from orch_api.resource import Resource, Subresource

META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1"
PATCH: Final = f"{META}.Patch"
STATUS: Final = f"{META}.Status"
DELETE_OPTIONS: Final = f"{META}.DeleteOptions"


class Parameter(msgspec.Struct, frozen=True):
    """A parameter of a request. `type` is a JSON schema type."""

    name: str
    description: str
    type: str = "string"
    where: str = "query"


class GroupKind(msgspec.Struct, frozen=True):
    """The kind that an operation is about."""

    group: str
    version: str
    kind: str


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One method of one path. Bodies and answers are named by definition or kind; see `Model`."""

    path: str
    method: str
    id: str
    action: str
    description: str
    tag: str
    about: GroupKind
    parameters: tuple[Parameter, ...] = ()
    body: Model | None = None
    patch: bool = False
    answer: Model | None = None  # None: text
    created: bool = False  # 201 is an answer too
    accepted: bool = False  # 202 is an answer too
    watchable: bool = False


class Model(msgspec.Struct, frozen=True):
    """A body or an answer: a definition by its name, or the definition of a kind or of a list of that kind."""

    name: str = ""
    kind: GroupKind | None = None


NAME: Final = Parameter("name", "name of the object", where="path")
NAMESPACE: Final = Parameter("namespace", "namespace of the object", where="path")
PRETTY: Final = Parameter("pretty", "ask for indented output")
_DRY_RUN: Final = Parameter("dryRun", "`All` runs every stage of the request without storing its result")
_FIELD_MANAGER: Final = Parameter("fieldManager", "names who makes the change: at most 128 printable characters")
_FIELD_VALIDATION: Final = Parameter(
    "fieldValidation",
    "what happens to unknown and repeated fields: `Ignore` drops them, `Warn` (the default) drops them with a warning, "
    "`Strict` refuses the request",
)
_FORCE: Final = Parameter("force", "an apply takes over the fields that others own", "boolean")
_WRITE: Final = (_DRY_RUN, _FIELD_MANAGER, _FIELD_VALIDATION)
_SELECT: Final = (
    Parameter("continue", "the token of the previous page: return the page after it"),
    Parameter("fieldSelector", "restricts the objects by their fields"),
    Parameter("labelSelector", "restricts the objects by their labels"),
    Parameter("limit", "the most objects that a page may hold", "integer"),
    Parameter("resourceVersion", "the version that the answer must have reached, or from which a watch goes on"),
    Parameter("resourceVersionMatch", "how `resourceVersion` is meant: `NotOlderThan` or `Exact`"),
    Parameter("sendInitialEvents", "a watch begins with the present objects and a bookmark", "boolean"),
    Parameter("timeoutSeconds", "how long the call may last", "integer"),
)
_WATCH: Final = (
    Parameter("allowWatchBookmarks", "the watch may contain bookmarks", "boolean"),
    Parameter("watch", "stream the changes instead of listing the objects", "boolean"),
)
_DELETE: Final = (
    _DRY_RUN,
    Parameter("gracePeriodSeconds", "how long the object may take to end; 0 is at once", "integer"),
    Parameter("orphanDependents", "deprecated: use `propagationPolicy`", "boolean"),
    Parameter("propagationPolicy", "what becomes of the object's dependents: `Orphan`, `Background` or `Foreground`"),
)
_CONTAINER: Final = Parameter("container", "the container; may be left out when the pod has one")
_STDIO: Final = (
    Parameter("stderr", "stream the standard error", "boolean"),
    Parameter("stdin", "stream the standard input", "boolean"),
    Parameter("stdout", "stream the standard output", "boolean"),
    Parameter("tty", "allocate a terminal", "boolean"),
)
_LOG: Final = (
    _CONTAINER,
    Parameter("follow", "go on with what is written from now on", "boolean"),
    Parameter("limitBytes", "the most bytes to send", "integer"),
    Parameter("previous", "the log of the container's previous run", "boolean"),
    Parameter("sinceSeconds", "only what is not older than this", "integer"),
    Parameter("sinceTime", "only what was written since then (RFC 3339)"),
    Parameter("tailLines", "only so many lines from the end", "integer"),
    Parameter("timestamps", "begin every line with its time", "boolean"),
)
_PROXIED_PATH: Final = Parameter("path", "the path to ask for, behind the proxy")
_CONNECT: Final[Mapping[str, tuple[Parameter, ...]]] = {
    "PodExecOptions": (Parameter("command", "the program and its arguments, one each"), _CONTAINER, *_STDIO),
    "PodAttachOptions": (_CONTAINER, *_STDIO),
    "PodPortForwardOptions": (Parameter("ports", "the ports to forward", "integer"),),
    "PodProxyOptions": (_PROXIED_PATH,),
    "ServiceProxyOptions": (_PROXIED_PATH,),
    "NodeProxyOptions": (_PROXIED_PATH,),
}

_OBJECT_VERBS: Final = {"get": "get", "update": "put", "patch": "patch"}
_ID_VERBS: Final = {"get": "read", "update": "replace", "patch": "patch", "create": "create", "delete": "delete"}
_SENTENCES: Final = {
    "get": "read the specified",
    "update": "replace the specified",
    "patch": "partially update the specified",
    "create": "create a",
    "delete": "delete a",
}


def operations(resource: Resource) -> Iterator[Operation]:
    """Yield every operation on a resource and its subresources."""
    paths = _Paths(resource)
    yield from paths.collection()
    yield from paths.single()
    for name, subresource in sorted(resource.subresources.items()):
        yield from paths.subresource(name, subresource)


class _Paths:
    """Writes the operations of one resource."""

    def __init__(self, resource: Resource) -> None:
        self._resource = resource
        short = resource.group.split(".", 1)[0]
        self._tag = f"{short or 'core'}_{resource.version}"
        self._family = "".join(part.capitalize() for part in (short or "core", resource.version))
        self._scope = "Namespaced" if resource.namespaced else ""
        self._about = GroupKind(resource.group, resource.version, resource.kind)
        self._object = Model(kind=self._about)
        self._list = Model(kind=GroupKind(resource.group, resource.version, resource.list_kind))
        root = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
        self._everywhere = f"{root}/{resource.plural}"
        self._here = f"{root}/namespaces/{{namespace}}/{resource.plural}" if resource.namespaced else self._everywhere
        self._shared = (NAMESPACE, PRETTY) if resource.namespaced else (PRETTY,)

    def collection(self) -> Iterator[Operation]:
        kind, verbs = self._resource.kind, self._resource.verbs
        if "list" in verbs:
            described = f"list or watch objects of kind {kind}"
            yield self._operation("get", self._here, f"list{self._family}{self._scope}{kind}", "list", described)
            if self._resource.namespaced:
                name = f"list{self._family}{kind}ForAllNamespaces"
                yield self._operation("get", self._everywhere, name, "list", described, shared=(PRETTY,))
        if "create" in verbs:
            yield self._written("create", self._here, "post", self._object)
        if "deletecollection" in verbs:
            name = f"delete{self._family}Collection{self._scope}{kind}"
            yield Operation(
                path=self._here,
                method="delete",
                id=name,
                action="deletecollection",
                description=f"delete collection of {kind}",
                tag=self._tag,
                about=self._about,
                parameters=(*self._shared, *_SELECT, *_DELETE),
                body=Model(DELETE_OPTIONS),
                answer=Model(STATUS),
            )

    def single(self) -> Iterator[Operation]:
        path, verbs = f"{self._here}/{{name}}", self._resource.verbs
        for verb, method in _OBJECT_VERBS.items():
            if verb in verbs:
                yield self._written(verb, path, method, self._object, shared=(NAME, *self._shared))
        if "delete" in verbs:
            yield Operation(
                path=path,
                method="delete",
                id=self._id("delete"),
                action="delete",
                description=self._sentence("delete"),
                tag=self._tag,
                about=self._about,
                parameters=(NAME, *self._shared, *_DELETE),
                body=Model(DELETE_OPTIONS),
                # While an object is still ending, it is the answer for all kinds; Kubernetes' documents hide that.
                answer=self._object if self._resource.returns_deleted else Model(STATUS),
                accepted=True,
            )

    def subresource(self, name: str, subresource: Subresource) -> Iterator[Operation]:
        path = f"{self._here}/{{name}}/{name}"
        shared = (NAME, *self._shared)
        group, version = foreign_group_version(self._resource, subresource) or self._resource.group_version
        about = GroupKind(group, version, subresource.kind)
        if subresource.kind.endswith("Options"):
            yield from self._connections(name, path, subresource, about)
        elif name == "log":
            yield Operation(
                path=path,
                method="get",
                id=self._id("get", "log"),
                action="get",
                description=self._sentence("get", "log of the"),
                tag=self._tag,
                about=about,
                parameters=(*shared, *_LOG),
            )
        else:
            model = Model(kind=about)
            for verb, method in {**_OBJECT_VERBS, "create": "post"}.items():
                if verb in subresource.verbs:
                    yield self._written(verb, path, method, model, shared=shared, sub=name, about=about)

    def _connections(self, name: str, path: str, subresource: Subresource, about: GroupKind) -> Iterator[Operation]:
        for verb, method in {**_OBJECT_VERBS, "create": "post", "delete": "delete"}.items():
            if verb in subresource.verbs:
                yield Operation(
                    path=path,
                    method=method,
                    id=f"connect{self._family}{method.capitalize()}{self._scope}{self._resource.kind}{_camel(name)}",
                    action="connect",
                    description=f"connect {method.upper()} requests to {name} of {self._resource.kind}",
                    tag=self._tag,
                    about=about,
                    parameters=(NAME, *self._shared, *_CONNECT.get(subresource.kind, ())),
                )

    def _operation(
        self, method: str, path: str, name: str, action: str, description: str, *, shared: tuple[Parameter, ...] = ()
    ) -> Operation:
        return Operation(
            path=path,
            method=method,
            id=name,
            action=action,
            description=description,
            tag=self._tag,
            about=self._about,
            parameters=(*(shared or self._shared), *_SELECT, *_WATCH),
            answer=self._list,
            watchable="watch" in self._resource.verbs,
        )

    def _written(
        self,
        verb: str,
        path: str,
        method: str,
        model: Model,
        *,
        shared: tuple[Parameter, ...] = (),
        sub: str = "",
        about: GroupKind | None = None,
    ) -> Operation:
        """Return an operation that reads or writes one object."""
        parameters: tuple[Parameter, ...] = () if verb == "get" else _WRITE
        if verb == "patch":
            parameters = (*_WRITE, _FORCE)
        return Operation(
            path=path,
            method=method,
            id=self._id(verb, sub),
            action=method,
            description=self._sentence(verb, f"{sub} of the" if sub else ""),
            tag=self._tag,
            about=about or self._about,
            parameters=(*(shared or self._shared), *parameters),
            body=None if verb == "get" else Model(PATCH) if verb == "patch" else model,
            patch=verb == "patch",
            answer=model,
            created=verb != "get",
            accepted=verb == "create",
        )

    def _id(self, verb: str, sub: str = "") -> str:
        return f"{_ID_VERBS[verb]}{self._family}{self._scope}{self._resource.kind}{_camel(sub)}"

    def _sentence(self, verb: str, part: str = "") -> str:
        sentence = _SENTENCES[verb]
        if part:
            sentence = f"{sentence.rsplit(' ', 1)[0]} {part} specified"
        return f"{sentence} {self._resource.kind}"


def _camel(name: str) -> str:
    return name[:1].upper() + name[1:]
