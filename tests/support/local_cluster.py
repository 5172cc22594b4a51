"""A local cluster, driven as a user drives it: through `orch`, `kubectl` and plain HTTPS."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from commitment_ledger import CommitmentLedger
from rest import Rest

from orch_cli.layout import Layout
from orch_cli.network import node_network
from orch_cli.process import Pid
from orch_cli.state import cluster_name, free_ports, load_state
from orch_cli.supervisor import SupervisorReport, read_report

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
IMAGES = ROOT / ".orch-images"
CLIENTS = ROOT / ".orch-clients"


class LocalCluster:
    """A cluster in a folder of its own, on a port of its own. `settings` are overrides, ORCH_<SERVICE>_<PATH>."""

    def __init__(
        self,
        state: Path,
        *,
        nodes: int,
        runtime: str,
        mirror: Path | None = None,
        settings: dict[str, str] | None = None,
    ) -> None:
        self.state = state
        self.layout = Layout(state)
        self.nodes = nodes
        self.runtime = runtime
        self.mirror = mirror
        self.settings = settings or {}
        self.commitments = CommitmentLedger(self.rest)
        (self.port,) = free_ports(1)

    def up(self, *options: str) -> str:
        """Bring the cluster up; return what `orch up` printed."""
        mirror = ("--mirror", str(self.mirror)) if self.mirror else ()
        size = ("--nodes", str(self.nodes), "--runtime", self.runtime)
        said = self.orch("up", "--port", str(self.port), *size, *mirror, "--detach", *options, timeout=100)
        self.commitments.open()
        return said

    @property
    def name(self) -> str:
        """What the cluster is called on this machine."""
        return cluster_name(self.state)

    def rest(self, identity: str = "admin", *, token: str = "") -> Rest:
        """Return a client that speaks plain HTTPS, with the certificate of `identity`; "" for none."""
        return Rest(self.port, self.layout.pki, identity=identity, token=token)

    def down(self, *options: str) -> str:
        """Stop the cluster; return what `orch down` printed."""
        return self.orch("down", *options, timeout=100)

    def orch(self, command: str, *arguments: str, timeout: float = 60, check: bool = True) -> str:
        """Run an orch command on this cluster and return its output."""
        argv = (BIN / "orch", command, "--state", self.state, *arguments)
        return run(*argv, timeout=timeout, check=check, environ=self.settings)

    def kubectl(
        self,
        *arguments: str,
        stdin: str = "",
        timeout: float = 60,
        check: bool = True,
        environ: dict[str, str] | None = None,
    ) -> str:
        """Run kubectl and return what it printed on both outputs. Unless `check` is off, it must succeed."""
        more = {**self.environ, **(environ or {})}
        return run(BIN / "kubectl", *arguments, stdin=stdin, timeout=timeout, check=check, environ=more)

    def kubectl_start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start kubectl and return the process, its outputs to be read by the caller."""
        return subprocess.Popen(
            [BIN / "kubectl", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **self.environ},
        )

    def get(self, *arguments: str) -> Any:
        """Return what `kubectl get ARGUMENTS -o json` shows: an object, or the items of a list."""
        shown = json.loads(self.kubectl("get", *arguments, "-o", "json"))
        return shown["items"] if shown["kind"].endswith("List") else shown

    def apply(self, *manifests: dict[str, Any] | str, check: bool = True) -> str:
        """Apply manifests, given as documents or as text."""
        texts = (text if isinstance(text, str) else yaml.safe_dump(text) for text in manifests)
        return self.kubectl("apply", "-f", "-", stdin="\n---\n".join(texts), check=check)

    def wait(self, condition: Callable[[], Any], timeout: float = 60, what: str = "") -> Any:
        """Return what `condition` returns as soon as that is true. What it raises counts as false until the end."""
        deadline = time.monotonic() + timeout
        last: object = None
        while time.monotonic() < deadline:
            try:
                last = condition()
            except (AssertionError, LookupError, ValueError) as error:
                last = error
            else:
                if last:
                    return last
            time.sleep(0.1)
        raise AssertionError(
            f"{what or 'the condition'} did not come true within {timeout:g} s; last: {last!r}\n{self.diagnosis()}"
        )

    def diagnosis(self) -> str:
        """Return what helps to see what is wrong: the cluster's pods and events, and what its processes complain of."""
        everywhere = ("--all-namespaces", "-o", "wide", "--request-timeout=5s")
        said = [
            self.orch("status", check=False),
            self.kubectl("get", "nodes,pods", *everywhere, check=False),
            self.kubectl("get", "events", *everywhere, check=False),
        ]
        for log in sorted(self.layout.logs.glob("*.log")):
            lines = log.read_text(errors="replace").splitlines()
            complaints = [line[:300] for line in lines if " WARNING " in line or " ERROR " in line or "Error" in line]
            said += [f"{log.name}:", *complaints[-8:]]
        return "\n".join(said)

    @property
    def environ(self) -> dict[str, str]:
        """What kubectl needs in its environment; nothing is cached outside the cluster's folder."""
        return {"KUBECONFIG": str(self.layout.kubeconfig), "KUBECACHEDIR": str(self.state / "cache")}

    @property
    def report(self) -> SupervisorReport:
        """What the supervisor says of itself now."""
        report = read_report(self.layout)
        assert report is not None, "the cluster is not up"
        return report

    def pid(self, process: str) -> Pid | None:
        """Return one process's id, None while it does not run. The names are those of `orch status`."""
        return next(each.pid for each in self.report.processes if each.name == process)

    def kill(self, process: str, number: signal.Signals = signal.SIGKILL) -> Pid:
        """Kill one of the cluster's processes; it will be restarted. Returns what was killed."""
        pid = self.pid(process)
        assert pid is not None, f"{process} does not run"
        os.kill(pid.pid, number)
        return pid

    def restarted(self, process: str, since: Pid) -> bool:
        """Say whether the process runs again, as another than `since`."""
        pid = self.pid(process)
        return pid is not None and pid != since and pid.alive()

    def node_namespace(self, node: str) -> str:
        """Return the name of a Podman node's network namespace."""
        state = load_state(self.layout)
        assert state is not None
        return node_network(state.cluster, state.node_names().index(node)).namespace

    def control_groups(self, node: str, container: str = "*") -> list[Path]:
        """Return the control groups of a Podman node's containers that have processes, one a controller with v1."""
        root, own = Path("/sys/fs/cgroup"), f"orch-{self.name}/{node}"
        # Groups go while they are looked through, which a recursive glob does mind.
        walks = (os.walk(place) for place in (root / own, *root.glob(f"*/{own}")))
        found = [Path(folder, name) for walk in walks for folder, names, _ in walk for name in names]
        return [path for path in found if path.match(f"libpod-{container}") and _processes(path)]

    def traces(self) -> dict[str, list[str]]:
        """Return what the cluster has outside its folder; while it is down, every list must be empty."""
        words = (f"orch-{self.name}", str(self.state))
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        commands = {path.parent.name: _words_of(path) for path in Path("/proc").glob("[0-9]*/cmdline")}
        return {
            "namespaces": [path.name for path in Path("/run/netns").glob(f"orch-{self.name}-*")],
            "folders": [str(path) for path in Path("/run").glob(f"orch-{self.name}")],
            "mounts": [line for line in mounts if any(word in line for word in words)],
            "groups": [str(path) for path in Path("/sys/fs/cgroup").glob(f"**/orch-{self.name}")],
            "processes": [f"{pid} {line}" for pid, line in commands.items() if any(word in line for word in words)],
        }

    def in_node(self, node: str, *argv: str, timeout: float = 30, check: bool = True) -> str:
        """Run a command in a Podman node's network and return its output."""
        return self.orch("enter", node, "--", *argv, timeout=timeout, check=check)


def _words_of(cmdline: Path) -> str:
    try:
        return cmdline.read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _processes(group: Path) -> str:
    try:
        return (group / "cgroup.procs").read_text()
    except OSError:  # it went meanwhile: opening it says ENOENT, reading it ENODEV
        return ""


def run(
    *argv: str | Path,
    stdin: str = "",
    timeout: float = 60,
    check: bool = True,
    environ: dict[str, str] | None = None,
) -> str:
    """Run a program and return what it printed on both outputs."""
    done = subprocess.run(
        [str(part) for part in argv],
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, "ORCH_OFFLINE": "1", **(environ or {})},
    )
    if check:
        assert done.returncode == 0, f"{' '.join(map(str, argv))} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout
