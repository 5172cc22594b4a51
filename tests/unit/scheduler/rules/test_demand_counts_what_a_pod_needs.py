import msgspec
import pytest

from orch.objects.pods import Pod


def test_containers_add_up(demand_of):
    demand = demand_of(
        {
            "containers": [
                {"name": "a", "resources": {"requests": {"cpu": "100m", "memory": "1Gi"}}},
                {"name": "b", "resources": {"requests": {"cpu": "1", "example.com/gpu": "2"}}},
            ]
        }
    )
    assert demand.requests == {"cpu": 1100, "memory": 1 << 30, "example.com/gpu": 2, "pods": 1}


def test_an_init_container_counts_when_it_asks_for_more_than_all_containers(demand_of):
    demand = demand_of(
        {
            "containers": [{"name": "a", "resources": {"requests": {"cpu": "1"}}}],
            "initContainers": [{"name": "i", "resources": {"requests": {"cpu": "3"}}}],
        }
    )
    assert demand.requests["cpu"] == 3000


def test_a_sidecar_runs_beside_containers_and_later_init_containers(demand_of):
    demand = demand_of(
        {
            "containers": [{"name": "a", "resources": {"requests": {"cpu": "1"}}}],
            "initContainers": [
                {"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "2"}}},
                {"name": "i", "resources": {"requests": {"cpu": "2"}}},
            ],
        }
    )
    assert demand.requests["cpu"] == 4000


def test_overhead_is_added(demand_of):
    assert demand_of({"overhead": {"cpu": "250m"}}, cpu="1").requests["cpu"] == 1250


def test_scores_assume_defaults_for_containers_that_ask_for_nothing(demand_of):
    demand = demand_of()
    assert demand.requests == {"pods": 1}
    assert demand.non_zero == (100, 200 * 1024 * 1024)


def test_pods_of_one_template_share_a_demand(demand_of):
    assert demand_of(cpu="1") is demand_of(cpu="1")
    assert demand_of(cpu="1") is not demand_of(cpu="2")


def test_an_unreadable_quantity_is_refused(demand_of):
    with pytest.raises(ValueError, match="quantities must match"):
        demand_of(cpu="one")


def container(name="a", **requests):
    return {"name": name, "resources": {"requests": requests}}


def test_overhead_comes_on_top(demand_of):
    demand = demand_of({"containers": [container(cpu="1")], "overhead": {"cpu": "250m", "memory": "64Mi"}})
    assert demand.requests == {"cpu": 1250, "memory": 64 << 20, "pods": 1}
    assert demand.non_zero == (1250, (200 + 64) << 20)


def test_what_the_pod_requests_as_a_whole_replaces_the_sum_but_not_the_overhead(demand_of):
    demand = demand_of(
        {
            "containers": [container(cpu="1", memory="1Gi"), container("b", cpu="2")],
            "resources": {"requests": {"cpu": "500m", "hugepages-2Mi": "4Mi", "example.com/gpu": "9"}},
            "overhead": {"cpu": "100m"},
        }
    )
    assert demand.requests == {"cpu": 600, "memory": 1 << 30, "hugepages-2Mi": 4 << 20, "pods": 1}
    assert demand.non_zero == (600, 1 << 30)


def test_a_pod_that_requests_cpu_as_a_whole_is_assumed_to_need_memory_too(demand_of):
    demand = demand_of({"containers": [container(), container("b")], "resources": {"requests": {"cpu": "1"}}})
    assert demand.non_zero == (1000, 400 << 20)


RESIZED = {
    "metadata": {"name": "p", "namespace": "default"},
    "spec": {"containers": [container(cpu="2")], "nodeName": "n"},
    "status": {
        "containerStatuses": [
            {"name": "a", "resources": {"requests": {"cpu": "1"}}, "allocatedResources": {"cpu": "1500m"}}
        ]
    },
}


def test_a_container_that_is_being_resized_counts_with_the_most_of_it(demands):
    assert demands.of(msgspec.convert(RESIZED, Pod)).requests["cpu"] == 2000


def test_a_resize_that_is_not_possible_does_not_count(demands):
    pending = {"type": "PodResizePending", "status": "True", "reason": "Infeasible"}
    document = {**RESIZED, "status": {**RESIZED["status"], "conditions": [pending]}}
    assert demands.of(msgspec.convert(document, Pod)).requests["cpu"] == 1500


def test_pods_whose_labels_come_in_another_order_are_alike(demand_of):
    assert demand_of(labels={"a": "1", "b": "2"}) is demand_of(labels={"b": "2", "a": "1"})
