from __future__ import annotations

import json
import logging
import re

import pytest

from orch.config import TelemetryConfig
from orch.telemetry import TraceContext, setup, span

LOG = logging.getLogger("orch.test")
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
REMOTE = TraceContext(traceparent=f"00-{TRACE}-{PARENT}-01")


def test_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with setup("api", TelemetryConfig(log_format="json", log_level="debug")):
        LOG.debug("read %d", 3, extra={"key": "ns/a", "service": "cannot be overridden"})
        with span("x", parent=REMOTE):
            try:
                int("x")
            except ValueError:
                LOG.exception("failed\nbadly")
    LOG.warning("after the end")
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first.pop("time"))
    assert first == {"level": "debug", "service": "api", "logger": "orch.test", "message": "read 3", "key": "ns/a"}
    assert (second["trace_id"], second["span_id"], second["level"]) == (TRACE, PARENT, "error")
    assert second["message"] == "failed\nbadly"
    assert second["exception"].endswith("invalid literal for int() with base 10: 'x'")


def test_text_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with setup("api", TelemetryConfig()):
        LOG.debug("too detailed")
        with span("x", parent=REMOTE):
            LOG.info("bound %s", "ns/a", extra={"node": "n1"})
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"INFO    api orch.test: bound ns/a node=n1 trace_id={TRACE} span_id={PARENT}")
