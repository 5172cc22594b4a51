"""A containerd of a test session's own, in a network namespace that is its node; the machine's own is not touched."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from image_archives import docker_archive

from orch_agent.runtimes.cri.network import install
from orch_agent.runtimes.cri.settings import CriSettings

PAUSE = "localhost/orch/pause:1"
_CONFIG = """
version = 2
root = "{root}"
state = "{state}"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.internal.v1.opt", "io.containerd.internal.v1.tracing",
]
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{binaries}"
    conf_dir = "{configurations}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{snapshotter}"
"""


class ContainerdNode:
    """The service and its folders. `layer` is the root file system of its images, which has a busybox."""

    def __init__(self, folder: Path, layer: bytes) -> None:
        name = f"orch-cri-{os.getpid()}"
        self.folder = folder
        self.namespace = name
        self.group = f"/{name}"
        self.volatile = Path(f"/run/{name}")
        self.socket = self.volatile / "containerd.sock"
        self.settings = CriSettings(
            endpoint=f"unix://{self.socket}",
            cni_bin_dir=str(folder / "cni/bin"),
            cni_conf_dir=str(folder / "cni/net.d"),
        )
        self._layer = layer
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Make the node, and start containerd on it with an image for sandboxes."""
        subprocess.run(["ip", "netns", "add", self.namespace], check=True)
        subprocess.run(["ip", "-n", self.namespace, "link", "set", "lo", "up"], check=True)
        self.volatile.mkdir()
        install(self.settings)
        config = _CONFIG.format(
            root=self.folder / "root",
            state=self.volatile / "state",
            socket=self.socket,
            pause=PAUSE,
            binaries=self.settings.cni_bin_dir,
            configurations=self.settings.cni_conf_dir,
            snapshotter="overlayfs" if "\toverlay\n" in Path("/proc/filesystems").read_text() else "native",
        )
        (self.folder / "config.toml").write_text(config)
        self.start_service()
        self.load(
            PAUSE, {"Entrypoint": ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done"]}
        )

    def load(self, name: str, config: Mapping[str, Any], *, architecture: str = "") -> None:
        """Give it an image."""
        archive = self.folder / "image.tar"
        archive.write_bytes(docker_archive(self._layer, name, config, architecture=architecture))
        self.ctr("images", "import", "--all-platforms", str(archive))

    def ctr(self, *arguments: str) -> str:
        """Run containerd's own client on what CRI sees, and return its output."""
        command = ["ctr", "--address", str(self.socket), "--namespace", "k8s.io", *arguments]
        done = subprocess.run(command, check=False, capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def start_service(self) -> None:
        """Start containerd and wait until it answers."""
        with (self.folder / "containerd.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *("setpriv", "--pdeathsig", "KILL", "nsenter", f"--net=/run/netns/{self.namespace}"),
                    *("containerd", "--config", str(self.folder / "config.toml")),
                ],
                stdout=log,
                stderr=log,
                cwd=self.volatile,
            )
        _wait_until(self._answers, f"containerd does not answer; see {self.folder}/containerd.log")

    def kill_service(self) -> None:
        """Kill containerd. Its containers go on."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=10)
            self._process = None

    def stop(self) -> None:
        """Remove all that was started; fail if anything is left."""
        left = self.ctr("containers", "list", "--quiet")
        assert not left, f"containers are left: {left}"
        _wait_until(lambda: not self._shims(), "shims stay")
        assert self._process is not None
        self._process.terminate()
        self._process.wait(timeout=10)
        mounted = (line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
        folders = (str(self.folder), str(self.volatile))
        assert [path for path in mounted if path.startswith(folders)] == []
        shutil.rmtree(self.volatile)
        subprocess.run(["ip", "netns", "delete", self.namespace], check=True)
        _wait_until(lambda: not self._groups(), "control groups stay")

    def _answers(self) -> bool:
        command = ["ctr", "--address", str(self.socket), "--connect-timeout", "1s", "plugins", "list"]
        done = subprocess.run(command, check=False, capture_output=True, timeout=20)
        plugins = [line.split() for line in done.stdout.decode().splitlines()]
        return any(each[1:2] == ["cri"] and each[-1] == "ok" for each in plugins)

    def _shims(self) -> list[str]:
        lines = (_command_line(each) for each in Path("/proc").glob("[0-9]*"))
        return [line for line in lines if "containerd-shim" in line and str(self.socket) in line]

    def _groups(self) -> list[str]:
        """Remove the node's control groups; return those that are still in use."""
        used: list[str] = []
        for controller in Path("/sys/fs/cgroup").iterdir():
            for folder, _, _ in os.walk(controller / self.group.lstrip("/"), topdown=False):
                try:
                    Path(folder).rmdir()
                except OSError:
                    used.append(folder)
        return used


def _command_line(process: Path) -> str:
    try:
        return (process / "cmdline").read_text()
    except OSError:
        return ""


def _wait_until(condition: Callable[[], object], otherwise: str, timeout: float = 20) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.05)
