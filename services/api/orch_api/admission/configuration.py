"""The configuration of plugins: an AdmissionConfiguration of apiserver.config.k8s.io/v1, and which plugins are on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import msgspec

from orch import config
from orch.errors import ConfigError

StructT = TypeVar("StructT", bound=msgspec.Struct)

_ENABLE: Final = "enable_admission_plugins"
_DISABLE: Final = "disable_admission_plugins"
_FILE: Final = "admission_control_config_file"


class Given(msgspec.Struct, frozen=True):
    """What a file says for one plugin, or that it says nothing, and where."""

    content: Any = None
    place: str = ""

    @property
    def present(self) -> bool:
        """Whether anything was said."""
        return self.content is not None

    def read(self, kind: type[StructT]) -> StructT:
        """Return it as a Struct. Raises ConfigError with the path of what is wrong."""
        return config.decode(kind, self.content, self.place)

    def refuse(self, path: str, problem: str) -> ConfigError:
        """Return the error for a value whose type is right, but which cannot be."""
        return ConfigError(f"{self.place}: {path}", problem)

    def missing(self, name: str) -> ConfigError:
        """Return the error for a plugin that is on without the configuration that it cannot do without."""
        return ConfigError(_FILE, f"{name} is on and has no configuration there")


NOTHING_GIVEN: Final = Given()


class _Plugin(msgspec.Struct, frozen=True, kw_only=True):
    """One plugin's part: inline, or the file that holds it."""

    name: str
    path: str = ""
    configuration: dict[str, Any] | None = None


class _File(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """An AdmissionConfiguration."""

    api_version: Literal["apiserver.config.k8s.io/v1"]
    kind: Literal["AdmissionConfiguration"]
    plugins: tuple[_Plugin, ...] = ()


def read_configuration(file: Path, configurable: Sequence[str], known: Sequence[str]) -> Mapping[str, Given]:
    """Return what a file says, by plugin. Raises ConfigError with the place in it that is wrong."""
    found: dict[str, Given] = {}
    for index, one in enumerate(config.read(file, _File).plugins):
        place = f"plugins[{index}]"
        if one.name not in known:
            raise ConfigError(f"{file}: {place}.name", f"there is no plugin {one.name!r}; known: {', '.join(known)}")
        if one.name in found:
            raise ConfigError(f"{file}: {place}.name", f"{one.name} is configured twice")
        if one.path and one.configuration is not None:
            raise ConfigError(f"{file}: {place}.path", "may not be given beside a configuration")
        if one.name not in configurable and (one.path or one.configuration):
            raise ConfigError(f"{file}: {place}.name", f"{one.name} takes no configuration")
        if one.path:
            other = file.parent / one.path
            found[one.name] = Given(config.read_tree(other), str(other))
        else:
            found[one.name] = Given(one.configuration, f"{file}: {place}.configuration")
    return found


def chosen(default: Sequence[str], known: Sequence[str], enable: Sequence[str], disable: Sequence[str]) -> set[str]:
    """Return the names of the plugins that are on. Raises ConfigError for names that are unknown, or in both lists."""
    for setting, names in ((_ENABLE, enable), (_DISABLE, disable)):
        for name in names:
            if name not in known:
                raise ConfigError(setting, f"there is no admission plugin {name!r}; known: {', '.join(known)}")
    if both := sorted(set(enable) & set(disable)):
        raise ConfigError(_DISABLE, f"{', '.join(both)} is in {_ENABLE}, too")
    return (set(default) | set(enable)) - set(disable)
