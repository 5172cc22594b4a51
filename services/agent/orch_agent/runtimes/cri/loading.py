"""Brings the runtime by CRI into a process in which it was chosen: gRPC takes memory, which other nodes save."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from orch.clock import Clock
from orch.errors import ConfigError
from orch_agent.runtimes.cri.settings import CriSettings

if TYPE_CHECKING:
    from orch_agent.runtimes.cri.runtime import CriRuntime


def load(
    settings: CriSettings,
    node: str,
    clock: Clock,
    *,
    cgroup_parent: str,
    logs: Path,
    streams_in: str,
    log_max_size: int,
    log_max_files: int,
) -> CriRuntime:
    """Return the runtime of a node. Raises ConfigError where gRPC is not installed."""
    try:
        module = importlib.import_module("orch_agent.runtimes.cri.runtime")
    except ModuleNotFoundError as error:
        raise ConfigError("runtime", f'"cri" needs the package grpcio, of the extra agent-cri: {error}') from error
    runtime: type[CriRuntime] = module.CriRuntime
    return runtime(
        settings,
        node,
        clock,
        cgroup_parent=cgroup_parent,
        logs=logs,
        streams_in=streams_in,
        log_max_size=log_max_size,
        log_max_files=log_max_files,
    )
