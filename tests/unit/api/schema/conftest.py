"""The schemas of the kinds that most of these tests decode."""

from __future__ import annotations

import pytest

from orch_api.schema import KindSchema, Schemas


@pytest.fixture(scope="session")
def schemas() -> Schemas:
    return Schemas.load()


@pytest.fixture(scope="session")
def deployment(schemas: Schemas) -> KindSchema:
    return schemas.of("apps", "v1", "Deployment")


@pytest.fixture(scope="session")
def pod(schemas: Schemas) -> KindSchema:
    return schemas.of("", "v1", "Pod")


@pytest.fixture(scope="session")
def secret(schemas: Schemas) -> KindSchema:
    return schemas.of("", "v1", "Secret")
