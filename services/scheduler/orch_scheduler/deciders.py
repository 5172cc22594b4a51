"""What decides for the pods of each schedulerName: the profiles that the settings name, with an engine each."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from orch.config import read_yaml
from orch.errors import ConfigError
from orch_scheduler import profile_file
from orch_scheduler.config import SchedulerConfig
from orch_scheduler.engine import Engine
from orch_scheduler.filters.neighbours import InterPodAffinity
from orch_scheduler.profile_file import API_VERSION, KIND, File, Plugin, Plugins, PluginSet, ProfileShape
from orch_scheduler.profiles import Profile, default_profile, profiles_of
from orch_scheduler.queue import Backoff

log = logging.getLogger(__name__)


class Decider(msgspec.Struct, frozen=True):
    """A profile at work. `preempts`: whether its pods may cost others their place."""

    profile: Profile
    engine: Engine

    @property
    def name(self) -> str:
        """The schedulerName."""
        return self.profile.name

    @property
    def hash(self) -> str:
        """What the engine was made of, in short."""
        return self.profile.hash

    @property
    def volume_seconds(self) -> float:
        """Return for how long a pod waits for its volumes (VolumeBindingArgs)."""
        return self.profile.volume_seconds

    @property
    def preempts(self) -> bool:
        """Whether pods of this profile may cost others their place."""
        return self.profile.preempts

    def enough(self, nodes: int) -> int:
        """Return among how many nodes victims are looked for (DefaultPreemptionArgs)."""
        args = self.profile.preemption
        return max(args.min_candidate_nodes_absolute, nodes * args.min_candidate_nodes_percentage // 100)


class Deciders(msgspec.Struct, frozen=True):
    """The profiles, by name, and how long their pods back off."""

    by_name: dict[str, Decider]
    backoff: Backoff

    @property
    def names(self) -> tuple[str, ...]:
        """The schedulerNames, in the file's order."""
        return tuple(self.by_name)

    @property
    def profiles(self) -> tuple[Profile, ...]:
        """The profiles, in the file's order."""
        return tuple(decider.profile for decider in self.by_name.values())


def deciders_of(config: SchedulerConfig) -> Deciders:
    """Return what the settings ask for. Raises ConfigError with the path of what is wrong in the profiles' file."""
    if not config.profiles:
        profile = default_profile(config.scheduler_name)
        if not config.pod_affinity:
            lonely = Plugins(filter=PluginSet(disabled=(Plugin(name=InterPodAffinity.name),)))
            shape = ProfileShape(scheduler_name=config.scheduler_name, plugins=lonely)
            (profile,) = profiles_of(File(api_version=API_VERSION, kind=KIND, profiles=(shape,)))
        backoff = Backoff(config.pod_initial_backoff, config.pod_max_backoff)
        return Deciders({profile.name: Decider(profile, profile.engine())}, backoff)
    content = read_yaml(Path(config.profiles))
    try:
        file = profile_file.parse(content)
        found = {profile.name: Decider(profile, profile.engine()) for profile in profiles_of(file)}
        backoff = _backoff(file, config)
    except ConfigError as error:
        raise ConfigError(error.path, f"{error.problem} (in {config.profiles})") from error
    for path in file.idle():
        log.info("%s: %s has no effect here", config.profiles, path)
    return Deciders(found, backoff)


def _backoff(file: profile_file.File, config: SchedulerConfig) -> Backoff:
    first, most = file.pod_initial_backoff_seconds, file.pod_max_backoff_seconds
    if first is not None and first < 1:
        raise ConfigError("podInitialBackoffSeconds", f"expected a number from 1 on, got {first}")
    backoff = Backoff(
        config.pod_initial_backoff if first is None else float(first),
        config.pod_max_backoff if most is None else float(most),
    )
    if backoff.most < backoff.first:
        raise ConfigError("podMaxBackoffSeconds", f"expected {backoff.first:g} at least, got {backoff.most:g}")
    return backoff
