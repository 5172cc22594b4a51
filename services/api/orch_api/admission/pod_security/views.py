"""What the checks look at: a pod's or a template's metadata and spec, as documents."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from orch_api.strategy import Document, section

_LISTS = ("initContainers", "containers", "ephemeralContainers")


class Looked(msgspec.Struct, frozen=True):
    """A pod as it is checked."""

    annotations: Mapping[str, str]
    spec: Document

    @property
    def containers(self) -> Iterator[Document]:
        """All containers, those for starting first."""
        return (container for part in _LISTS for container in self.spec.get(part) or ())

    @property
    def security(self) -> Document:
        """The security context of the pod as a whole."""
        return section(self.spec, "securityContext")

    @property
    def is_windows(self) -> bool:
        """Whether the pod says that it is for Windows, where some settings do not exist."""
        return section(self.spec, "os").get("name") == "windows"

    @property
    def has_own_users(self) -> bool:
        """Whether its users are others than the node's (hostUsers: false)."""
        return self.spec.get("hostUsers") is False

    def named(self, wanted: Callable[[Document], bool]) -> list[str]:
        """Return the names of the containers whose security context is such."""
        return [one.get("name") or "" for one in self.containers if wanted(section(one, "securityContext"))]


class Finding(msgspec.Struct, frozen=True):
    """What a check forbids: a few words, and where exactly."""

    reason: str
    detail: str

    def __str__(self) -> str:
        """Return it as refusals show it."""
        return f"{self.reason} ({self.detail})" if self.detail else self.reason


def quoted(items: Iterable[Any]) -> str:
    """Return items in quotes, with commas between."""
    return ", ".join(f'"{item}"' for item in items)


def plural(one: str, many: str, items: Iterable[Any]) -> str:
    """Return the word for so many items."""
    return one if len(list(items)) == 1 else many


def containers(names: list[str]) -> str:
    """Return names as messages begin with them: `containers "a", "b"`."""
    return f"{plural('container', 'containers', names)} {quoted(names)}"


def setters(pod: bool, names: list[str]) -> str:
    """Return who sets something: the pod, containers or both; "" for nobody."""
    who = ["pod"] if pod else []
    return " and ".join([*who, containers(names)] if names else who)
