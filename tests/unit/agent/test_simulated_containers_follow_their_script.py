from __future__ import annotations

from typing import Any

import pytest

from orch_agent.runtimes.simulated_behaviour import Behaviour, behaviour_of


def script(attempt: int = 0, variables: Any = (), **annotations: str) -> Behaviour:
    named = {
        f"simulated.orch.dev/{name.replace('__', '.').replace('_', '-')}": text for name, text in annotations.items()
    }
    return behaviour_of("web", attempt, variables, named)


def test_without_a_script_it_runs_until_it_is_stopped() -> None:
    assert script() == Behaviour()


def test_annotations_say_what_it_does() -> None:
    assert script(run_seconds="30s", exit_code="3", stop_seconds="1.5", start_delay="2", oom="true") == Behaviour(
        run_seconds=30, exit_code=3, stop_seconds=1.5, start_delay=2, oom=True
    )
    assert script(start_error="no exec").start_error == "no exec"
    assert not script(oom="false").oom


def test_the_container_is_named_before_all_and_variables_have_the_last_word() -> None:
    assert script(exit_code="1", exit_code__web="2", exit_code__side="3").exit_code == 2
    assert script(variables=[("SIMULATED_EXIT_CODE", "4"), ("OTHER", "x")], exit_code__web="2").exit_code == 4


def test_first_attempts_may_behave_otherwise_than_later_ones() -> None:
    told = {"run_seconds": "1", "exit_code": "1", "attempts": "2"}
    assert [script(attempt, **told).exit_code for attempt in range(4)] == [1, 1, 0, 0]
    assert script(2, **told).run_seconds is None


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf", "1e99", ""])
def test_what_cannot_be_read_is_left_out_and_said(text: str, caplog: pytest.LogCaptureFixture) -> None:
    assert script(run_seconds=text).run_seconds is None
    assert "run-seconds" in caplog.text
