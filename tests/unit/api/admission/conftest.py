"""Plugins asked directly: a request as the pipeline makes it, and what a plugin says of it."""

from collections.abc import Callable
from typing import Any

import pytest

from orch.errors import ApiError
from orch_api.admission import CREATE, Plugin, Request
from orch_api.auth.identity import Caller
from orch_api.registry import REGISTRY

ALICE = Caller("alice", ("developers", "system:authenticated"))


def request_of(
    what: str,
    document: Any = None,
    old: Any = None,
    *,
    operation: Any = CREATE,
    caller: Caller = ALICE,
    namespace: str = "default",
    **more: Any,
) -> Request:
    """Return a request for "plural.group/subresource"."""
    qualified, _, subresource = what.partition("/")
    resource = next(one for one in REGISTRY.resources if one.qualified == qualified)
    shown = document or old or {}
    name = shown.get("metadata", {}).get("name", "x")
    where = namespace if resource.namespaced else ""
    return Request(caller, operation, resource, subresource, where, name, document, old, **more)


@pytest.fixture
def ask() -> Callable[..., Request]:
    return request_of


async def said(plugin: Plugin, request: Request) -> str:
    """Return a plugin's refusal, "" when there is none; it is asked only what it is about."""
    try:
        for rules, call in ((plugin.mutates, plugin.mutate), (plugin.validates, plugin.validate)):
            if any(rule.covers(request.operation, request.resource, request.subresource) for rule in rules):
                await call(request)
    except ApiError as error:
        return error.message
    return ""


@pytest.fixture
def tell() -> Callable[..., Any]:
    return said
