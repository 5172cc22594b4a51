"""What all tests have in common, and how far the long ones go: `make chaos`, `scale` and `fuzz` ask for more."""

from __future__ import annotations

import gc

import pytest
from hypothesis import settings

pytest_plugins = ("cluster_fixtures",)

# A failure is one on every machine, however busy. `--hypothesis-profile=exploring` looks for cases that are new.
settings.register_profile("exploring", deadline=None)
settings.register_profile("same every time", deadline=None, derandomize=True, database=None)
settings.load_profile("same every time")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rounds", type=int, default=1, help="how often each chaos test runs")
    parser.addoption("--fleet", type=int, default=100, help="simulated nodes of the scale tests")
    parser.addoption("--pods", type=int, default=200, help="pods of the scale tests")
    parser.addoption("--examples", type=int, default=2, help="what each fuzzing test of the api tries for everything")


@pytest.fixture(scope="session")
def examples(request: pytest.FixtureRequest) -> int:
    """Return how much a fuzzing test tries for each operation or kind."""
    return request.config.getoption("--examples")


def pytest_collection_finish() -> None:
    """Spare the collector what stays: modules and thousands of collected tests, looked through again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
