"""The shape of a file with profiles: kube-scheduler's KubeSchedulerConfiguration, as far as it is about profiles.

Every name and value is checked; what is wrong is told with its path, as Kubernetes writes them: profiles[0].plugins.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from orch.config import read_yaml
from orch.errors import ConfigError
from orch.objects.pods import NodeAffinity

API_VERSION: Final = "kubescheduler.config.k8s.io/v1"
KIND: Final = "KubeSchedulerConfiguration"

ArgsT = TypeVar("ArgsT", bound="Args")


class Shape(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """The base of all of it."""


class Plugin(Shape, frozen=True):
    """A plugin by name; `weight` is for scores."""

    name: str
    weight: int | None = None


class PluginSet(Shape, frozen=True):
    """What is on beside what is on anyway, and what is off; `*` is everything."""

    enabled: tuple[Plugin, ...] = ()
    disabled: tuple[Plugin, ...] = ()


class Plugins(Shape, frozen=True):
    """The points at which plugins can be turned on and off.

    What is before filters and scores there is a part of them here: it goes on and off with them, and its names are all
    that is looked at.
    """

    multi_point: PluginSet = PluginSet()
    pre_filter: PluginSet = PluginSet()
    pre_score: PluginSet = PluginSet()
    filter: PluginSet = PluginSet()
    score: PluginSet = PluginSet()
    post_filter: PluginSet = PluginSet()


class PluginConfig(Shape, frozen=True):
    """A plugin's arguments."""

    name: str
    args: dict[str, Any] = {}


class ProfileShape(Shape, frozen=True):
    """What decides for the pods of one schedulerName."""

    scheduler_name: str = "default-scheduler"
    plugins: Plugins = Plugins()
    plugin_config: tuple[PluginConfig, ...] = ()
    percentage_of_nodes_to_score: int | None = None


class File(Shape, frozen=True):
    """The file. The back-offs are how long a pod waits after its first refusal, and at most.

    The fields from `parallelism` on say how kube-scheduler's process is run; here the service's own settings do.
    """

    api_version: str
    kind: str
    profiles: tuple[ProfileShape, ...] = ()
    pod_initial_backoff_seconds: int | None = None
    pod_max_backoff_seconds: int | None = None
    percentage_of_nodes_to_score: int | None = None
    parallelism: int | None = None
    leader_election: dict[str, Any] | None = None
    client_connection: dict[str, Any] | None = None
    enable_profiling: bool | None = None
    enable_contention_profiling: bool | None = None
    healthz_bind_address: str | None = None
    metrics_bind_address: str | None = None
    delay_cache_until_active: bool | None = None

    def idle(self) -> list[str]:
        """Return the paths of what is said and changes nothing here."""
        paths = [_camel(name) for name in _IDLE if getattr(self, name) is not None]
        return paths + [
            f"profiles[{place}].{_camel(_SHARE)}"
            for place, profile in enumerate(self.profiles)
            if profile.percentage_of_nodes_to_score is not None
        ]


class Args(Shape, frozen=True):
    """The base of arguments, which may name their kind."""

    api_version: str = ""
    kind: str = ""


class ResourceSpec(Shape, frozen=True):
    """A resource with its weight."""

    name: str
    weight: int = 1


class UtilizationShape(Shape, frozen=True):
    """A point of a curve."""

    utilization: int
    score: int


class RatioParameters(Shape, frozen=True):
    """A curve."""

    shape: tuple[UtilizationShape, ...] = ()


class ScoringStrategy(Shape, frozen=True):
    """How free room is scored."""

    type: str = "LeastAllocated"
    resources: tuple[ResourceSpec, ...] = ()
    requested_to_capacity_ratio: RatioParameters | None = None


class FitArgs(Args, frozen=True):
    """NodeResourcesFitArgs."""

    ignored_resources: tuple[str, ...] = ()
    ignored_resource_groups: tuple[str, ...] = ()
    scoring_strategy: ScoringStrategy = ScoringStrategy()


class BalancedArgs(Args, frozen=True):
    """NodeResourcesBalancedAllocationArgs."""

    resources: tuple[ResourceSpec, ...] = ()


class NodeAffinityArgs(Args, frozen=True):
    """NodeAffinityArgs."""

    added_affinity: NodeAffinity | None = None


class InterPodAffinityArgs(Args, frozen=True):
    """InterPodAffinityArgs."""

    hard_pod_affinity_weight: int = 1
    ignore_preferred_terms_of_existing_pods: bool = False


class DefaultConstraint(Shape, frozen=True):
    """A constraint for pods without any."""

    max_skew: int
    topology_key: str
    when_unsatisfiable: str


class SpreadArgs(Args, frozen=True):
    """PodTopologySpreadArgs."""

    default_constraints: tuple[DefaultConstraint, ...] = ()
    defaulting_type: str = "System"


class VolumeBindingArgs(Args, frozen=True):
    """VolumeBindingArgs."""

    bind_timeout_seconds: int = 600


class PreemptionArgs(Args, frozen=True):
    """DefaultPreemptionArgs."""

    min_candidate_nodes_percentage: int = 10
    min_candidate_nodes_absolute: int = 100


def read(file: Path) -> File:
    """Return the file's content. Raises ConfigError with the path of what is wrong."""
    return parse(read_yaml(file))


def parse(content: Any) -> File:
    """Return what a document says. Raises ConfigError with the path of what is wrong."""
    found = _converted(content, File, "")
    if found.api_version != API_VERSION:
        raise ConfigError("apiVersion", f'expected "{API_VERSION}", got "{found.api_version}"')
    if found.kind != KIND:
        raise ConfigError("kind", f'expected "{KIND}", got "{found.kind}"')
    shares = [(_camel(_SHARE), found.percentage_of_nodes_to_score)]
    shares += [(f"profiles[{at}].{_camel(_SHARE)}", one.percentage_of_nodes_to_score) for at, one in _numbered(found)]
    for path, share in shares:
        if share is not None and not 0 <= share <= 100:
            raise ConfigError(path, f"expected 0 to 100, got {share}")
    if found.parallelism is not None and found.parallelism < 1:
        raise ConfigError("parallelism", f"expected a number from 1 on, got {found.parallelism}")
    return found


def arguments(config: PluginConfig, kind: type[ArgsT], path: str) -> ArgsT:
    """Return a plugin's arguments. Raises ConfigError with the path of what is wrong."""
    found = _converted(config.args, kind, f"{path}.args")
    if found.api_version not in {"", API_VERSION}:
        raise ConfigError(f"{path}.args.apiVersion", f'expected "{API_VERSION}", got "{found.api_version}"')
    if found.kind not in {"", f"{config.name}Args"}:
        raise ConfigError(f"{path}.args.kind", f'expected "{config.name}Args", got "{found.kind}"')
    return found


_Any = TypeVar("_Any")
_AT: Final = re.compile(r"^(?P<what>.*?)(?: - at `\$(?P<path>.*)`)?$", re.DOTALL)
_FIELD: Final = re.compile(r"Object (?P<what>contains unknown|missing required) field `(?P<name>.*)`")
_SAID: Final = {"contains unknown": "there is no such field", "missing required": "a value is needed"}
_SHARE: Final = "percentage_of_nodes_to_score"
_IDLE: Final = (
    _SHARE,
    "parallelism",
    "leader_election",
    "client_connection",
    "enable_profiling",
    "enable_contention_profiling",
    "healthz_bind_address",
    "metrics_bind_address",
    "delay_cache_until_active",
)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _numbered(file: File) -> Iterator[tuple[int, ProfileShape]]:
    return enumerate(file.profiles)


def _converted(content: Any, kind: type[_Any], path: str) -> _Any:
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        match = _AT.match(str(error))
        what, where = (match["what"], match["path"] or "") if match is not None else (str(error), "")
        full = f"{path}{where}".lstrip(".").removesuffix("[...]")
        if (field := _FIELD.fullmatch(what)) is not None:
            full, what = f"{full}.{field['name']}".lstrip("."), _SAID[field["what"]]
        raise ConfigError(full or "the file", what) from error
