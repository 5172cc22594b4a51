"""Watches the pods of a namespace from a thread, through restarts of the api, and keeps book of every pod's life."""

from __future__ import annotations

import http.client
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rest import RefusedError, Rest

_GONE = 410


class PodLife:
    """What was seen of one pod. `marked`: it was told to go; `gone`: it went."""

    def __init__(self, pod: dict[str, Any]) -> None:
        self.name: str = pod["metadata"]["name"]
        self.owner: str = next((each["name"] for each in pod["metadata"].get("ownerReferences", ())), "")
        self.nodes: set[str] = set()
        self.gone = False
        self.see(pod)

    def see(self, pod: dict[str, Any]) -> None:
        self.last = pod
        self.marked = "deletionTimestamp" in pod["metadata"]
        if node := pod["spec"].get("nodeName"):
            self.nodes.add(node)

    @property
    def ready(self) -> bool:
        conditions = self.last["status"].get("conditions", ())
        return self.live and any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

    @property
    def restarts(self) -> int:
        return sum(each["restartCount"] for each in self.last["status"].get("containerStatuses", ()))

    @property
    def live(self) -> bool:
        return not self.gone and not self.marked and self.last["status"].get("phase") not in {"Failed", "Succeeded"}


class PodLedger:
    """All pods that a namespace had since the ledger was opened, by uid.

    `most_live` is the largest number of pods at one time that were not on their way out, `least_ready` the smallest
    number that were ready, `breaks` counts the watches that broke.
    """

    def __init__(self, rest: Rest, namespace: str) -> None:
        self._rest = rest
        self._path = f"/api/v1/namespaces/{namespace}/pods"
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self._version = ""
        self._thread = threading.Thread(target=self._follow, name="pod-ledger")
        self.lives: dict[str, PodLife] = {}
        self.most_live = 0
        self.least_ready = 1 << 30
        self.breaks = 0

    @contextmanager
    def open(self) -> Iterator[PodLedger]:
        """Keep the book within the context. It begins with the pods that are there."""
        self._list()
        self._thread.start()
        try:
            yield self
        finally:
            self._closed.set()
            self._thread.join(timeout=30)

    def wait(self, condition: Callable[[], bool], timeout: float = 60) -> None:
        """Return as soon as `condition`, asked after each event, is true."""
        with self._changed:
            assert self._changed.wait_for(condition, timeout), f"not within {timeout:g} s: {self.summary()}"

    def of(self, owner: str) -> list[PodLife]:
        """Return the pods that a ReplicaSet has or had."""
        return [life for life in self.lives.values() if life.owner == owner]

    def live(self, owner: str = "") -> int:
        """Return how many pods, of one owner or of all, are not on their way out."""
        return sum(life.live for life in self.lives.values() if owner in {"", life.owner})

    def ready(self, owner: str = "") -> int:
        """Return how many pods, of one owner or of all, are ready and not on their way out."""
        return sum(life.ready for life in self.lives.values() if owner in {"", life.owner})

    def summary(self) -> dict[str, Counter[str]]:
        """Return for each owner what became of its pods."""
        told: dict[str, Counter[str]] = {}
        for life in self.lives.values():
            fate = "gone" if life.gone else "leaving" if life.marked else "ready" if life.ready else "waiting"
            told.setdefault(life.owner, Counter())[fate] += 1
        return told

    def _list(self) -> None:
        """Begin anew, as informers do: what is not listed any more has gone meanwhile."""
        answer = self._rest("GET", self._path, timeout=10)
        if answer.status != 200:
            raise RefusedError(answer.status, b"no list of pods")
        with self._changed:
            found = {pod["metadata"]["uid"]: pod for pod in answer.body["items"]}
            for uid, life in self.lives.items():
                life.gone = life.gone or uid not in found
            for pod in found.values():
                self._see(pod)
            self._version = answer.body["metadata"]["resourceVersion"]
            self._count()

    def _follow(self) -> None:
        while not self._closed.is_set():
            try:
                if not self._version:
                    self._list()
                with self._rest.watch(
                    self._path, timeout=2, resourceVersion=self._version, allowWatchBookmarks="true"
                ) as events:
                    for event in events:
                        self._take(event)
                        if self._closed.is_set():
                            return
            except TimeoutError:  # nothing happened for a while, or the api is frozen: look again
                continue
            except (OSError, ValueError, http.client.HTTPException) as error:
                if isinstance(error, RefusedError) and error.status == _GONE:
                    self._version = ""
                self.breaks += 1
                self._closed.wait(0.05)

    def _take(self, event: dict[str, Any]) -> None:
        if event["type"] == "ERROR":
            raise RefusedError(event["object"]["code"], event["object"]["message"].encode())
        pod = event["object"]
        with self._changed:
            self._version = pod["metadata"]["resourceVersion"]
            if event["type"] == "BOOKMARK":
                return
            life = self._see(pod)
            life.gone = event["type"] == "DELETED"
            self._count()

    def _see(self, pod: dict[str, Any]) -> PodLife:
        life = self.lives.get(pod["metadata"]["uid"])
        if life is None:
            life = self.lives[pod["metadata"]["uid"]] = PodLife(pod)
        else:
            life.see(pod)
        return life

    def _count(self) -> None:
        self.most_live = max(self.most_live, self.live())
        self.least_ready = min(self.least_ready, self.ready())
        self._changed.notify_all()
