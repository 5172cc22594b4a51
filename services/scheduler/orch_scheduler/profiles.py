"""Profiles: which rules refuse, which preferences score and with what weights, for the pods of one schedulerName."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec

from orch.errors import ConfigError
from orch_scheduler import profile_file as shapes
from orch_scheduler.contest import MOST_WEIGHT
from orch_scheduler.engine import FILTERS, SCORES, Engine
from orch_scheduler.filters import affinity as affinity_filter
from orch_scheduler.filters import fit as fit_filter
from orch_scheduler.filters import spread as spread_filter
from orch_scheduler.filters.protocol import Filter
from orch_scheduler.profile_file import Plugin, PluginSet, ProfileShape
from orch_scheduler.scores import affinity, balanced, fit, images, neighbours, spread, taints
from orch_scheduler.scores.protocol import Score
from orch_scheduler.scores.resources import CPU_AND_MEMORY, Resource
from orch_scheduler.spreading import Defaults, DefaultSpread

DEFAULT_NAME: Final = "default-scheduler"
_PREEMPTION: Final = "DefaultPreemption"
_ALWAYS_ON: Final = frozenset({"SchedulingGates", "PrioritySort", "DefaultBinder"})
_WEIGHTS: Final[Mapping[str, int]] = {score.name: score.weight for score in SCORES}


class Profile(msgspec.Struct, frozen=True):
    """What decides for the pods of one schedulerName.

    `settings` is what it was made from, as JSON, and `hash` tells settings apart. `preempts`: whether pods may make
    room for themselves at the cost of others, of which `preemption` says how far it is looked for. `volume_seconds`:
    for how long a pod that has a node waits for its volumes.
    """

    name: str
    filters: tuple[Filter, ...]
    scores: tuple[Score, ...]
    hash: str
    settings: bytes = b""
    preempts: bool = True
    preemption: shapes.PreemptionArgs = shapes.PreemptionArgs()
    volume_seconds: float = 600.0

    def engine(self, *, seed: int = 0) -> Engine:
        """Return an engine with the profile's rules."""
        return Engine(self.filters, self.scores, seed=seed)


class _Arguments(msgspec.Struct, frozen=True):
    """The arguments of all plugins of a profile."""

    fit: shapes.FitArgs
    balanced: shapes.BalancedArgs
    node_affinity: shapes.NodeAffinityArgs
    neighbours: shapes.InterPodAffinityArgs
    spread: Defaults
    preemption: shapes.PreemptionArgs
    volumes: shapes.VolumeBindingArgs


def load_profiles(file: Path) -> tuple[Profile, ...]:
    """Return the profiles of a file. Raises ConfigError with the path of what is wrong."""
    return profiles_of(shapes.read(file))


def profiles_of(file: shapes.File) -> tuple[Profile, ...]:
    """Return the profiles; a file without any has the default one. Raises ConfigError."""
    found: dict[str, Profile] = {}
    for place, shape in enumerate(file.profiles or (ProfileShape(),)):
        path = f"profiles[{place}]"
        if not shape.scheduler_name:
            raise ConfigError(f"{path}.schedulerName", "a name is needed")
        if shape.scheduler_name in found:
            raise ConfigError(f"{path}.schedulerName", f'"{shape.scheduler_name}" has a profile already')
        found[shape.scheduler_name] = _profile(shape, path)
    return tuple(found.values())


def default_profile(name: str = DEFAULT_NAME) -> Profile:
    """Return the profile with every rule and kube-scheduler's weights, under whatever name."""
    return _profile(ProfileShape(scheduler_name=name), "profiles[0]")


def recorded_profile(name: str, settings: bytes) -> Profile:
    """Return the profile that had these settings. Raises ConfigError for what is not a profile's."""
    try:
        shape = msgspec.json.decode(settings, type=ProfileShape)
    except msgspec.MsgspecError as error:
        raise ConfigError(f"profile {name}", str(error)) from error
    return _profile(msgspec.structs.replace(shape, scheduler_name=name), f"profile {name}")


def _profile(shape: ProfileShape, path: str) -> Profile:
    arguments = _arguments(shape, path)
    filters, scores, preempts = _chosen(shape.plugins, f"{path}.plugins")
    weight = sum(scores.values())
    if weight > MOST_WEIGHT:
        raise ConfigError(f"{path}.plugins.score", f"the weights come to {weight}, more than {MOST_WEIGHT}")
    canonical = msgspec.json.encode(msgspec.structs.replace(shape, scheduler_name=""), order="deterministic")
    return Profile(
        name=shape.scheduler_name,
        filters=tuple(_filter(rule, arguments) for rule in FILTERS if rule.name in filters),
        scores=tuple(_SCORES[score.name](scores[score.name], arguments) for score in SCORES if score.name in scores),
        hash=blake2b(canonical, digest_size=8).hexdigest(),
        settings=canonical,
        preempts=preempts,
        preemption=arguments.preemption,
        volume_seconds=float(arguments.volumes.bind_timeout_seconds),
    )


def _chosen(plugins: shapes.Plugins, path: str) -> tuple[frozenset[str], dict[str, int], bool]:
    """Return the filters and, with their weights, the scores that are on, and whether preemption is."""
    rules = {rule.name: 1 for rule in FILTERS}
    everything = {**rules, **_WEIGHTS, _PREEMPTION: 1}
    multi = _applied(everything, everything, plugins.multi_point, f"{path}.multiPoint")
    filters = _applied(
        {name: 1 for name in multi if name in rules}, rules, plugins.filter, f"{path}.filter", weighted=False
    )
    scores = _applied(
        {name: weight for name, weight in multi.items() if name in _WEIGHTS},
        _WEIGHTS,
        plugins.score,
        f"{path}.score",
    )
    # What prepares filters and scores is a part of them; names are looked at all the same.
    _applied(rules, rules, plugins.pre_filter, f"{path}.preFilter", weighted=False)
    _applied(_WEIGHTS, _WEIGHTS, plugins.pre_score, f"{path}.preScore", weighted=False)
    preemption = {_PREEMPTION: 1}
    after = {name: 1 for name in multi if name == _PREEMPTION}
    left = _applied(after, preemption, plugins.post_filter, f"{path}.postFilter", weighted=False)
    return frozenset(filters), scores, bool(left)


def _applied(
    given: Mapping[str, int], known: Mapping[str, int], change: PluginSet, path: str, *, weighted: bool = True
) -> dict[str, int]:
    """Return what is on after a set of plugins was turned off and another one on."""
    left = dict(given)
    for place, plugin in enumerate(change.disabled):
        if plugin.name == "*":
            left.clear()
        else:
            _known(plugin, known, f"{path}.disabled[{place}]")
            left.pop(plugin.name, None)
    seen: set[str] = set()
    for place, plugin in enumerate(change.enabled):
        where = f"{path}.enabled[{place}]"
        _known(plugin, known, where)
        if plugin.name in seen:
            raise ConfigError(f"{where}.name", f'"{plugin.name}" is there twice')
        seen.add(plugin.name)
        if plugin.weight is not None and not weighted:
            raise ConfigError(f"{where}.weight", "only scores have weights")
        if plugin.weight is not None and plugin.weight < 1:
            raise ConfigError(f"{where}.weight", f"expected a number from 1 on, got {plugin.weight}")
        left[plugin.name] = plugin.weight or 1
    return left


def _known(plugin: Plugin, known: Mapping[str, int], path: str) -> None:
    if plugin.name in _ALWAYS_ON:
        raise ConfigError(f"{path}.name", f'"{plugin.name}" is always on')
    if plugin.name not in known:
        raise ConfigError(f"{path}.name", f'unknown plugin "{plugin.name}"; there are: {", ".join(sorted(known))}')


def _arguments(shape: ProfileShape, path: str) -> _Arguments:
    given: dict[str, tuple[shapes.PluginConfig, str]] = {}
    for place, config in enumerate(shape.plugin_config):
        where = f"{path}.pluginConfig[{place}]"
        if config.name not in _TAKES:
            raise ConfigError(f"{where}.name", f'"{config.name}" takes no arguments; {", ".join(sorted(_TAKES))} do')
        if config.name in given:
            raise ConfigError(f"{where}.name", f'"{config.name}" has arguments already')
        given[config.name] = (config, where)

    def of(name: str, kind: type[shapes.ArgsT]) -> tuple[shapes.ArgsT, str]:
        config, where = given.get(name, (shapes.PluginConfig(name=name), path))
        return shapes.arguments(config, kind, where), f"{where}.args"

    preemption, where = of(_PREEMPTION, shapes.PreemptionArgs)
    if not 0 <= preemption.min_candidate_nodes_percentage <= 100:
        raise ConfigError(
            f"{where}.minCandidateNodesPercentage",
            f"expected 0 to 100, got {preemption.min_candidate_nodes_percentage}",
        )
    if preemption.min_candidate_nodes_absolute < 0:
        raise ConfigError(
            f"{where}.minCandidateNodesAbsolute",
            f"expected a number from 0 on, got {preemption.min_candidate_nodes_absolute}",
        )
    fit_args, where = of("NodeResourcesFit", shapes.FitArgs)
    _check_strategy(fit_args.scoring_strategy, f"{where}.scoringStrategy")
    balanced_args, where = of("NodeResourcesBalancedAllocation", shapes.BalancedArgs)
    _check_resources(balanced_args.resources, f"{where}.resources")
    affinity_args, _ = of("NodeAffinity", shapes.NodeAffinityArgs)
    neighbours_args, where = of("InterPodAffinity", shapes.InterPodAffinityArgs)
    if not 0 <= neighbours_args.hard_pod_affinity_weight <= 100:
        raise ConfigError(
            f"{where}.hardPodAffinityWeight", f"expected 0 to 100, got {neighbours_args.hard_pod_affinity_weight}"
        )
    volumes, where = of("VolumeBinding", shapes.VolumeBindingArgs)
    if volumes.bind_timeout_seconds < 0:
        raise ConfigError(f"{where}.bindTimeoutSeconds", f"expected 0 at least, got {volumes.bind_timeout_seconds}")
    spread_args, where = of("PodTopologySpread", shapes.SpreadArgs)
    spreads = _defaults(spread_args, where)
    return _Arguments(fit_args, balanced_args, affinity_args, neighbours_args, spreads, preemption, volumes)


_TAKES: Final = frozenset(
    {
        "NodeResourcesFit",
        "NodeResourcesBalancedAllocation",
        "NodeAffinity",
        "InterPodAffinity",
        "PodTopologySpread",
        "VolumeBinding",
        _PREEMPTION,
    }
)


def _check_resources(resources: Sequence[shapes.ResourceSpec], path: str) -> None:
    seen: set[str] = set()
    for place, resource in enumerate(resources):
        if resource.name in seen:
            raise ConfigError(f"{path}[{place}].name", f'"{resource.name}" is there twice')
        seen.add(resource.name)
        if not 1 <= resource.weight <= 100:
            raise ConfigError(f"{path}[{place}].weight", f"expected 1 to 100, got {resource.weight}")


def _check_strategy(strategy: shapes.ScoringStrategy, path: str) -> None:
    if strategy.type not in _STRATEGIES:
        raise ConfigError(f"{path}.type", f'expected one of {", ".join(_STRATEGIES)}, got "{strategy.type}"')
    _check_resources(strategy.resources, f"{path}.resources")
    ratio = strategy.requested_to_capacity_ratio
    if strategy.type != "RequestedToCapacityRatio":
        return
    where = f"{path}.requestedToCapacityRatio.shape"
    if ratio is None or not ratio.shape:
        raise ConfigError(where, "at least one point is needed")
    before = -1
    for place, point in enumerate(ratio.shape):
        if not 0 <= point.utilization <= 100:
            raise ConfigError(f"{where}[{place}].utilization", f"expected 0 to 100, got {point.utilization}")
        if point.utilization <= before:
            raise ConfigError(f"{where}[{place}].utilization", f"expected more than {before}, got {point.utilization}")
        if not 0 <= point.score <= 10:
            raise ConfigError(f"{where}[{place}].score", f"expected 0 to 10, got {point.score}")
        before = point.utilization


def _defaults(args: shapes.SpreadArgs, path: str) -> Defaults:
    if args.defaulting_type not in {"System", "List"}:
        raise ConfigError(f"{path}.defaultingType", f'expected System or List, got "{args.defaulting_type}"')
    if args.defaulting_type == "System":
        if args.default_constraints:
            raise ConfigError(f"{path}.defaultConstraints", "expected none with defaultingType System")
        return Defaults()
    found: list[DefaultSpread] = []
    for place, each in enumerate(args.default_constraints):
        where = f"{path}.defaultConstraints[{place}]"
        if each.max_skew < 1:
            raise ConfigError(f"{where}.maxSkew", f"expected a number from 1 on, got {each.max_skew}")
        if not each.topology_key:
            raise ConfigError(f"{where}.topologyKey", "a label is needed")
        if each.when_unsatisfiable not in {"DoNotSchedule", "ScheduleAnyway"}:
            raise ConfigError(
                f"{where}.whenUnsatisfiable",
                f'expected DoNotSchedule or ScheduleAnyway, got "{each.when_unsatisfiable}"',
            )
        if any(
            (one.topology_key, one.when_unsatisfiable) == (each.topology_key, each.when_unsatisfiable)
            for one in args.default_constraints[:place]
        ):
            raise ConfigError(where, f"{each.topology_key}, {each.when_unsatisfiable} is there twice")
        found.append(DefaultSpread(each.max_skew, each.topology_key, each.when_unsatisfiable == "DoNotSchedule"))
    return Defaults(tuple(found), system=False)


def _filter(rule: Filter, arguments: _Arguments) -> Filter:
    """Return the rule, with arguments if it takes any."""
    match rule:
        case affinity_filter.NodeAffinity():
            added = arguments.node_affinity.added_affinity
            return affinity_filter.NodeAffinity(
                added.required_during_scheduling_ignored_during_execution if added is not None else None
            )
        case fit_filter.NodeResourcesFit():
            return fit_filter.NodeResourcesFit(arguments.fit.ignored_resources, arguments.fit.ignored_resource_groups)
        case spread_filter.PodTopologySpread():
            return spread_filter.PodTopologySpread(arguments.spread)
        case _:
            return rule


def _resources(specs: Sequence[shapes.ResourceSpec]) -> tuple[Resource, ...]:
    return tuple(Resource(each.name, each.weight) for each in specs) or CPU_AND_MEMORY


def _fit(weight: int, arguments: _Arguments) -> Score:
    strategy = arguments.fit.scoring_strategy
    return _STRATEGIES[strategy.type](weight, strategy)


def _ratio(weight: int, strategy: shapes.ScoringStrategy) -> Score:
    ratio = strategy.requested_to_capacity_ratio
    points = [fit.Point(each.utilization, each.score) for each in ratio.shape] if ratio is not None else []
    return fit.RequestedToCapacityRatio(points, weight, _resources(strategy.resources))


_STRATEGIES: Final[Mapping[str, Callable[[int, shapes.ScoringStrategy], Score]]] = {
    "LeastAllocated": lambda weight, strategy: fit.LeastAllocated(weight, _resources(strategy.resources)),
    "MostAllocated": lambda weight, strategy: fit.MostAllocated(weight, _resources(strategy.resources)),
    "RequestedToCapacityRatio": _ratio,
}


def _node_affinity(weight: int, arguments: _Arguments) -> Score:
    added = arguments.node_affinity.added_affinity
    return affinity.NodeAffinity(
        weight, added.preferred_during_scheduling_ignored_during_execution if added is not None else ()
    )


def _neighbours(weight: int, arguments: _Arguments) -> Score:
    args = arguments.neighbours
    return neighbours.InterPodAffinity(
        weight, args.hard_pod_affinity_weight, ignore_others=args.ignore_preferred_terms_of_existing_pods
    )


_SCORES: Final[Mapping[str, Callable[[int, _Arguments], Score]]] = {
    "TaintToleration": lambda weight, _: taints.TaintToleration(weight),
    "NodeAffinity": _node_affinity,
    "NodeResourcesFit": _fit,
    "PodTopologySpread": lambda weight, arguments: spread.PodTopologySpread(weight, arguments.spread),
    "InterPodAffinity": _neighbours,
    "NodeResourcesBalancedAllocation": lambda weight, arguments: balanced.BalancedAllocation(
        weight, _resources(arguments.balanced.resources)
    ),
    "ImageLocality": lambda weight, _: images.ImageLocality(weight),
}
