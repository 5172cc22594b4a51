from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from orch_api.registry import REGISTRY, Resource
from orch_api.strategy import validate_meta

Document = dict[str, Any]


def resource(plural: str) -> Resource:
    found = next((one for one in REGISTRY.resources if one.plural == plural), None)
    assert found is not None
    return found


@pytest.fixture
def created() -> Callable[[str, Document], Document]:
    """A document as it is after defaulting and preparation for creation."""

    def create(plural: str, document: Document) -> Document:
        strategy = resource(plural).strategy
        strategy.default(document)
        strategy.prepare_create(document)
        return document

    return create


@pytest.fixture
def problems() -> Callable[[str, Document], list[str]]:
    """What is wrong with a new object, after defaulting, as `field: message`."""

    def find(plural: str, document: Document) -> list[str]:
        kind = resource(plural)
        kind.strategy.default(document)
        kind.strategy.prepare_create(document)
        causes = validate_meta(document, kind) + kind.strategy.validate(document)
        return [f"{cause.field}: {cause.message}" for cause in causes]

    return find


@pytest.fixture
def update_problems() -> Callable[[str, Document, Document], list[str]]:
    """What is wrong with an update of a defaulted object."""

    def find(plural: str, document: Document, old: Document) -> list[str]:
        strategy = resource(plural).strategy
        for one in (document, old):
            strategy.default(one)
        strategy.prepare_update(document, old)
        return [f"{cause.field}: {cause.message}" for cause in strategy.validate_update(document, old)]

    return find


@pytest.fixture
def question_problems() -> Callable[[str, Document], list[str]]:
    """What is wrong with a question, as `field: message`."""

    def find(plural: str, document: Document) -> list[str]:
        return [f"{cause.field}: {cause.message}" for cause in resource(plural).strategy.validate(document)]

    return find


@pytest.fixture
def cells() -> Callable[[str, Document], dict[str, Any]]:
    """What the table shows of a document, by column."""

    def show(plural: str, document: Document) -> dict[str, Any]:
        now = datetime(2026, 1, 1, tzinfo=UTC)
        return {column.name: column.value(document, now) for column in resource(plural).columns}

    return show


@pytest.fixture
def pod() -> Callable[..., Document]:
    """A small pod; keyword arguments go to its spec."""

    def make(**spec: Any) -> Document:
        body = {"containers": [{"name": "web", "image": "nginx:1.27"}], **spec}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "default"}, "spec": body}

    return make


@pytest.fixture
def deployment() -> Callable[..., Document]:
    """A small deployment; keyword arguments go to its spec."""

    def make(**spec: Any) -> Document:
        template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "nginx"}]}}
        body = {"selector": {"matchLabels": {"app": "web"}}, "template": template, **spec}
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": body,
        }

    return make
