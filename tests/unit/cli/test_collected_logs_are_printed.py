from __future__ import annotations

import io
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import AsyncGenerator, Sequence
from datetime import timedelta

import pytest

from orch.runtime.pod_logs import CollectedLine, LogOrigin
from orch_cli.logs import add_logs, write


async def test_a_heading_says_whose_lines_follow() -> None:
    first = LogOrigin("n", "shop", "web", "u", "c", 0)
    second = LogOrigin("n", "shop", "web", "u", "c", 1)

    async def pieces() -> AsyncGenerator[Sequence[CollectedLine]]:
        yield [CollectedLine(first, "t1", False, b"a\n"), CollectedLine(first, "t2", True, b"b\n")]
        yield [CollectedLine(second, "t3", False, b"c\n")]

    target = io.BytesIO()
    assert await write(pieces(), target, timestamps=True)
    assert target.getvalue().decode().splitlines() == [
        "==> shop/web (u), container c, on n <==",
        "t1 a",
        "t2 b",
        "==> shop/web (u), container c, restart 1, on n <==",
        "t3 c",
    ]


def test_spans_of_time_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    command = ArgumentParser()
    add_logs(command)
    assert command.parse_args(["shop/web", "--since", "1h30m"]).since == timedelta(minutes=90)
    with pytest.raises((ArgumentTypeError, SystemExit)):
        command.parse_args(["web", "--since", "soon"])
    assert "no span of time" in capsys.readouterr().err
