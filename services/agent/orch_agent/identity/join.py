"""`orch-agent join`: makes this machine a node of a cluster, then runs its agent.

    orch-agent join --server https://… --token … --ca-cert-hash sha256:…

What it gets is kept in the state folder. Later starts need no token: `orch-agent --config STATE/agent.yaml`.
"""

from __future__ import annotations

import argparse
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from orch.config import load, read_tree
from orch.errors import OrchError
from orch_agent.config import AgentConfig
from orch_agent.identity.certificate import write_private
from orch_agent.identity.enrolment import Invitation, enrol

_STATE: Final = "/var/lib/orch/agent"
_SETTINGS: Final = "agent.yaml"


def join(arguments: Sequence[str]) -> Path | None:
    """Join a cluster; return the file of the settings to run the agent with, None when it shall not run now.

    Exits with 1, having said why, when it cannot.
    """
    parsed = _parser().parse_args(arguments)
    try:
        file = _join(parsed)
    except (OrchError, OSError) as error:
        sys.stderr.write(f"orch-agent: {error}\n")
        sys.exit(1)
    sys.stdout.write(f"This is node {parsed.node_name} now; its settings are in {file}\n")
    sys.stdout.flush()
    return None if parsed.enrol_only else file


def _join(parsed: argparse.Namespace) -> Path:
    state: Path = parsed.state_dir.resolve()
    given: dict[str, Any] = read_tree(parsed.config) if parsed.config else {}
    invitation = Invitation(server=parsed.server, token=parsed.token, pin=parsed.ca_cert_hash)
    made = enrol(invitation, parsed.node_name, state / "identity")
    settings: dict[str, Any] = {
        "node_ip": made.address,
        "pod_cidr": made.pod_cidr,
        **given,
        **({"runtime": parsed.runtime} if parsed.runtime else {}),
        **({"node_ip": parsed.node_ip} if parsed.node_ip else {}),
        "node_name": parsed.node_name,
        "state_dir": str(state),
        "identity": {"server": parsed.server},
        "nats": msgspec.to_builtins(made.nats),
    }
    file = state / _SETTINGS
    write_private(file, yaml.safe_dump(settings, sort_keys=False).encode())
    load(AgentConfig, service="agent", file=file).check()
    return file


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="orch-agent join", description="Make this machine a node of a cluster.")
    parser.add_argument("--server", required=True, metavar="URL", help="the API, such as https://10.0.0.1:6443")
    parser.add_argument("--token", required=True, help="what `orch token create` has printed")
    parser.add_argument("--ca-cert-hash", required=True, metavar="sha256:HEX", help="whom to believe")
    parser.add_argument(
        "--node-name", default=socket.gethostname().lower(), metavar="NAME", help="(default: the machine's name)"
    )
    parser.add_argument("--node-ip", default="", metavar="ADDRESS", help="(default: the one that leads to the API)")
    parser.add_argument(
        "--runtime", choices=("podman", "cri", "simulated"), help="what pods run with (default: podman)"
    )
    parser.add_argument(
        "--state-dir", type=Path, default=Path(_STATE), metavar="DIR", help="what is kept (default: %(default)s)"
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="further settings of the agent")
    parser.add_argument("--enrol-only", action="store_true", help="do not run the agent now")
    return parser
