"""The documents of the built-in registry, and of one that holds what the built-in one has not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from orch_api.http.discovery import Discovery
from orch_api.http.document import Document
from orch_api.http.openapi import OpenApiDocuments
from orch_api.registry import REGISTRY, Registry, Resource, Subresource
from orch_api.schema import Schemas
from orch_api.strategy import Strategy


@pytest.fixture(scope="session")
def discovery() -> Discovery:
    return Discovery(REGISTRY, server_address="127.0.0.1:6443")


@pytest.fixture(scope="session")
def documents() -> OpenApiDocuments:
    return OpenApiDocuments(REGISTRY, Schemas.load())


@pytest.fixture(scope="session")
def unusual() -> Registry:
    """A group in several versions, a kind that Kubernetes has not, and subresources of other groups."""
    strategy = Strategy()
    evict = Subresource("Eviction", "policy", "v1", frozenset({"create"}))
    connect = Subresource("PodExecOptions", verbs=frozenset({"create", "get"}))
    log = Subresource("Pod", verbs=frozenset({"get"}))
    subresources = {"eviction": evict, "exec": connect, "log": log}
    autoscaler: dict[str, Any] = {"singular": "horizontalpodautoscaler", "kind": "HorizontalPodAutoscaler"}
    return Registry(
        (
            Resource(plural="pods", singular="pod", kind="Pod", subresources=subresources, strategy=strategy),
            *(
                Resource(group="autoscaling", version=version, plural=plural, strategy=strategy, **autoscaler)
                for version, plural in (("v1", "horizontalpodautoscalers"), ("v2", "horizontalpodautoscalers"))
            ),
            Resource(
                group="autoscaling", version="v2beta1", plural="wishes", singular="wish", kind="Wish", strategy=strategy
            ),
        )
    )


def content(document: Document | None) -> dict[str, Any]:
    assert document is not None
    return msgspec.json.decode(document.body)


@pytest.fixture(scope="session")
def read() -> Any:
    return content
