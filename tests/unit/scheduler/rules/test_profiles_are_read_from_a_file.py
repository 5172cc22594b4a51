"""A file in the shape of KubeSchedulerConfiguration, and what its profiles decide."""

from __future__ import annotations

import pytest
import yaml

from orch.errors import ConfigError
from orch_scheduler import profile_file
from orch_scheduler.columns import Columns
from orch_scheduler.config import SchedulerConfig
from orch_scheduler.deciders import deciders_of
from orch_scheduler.profiles import default_profile, load_profiles, profiles_of

HEAD = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"}
DEFAULT_WEIGHTS = {
    "TaintToleration": 3,
    "NodeAffinity": 2,
    "NodeResourcesFit": 1,
    "PodTopologySpread": 2,
    "InterPodAffinity": 2,
    "NodeResourcesBalancedAllocation": 1,
    "ImageLocality": 1,
}


def read(*profiles):
    return profiles_of(profile_file.parse({**HEAD, "profiles": list(profiles)}))


def with_args(name, **args):
    return read({"pluginConfig": [{"name": name, "args": args}]})[0]


def names(profile):
    return {rule.name for rule in profile.filters}


def weights(profile):
    return {score.name: score.weight for score in profile.scores}


def places(profile, columns, *demands):
    return [placement.node for placement in profile.engine().plan(columns.snapshot(), demands)]


def test_nothing_said_is_the_default_profile(tmp_path):
    file = tmp_path / "profiles.yaml"
    file.write_text(yaml.safe_dump(HEAD))
    (profile,) = load_profiles(file)
    assert profile.name == "default-scheduler"
    assert weights(profile) == weights(default_profile()) == DEFAULT_WEIGHTS
    assert names(profile) == names(default_profile())
    assert profile.hash == default_profile("another").hash
    assert profile.preempts


def test_plugins_go_on_and_off():
    plugins = {
        "filter": {"disabled": [{"name": "NodePorts"}]},
        "score": {"disabled": [{"name": "*"}], "enabled": [{"name": "ImageLocality", "weight": 5}]},
        "postFilter": {"disabled": [{"name": "DefaultPreemption"}]},
    }
    plain, other = read({}, {"schedulerName": "packer", "plugins": plugins})
    assert weights(other) == {"ImageLocality": 5}
    assert names(plain) - names(other) == {"NodePorts"}
    assert not other.preempts
    assert plain.hash != other.hash


def test_multi_point_is_for_filters_and_scores_and_a_point_of_its_own_has_the_last_word():
    plugins = {
        "multiPoint": {
            "disabled": [{"name": "InterPodAffinity"}, {"name": "TaintToleration"}],
            "enabled": [{"name": "TaintToleration", "weight": 9}],
        },
        "score": {"enabled": [{"name": "InterPodAffinity"}]},
    }
    (profile,) = read({"plugins": plugins})
    assert "InterPodAffinity" not in names(profile)
    assert "TaintToleration" in names(profile)
    assert weights(profile)["TaintToleration"] == 9
    assert weights(profile)["InterPodAffinity"] == 1


def test_most_allocated_packs(columns, make_node, demand_of):
    columns.set_node(make_node("empty"))
    columns.set_node(make_node("used"))
    columns.place("other", "used", demand_of(cpu="1", memory="1Gi"))
    packer = with_args("NodeResourcesFit", scoringStrategy={"type": "MostAllocated"})
    assert places(packer, columns, demand_of(cpu="1", memory="1Gi")) == ["used"]
    assert places(default_profile(), columns, demand_of(cpu="1", memory="1Gi")) == ["empty"]


def test_a_curve_scores_what_is_used(columns, make_node, demand_of):
    """100m of 4 cpu is 2 %, 1 cpu is 25 %, 3 cpu 75 %: the curve likes a quarter best."""
    for name, used in (("idle", "0"), ("quarter", "900m"), ("busy", "2900m")):
        columns.set_node(make_node(name))
        columns.place(name, name, demand_of(cpu=used))
    shape = [{"utilization": 0, "score": 0}, {"utilization": 25, "score": 10}, {"utilization": 100, "score": 0}]
    strategy = {
        "type": "RequestedToCapacityRatio",
        "resources": [{"name": "cpu", "weight": 3}],
        "requestedToCapacityRatio": {"shape": shape},
    }
    profile = with_args("NodeResourcesFit", scoringStrategy=strategy)
    engine = profile.engine()
    scores = {each.node: dict(each.parts) for each in engine.scored(columns.snapshot(), demand_of(cpu="100m"))}
    points = {node: parts["NodeResourcesFit"] for node, parts in scores.items()}
    assert points == {"idle": 8.0, "quarter": 100.0, "busy": 34.0}


def test_ignored_resources_are_not_asked_for(columns, make_node, demand_of):
    columns.set_node(make_node("n"))
    asking = {"containers": [{"name": "c", "resources": {"requests": {"example.com/gpu": "1"}}}]}
    assert places(default_profile(), columns, demand_of(asking)) == [""]
    assert places(with_args("NodeResourcesFit", ignoredResources=["example.com/gpu"]), columns, demand_of(asking)) == [
        "n"
    ]
    by_group = with_args("NodeResourcesFit", ignoredResourceGroups=["example.com"])
    assert places(by_group, columns, demand_of(asking)) == ["n"]


def test_affinity_that_the_profile_adds(columns, make_node, demand_of):
    columns.set_node(make_node("a", labels={"pool": "x"}))
    columns.set_node(make_node("b", labels={"pool": "y"}))
    required = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "pool", "operator": "In", "values": ["y"]}]}]}
    profile = with_args("NodeAffinity", addedAffinity={"requiredDuringSchedulingIgnoredDuringExecution": required})
    assert places(profile, columns, demand_of()) == ["b"]
    columns.remove_node("b")
    refusal = profile.engine().plan(columns.snapshot(), [demand_of()])[0].refusal
    assert refusal.message == "0/1 nodes are available: 1 node(s) didn't match scheduler-enforced node affinity."


def test_default_constraints_of_the_profile_can_refuse(columns, make_node, demand_of):
    for name in ("a", "b"):
        columns.set_node(make_node(name, labels={"rack": name}))
    columns.workloads.set_service("default", "web", {"app": "web"})
    constraint = {"maxSkew": 1, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}
    profile = with_args("PodTopologySpread", defaultingType="List", defaultConstraints=[constraint])
    web = demand_of(labels={"app": "web"})
    assert sorted(places(profile, columns, *[web] * 4)) == ["a", "a", "b", "b"]
    columns.set_node(make_node("b", labels={"rack": "b"}, unschedulable=True))
    refusal = profile.engine().plan(columns.snapshot(), [web] * 2)[1].refusal
    assert refusal.message == (
        "0/2 nodes are available: 1 node(s) didn't match pod topology spread constraints, 1 node(s) were unschedulable."
    )


BAD = [
    (
        {"profiles": [{"plugins": {"score": {"enabled": [{"name": "Nope"}]}}}]},
        "profiles[0].plugins.score.enabled[0].name",
    ),
    ({"profiles": [{"plugins": {"permit": {}}}]}, "profiles[0].plugins.permit"),
    (
        {"profiles": [{"plugins": {"score": {"enabled": [{"weight": 2}]}}}]},
        "profiles[0].plugins.score.enabled[0].name",
    ),
    (
        {"profiles": [{"plugins": {"preScore": {"disabled": [{"name": "Nope"}]}}}]},
        "profiles[0].plugins.preScore.disabled[0].name",
    ),
    ({"profiles": [{"percentageOfNodesToScore": 101}]}, "profiles[0].percentageOfNodesToScore"),
    ({"percentageOfNodesToScore": -1}, "percentageOfNodesToScore"),
    ({"parallelism": 0}, "parallelism"),
    ({"parallelism": "16"}, "parallelism"),
    ({"profiles": [{}, {}]}, "profiles[1].schedulerName"),
    ({"profiles": [{"schedulerName": ""}]}, "profiles[0].schedulerName"),
    ({"extenders": []}, "extenders"),
    ({"kind": "Other"}, "kind"),
    ({"apiVersion": "v1"}, "apiVersion"),
    (
        {"profiles": [{"plugins": {"filter": {"enabled": [{"name": "NodePorts", "weight": 2}]}}}]},
        "profiles[0].plugins.filter.enabled[0].weight",
    ),
    (
        {"profiles": [{"plugins": {"score": {"enabled": [{"name": "ImageLocality", "weight": 0}]}}}]},
        "profiles[0].plugins.score.enabled[0].weight",
    ),
    (
        {"profiles": [{"plugins": {"score": {"enabled": [{"name": "ImageLocality", "weight": 999999}]}}}]},
        "profiles[0].plugins.score",
    ),
    (
        {"profiles": [{"plugins": {"multiPoint": {"disabled": [{"name": "PrioritySort"}]}}}]},
        "profiles[0].plugins.multiPoint.disabled[0].name",
    ),
    ({"profiles": [{"pluginConfig": [{"name": "NodePorts"}]}]}, "profiles[0].pluginConfig[0].name"),
]
BAD_ARGS = [
    ("NodeResourcesFit", {"scoringStrategy": {"type": "Best"}}, "scoringStrategy.type"),
    ("NodeResourcesFit", {"scoringStrategy": {"type": 3}}, "scoringStrategy.type"),
    (
        "NodeResourcesFit",
        {"scoringStrategy": {"type": "RequestedToCapacityRatio"}},
        "scoringStrategy.requestedToCapacityRatio.shape",
    ),
    (
        "NodeResourcesFit",
        {"scoringStrategy": {"resources": [{"name": "cpu", "weight": 101}]}},
        "scoringStrategy.resources[0].weight",
    ),
    ("NodeResourcesBalancedAllocation", {"resources": [{"name": "cpu"}, {"name": "cpu"}]}, "resources[1].name"),
    ("InterPodAffinity", {"hardPodAffinityWeight": 101}, "hardPodAffinityWeight"),
    ("PodTopologySpread", {"defaultingType": "None"}, "defaultingType"),
    (
        "PodTopologySpread",
        {
            "defaultingType": "List",
            "defaultConstraints": [{"maxSkew": 0, "topologyKey": "x", "whenUnsatisfiable": "ScheduleAnyway"}],
        },
        "defaultConstraints[0].maxSkew",
    ),
    (
        "PodTopologySpread",
        {
            "defaultingType": "List",
            "defaultConstraints": [{"maxSkew": 1, "topologyKey": "x", "whenUnsatisfiable": "ScheduleAnyway"}] * 2,
        },
        "defaultConstraints[1]",
    ),
    (
        "PodTopologySpread",
        {
            "defaultingType": "List",
            "defaultConstraints": [
                {"maxSkew": 1, "topologyKey": "x", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {}}
            ],
        },
        "defaultConstraints[0].labelSelector",
    ),
    ("VolumeBinding", {"bindTimeoutSeconds": -1}, "bindTimeoutSeconds"),
    ("DefaultPreemption", {"minCandidateNodesPercentage": 200}, "minCandidateNodesPercentage"),
    ("InterPodAffinity", {"kind": "OtherArgs"}, "kind"),
]


@pytest.mark.parametrize(("content", "path"), BAD, ids=str)
def test_what_is_wrong_is_told_with_its_path(content, path):
    with pytest.raises(ConfigError) as told:
        profiles_of(profile_file.parse({**HEAD, **content}))
    assert told.value.path == path


@pytest.mark.parametrize(("name", "args", "path"), BAD_ARGS, ids=str)
def test_wrong_arguments_are_told_with_their_path(name, args, path):
    with pytest.raises(ConfigError) as told:
        with_args(name, **args)
    assert told.value.path == f"profiles[0].pluginConfig[0].args.{path}"


def test_a_file_that_is_none(tmp_path):
    with pytest.raises(ConfigError):
        load_profiles(tmp_path / "missing.yaml")
    for odd, problem in (("[", "not valid YAML"), ("kind: a\nkind: b", "given twice"), ("", "apiVersion: a value is")):
        (tmp_path / "odd.yaml").write_text(odd)
        with pytest.raises(ConfigError, match=problem):
            load_profiles(tmp_path / "odd.yaml")


DOCUMENTED = """
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
parallelism: 16
percentageOfNodesToScore: 50
leaderElection: {leaderElect: true}
clientConnection: {kubeconfig: /etc/kubernetes/scheduler.conf}
profiles:
  - schedulerName: default-scheduler
    percentageOfNodesToScore: 10
    pluginConfig:
      - name: VolumeBinding
        args:
          apiVersion: kubescheduler.config.k8s.io/v1
          kind: VolumeBindingArgs
          bindTimeoutSeconds: 30
  - schedulerName: no-scoring-scheduler
    plugins:
      preScore:
        disabled: [{name: "*"}]
      score:
        disabled: [{name: "*"}]
"""


def test_files_as_kubernetes_documents_them_are_taken(tmp_path, caplog):
    """What only says how kube-scheduler's process is run has no effect, and that is said."""
    file = tmp_path / "profiles.yaml"
    file.write_text(DOCUMENTED)
    with caplog.at_level("INFO"):
        deciders = deciders_of(SchedulerConfig(profiles=str(file)))
    first, second = deciders.profiles
    assert (first.volume_seconds, second.volume_seconds) == (30.0, 600.0)
    assert (weights(first), weights(second)) == (DEFAULT_WEIGHTS, {})
    assert names(second) == names(first)
    idle = {message.split(": ")[1].removesuffix(" has no effect here") for message in caplog.messages}
    assert idle == {
        "parallelism",
        "percentageOfNodesToScore",
        "leaderElection",
        "clientConnection",
        "profiles[0].percentageOfNodesToScore",
    }


def test_what_is_wrong_is_told_with_the_files_name(tmp_path):
    file = tmp_path / "profiles.yaml"
    file.write_text(yaml.safe_dump({**HEAD, "profiles": [{"plugins": {"filter": {"enabled": [{"name": "Nope"}]}}}]}))
    pattern = r'filter\.enabled\[0\]\.name: unknown plugin "Nope"; .* \(in .*profiles\.yaml\)'
    with pytest.raises(ConfigError, match=pattern):
        deciders_of(SchedulerConfig(profiles=str(file)))


def test_a_profile_without_a_rule_for_neighbours_places_them_together(make_node, demand_of):
    columns = Columns()
    columns.set_node(make_node("only", labels={"h": "only"}))
    term = {"labelSelector": {"matchLabels": {"app": "x"}}, "topologyKey": "h"}
    alone = demand_of(
        {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}},
        labels={"app": "x"},
    )
    (profile,) = read({"plugins": {"filter": {"disabled": [{"name": "InterPodAffinity"}]}}})
    assert places(profile, columns, alone, alone) == ["only", "only"]
