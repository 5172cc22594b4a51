from __future__ import annotations

from typing import Any

import pytest

from orch.objects.pods import Probe
from orch_agent.probes.outcome import Outcome, ProbeError, ProbeResult
from orch_agent.probes.scripted import ScriptedProber, answer_at
from orch_agent.probes.thresholds import Tally, next_delay


@pytest.mark.parametrize(
    ("success", "failure", "answers", "verdicts"),
    [
        (1, 3, "FFF", [None, None, False]),
        (1, 3, "FFSFF", [None, None, True, None, None]),
        (2, 1, "SSFS", [None, True, False, None]),
        (1, 1, "SFS", [True, False, True]),
        (3, 3, "SSFSSS", [None, None, None, None, None, True]),
    ],
)
def test_equal_answers_in_a_row_make_a_verdict(
    success: int, failure: int, answers: str, verdicts: list[bool | None]
) -> None:
    tally = Tally(Probe(success_threshold=success, failure_threshold=failure))
    assert [tally.take(answer == "S") for answer in answers] == verdicts


@pytest.mark.parametrize(("elapsed", "delay"), [(0, 10), (1, 9), (12, 8), (10, 10)])
def test_turns_that_a_long_probe_missed_are_left_out(elapsed: float, delay: float) -> None:
    assert next_delay(elapsed, 10) == delay


@pytest.mark.parametrize(
    ("script", "seconds", "answer"),
    [("fail", 5, "fail"), ("0s=pass,30s=fail", 29, "pass"), ("0s=pass, 30=fail", 30, "fail")],
)
def test_scripts_answer_by_the_container_s_age(script: str, seconds: float, answer: str) -> None:
    assert answer_at(script, seconds) == answer


@pytest.mark.parametrize("script", ["maybe", "5s=fail", "0s=pass,0s=fail", ""])
def test_scripts_that_cannot_be_read_are_refused(script: str) -> None:
    with pytest.raises(ValueError, match=r"is no step|must begin"):
        answer_at(script, 0)


class Scripted:
    """A prober that answers by the container's age; `hits` are the moments at which it was asked."""

    def __init__(self, clock: Any) -> None:
        self.clock = clock
        self.answers: dict[str, Any] = {}
        self.hits: dict[str, list[float]] = {}

    async def probe(self, target: Any, kind: Any, probe: Probe) -> ProbeResult:
        age = (self.clock.now() - target.started_at).total_seconds()
        self.hits.setdefault(kind.value, []).append(age)
        answer = self.answers[kind.value](age)
        if isinstance(answer, Exception):
            raise answer
        return ProbeResult(answer, "told")


WELL, WARNED, ILL = Outcome.SUCCESS, Outcome.WARNING, Outcome.FAILURE


@pytest.fixture
def prober(node: Any) -> Scripted:
    node.host.prober = made = Scripted(node.clock)
    return made


def probed(node: Any, *, policy: str = "Always", status: Any = None, **probes: dict[str, Any]) -> Any:
    settings = {f"{kind}Probe": {"tcpSocket": {"port": 80}, **each} for kind, each in probes.items()}
    return node.pod({"name": "web", **settings}, restartPolicy=policy, status=status)


async def test_a_pod_is_ready_once_its_readiness_probe_succeeds_and_as_long(node: Any, prober: Scripted) -> None:
    prober.answers["Readiness"] = lambda age: WELL if 10 <= age < 40 else ILL
    async with node.running(probed(node, readiness={"initialDelaySeconds": 5, "periodSeconds": 5})):
        web = node.told.container("web")
        assert (web["ready"], web["started"]) == (False, True)
        assert node.told.condition("Ready")["message"] == "containers with unready status: [web]"
        assert node.told.condition("ContainersReady")["reason"] == "ContainersNotReady"
        await node.clock.advance(4)
        assert "Readiness" not in prober.hits
        await node.clock.advance(2)
        assert prober.hits["Readiness"] == [5]
        assert ("Unhealthy", "Readiness probe failed: told") in node.told.events
        await node.clock.advance(5)
        assert node.told.container("web")["ready"]
        assert node.told.condition("Ready")["status"] == "True"
        await node.clock.advance(38)
        assert node.told.container("web")["ready"]
        await node.clock.advance(2)
        assert not node.told.container("web")["ready"]
        assert node.told.container("web")["restartCount"] == 0
        assert prober.hits["Readiness"] == [5 * n for n in range(1, 11)]


async def test_a_container_whose_liveness_probe_fails_is_restarted(node: Any, prober: Scripted) -> None:
    prober.answers["Liveness"] = lambda age: ILL if age >= 20 else WELL
    async with node.running(probed(node, liveness={"periodSeconds": 10, "failureThreshold": 2})):
        await node.clock.advance(29)
        assert node.told.container("web")["restartCount"] == 0
        await node.clock.advance(2)
        web = node.told.container("web")
        assert (web["restartCount"], web["ready"]) == (1, True)
        assert ("Unhealthy", "Liveness probe failed: told") in node.told.events
        assert ("Killing", "Container web failed liveness probe, will be restarted") in node.told.events
        await node.clock.advance(30)
        assert node.told.container("web")["state"]["waiting"]["reason"] == "CrashLoopBackOff"


async def test_a_pod_that_never_restarts_ends_when_its_liveness_probe_fails(node: Any, prober: Scripted) -> None:
    prober.answers["Liveness"] = lambda _: ILL
    async with node.running(probed(node, policy="Never", liveness={"failureThreshold": 1})):
        await node.clock.advance(1)
        assert ("Killing", "Container web failed liveness probe") in node.told.events
        assert node.told.container("web")["restartCount"] == 0
        assert node.told.status["phase"] in {"Succeeded", "Failed"}


async def test_one_that_ended_well_after_a_failed_liveness_probe_runs_again(node: Any, prober: Scripted) -> None:
    prober.answers["Liveness"] = lambda age: ILL if age >= 10 else WELL
    async with node.running(probed(node, policy="OnFailure", liveness={"failureThreshold": 1})):
        await node.clock.advance(11)
        web = node.told.container("web")
        assert web["lastState"]["terminated"]["exitCode"] == 0
        assert web["restartCount"] == 1


async def test_the_other_probes_wait_for_the_startup_probe(node: Any, prober: Scripted) -> None:
    prober.answers = {
        "Startup": lambda age: WELL if age >= 20 else ILL,
        "Liveness": lambda _: WELL,
        "Readiness": lambda _: WELL,
    }
    startup = {"periodSeconds": 10, "failureThreshold": 5}
    async with node.running(probed(node, startup=startup, liveness={}, readiness={})):
        web = node.told.container("web")
        assert (web["started"], web["ready"]) == (False, False)
        await node.clock.advance(19)
        assert set(prober.hits) == {"Startup"}
        await node.clock.advance(2)
        web = node.told.container("web")
        assert (web["started"], web["ready"]) == (True, True)
        assert prober.hits["Readiness"] == [20]
        await node.clock.advance(60)
        assert prober.hits["Startup"] == [0, 10, 20]


async def test_a_container_that_does_not_start_up_in_time_is_restarted(node: Any, prober: Scripted) -> None:
    prober.answers["Startup"] = lambda _: ILL
    async with node.running(probed(node, startup={"periodSeconds": 1, "failureThreshold": 3})):
        await node.clock.advance(3)
        assert ("Killing", "Container web failed startup probe, will be restarted") in node.told.events
        assert node.told.container("web")["restartCount"] == 1


async def test_a_probe_may_shorten_the_grace_period(node: Any, prober: Scripted) -> None:
    prober.answers["Liveness"] = lambda age: ILL
    probe = {"failureThreshold": 1, "terminationGracePeriodSeconds": 5, "tcpSocket": {"port": 80}}
    deaf = {"name": "web", "env": node.env(SIMULATED_STOP_SECONDS=600), "livenessProbe": probe}
    async with node.running(node.pod(deaf, terminationGracePeriodSeconds=300)):
        await node.clock.advance(4)
        assert node.told.container("web")["restartCount"] == 0
        await node.clock.advance(2)
        web = node.told.container("web")
        assert (web["restartCount"], web["lastState"]["terminated"]["exitCode"]) == (1, 137)


async def test_a_warning_is_told_and_counts_as_success(node: Any, prober: Scripted) -> None:
    prober.answers["Readiness"] = lambda _: WARNED
    async with node.running(probed(node, readiness={})):
        await node.clock.advance(1)
        assert ("ProbeWarning", "Readiness probe warning: told") in node.told.events
        assert node.told.container("web")["ready"]


async def test_a_question_that_could_not_be_asked_counts_for_nothing(node: Any, prober: Scripted) -> None:
    prober.answers["Liveness"] = lambda age: ProbeError("no way in") if age < 50 else WELL
    async with node.running(probed(node, liveness={"failureThreshold": 1})):
        await node.clock.advance(60)
        assert node.told.container("web")["restartCount"] == 0
        message = "Liveness probe errored and resulted in unknown state: no way in"
        assert ("Unhealthy", message) in node.told.events


async def test_a_mistake_in_a_probe_is_the_worker_s_who_starts_anew(node: Any, prober: Scripted) -> None:
    prober.answers["Liveness"] = lambda age: RuntimeError("a mistake") if age >= 10 else WELL
    with pytest.raises(RuntimeError, match="a mistake"):
        async with node.running(probed(node, liveness={})):
            await node.clock.advance(11)


async def test_a_pod_that_is_ending_is_asked_for_readiness_alone(node: Any, prober: Scripted) -> None:
    prober.answers = {
        "Liveness": lambda age: ILL if age >= 20 else WELL,
        "Readiness": lambda age: ILL if age >= 20 else WELL,
    }
    probe = {"tcpSocket": {"port": 80}, "periodSeconds": 10, "failureThreshold": 1}
    web = {"name": "web", "env": node.env(SIMULATED_STOP_SECONDS=60), "livenessProbe": probe, "readinessProbe": probe}
    pod = node.pod(web)
    async with node.running(pod) as worker:
        await node.clock.advance(15)
        worker.update(node.deleted(pod, grace=90), None)
        await node.clock.advance(20)
        assert prober.hits == {"Liveness": [0, 10], "Readiness": [0, 10, 20, 30]}
        assert not node.told.container("web")["ready"]
        assert node.told.container("web")["restartCount"] == 0


async def test_what_an_earlier_process_found_out_holds_until_it_is_asked_again(node: Any, prober: Scripted) -> None:
    prober.answers["Readiness"] = lambda _: WELL
    pod = probed(node, readiness={"initialDelaySeconds": 5})
    async with node.running(pod):
        await node.clock.advance(6)
        told = node.told.status
        found = await node.runtime.containers()
    prober.answers["Readiness"] = lambda _: ILL
    status = {"containerStatuses": told["containerStatuses"], "phase": "Running"}
    again = probed(node, status=status, readiness={"initialDelaySeconds": 60, "failureThreshold": 1})
    async with node.running(again, found=found):
        assert node.told.container("web")["ready"]
        await node.clock.advance(60)
        assert not node.told.container("web")["ready"]


async def test_a_sidecar_holds_the_others_back_until_it_has_started_up(node: Any, prober: Scripted) -> None:
    prober.answers["Startup"] = lambda age: WELL if age >= 10 else ILL
    probe = {"tcpSocket": {"port": 80}, "periodSeconds": 5}
    proxy = {"name": "proxy", "restartPolicy": "Always", "startupProbe": probe}
    async with node.running(node.pod({"name": "web"}, initContainers=[proxy])):
        await node.clock.advance(9)
        assert node.told.status["phase"] == "Pending"
        assert node.told.condition("Initialized")["message"] == "containers with incomplete status: [proxy]"
        assert "waiting" in node.told.container("web")["state"]
        await node.clock.advance(2)
        assert node.told.status["phase"] == "Running"
        assert node.told.container("proxy")["started"]


async def test_readiness_gates_are_conditions_of_others(node: Any) -> None:
    gates = [{"conditionType": "example.com/lb"}, {"conditionType": "example.com/dns"}]
    conditions = [{"type": "example.com/lb", "status": "False"}]
    async with node.running(node.pod(readinessGates=gates, status={"conditions": conditions})) as worker:
        ready = node.told.condition("Ready")
        assert (ready["status"], ready["reason"]) == ("False", "ReadinessGatesNotReady")
        assert ready["message"] == (
            'the status of pod readiness gate "example.com/lb" is not "True", but False, '
            'corresponding condition of pod readiness gate "example.com/dns" does not exist.'
        )
        assert node.told.condition("ContainersReady")["status"] == "True"
        held = [{"type": gate["conditionType"], "status": "True"} for gate in gates]
        worker.update(node.pod(readinessGates=gates, status={"conditions": held}), None)
        await node.clock.advance(0)
        assert node.told.condition("Ready")["status"] == "True"


async def test_simulated_pods_answer_by_their_annotations(node: Any) -> None:
    node.host.prober = ScriptedProber(node.host.connector, node.clock)
    meta = {
        "annotations": {
            "simulated.orch.dev/liveness.web": "0s=pass,10s=fail",
            "simulated.orch.dev/readiness": "0s=fail,5s=hang,8s=pass",
        }
    }
    probe = {"tcpSocket": {"port": 80}, "periodSeconds": 1, "failureThreshold": 1}
    async with node.running(node.pod({"name": "web", "livenessProbe": probe, "readinessProbe": probe}, meta=meta)):
        await node.clock.advance(6)
        assert not node.told.container("web")["ready"]
        assert ("Unhealthy", "Readiness probe failed: simulated: no answer within 1s") in node.told.events
        await node.clock.advance(3)
        assert node.told.container("web")["ready"]
        await node.clock.advance(2)
        assert ("Unhealthy", "Liveness probe failed: simulated: fail") in node.told.events
        assert node.told.container("web")["restartCount"] == 1
