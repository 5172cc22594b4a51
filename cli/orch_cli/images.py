"""Where the nodes' Podman takes images from, which have no route outward.

With a mirror, a registry over its folder runs in the fabric's namespace and stands in for docker.io altogether: no
other server is asked. Otherwise pulls pass through the doorway to the real registries. With ORCH_OFFLINE=1 there is
neither, and a node has only what is pulled already.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from orch_cli import programs
from orch_cli.network import FABRIC_ADDRESS, FABRIC_RANGE, NAMESPACES, fabric_namespace
from orch_cli.pki import write_private
from orch_cli.process import Program
from orch_cli.state import ClusterState

_MIRROR: Final = f"{FABRIC_ADDRESS}:5000"
_DOORWAY: Final = f"{FABRIC_ADDRESS}:3128"


def offline() -> bool:
    """Say whether the user forbade to ask any registry on the network."""
    return os.environ.get("ORCH_OFFLINE") == "1"


def image_programs(state: ClusterState, config: Path) -> list[Program]:
    """Return what must run so that nodes can pull, its configuration written."""
    namespace = NAMESPACES / fabric_namespace(state.cluster)
    if state.mirror:
        settings = {
            "version": 0.1,
            "log": {"level": "warn", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": state.mirror}, "maintenance": {"readonly": {"enabled": True}}},
            "http": {"addr": _MIRROR},
        }
        file = config / "mirror.yaml"
        write_private(file, json.dumps(settings, indent=2).encode())
        argv = ("nsenter", f"--net={namespace}", "--", programs.executable("docker-registry"), "serve", str(file))
        return [Program(name="mirror", argv=argv, stage=programs.STORES)]
    if offline():
        return []
    argv = (
        *(sys.executable, "-m", "orch_cli.doorway", "--namespace", str(namespace)),
        *("--listen", _DOORWAY, "--clients", str(FABRIC_RANGE)),
    )
    return [Program(name="doorway", argv=argv, stage=programs.STORES)]


def registries_file(state: ClusterState, config: Path) -> str:
    """Write Podman's registries.conf and return its path."""
    file = config / "registries.conf"
    write_private(file, registries(_MIRROR if state.mirror else ""))
    return str(file)


def registries(mirror: str) -> bytes:
    """Return a registries.conf; `mirror` is the host and port of a registry over HTTP that stands in for docker.io."""
    lines = ['unqualified-search-registries = ["docker.io"]']
    if mirror:
        lines += ["[[registry]]", 'prefix = "docker.io"', f'location = "{mirror}"', "insecure = true"]
    return ("\n".join(lines) + "\n").encode()


def pull_environment(state: ClusterState) -> Mapping[str, str]:
    """Return the environment in which Podman finds the doorway."""
    return {} if state.mirror or offline() else {"HTTPS_PROXY": f"http://{_DOORWAY}"}
