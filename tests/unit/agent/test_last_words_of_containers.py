from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orch_agent.pods.files import PodFiles

FALLBACK = {"terminationMessagePolicy": "FallbackToLogsOnError"}


def ending(node: Any, code: int = 1, **fields: Any) -> dict[str, Any]:
    return {"name": "web", "env": node.env(SIMULATED_RUN_SECONDS=1, SIMULATED_EXIT_CODE=code), **fields}


def message(node: Any, name: str = "web") -> str:
    return node.told.container(name)["state"]["terminated"].get("message", "")


@pytest.mark.parametrize(
    ("code", "fields", "words"),
    [(1, FALLBACK, "web started\n"), (0, FALLBACK, ""), (1, {}, ""), (1, {"terminationMessagePolicy": "File"}, "")],
)
async def test_the_log_speaks_for_one_that_failed_and_is_to_have_it_so(
    node: Any, code: int, fields: dict[str, str], words: str
) -> None:
    async with node.running(node.pod(ending(node, code, **fields), restartPolicy="Never")):
        await node.clock.advance(2)
        assert message(node) == words


async def test_of_a_log_eighty_lines_and_two_kilobytes_are_told(node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with node.running(node.pod(ending(node, 1, **FALLBACK), restartPolicy="Never")):
        [info] = await node.runtime.containers()
        record = node.runtime._containers[info.id]
        for number in range(200):
            node.runtime.say(record, b"%03d %s\n" % (number, b"x" * (5 if number < 199 else 2000)))
        await node.clock.advance(2)
        assert len(message(node).encode()) == 2048
        assert message(node).endswith("x\n")


class Left(PodFiles):
    """Files in which containers left the same words, whichever they were."""

    def __init__(self, words: str) -> None:
        super().__init__(None)
        self.words = words

    async def termination_message(self, uid: str, container: str, attempt: int) -> str:
        return self.words


async def test_the_file_goes_before_the_log(node: Any) -> None:
    node.host.files = Left("gone")
    async with node.running(node.pod(ending(node, 1, **FALLBACK), restartPolicy="Never")):
        await node.clock.advance(2)
        assert message(node) == "gone"


async def test_the_containers_of_a_pod_share_twelve_kilobytes(node: Any) -> None:
    node.host.files = Left("é" * 4000)
    names = [f"c{number}" for number in range(5)]
    containers = [ending(node, 1) | {"name": name} for name in names]
    async with node.running(node.pod(*containers, restartPolicy="Never")):
        await node.clock.advance(2)
        assert node.told.status["phase"] == "Failed"
        assert [len(message(node, name).encode()) for name in names] == [12 * 1024 // 5 - 1] * 5


async def test_words_of_the_run_before_stay_with_the_last_state(node: Any) -> None:
    node.host.files = Left("first")
    async with node.running(node.pod(ending(node, 1))):
        await node.clock.advance(1.5)
        web = node.told.container("web")
        assert web["lastState"]["terminated"]["message"] == "first"
        assert (web["restartCount"], "running" in web["state"]) == (1, True)


async def test_of_a_file_four_kilobytes_are_read(tmp_path: Path) -> None:
    (tmp_path / "u1").mkdir()
    (tmp_path / "u1" / "web.0.message").write_text("x" * 9000)
    assert await PodFiles(tmp_path).termination_message("u1", "web", 0) == "x" * 4096
    assert await PodFiles(tmp_path).termination_message("u1", "web", 1) == ""
