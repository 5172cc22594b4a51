from __future__ import annotations

from collections.abc import Callable
from typing import Any

from local_cluster import LocalCluster

Namespace = Callable[[LocalCluster], str]


def job(name: str, *, seconds: str = "0", code: str = "0", **spec: Any) -> dict[str, Any]:
    env = [{"name": "SIMULATED_RUN_SECONDS", "value": seconds}, {"name": "SIMULATED_EXIT_CODE", "value": code}]
    pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox:1", "env": env}]}
    body = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}}
    return {**body, "spec": {"template": {"spec": pod}, **spec}}


def test_jobs_complete_fail_rest_and_go(simulated: LocalCluster, namespace: Namespace) -> None:
    place = ("-n", namespace(simulated))
    manifests = [
        job("many", parallelism=4, completions=12),
        job("failing", code="3", backoffLimit=0),
        job("picky", code="42", podFailurePolicy={"rules": [{"action": "FailJob", "onExitCodes": EXIT}]}),
        job("indexed", completionMode="Indexed", parallelism=3, completions=3),
        job("long", seconds="600", completionMode="Indexed", parallelism=2, completions=2),
        job("short", ttlSecondsAfterFinished=0),
    ]
    for manifest in manifests:
        manifest["metadata"]["namespace"] = place[1]
    simulated.apply(*manifests)
    simulated.kubectl("wait", "--for=condition=complete", "job/many", "job/indexed", "--timeout=60s", *place)
    simulated.kubectl("wait", "--for=condition=failed", "job/failing", "job/picky", "--timeout=60s", *place)
    simulated.kubectl("wait", "--for=delete", "job/short", "--timeout=60s", *place)
    status = {name: simulated.get("job", name, *place)["status"] for name in ("many", "failing", "picky", "indexed")}
    assert status["many"]["succeeded"] == 12
    assert status["indexed"]["completedIndexes"] == "0-2"
    assert status["failing"]["failed"] == 1
    reasons = {name: [each["reason"] for each in status[name]["conditions"]] for name in ("failing", "picky")}
    assert reasons == {"failing": ["BackoffLimitExceeded"] * 2, "picky": ["PodFailurePolicy"] * 2}
    counted = simulated.get("pods", "-l", "batch.kubernetes.io/job-name=many", *place)
    assert len(counted) == 12
    assert not [pod for pod in counted if pod["metadata"].get("finalizers")]

    simulated.wait(lambda: simulated.get("job", "long", *place)["status"].get("ready") == 2, what="both run")
    (pod,) = simulated.get("pods", "-l", "batch.kubernetes.io/job-completion-index=1,job-name=long", *place)
    shown = simulated.kubectl("exec", pod["metadata"]["name"], *place, "--", "env")
    assert "JOB_COMPLETION_INDEX=1" in shown.splitlines()
    assert pod["spec"]["hostname"] == "long-1"
    simulated.kubectl("patch", "job", "long", "--type=merge", "-p", '{"spec":{"suspend":true}}', *place)
    simulated.kubectl("wait", "--for=condition=suspended", "job/long", "--timeout=30s", *place)
    simulated.wait(lambda: not simulated.get("pods", "-l", "job-name=long", *place), what="its pods are gone")
    simulated.kubectl("delete", "job", "long", "--timeout=30s", *place)


EXIT = {"operator": "In", "values": [42]}


def test_cron_jobs_make_jobs_by_the_clock_and_by_hand(simulated: LocalCluster, namespace: Namespace) -> None:
    place = ("-n", namespace(simulated))
    spec = {"schedule": "@every 2s", "timeZone": "Europe/Berlin", "jobTemplate": {"spec": job("")["spec"]}}
    body = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "tick", "namespace": place[1]}}
    simulated.apply({**body, "spec": spec})

    def succeeded() -> Any:
        return simulated.get("cronjob", "tick", *place)["status"].get("lastSuccessfulTime")

    simulated.wait(succeeded, what="a job has succeeded")
    simulated.kubectl("patch", "cronjob", "tick", "--type=merge", "-p", '{"spec":{"suspend":true}}', *place)
    simulated.kubectl("create", "job", "by-hand", "--from=cronjob/tick", *place)
    simulated.kubectl("wait", "--for=condition=complete", "job/by-hand", "--timeout=30s", *place)
    simulated.kubectl("delete", "cronjob", "tick", "--timeout=30s", *place)
    simulated.wait(lambda: not simulated.get("jobs,pods", *place), what="all of it is gone")


def test_budgets_keep_pods_from_being_evicted(simulated: LocalCluster, namespace: Namespace) -> None:
    place = ("-n", namespace(simulated))
    simulated.kubectl("create", "deployment", "web", "--image=nginx:1", "--replicas=2", *place)
    simulated.kubectl("create", "pdb", "web", "--selector=app=web", "--min-available=2", *place)
    simulated.kubectl("rollout", "status", "deployment/web", "--timeout=60s", *place)
    simulated.kubectl("wait", "--for=jsonpath={.status.currentHealthy}=2", "pdb/web", "--timeout=30s", *place)
    name = simulated.get("pods", *place)[0]["metadata"]["name"]
    path = f"/api/v1/namespaces/{place[1]}/pods/{name}/eviction"
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": place[1]}}
    rest = simulated.rest()
    assert rest("POST", path, eviction).status == 429
    simulated.kubectl("patch", "pdb", "web", "--type=merge", "-p", '{"spec":{"minAvailable":1}}', *place)
    simulated.kubectl("wait", "--for=jsonpath={.status.disruptionsAllowed}=1", "pdb/web", "--timeout=30s", *place)
    assert rest("POST", path, eviction).status == 201
    shown = simulated.kubectl("get", "pdb", "web", *place)
    assert "ALLOWED DISRUPTIONS" in shown


def test_impossible_schedules_and_zones_are_told(simulated: LocalCluster, namespace: Namespace) -> None:
    place = ("-n", namespace(simulated))
    body = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "never", "namespace": place[1]}}
    spec = {"schedule": "0 0 31 2 *", "jobTemplate": {"spec": job("")["spec"]}}
    simulated.apply({**body, "spec": spec})
    simulated.wait(lambda: "InvalidSchedule" in simulated.kubectl("describe", "cronjob", "never", *place))
    refused = simulated.apply({**body, "spec": {**spec, "schedule": "61 * * * *"}}, check=False)
    assert 'spec.schedule: Invalid value: "61 * * * *": end of range (61) above maximum (59): 61' in refused
    refused = simulated.apply({**body, "spec": {**spec, "timeZone": "Mars/Olympus"}}, check=False)
    assert "unknown time zone Mars/Olympus" in refused
