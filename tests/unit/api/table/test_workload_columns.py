import pytest

TEMPLATE = {
    "metadata": {"labels": {"app": "web", "tier": "a"}},
    "spec": {"containers": [{"name": "x", "image": "i:1"}, {"name": "y", "image": "j:2"}], "nodeSelector": {"d": "e"}},
}
SELECTOR = {"matchLabels": {"app": "web"}}
CONTAINERS = {"CONTAINERS": "x,y", "IMAGES": "i:1,j:2"}


def true(*kinds):
    return [{"type": kind, "status": "True"} for kind in kinds]


def test_stateful_sets(row):
    spec = {"replicas": 3, "template": TEMPLATE, "selector": SELECTOR}
    assert row("statefulsets", {"spec": spec, "status": {"readyReplicas": 1}}) == {
        "NAME": "a",
        "READY": "1/3",
        "AGE": "60m",
        **CONTAINERS,
    }


def test_daemon_sets(row):
    status = {
        "desiredNumberScheduled": 5,
        "currentNumberScheduled": 4,
        "numberReady": 3,
        "updatedNumberScheduled": 2,
        "numberAvailable": 1,
    }
    assert row("daemonsets", {"spec": {"template": TEMPLATE, "selector": SELECTOR}, "status": status}) == {
        "NAME": "a",
        "DESIRED": 5,
        "CURRENT": 4,
        "READY": 3,
        "UP-TO-DATE": 2,
        "AVAILABLE": 1,
        "NODE SELECTOR": "d=e",
        "AGE": "60m",
        **CONTAINERS,
        "SELECTOR": "app=web",
    }


def test_replication_controllers_and_pod_templates(row):
    spec = {"replicas": 3, "template": TEMPLATE, "selector": {"b": "c", "app": "web"}}
    assert row("replicationcontrollers", {"spec": spec, "status": {"replicas": 2, "readyReplicas": 1}}) == {
        "NAME": "a",
        "DESIRED": 3,
        "CURRENT": 2,
        "READY": 1,
        "AGE": "60m",
        **CONTAINERS,
        "SELECTOR": "app=web,b=c",
    }
    assert row("podtemplates", {"template": TEMPLATE}) == {"NAME": "a", **CONTAINERS, "POD LABELS": "app=web,tier=a"}


@pytest.mark.parametrize(
    ("owner", "shown"),
    [
        ({"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent", "controller": True}, "daemonset.apps/agent"),
        ({"apiVersion": "v1", "kind": "Node", "name": "n", "controller": True}, "node/n"),
        ({"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent"}, "<none>"),
    ],
)
def test_controller_revisions(row, owner, shown):
    cells = row("controllerrevisions", {"metadata": {"ownerReferences": [owner]}, "revision": 7})
    assert (cells["CONTROLLER"], cells["REVISION"]) == (shown, 7)


@pytest.mark.parametrize(
    ("status", "metadata", "word"),
    [
        ({}, {}, "Running"),
        ({"conditions": true("FailureTarget")}, {}, "FailureTarget"),
        ({"conditions": true("SuccessCriteriaMet")}, {}, "SuccessCriteriaMet"),
        ({"conditions": true("SuccessCriteriaMet", "Complete")}, {"deletionTimestamp": "t"}, "Complete"),
        ({"conditions": true("FailureTarget", "Failed")}, {}, "Failed"),
        ({"conditions": true("Suspended")}, {}, "Suspended"),
        ({"conditions": true("Suspended")}, {"deletionTimestamp": "t"}, "Terminating"),
    ],
)
def test_a_jobs_state(row, status, metadata, word):
    assert row("jobs", {"metadata": metadata, "status": status})["STATUS"] == word


@pytest.mark.parametrize(
    ("spec", "shown"),
    [
        ({"completions": 3, "parallelism": 2}, "1/3"),
        ({"parallelism": 2}, "1/1 of 2"),
        ({"parallelism": 1}, "1/1"),
        ({}, "1/1"),
    ],
)
def test_what_a_job_completed(row, spec, shown):
    assert row("jobs", {"spec": spec, "status": {"succeeded": 1}})["COMPLETIONS"] == shown


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        ({}, ""),
        ({"startTime": "2026-01-01T11:59:30Z"}, "30s"),
        ({"startTime": "2026-01-01T11:00:00Z", "completionTime": "2026-01-01T11:03:05Z"}, "3m5s"),
    ],
)
def test_how_long_a_job_took(row, status, shown):
    assert row("jobs", {"status": status})["DURATION"] == shown


def test_cron_jobs(row):
    spec = {
        "schedule": "@hourly",
        "suspend": False,
        "jobTemplate": {"spec": {"template": TEMPLATE}},
        "timeZone": "Etc/UTC",
    }
    status = {"active": [{}, {}], "lastScheduleTime": "2026-01-01T11:59:00Z"}
    assert row("cronjobs", {"spec": spec, "status": status}) == {
        "NAME": "a",
        "SCHEDULE": "@hourly",
        "TIMEZONE": "Etc/UTC",
        "SUSPEND": "False",
        "ACTIVE": 2,
        "LAST SCHEDULE": "60s",
        "AGE": "60m",
        **CONTAINERS,
        "SELECTOR": "<none>",
    }
    cells = row("cronjobs", {})
    assert (cells["TIMEZONE"], cells["SUSPEND"], cells["LAST SCHEDULE"]) == ("<none>", "<unset>", "<none>")


def test_quotas_limits_and_budgets(row):
    status = {
        "hard": {"requests.cpu": "2", "limits.cpu": "4", "pods": "10"},
        "used": {"requests.cpu": "500m", "limits.cpu": "1"},
    }
    assert row("resourcequotas", {"status": status}) == {
        "NAME": "a",
        "REQUEST": "pods: 0/10, requests.cpu: 500m/2",
        "LIMIT": "limits.cpu: 1/4",
        "AGE": "60m",
    }
    assert row("limitranges", {}) == {"NAME": "a", "CREATED AT": "2026-01-01T11:00:00Z"}
    assert row("poddisruptionbudgets", {"spec": {"minAvailable": 0}, "status": {"disruptionsAllowed": 2}}) == {
        "NAME": "a",
        "MIN AVAILABLE": "0",
        "MAX UNAVAILABLE": "N/A",
        "ALLOWED DISRUPTIONS": 2,
        "AGE": "60m",
    }


CPU = {"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}}
MEMORY = {"type": "ContainerResource", "containerResource": {"name": "memory", "target": {"averageValue": "1Gi"}}}
EXTERNAL = {"type": "External", "external": {"target": {"averageValue": "5"}}}
OBJECT = {"type": "Object", "object": {"target": {"value": "5"}}}
PODS = {"type": "Pods", "pods": {"target": {"averageValue": "5"}}}


def measured(metric, **current):
    (part,) = metric.keys() - {"type"}
    return {"type": metric["type"], part: {"current": current}}


@pytest.mark.parametrize(
    ("metrics", "current", "shown"),
    [
        ([], [], "<none>"),
        ([CPU], [], "cpu: <unknown>/80%"),
        ([CPU], [measured(CPU, averageUtilization=10)], "cpu: 10%/80%"),
        ([MEMORY], [measured(MEMORY, averageValue="2Gi")], "memory: 2Gi/1Gi"),
        ([EXTERNAL, OBJECT], [measured(EXTERNAL, averageValue="3")], "3/5 (avg), <unknown>/5"),
        ([PODS], [measured(PODS, averageValue="4")], "4/5"),
        ([{"type": "Magic"}], [], "<unknown type>"),
        ([CPU, CPU, CPU, CPU], [], "cpu: <unknown>/80%, cpu: <unknown>/80% + 2 more..."),
    ],
)
def test_targets_of_autoscalers(row, metrics, current, shown):
    target = {"kind": "Deployment", "name": "web"}
    document = {"spec": {"scaleTargetRef": target, "maxReplicas": 3, "metrics": metrics}}
    document["status"] = {"currentMetrics": current, "currentReplicas": 2}
    assert row("horizontalpodautoscalers", document) == {
        "NAME": "a",
        "REFERENCE": "Deployment/web",
        "TARGETS": shown,
        "MINPODS": "<unset>",
        "MAXPODS": 3,
        "REPLICAS": 2,
        "AGE": "60m",
    }
