"""How a CRI runtime gets the networks that the agent makes: a plug-in for it, installed as network add-ons do.

See docs/adr/0011. The runtime makes a network namespace for each pod and has a plug-in furnish it; ours puts the one
that `network/sandbox` has made in its place.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Final

from orch_agent.runtimes.cri.settings import CriSettings

_LOG: Final = logging.getLogger(__name__)
_PLUGIN: Final = "orch-netns"
_LOOPBACK: Final = "loopback"
_CONFIGURATION: Final = "00-orch.conflist"
_ANNOTATIONS: Final = "io.kubernetes.cri.pod-annotations"
"""What makes a runtime pass a sandbox's annotations on; one of them is the path of the pod's namespace."""
_CNI_VERSION: Final = "0.4.0"


def install(settings: CriSettings) -> None:
    """Write the plug-in and its configuration, if the settings say where. What is there already stays as it is."""
    if not settings.cni_conf_dir:
        return
    binaries, configurations = Path(settings.cni_bin_dir), Path(settings.cni_conf_dir)
    plugin = Path(__file__).with_name(_PLUGIN).read_text()
    _write(binaries / _PLUGIN, plugin, 0o755)
    if not (binaries / _LOOPBACK).exists():
        _write(binaries / _LOOPBACK, plugin, 0o755)
    configuration = {
        "cniVersion": _CNI_VERSION,
        "name": "orch",
        "plugins": [{"type": _PLUGIN, "capabilities": {_ANNOTATIONS: True}}],
    }
    _write(configurations / _CONFIGURATION, json.dumps(configuration, indent=2) + "\n", 0o644)


def _write(path: Path, content: str, mode: int) -> None:
    """Write a file at once: a runtime that looks sees the old one or the new one."""
    if path.exists() and path.read_text() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.new")
    scratch.write_text(content)
    scratch.chmod(mode)
    scratch.replace(path)
    _LOG.info("wrote %s", path)
