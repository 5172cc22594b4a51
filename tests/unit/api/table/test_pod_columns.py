import pytest

RUNNING = {"running": {"startedAt": "2026-01-01T11:00:00Z"}}


def container(name="a", *, ready=False, state=None, restarts=0, last="", **rest):
    found = {"name": name, "ready": ready, "restartCount": restarts, "state": state or {}, **rest}
    return found | ({"lastState": {"terminated": {"exitCode": 1, "finishedAt": last}}} if last else {})


def pod(*statuses, phase="Running", initial=(), spec=None, conditions=(), **status):
    containers = [{"name": one["name"]} for one in statuses] or [{"name": "a"}]
    inits = [{"name": one["name"], **({"restartPolicy": "Always"} if "started" in one else {})} for one in initial]
    return {
        "spec": {"containers": containers, "initContainers": inits, **(spec or {})},
        "status": {
            "phase": phase,
            "containerStatuses": list(statuses),
            "initContainerStatuses": list(initial),
            "conditions": list(conditions),
            **status,
        },
    }


def waiting(reason):
    return {"waiting": {"reason": reason}}


def terminated(**fields):
    return {"terminated": fields}


READY = {"type": "Ready", "status": "True"}


@pytest.mark.parametrize(
    ("document", "ready", "status"),
    [
        (pod(phase="Pending"), "0/1", "Pending"),
        (pod(container(state=waiting("ContainerCreating")), phase="Pending"), "0/1", "ContainerCreating"),
        (pod(container(ready=True, state=RUNNING)), "1/1", "Running"),
        (pod(container(ready=True, state=RUNNING), container("b", state=RUNNING)), "1/2", "Running"),
        (pod(container(state=waiting("CrashLoopBackOff"))), "0/1", "CrashLoopBackOff"),
        (
            pod(container(state=waiting("ImagePullBackOff")), container("b", ready=True, state=RUNNING)),
            "1/2",
            "ImagePullBackOff",
        ),
        (pod(container(state=terminated(reason="Completed", exitCode=0)), phase="Succeeded"), "0/1", "Completed"),
        (pod(container(state=terminated(reason="OOMKilled", exitCode=137))), "0/1", "OOMKilled"),
        (pod(container(state=terminated(exitCode=3))), "0/1", "ExitCode:3"),
        (pod(container(state=terminated(signal=9, exitCode=137))), "0/1", "Signal:9"),
        (
            pod(
                container(state=terminated(reason="Completed")),
                container("b", ready=True, state=RUNNING),
                conditions=[READY],
            ),
            "1/2",
            "Running",
        ),
        (
            pod(container(state=terminated(reason="Completed")), container("b", ready=True, state=RUNNING)),
            "1/2",
            "NotReady",
        ),
        (pod(phase="Failed", reason="Evicted"), "0/1", "Evicted"),
        (
            pod(phase="Pending", conditions=[{"type": "PodScheduled", "reason": "SchedulingGated"}]),
            "0/1",
            "SchedulingGated",
        ),
        (
            pod(phase="Pending", initial=[container("i", state=waiting("PodInitializing")), container("j")]),
            "0/1",
            "Init:0/2",
        ),
        (
            pod(phase="Pending", initial=[container("i", state=terminated(exitCode=0)), container("j", state=RUNNING)]),
            "0/1",
            "Init:1/2",
        ),
        (
            pod(phase="Pending", initial=[container("i", state=waiting("CrashLoopBackOff"))]),
            "0/1",
            "Init:CrashLoopBackOff",
        ),
        (
            pod(phase="Pending", initial=[container("i", state=terminated(exitCode=1, reason="Error"))]),
            "0/1",
            "Init:Error",
        ),
        (pod(phase="Pending", initial=[container("i", state=terminated(exitCode=2))]), "0/1", "Init:ExitCode:2"),
        (
            pod(
                container(ready=True, state=RUNNING), initial=[container("i", ready=True, started=True, state=RUNNING)]
            ),
            "2/2",
            "Running",
        ),
    ],
)
def test_ready_and_status(row, document, ready, status):
    cells = row("pods", document)
    assert (cells["READY"], cells["STATUS"]) == (ready, status)


@pytest.mark.parametrize(
    ("document", "status"),
    [
        (pod(container(ready=True, state=RUNNING)), "Terminating"),
        (pod(phase="Succeeded"), "Succeeded"),
        (pod(reason="NodeLost"), "Unknown"),
    ],
)
def test_a_deleted_pod(row, document, status):
    document["metadata"] = {"deletionTimestamp": "2026-01-01T11:59:00Z"}
    assert row("pods", document)["STATUS"] == status


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (pod(container(ready=True, state=RUNNING)), "0"),
        (pod(container(restarts=2, last="2026-01-01T11:55:00Z")), "2 (5m ago)"),
        (pod(container(restarts=2)), "2"),
        (
            pod(
                container(restarts=1, last="2026-01-01T11:00:00Z"),
                container("b", restarts=3, last="2026-01-01T11:59:00Z"),
            ),
            "4 (60s ago)",
        ),
        (
            pod(container(restarts=1), initial=[container("i", restarts=7, state=terminated(exitCode=0))]),
            "1",
        ),
        (pod(phase="Pending", initial=[container("i", restarts=7, state=waiting("CrashLoopBackOff"))]), "7"),
    ],
)
def test_restarts(row, document, expected):
    assert row("pods", document)["RESTARTS"] == expected


def test_the_wide_columns(row):
    document = pod(
        podIP="10.0.0.1",
        podIPs=[{"ip": "10.0.0.2"}],
        conditions=[{"type": "example.com/a", "status": "True"}],
        spec={
            "nodeName": "n1",
            "readinessGates": [{"conditionType": "example.com/a"}, {"conditionType": "example.com/b"}],
        },
    )
    cells = row("pods", document)
    assert list(cells) == [
        "NAME",
        "READY",
        "STATUS",
        "RESTARTS",
        "AGE",
        "IP",
        "NODE",
        "NOMINATED NODE",
        "READINESS GATES",
    ]
    assert list(cells.values())[4:] == ["60m", "10.0.0.2", "n1", "<none>", "1/2"]
    assert list(row("pods", {}).values()) == ["a", "0/0", "", "0", "60m", "<none>", "<none>", "<none>", "<none>"]
