from __future__ import annotations

from typing import Any

import pytest
from asgi import Connection

from orch.bus import rpc
from orch.errors import ApiError, NotFoundError, ServiceUnavailableError
from orch_api.config import ApiConfig
from orch_api.memory import in_memory_api
from orch_api.site import application
from orch_pb.v1.autoscaling_pb2 import MetricsReply, MetricsRequest

CUSTOM = "/apis/custom.metrics.k8s.io/v1beta2"
EXTERNAL = "/apis/external.metrics.k8s.io/v1beta1"
PODS = f"{CUSTOM}/namespaces/default/pods"


@pytest.fixture
async def pods(http: Any) -> None:
    for name, app in (("web-1", "web"), ("web-2", "web"), ("db", "db")):
        body = {
            "metadata": {"name": name, "labels": {"app": app}},
            "spec": {"containers": [{"name": "main", "image": "x"}]},
        }
        assert (await http("POST", "/api/v1/namespaces/default/pods", body)).status == 201


async def test_a_metric_of_selected_pods(http: Any, pods: None, prometheus: Any) -> None:
    prometheus.series = [({"pod": "web-1"}, "1.5"), ({"pod": "web-2"}, "NaN"), ({"pod": "other"}, "7")]
    answer = await http("GET", f"{PODS}/*/http_requests?labelSelector=app=web&metricLabelSelector=verb=GET")
    assert answer.status == 200
    assert (answer.json["kind"], answer.json["apiVersion"]) == ("MetricValueList", "custom.metrics.k8s.io/v1beta2")
    (item,) = answer.json["items"]
    described = {"kind": "Pod", "namespace": "default", "name": "web-1", "apiVersion": "v1"}
    assert (item["describedObject"], item["value"]) == (described, "1500m")
    assert item["metric"] == {"name": "http_requests", "selector": None}
    assert prometheus.queries == [
        r'sum by (pod) (rate(http_requests{namespace="default",pod=~"web\\-1|web\\-2",verb="GET"}[30s]))'
    ]


async def test_a_metric_of_one_object_and_of_a_namespace(http: Any, pods: None, prometheus: Any) -> None:
    prometheus.series = [({"pod": "web-2"}, "4"), ({"namespace": "default"}, "12")]
    (item,) = (await http("GET", f"{PODS}/web-2/http_requests")).json["items"]
    assert item["value"] == "4"
    (item,) = (await http("GET", f"{CUSTOM}/namespaces/default/metrics/size")).json["items"]
    assert (item["describedObject"]["kind"], item["value"]) == ("Namespace", "12")


async def test_external_series_are_told_with_their_labels(http: Any, prometheus: Any) -> None:
    prometheus.series = [({"__name__": "queue_depth", "queue": "a"}, "3"), ({"queue": "b"}, "0.0001")]
    selector = "queue+in+(a,b),!dead,env!=test,shard"
    answer = await http("GET", f"{EXTERNAL}/namespaces/default/queue_depth?labelSelector={selector}")
    assert [(one["metricName"], one["metricLabels"], one["value"]) for one in answer.json["items"]] == [
        ("queue_depth", {"queue": "a"}, "3"),
        ("queue_depth", {"queue": "b"}, "1m"),
    ]
    assert prometheus.queries == ['queue_depth{dead="",env!="test",queue=~"a|b",shard!=""}']


async def test_what_is_not_there_and_what_cannot_be_asked(http: Any, pods: None, prometheus: Any) -> None:
    missing = await http("GET", f"{PODS}/*/nothing")
    assert (missing.status, missing.json["message"]) == (404, "the server could not find the metric nothing for pods")
    unmeasured = await http("GET", f"{PODS}/web-1/http_requests")
    told = "the server could not find the metric http_requests for pods web-1"
    assert (unmeasured.status, unmeasured.json["message"]) == (404, told)
    assert (await http("GET", f"{PODS}/gone/http_requests")).json["message"] == 'pods "gone" not found'
    assert (await http("GET", f"{EXTERNAL}/namespaces/default/nothing")).status == 404
    assert (await http("GET", f"{PODS}/*/http_requests?labelSelector=a=b=c")).status == 400
    assert (await http("GET", f"{PODS}/*/http_requests?metricLabelSelector=a>1")).status == 400
    assert (await http("POST", f"{PODS}/web-1/http_requests", {})).status == 405
    prometheus.answer = {"status": "error", "errorType": "bad_data", "error": "parse error"}
    failed = await http("GET", f"{EXTERNAL}/namespaces/default/queue_depth")
    assert (failed.status, failed.json["message"]) == (503, f"Prometheus at {prometheus.url}: parse error")


async def test_a_prometheus_that_does_not_answer_is_not_waited_for(http: Any, prometheus: Any) -> None:
    prometheus.mute = True
    failed = await http("GET", f"{EXTERNAL}/namespaces/default/queue_depth")
    assert (failed.status, failed.json["message"].partition(": ")[2]) == (503, "no answer in time")


async def test_the_same_query_is_asked_once_in_a_moment(http: Any, prometheus: Any) -> None:
    prometheus.series = [({}, "3")]
    for _ in range(3):
        assert (await http("GET", f"{EXTERNAL}/namespaces/default/queue_depth")).status == 200
    assert len(prometheus.queries) == 1


async def test_discovery_and_openapi_list_what_is_configured(http: Any) -> None:
    served = (await http("GET", CUSTOM)).json["resources"]
    names = {one["name"]: (one["kind"], one["verbs"]) for one in served if "/" in one["name"]}
    assert names == {
        "pods/http_requests": ("MetricValueList", ["get"]),
        "pods/memory": ("MetricValueList", ["get"]),
        "services/hits": ("MetricValueList", ["get"]),
        "namespaces/size": ("MetricValueList", ["get"]),
    }
    (row,) = (await http("GET", EXTERNAL)).json["resources"]
    assert (row["kind"], row["verbs"]) == ("ExternalMetricValueList", ["get"])
    paths = (await http("GET", "/openapi/v3")).json["paths"]
    assert {"apis/custom.metrics.k8s.io/v1beta2", "apis/external.metrics.k8s.io/v1beta1"} <= paths.keys()
    documents = await http("GET", "/openapi/v3/apis/custom.metrics.k8s.io/v1beta2")
    assert f"{CUSTOM}/namespaces/{{namespace}}/pods/{{name}}/http_requests" in documents.json["paths"]
    assert (await http("GET", "/openapi/v2", accept="application/json")).status == 200


async def test_without_rules_nothing_is_there() -> None:
    async with in_memory_api() as api:
        http = Connection(application(api.core, ApiConfig()))
        groups = {one["name"] for one in (await http("GET", "/apis")).json["groups"]}
        assert not groups & {"custom.metrics.k8s.io", "external.metrics.k8s.io"}
        assert (await http("GET", f"{PODS}/*/http_requests")).status == 404


async def test_controllers_ask_on_the_bus(api: Any, http: Any, pods: None, prometheus: Any) -> None:
    bus = api.broker.connect("system:kube-controller-manager")

    async def ask(**request: str) -> MetricsReply:
        return await rpc.call(bus, "metrics", MetricsRequest(namespace="default", **request), MetricsReply)

    prometheus.series = [({"pod": "web-1"}, "1"), ({"pod": "web-2"}, "2"), ({"service": "kubernetes"}, "9")]
    found = await ask(resource="pods", selector="app=web", metric="http_requests")
    assert {one.name: one.value for one in found.values} == {"web-1": 1000, "web-2": 2000}
    found = await ask(kind="Service", name="kubernetes", metric="hits")
    assert [(one.name, one.value) for one in found.values] == [("kubernetes", 9000)]
    found = await ask(metric="queue_depth")
    assert sum(one.value for one in found.values) == 12000
    missing = await ask(kind="Nothing", name="x", metric="hits")
    assert isinstance(ApiError.decode(missing.status), NotFoundError)
    prometheus.answer = {"status": "success", "data": {"resultType": "matrix", "result": []}}
    failed = ApiError.decode((await ask(metric="queue_depth", metric_selector="a=b")).status)
    assert isinstance(failed, ServiceUnavailableError)
    assert "the query yields a matrix" in str(failed)
