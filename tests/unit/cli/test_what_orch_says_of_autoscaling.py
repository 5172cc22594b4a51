from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from orch.autoscaling.recommend import recommend
from orch.errors import OrchError
from orch_cli.explain_hpa import explanation
from orch_cli.layout import Layout
from orch_cli.recommend import advice
from orch_cli.replay_autoscaling import recompute, replay_autoscaling
from orch_pb.v1.autoscaling_pb2 import (
    AutoscaledPod,
    AutoscalingDecision,
    AutoscalingInputs,
    AutoscalingRecording,
    ContainerRecommendation,
    MetricInput,
    MetricTarget,
    PodReading,
    Recommendation,
    ScaleChange,
    ScalingPolicy,
    ScalingRules,
    WorkloadRecommendation,
)

SECOND = 1_000_000_000
NOW = 1_790_000_000 * SECOND
RULES = ScalingRules(
    tolerance=0.1, select_policy="Max", policies=[ScalingPolicy(type="Pods", value=2, period_seconds=60)]
)


def decision(load: int, at: int = NOW, current: int = 2, history: Any = ()) -> AutoscalingDecision:
    """A decision about pods that request 100m each and are to use half of it."""
    pods = [
        AutoscaledPod(name=f"web-{place}", phase="Running", ready="True", ready_since=1, started=1)
        for place in range(current)
    ]
    metric = MetricInput(
        type="Resource",
        name="cpu",
        target=MetricTarget(average_utilization=50),
        readings=[PodReading(pod=place, value=load, at=at, window=SECOND) for place in range(current)],
        requests=[100] * current,
    )
    inputs = AutoscalingInputs(
        at=at,
        min_replicas=1,
        max_replicas=10,
        spec_replicas=current,
        status_replicas=current,
        behavior=True,
        up=RULES,
        down=ScalingRules(tolerance=0.1, select_policy="Max", policies=RULES.policies, stabilization_seconds=60),
        pods=pods,
        metrics=[metric],
        history=history,
    )
    return AutoscalingDecision(
        namespace="default",
        name="web",
        target="Deployment/web",
        inputs=inputs,
        outcome=recommend(inputs),
        changes=[ScaleChange(at=NOW - 5 * SECOND, before=1, after=2, reason="because")],
    )


def recorded_load() -> list[AutoscalingDecision]:
    """What was decided second by second while a load rose and fell."""
    decisions: list[AutoscalingDecision] = []
    current, history = 2, []
    for second, load in enumerate([50, 52, 90, 140, 140, 90, 60, 40, 20, 20, 10, 10] * 5):
        decisions.append(decision(load, NOW + second * SECOND, current, history))
        current, history = decisions[-1].outcome.replicas, list(decisions[-1].outcome.history)
    return decisions


def test_what_limits_a_change_is_told_with_what_was_read() -> None:
    text = explanation(decision(200), NOW / SECOND + 3).text()
    assert "Replicas    2 → 4" in text
    assert "Decided     3.0 s ago, at 2026-09-21T" in text
    assert (
        "ScaleUpLimit: the desired replica count is increasing faster than the maximum scale rate: 8 are wanted" in text
    )
    assert "200% (200m)  50%     8 (x 4)   2 ready" in text
    assert "web-1  Running  True   200m" in text
    assert "1 → 2     because" in text


def test_a_window_that_holds_is_told() -> None:
    history = [Recommendation(at=NOW - 10 * SECOND, replicas=2)]
    shown = explanation(decision(10, history=history), NOW / SECOND)
    assert shown.limits == ("the stabilization window of 60 s: the metrics ask for 1, 2 counts",)
    assert (shown.replicas, shown.wanted, shown.metrics_ask) == (2, 2, 1)


def test_recorded_load_comes_out_again_and_a_changed_input_does_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    decisions = recorded_load()
    report = recompute(decisions)
    assert (report.decisions, report.autoscalers, report.different) == (60, 1, "")
    assert report.rescales > 2
    file = tmp_path / "recording"
    file.write_bytes(AutoscalingRecording(decisions=decisions).SerializeToString())
    asked = Namespace(file=file, save=None, since=0, until=1 << 62, output="text", timeout=1)
    assert replay_autoscaling(asked, Layout(tmp_path)) == 0
    assert "identical, byte for byte" in capsys.readouterr().out
    decisions[7].inputs.metrics[0].target.average_utilization = 5
    report = recompute(decisions)
    assert report.decisions == 8
    assert report.different.startswith("default/web at ")
    assert "DIFFERENT" in report.text()
    file.write_bytes(b"\xff\xff")
    with pytest.raises(OrchError, match="cannot be read"):
        replay_autoscaling(asked, Layout(tmp_path))


def test_recommendations_are_chosen_and_written_as_quantities() -> None:
    container = ContainerRecommendation(
        container="main", target_cpu=120, lower_cpu=25, upper_cpu=900, target_memory=300_000_000, samples=9, last=SECOND
    )
    published = [
        WorkloadRecommendation(namespace="default", kind=kind, name=name, containers=[container]).SerializeToString()
        for kind, name in (("Deployment", "web"), ("StatefulSet", "db"))
    ]
    found = advice(published, "deployment", "")
    assert [(one.kind, one.name) for one in found.workloads] == [("Deployment", "web")]
    assert found.workloads[0].containers[0].cpu.target == "120m"
    assert found.workloads[0].containers[0].memory.target == "287Mi"
    assert "default/deployment/web" in found.text()
    assert [one.name for one in advice(published, "", "").workloads] == ["web", "db"]
    assert "Nothing is known yet" in advice([], "", "").text()
