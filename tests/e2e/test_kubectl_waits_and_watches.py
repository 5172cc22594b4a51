"""`kubectl wait` in all its forms, and what `get -w` and `events --watch` show as it comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from local_cluster import LocalCluster
from space import Space

Read = Callable[[], list[str]]


@pytest.fixture(scope="module")
def space(simulated: LocalCluster) -> Iterator[Space]:
    """A namespace with a Deployment of two pods."""
    simulated.kubectl("create", "namespace", "waits")
    made = Space(simulated, "waits")
    made.kubectl("create", "deployment", "web", "--image=web:1", "--replicas=2")
    yield made
    simulated.kubectl("delete", "namespace", "waits", "--wait=false")


@contextmanager
def running(space: Space, *command: str) -> Iterator[Read]:
    """Run kubectl meanwhile; what is yielded returns the words of its next line."""
    process = space.start(*command)
    try:
        yield lambda: process.stdout.readline().split()
    finally:
        process.kill()
        process.communicate()


@contextmanager
def watching(space: Space, *command: str) -> Iterator[Read]:
    """Run kubectl meanwhile, once it has been told that its watch has begun: it logs its requests, among its lines."""
    with running(space, *command, "-v=6") as read:

        def line() -> list[str]:
            return next(words for words in iter(read, []) if not words[0].startswith("I"))

        while not any("watch=true" in word for word in read()):
            pass
        yield line


@pytest.mark.parametrize(
    "what",
    [
        "deployment web --for=condition=Available",
        "deployment --all --for=condition=Available=true",
        "pods -l app=web --for=condition=Ready",
        "deployment/web --for=jsonpath={.status.readyReplicas}=2",
        "deployment/web --for=jsonpath={.status.readyReplicas}",
        "deployment/web --for=jsonpath='{.status.conditions[?(@.type==\"Available\")].status}'=True",
    ],
)
def test_what_comes_true(space: Space, what: str) -> None:
    told = space.kubectl("wait", *what.replace("'", "").split(), "--timeout=30s").splitlines()
    assert len(told) == (2 if what.startswith("pods") else 1)
    assert all(line.endswith(" condition met") for line in told)


def test_what_does_not_come_true(space: Space) -> None:
    for what, said in (
        ("deployment/web --for=condition=Broken --timeout=0", "condition not met for deployments/web"),
        ("pod/none --for=condition=Ready --timeout=1s", 'pods "none" not found'),
        ("pods -l app=none --for=condition=Ready --timeout=1s", "no matching resources found"),
        ("deployment/web --for=delete --timeout=1s", "timed out waiting for the condition on deployments/web"),
        ("configmap/never --for=create --timeout=1s", "timed out waiting for the condition"),
    ):
        code, told = space.code("wait", *what.split())
        assert (code, said in told) == (1, True), told


def test_what_comes_and_what_goes(space: Space) -> None:
    with running(space, "wait", "configmap/late", "--for=create", "--timeout=30s") as read:
        space.kubectl("create", "configmap", "late")
        assert read() == ["configmap/late", "condition", "met"]
    with watching(space, "wait", "configmap/late", "--for=delete", "--timeout=30s") as read:
        space.kubectl("delete", "configmap", "late")
        assert read() == ["configmap/late", "condition", "met"]
    # What is not there is gone.
    assert space.kubectl("wait", "configmap/late", "--for=delete", "--timeout=5s") == ""


def test_changes_are_shown_as_they_come(space: Space) -> None:
    space.kubectl("create", "configmap", "seen")
    with running(space, "get", "configmap", "seen", "-w", "-o", "name") as read:
        assert read() == ["configmap/seen"]
        space.kubectl("label", "configmap", "seen", "a=b")
        assert read() == ["configmap/seen"]
    jsonpath = "jsonpath={.metadata.labels.a}{'\\n'}"
    with running(space, "get", "configmaps", "-w", "-l", "a", "-o", jsonpath) as read:
        assert read() == ["b"]
        space.kubectl("label", "configmap", "seen", "a=c", "--overwrite")
        assert read() == ["c"]
    watch = ("get", "configmaps", "--watch-only", "--output-watch-events", "--field-selector=metadata.name=seen")
    with watching(space, *watch, "--no-headers") as read:
        space.kubectl("annotate", "configmap", "seen", "a=b")
        assert read()[:3] == ["MODIFIED", "seen", "0"]
        space.kubectl("delete", "configmap", "seen")
        assert read()[:3] == ["DELETED", "seen", "0"]


def test_pods_are_watched_through_their_life(space: Space) -> None:
    with running(space, "get", "pod", "-w", "-l", "run=mayfly", "--no-headers") as read:
        space.kubectl("run", "mayfly", "--image=a", "--restart=Never", "--env=SIMULATED_RUN_SECONDS=0.3")
        states = [read()[2]]
        while states[-1] != "Completed":
            states.append(read()[2])
        space.kubectl("delete", "pod", "mayfly")
    assert list(dict.fromkeys(states))[-2:] == ["Running", "Completed"], states


def test_events_as_they_come(space: Space) -> None:
    with running(space, "events", "--watch", "--for=pod/talks") as read:
        space.kubectl("run", "talks", "--image=a")
        shown = [read() for _ in range(4)]
    assert shown[0] == ["LAST", "SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    assert {line[3] for line in shown[1:]} == {"Pod/talks"}
    assert {line[2] for line in shown[1:]} <= {"Scheduled", "Pulling", "Pulled", "Created", "Started"}
    told = space.kubectl("events", "--types=Warning")
    assert told == "No events found in waits namespace.\n"
    assert "Pod/talks" in space.kubectl("events", "--types=Normal", "-A", "--no-headers")
    assert "valid --types are Normal or Warning" in space.kubectl("events", "--types=Odd", check=False)
    sorted_ones = space.kubectl("get", "events", "--sort-by=.metadata.creationTimestamp", "--no-headers")
    assert "pod/talks" in sorted_ones
