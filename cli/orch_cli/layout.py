"""Where everything of a local cluster lies below its state folder."""

from __future__ import annotations

from pathlib import Path

import msgspec


class Layout(msgspec.Struct, frozen=True):
    """The paths of one cluster. Sockets and what must vanish with a reboot lie in `/run`, whose paths are short."""

    root: Path

    @property
    def lock_file(self) -> Path:
        """Locked by the supervisor for as long as it lives."""
        return self.root / "supervisor.lock"

    @property
    def state_file(self) -> Path:
        """What a later `orch up` must find again: name, ports, nodes, runtime."""
        return self.root / "state.json"

    @property
    def report_file(self) -> Path:
        """What the supervisor says of itself and of its processes."""
        return self.root / "run" / "supervisor.json"

    @property
    def supervisor_log(self) -> Path:
        """What a detached `orch up` says."""
        return self.root / "logs" / "supervisor.log"

    @property
    def kubeconfig(self) -> Path:
        """The user's way in."""
        return self.root / "kubeconfig"

    @property
    def pki(self) -> Path:
        """Certificates and keys."""
        return self.root / "pki"

    @property
    def config(self) -> Path:
        """The configuration files of all processes, written anew at each start."""
        return self.root / "config"

    @property
    def logs(self) -> Path:
        """One log a process."""
        return self.root / "logs"

    @property
    def pids(self) -> Path:
        """One file a process, with its id and when it started."""
        return self.root / "run"

    @property
    def data(self) -> Path:
        """What etcd, NATS and the nodes keep."""
        return self.root / "data"

    @property
    def bus_keys(self) -> Path:
        """The keys of the nodes that joined: written by the api, followed by the supervisor."""
        return self.root / "data" / "bus-keys.json"

    @property
    def nats_config(self) -> Path:
        """The NATS server's configuration: who may connect, and what each may do."""
        return self.root / "config" / "nats.conf"

    @property
    def nodes(self) -> Path:
        """What each Podman node keeps, its images above all."""
        return self.root / "data" / "nodes"
