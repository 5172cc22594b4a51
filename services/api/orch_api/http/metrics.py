"""The figures of requests, under the names that dashboards made for Kubernetes ask for.

They are counted on the hottest path, by one event loop alone. So the figures of one set of labels are one object with
plain numbers in it, found by one look-up a request; Prometheus' families are made of them when somebody asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from orch_api.distribution import Distribution
from orch_api.http.request import Target

_SLI_SECONDS: Final = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60)
_SECONDS: Final = (0.005, 0.025, *_SLI_SECONDS)
_SIZES: Final = tuple(1000.0 * 10**power for power in range(7))
_EVENT_SIZES: Final = tuple(1024.0 * 2**power for power in range(8))

_LABELS: Final = ("verb", "group", "version", "resource", "subresource", "scope", "component")
_LABELS_WITH_DRY_RUN: Final = ("verb", "dry_run", *_LABELS[1:])
_WATCHED: Final = ("group", "version", "resource")
_COMPONENT: Final = "apiserver"

_VERBS: Final[Mapping[str, str]] = {
    "get": "GET",
    "list": "LIST",
    "watch": "WATCH",
    "create": "POST",
    "update": "PUT",
    "patch": "PATCH",
    "apply": "APPLY",
    "delete": "DELETE",
    "deletecollection": "DELETECOLLECTION",
}
_CONNECTED: Final = frozenset({"log", "exec", "portforward", "attach", "proxy"})
_SIZED: Final = frozenset({"GET", "LIST"})
_READING: Final = frozenset({"get", "list", "watch"})


class Labels(NamedTuple):
    """What tells requests' figures apart; `verb` is the API's, in lower case."""

    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    scope: str = ""
    dry_run: str = ""


class RequestFigures:
    """The figures of requests with the same labels."""

    __slots__ = ("_codes", "_sized", "dry_run", "duration", "labels", "mutating", "open", "sizes", "sli", "terminated")

    def __init__(self, labels: Labels) -> None:
        verb = "CONNECT" if labels.subresource in _CONNECTED else _VERBS.get(labels.verb, labels.verb)
        self.labels = (verb, *labels[1:6], _COMPONENT)
        self.dry_run = labels.dry_run
        self.mutating = labels.verb not in _READING
        self.duration = Distribution(_SECONDS)
        self.sli = Distribution(_SLI_SECONDS)
        self.sizes = Distribution(_SIZES)
        self.terminated: dict[int, int] = {}
        self.open = 0
        self._codes: dict[int, int] = {}
        self._sized = verb in _SIZED

    def count(self, code: int) -> None:
        """Count an answered request."""
        self._codes[code] = self._codes.get(code, 0) + 1

    def terminate(self, code: int) -> None:
        """Count a request that was ended in self-defence: refused for want of a seat, or out of time."""
        self.terminated[code] = self.terminated.get(code, 0) + 1

    def done(self, code: int, seconds: float, waited: float, size: int) -> None:
        """Count an answered request that is not long-running; `waited` of its seconds it stood in a queue."""
        self._codes[code] = self._codes.get(code, 0) + 1
        self.duration.observe(seconds)
        if not self.dry_run:
            self.sli.observe(seconds - waited)
        if self._sized:
            self.sizes.observe(size)

    @property
    def codes(self) -> Mapping[int, int]:
        """How many requests were answered with each status."""
        return self._codes


class WatchFigures:
    """The figures of the events that watches of one resource were sent."""

    __slots__ = ("events", "sizes")

    def __init__(self) -> None:
        self.events = 0
        self.sizes = Distribution(_EVENT_SIZES)

    def sent(self, size: int, times: int = 1) -> None:
        """Count an event of `size` bytes that so many watches were sent."""
        self.events += times
        self.sizes.observe(size, times)


class RequestMetrics(Collector):
    """The figures of all requests of this process. Labels come from the registry, so their number is bounded."""

    def __init__(self) -> None:
        self._requests: dict[tuple[str, ...], RequestFigures] = {}
        self._watches: dict[tuple[str, str, str], WatchFigures] = {}
        self.reading = 0
        self.mutating = 0

    def of(self, verb: str, target: Target, dry_run: str = "") -> RequestFigures:
        """Return the figures of requests to a resource that is served; `verb` is "apply" for a server-side apply."""
        scope = "namespace" if target.namespace else "cluster"
        if target.name or verb == "create":
            scope = "resource"
        # a plain tuple finds what Labels was stored under, and is made in a third of the time
        labels = (verb, target.group, target.version, target.resource, target.subresource, scope, dry_run)
        return self._requests.get(labels) or self.labelled(Labels(*labels))

    def labelled(self, labels: Labels) -> RequestFigures:
        """Return the figures of the requests with these labels."""
        figures = self._requests.get(labels)
        if figures is None:
            figures = self._requests[labels] = RequestFigures(labels)
        return figures

    def watch(self, group: str, version: str, resource: str) -> WatchFigures:
        """Return the figures of a resource's watches."""
        return self._watches.setdefault((group, version, resource), WatchFigures())

    def begin(self, figures: RequestFigures, *, long_running: bool) -> None:
        """Note that a request is being served; each is followed by `end`."""
        if long_running:
            figures.open += 1
        elif figures.mutating:
            self.mutating += 1
        else:
            self.reading += 1

    def end(self, figures: RequestFigures, *, long_running: bool) -> None:
        """Note that a request is no longer being served."""
        if long_running:
            figures.open -= 1
        elif figures.mutating:
            self.mutating -= 1
        else:
            self.reading -= 1

    def collect(self) -> Iterable[Metric]:
        """Yield the families."""
        known = list(self._requests.values())
        yield from _counted(known)
        yield from _distributed(known)
        flying = GaugeMetricFamily(
            "apiserver_current_inflight_requests",
            "Requests being served, without long-running ones",
            labels=["request_kind"],
        )
        flying.add_metric(["mutating"], self.mutating)
        flying.add_metric(["readOnly"], self.reading)
        yield flying
        events = CounterMetricFamily("apiserver_watch_events", "Events sent to watches", labels=_WATCHED)
        sizes = HistogramMetricFamily(
            "apiserver_watch_events_sizes", "Bytes of the events sent to watches", labels=_WATCHED
        )
        for labels, watched in list(self._watches.items()):
            events.add_metric(labels, watched.events)
            watched.sizes.add_to(sizes, labels)
        yield events
        yield sizes


def _counted(known: Sequence[RequestFigures]) -> Iterable[Metric]:
    requests = CounterMetricFamily("apiserver_request", "Requests by outcome", labels=(*_LABELS_WITH_DRY_RUN, "code"))
    ended = CounterMetricFamily(
        "apiserver_request_terminations", "Requests ended in self-defence", labels=(*_LABELS, "code")
    )
    running = GaugeMetricFamily("apiserver_longrunning_requests", "Watches and streams that are open", labels=_LABELS)
    for figures in known:
        labels = figures.labels
        for code, count in list(figures.codes.items()):
            requests.add_metric((labels[0], figures.dry_run, *labels[1:], str(code)), count)
        for code, count in list(figures.terminated.items()):
            ended.add_metric((*labels, str(code)), count)
        if labels[0] in {"WATCH", "CONNECT"}:
            running.add_metric(labels, figures.open)
    yield requests
    yield ended
    yield running


def _distributed(known: Sequence[RequestFigures]) -> Iterable[Metric]:
    duration = HistogramMetricFamily(
        "apiserver_request_duration_seconds",
        "Time from a request's headers to its answer's last byte, without long-running ones",
        labels=_LABELS_WITH_DRY_RUN,
    )
    sli = HistogramMetricFamily(
        "apiserver_request_sli_duration_seconds", "The same without the time that it waited for a seat", labels=_LABELS
    )
    sizes = HistogramMetricFamily("apiserver_response_sizes", "Bytes of the answers to reads", labels=_LABELS)
    for figures in known:
        labels = figures.labels
        if labels[0] in {"WATCH", "CONNECT"}:
            continue
        figures.duration.add_to(duration, (labels[0], figures.dry_run, *labels[1:]))
        if not figures.dry_run:
            figures.sli.add_to(sli, labels)
        if labels[0] in _SIZED:
            figures.sizes.add_to(sizes, labels)
    yield duration
    yield sli
    yield sizes


REQUESTS: Final = RequestMetrics()
REGISTRY.register(REQUESTS)
