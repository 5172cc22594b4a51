from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orch.objects.meta import ObjectMeta
from orch.objects.pods import Pod
from orch.runtime.informer import Change, Item
from orch_agent.runtimes.simulated_usage import Curve, UsageScripts, parse_curve

START = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = 1_000_000_000


def item(**annotations: str) -> Item[Pod]:
    named = {f"simulated.orch.dev/{name.replace('_', '.')}": text for name, text in annotations.items()}
    pod = Pod(metadata=ObjectMeta(name="web", namespace="default", annotations=named))
    return Item("default", "web", "uid", 1, {}, None, b"", pod)


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("250m", ((0.0, 250),)),
        ("0s=100m,30s=1500m", ((0.0, 100), (30.0, 1500))),
        ("0=1, 2.5=2", ((0.0, 1000), (2.5, 2000))),
    ],
)
def test_curves_are_amounts_or_steps(text: str, steps: Any) -> None:
    assert parse_curve(text, milli=True) == Curve(steps)


@pytest.mark.parametrize("text", ["", "much", "5s=1", "0s=1,0s=2", "0s=1,-3s=2", "0s=-1", "-1", "0s=1;2s=3"])
def test_other_texts_are_no_curves(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the message is the quantity's or the step's own
        parse_curve(text, milli=True)


def test_time_is_counted_along_the_curve() -> None:
    scripts = UsageScripts()
    scripts.take(Change(None, item(cpu="0s=100m,10s=2", memory="0s=1Mi,10s=2Mi", cpu_side="5m")), START)
    for name in ("main", "side"):
        scripts.start("uid", name, name, START)
    assert scripts.read("uid", "main", after(10)) == (SECOND, 2 << 20)
    assert scripts.read("uid", "main", after(15)) == (11 * SECOND, 2 << 20)
    assert scripts.read("uid", "side", after(10))[0] == SECOND // 20
    scripts.end("uid", "main")
    assert scripts.read("uid", "main", after(20)) == (0, 0)


def test_a_changed_script_begins_when_it_changes_and_nothing_is_taken_back() -> None:
    scripts = UsageScripts()
    first = item(cpu="1")
    scripts.take(Change(None, first), START)
    scripts.start("uid", "main", "main", START)
    scripts.take(Change(first, item(cpu="0s=0,5s=3")), after(10))
    assert [scripts.read("uid", "main", after(at))[0] // SECOND for at in (10, 15, 16)] == [10, 10, 13]
    scripts.take(Change(first, item(cpu="nonsense")), after(16))
    assert scripts.read("uid", "main", after(116))[0] == 14 * SECOND, "as if there were none"


def test_what_is_not_scripted_moves_only_when_it_comes_and_goes() -> None:
    scripts = UsageScripts()
    scripts.moves()
    scripts.start("uid", "main", "main", START)
    assert scripts.moves()
    assert not scripts.moves()
    scripts.take(Change(None, item(cpu="1")), START)
    assert scripts.moves()
    assert scripts.moves()
