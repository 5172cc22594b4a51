"""The one visible list of admission plugins, in the order in which requests pass them: Kubernetes' order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from orch_api.admission.chain import Chain, Plugin
from orch_api.admission.configuration import NOTHING_GIVEN, Given, chosen, read_configuration
from orch_api.admission.ground import Ground
from orch_api.admission.namespaces import NamespaceLifecycle
from orch_api.admission.policies import MutatingPolicies, ValidatingPolicies
from orch_api.admission.priorities import Priorities
from orch_api.config import ApiConfig


class Entry(msgspec.Struct, frozen=True):
    """A plugin, whether it is on unless a setting says otherwise, and whether it takes a configuration."""

    kind: type[Plugin]
    make: Callable[[Ground, Given], Plugin]
    on: bool = True
    configurable: bool = False

    @property
    def name(self) -> str:
        """The plugin's name."""
        return self.kind.name


PLUGINS: Final = (
    Entry(NamespaceLifecycle, lambda ground, _: NamespaceLifecycle(ground.cache)),
    Entry(Priorities, lambda ground, _: Priorities(ground.cache)),
    Entry(
        MutatingPolicies,
        lambda ground, _: MutatingPolicies(
            ground.cache, ground.registry, ground.schemas, ground.authorizer, ground.scale
        ),
    ),
    Entry(
        ValidatingPolicies,
        lambda ground, _: ValidatingPolicies(ground.cache, ground.registry, ground.authorizer, ground.scale),
    ),
)


def build(ground: Ground, config: ApiConfig) -> Chain:
    """Return the chain that the settings ask for. Raises ConfigError."""
    known = tuple(entry.name for entry in PLUGINS)
    default = tuple(entry.name for entry in PLUGINS if entry.on)
    names = chosen(default, known, config.enable_admission_plugins, config.disable_admission_plugins)
    configurable = tuple(entry.name for entry in PLUGINS if entry.configurable)
    file = config.admission_control_config_file
    given: Mapping[str, Given] = read_configuration(Path(file), configurable, known) if file else {}
    return Chain([one.make(ground, given.get(one.name, NOTHING_GIVEN)) for one in PLUGINS if one.name in names])
