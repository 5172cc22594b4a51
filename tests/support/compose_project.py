"""deploy/compose brought up by Compose v2 on Podman's Docker-compatible socket, in a network namespace of its own.

Nothing of the machine's is touched: Podman's storage is in a folder, the images come read-only from the store that
tools/images/services.py fills, the bridges between the containers are inside the namespace, from where the API is
asked, and in a mount namespace of its own Podman sees no addresses that others have given. Two things that Docker has
and this Podman lacks are played here: health checks at intervals (Podman leaves them to systemd's timers), and the
registry that nodes pull from.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
CONTAINERS_CONF = """
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
exit_command_delay = 1
lock_type = "file"
"""


# Podman remembers the addresses of all its networks, whatever their storage, in one folder of the machine.
PRIVATELY = ("unshare", "--mount", "sh", "-euc")
ADDRESSES = 'mkdir -p /run/containers; mount -t tmpfs tmpfs /run/containers; exec "$@"'


class ComposeProject:
    """One cluster of containers. Made and removed by `start` and `remove`."""

    def __init__(self, folder: Path, images: Path, mirror: Path) -> None:
        self.folder = folder
        self.name = f"orch-compose-{os.getpid()}"
        self.project = folder / "deploy/compose"
        self._images = images
        self._mirror = mirror
        self._volatile = Path("/run") / self.name
        self._socket = self._volatile / "podman.sock"
        self._processes: list[subprocess.Popen[bytes]] = []
        self._health = HealthChecks(self._socket)

    def start(self) -> None:
        """Run Podman and the registry inside a new network namespace."""
        shutil.copytree(ROOT / "deploy/compose", self.project, ignore=shutil.ignore_patterns("state"))
        (self.project / "state").mkdir()
        self._volatile.mkdir()
        (self.folder / "containers.conf").write_text(CONTAINERS_CONF)
        run("ip", "netns", "add", self.name)
        run("ip", "-n", self.name, "link", "set", "dev", "lo", "up")
        service = (*self._podman(), "system", "service", "--time=0", f"unix://{self._socket}")
        self._spawn("podman", *PRIVATELY, ADDRESSES, "sh", *service)
        settings = {
            "version": 0.1,
            "log": {"level": "warn", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(self._mirror)},
                "maintenance": {"readonly": {"enabled": True}},
            },
            "http": {"addr": "0.0.0.0:5000"},
        }
        (self.folder / "mirror.json").write_text(json.dumps(settings))
        self._spawn("mirror", "docker-registry", "serve", str(self.folder / "mirror.json"))
        wait_for(self._answers, 20, "Podman's socket")
        self._health.start()

    def compose(self, *arguments: str, timeout: float = 60, check: bool = True, **environ: str) -> str:
        """Run Compose on the project; return what it printed."""
        settings = {
            "DOCKER_HOST": f"unix://{self._socket}",
            "DOCKER_CONFIG": str(self.folder),
            "COMPOSE_PROFILES": "",
            "ORCH_OTLP_ENDPOINT": "",
            "ORCH_MIRROR": "10.245.0.1:5000",
        }
        command = (BIN / "docker-compose", "--project-directory", self.project, "--progress", "plain", *arguments)
        return run(*command, timeout=timeout, check=check, environ=settings | environ)

    def podman(self, *arguments: str, timeout: float = 60, check: bool = True) -> str:
        """Run a podman command on the project's containers."""
        return run("podman", "--url", f"unix://{self._socket}", *arguments, timeout=timeout, check=check)

    def kubectl(self, *arguments: str, stdin: str = "", timeout: float = 60, check: bool = True) -> str:
        """Run kubectl with the kubeconfig that the project wrote, from within the namespace."""
        environ = {"KUBECONFIG": str(self.project / "state/kubeconfig"), "KUBECACHEDIR": str(self.folder / "cache")}
        command = (*self._inside(), BIN / "kubectl", *arguments)
        return run(*command, stdin=stdin, timeout=timeout, check=check, environ=environ)

    def python(self, program: str, *arguments: str) -> str:
        """Run a Python program from within the namespace."""
        return run(*self._inside(), sys.executable, "-c", program, *arguments)

    def get(self, *arguments: str) -> Any:
        """Return what `kubectl get ARGUMENTS -o json` shows: an object, or the items of a list."""
        shown = json.loads(self.kubectl("get", *arguments, "-o", "json"))
        return shown["items"] if shown["kind"].endswith("List") else shown

    def left(self) -> dict[str, list[str]]:
        """Return what a project that is down has left, apart from Podman and the registry, which still run."""
        links = json.loads(run("ip", "-json", "-n", self.name, "link", "show"))
        mounts = Path(f"/proc/{self._processes[0].pid}/mountinfo").read_text().splitlines()
        ours = {process.pid for process in self._processes}
        return {
            "containers": self.podman("ps", "--all", "--quiet").split(),
            "volumes": self.podman("volume", "ls", "--quiet").split(),
            "networks": [
                name for name in self.podman("network", "ls", "--format", "{{.Name}}").split() if name != "podman"
            ],
            "links": [link["ifname"] for link in links if link["ifname"] != "lo"],
            "mounts": [line for line in mounts if f"{self.folder}/storage/overlay/" in line],
            "processes": [command_of(pid) for pid in self._inhabitants() if int(pid) not in ours],
        }

    def remove(self) -> None:
        """Take everything away."""
        self._health.stop()
        if self._socket.exists():
            self.podman("rm", "--all", "--force", "--time", "0", check=False)
        for process in reversed(self._processes):
            process.terminate()
            process.wait(timeout=20)
        for pid in self._inhabitants():
            os.kill(int(pid), 9)
        run("ip", "netns", "delete", self.name)
        shutil.rmtree(self.folder / "storage")
        shutil.rmtree(self._volatile)

    def _podman(self) -> tuple[str, ...]:
        folders = {
            "root": self.folder / "storage",
            "runroot": self._volatile / "run",
            "tmpdir": self._volatile / "tmp",
            "network-config-dir": self.folder / "networks",
        }
        store = f"--storage-opt=additionalimagestore={self._images}"
        return ("podman", *(f"--{name}={path}" for name, path in folders.items()), store)

    def _inside(self) -> tuple[str, ...]:
        return ("nsenter", f"--net=/run/netns/{self.name}")

    def _spawn(self, name: str, *command: str) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            environ = {**os.environ, "CONTAINERS_CONF": str(self.folder / "containers.conf")}
            argv = ("setpriv", "--pdeathsig", "TERM", *self._inside(), *command)
            self._processes.append(subprocess.Popen(argv, stdout=log, stderr=log, env=environ))

    def _inhabitants(self) -> list[str]:
        """Return the processes in the namespace, its resolver for the containers' names among them."""
        return run("ip", "netns", "pids", self.name).split()

    def _answers(self) -> bool:
        try:
            return ask(self._socket, "/_ping") == b"OK"
        except OSError:
            return False


class HealthChecks:
    """Runs every container's health check again and again, as Docker's daemon does."""

    def __init__(self, path: Path) -> None:
        self._socket = path
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(1):
            for container in json.loads(ask(self._socket, "/containers/json")):
                if self._stop.is_set():
                    break
                # One without a check, or that ended meanwhile, is refused; that is no concern of ours.
                ask(self._socket, f"/v4.0.0/libpod/containers/{container['Id']}/healthcheck")


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def ask(path: Path, question: str) -> bytes:
    """Return what an HTTP server on a Unix socket answers, whatever its status."""
    connection = UnixConnection(path)
    try:
        connection.request("GET", question)
        return connection.getresponse().read()
    finally:
        connection.close()


def command_of(pid: str) -> str:
    """Return a process's number and, unless it has ended meanwhile, its command line."""
    try:
        return f"{pid} " + Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except FileNotFoundError:
        return pid


def wait_for(condition: Callable[[], Any], timeout: float, what: str) -> Any:
    """Return what `condition` returns as soon as that is true; what it raises as AssertionError counts as false."""
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
        time.sleep(0.2)
    raise AssertionError(f"{what} did not come true within {timeout:g} s; last: {last!r}")


def run(
    *argv: str | Path, stdin: str = "", timeout: float = 60, check: bool = True, environ: dict[str, str] | None = None
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
        env={**os.environ, **(environ or {})},
    )
    if check:
        assert done.returncode == 0, f"{' '.join(map(str, argv))} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout
