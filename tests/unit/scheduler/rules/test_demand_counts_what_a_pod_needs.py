import pytest


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
