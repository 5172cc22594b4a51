from __future__ import annotations

import http.server
import queue
import threading
from collections.abc import Iterator

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector:
    """An OTLP/HTTP receiver on loopback that keeps what it gets."""

    def __init__(self) -> None:
        received: queue.Queue[ExportTraceServiceRequest] = queue.Queue()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                body = self.rfile.read(int(self.headers["Content-Length"]))
                received.put(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
                pass

        self.received = received
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"

    def spans(self) -> list[tuple[dict[str, str], Span]]:
        """Return (resource attributes, span) of all that was received so far."""
        found: list[tuple[dict[str, str], Span]] = []
        while not self.received.empty():
            for resource in self.received.get().resource_spans:
                attributes = {each.key: each.value.string_value for each in resource.resource.attributes}
                found += [(attributes, span) for scope in resource.scope_spans for span in scope.spans]
        return found


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    thread = threading.Thread(target=collector.server.serve_forever)
    thread.start()
    yield collector
    collector.server.shutdown()
    collector.server.server_close()
    thread.join()
