"""What attackers write into names, messages and headers, so that a log or a terminal shows something else."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from contextlib import aclosing
from pathlib import Path

import pytest
from asgi import Connection

from orch.bus.protocol import Message
from orch.bus.subjects import OBJECTS
from orch.config import TelemetryConfig
from orch.errors import OrchError
from orch.quoting import plain
from orch.telemetry import setup
from orch_api.config import ApiConfig
from orch_api.memory import in_memory_api
from orch_api.site import application, audit_queues
from orch_cli import __main__ as cli
from orch_cli.tap import describe

CLEAR = "\x1b[2J\x1b[H"
FORGED = "\n2026-01-01T00:00:00.000Z INFO    api orch.auth: admitted"
HIDDEN = "\x9b2J\x07\r\u202e"
LOG = logging.getLogger("orch.test")


def test_no_character_that_is_not_printable_is_left() -> None:
    assert plain("größe 中文 \\n") == "größe 中文 \\n"
    assert plain(CLEAR + FORGED[:5] + HIDDEN) == r"\x1b[2J\x1b[H\n2026\u009b2J\a\r\u202e"
    assert plain("a\nb\tc", keep="\n\t") == "a\nb\tc"


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_message_begins_no_line_of_a_log(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    with setup("api", TelemetryConfig(log_format="json" if form == "json" else "text")):
        LOG.warning("no such user: %s", CLEAR + FORGED + HIDDEN, extra={"agent": FORGED})
        LOG.error("failed", exc_info=OrchError(f"refused{FORGED}{CLEAR}"))
    said = capsys.readouterr().err
    assert all(line.isprintable() for line in said.splitlines())
    assert not any(line.startswith("2026-01-01") for line in said.splitlines())
    if form == "json":
        first, second = map(json.loads, said.splitlines())
        assert first["message"].endswith(CLEAR + FORGED + HIDDEN)
        assert FORGED in second["exception"]


async def test_audit_events_are_a_line_each_whatever_is_sent(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Request}]\n")
    config = ApiConfig(audit_policy_file=str(tmp_path / "policy.yaml"), audit_log_file=str(tmp_path / "audit.log"))
    role = {"metadata": {"name": CLEAR}, "rules": []}
    async with in_memory_api(config=config) as api:
        queues = audit_queues(api.core, config)
        running = [asyncio.create_task(queue.run()) for queue in queues]
        http = Connection(application(api.core, config, queues))
        roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles"
        assert (await http("POST", roles, role, user_agent=f"kubectl{CLEAR}{HIDDEN}")).status == 201
        assert (await http("GET", f"{roles}/{FORGED}?{FORGED}=1")).status == 404
        await http("GET", "/api/v1/namespaces/default/pods/last")
        async with asyncio.timeout(10):
            log = tmp_path / "audit.log"
            while not log.exists() or "pods/last" not in log.read_text():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            async with aclosing(api.core.bus.follow(OBJECTS.name, OBJECTS.subjects)) as changes:
                async for change in changes:
                    if isinstance(change, Message) and CLEAR in describe(change):
                        break  # the bus carries the name; what `orch events` prints of it is below
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    written = (tmp_path / "audit.log").read_bytes()
    assert not set(b"\x1b\x07\r") & set(written)
    events = [json.loads(line) for line in written.splitlines()]
    assert {event["kind"] for event in events} == {"Event"}
    assert any(CLEAR in event["userAgent"] for event in events)
    assert any(event["objectRef"].get("name") == FORGED for event in events)


def test_a_command_prints_nothing_that_steers_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def events(*_: object, **__: object) -> int:
        sys.stdout.write(f"7 ADDED roles default/{CLEAR}\tx\n")
        raise OrchError(f"gone: {HIDDEN}")

    monkeypatch.setattr(cli, "events", events)
    with pytest.raises(SystemExit) as ended:
        cli.main(["events", "--state", str(tmp_path)])
    said = capsys.readouterr()
    assert ended.value.code == 1
    assert said.out == "7 ADDED roles default/\\x1b[2J\\x1b[H\tx\n"
    assert said.err == "orch: gone: \\u009b2J\\a\\r\\u202e\n"
