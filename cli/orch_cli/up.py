"""`orch up`: in the foreground, or detached from the terminal."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Final, TextIO

from orch.errors import ConfigError, OrchError
from orch_cli.cluster import Cluster
from orch_cli.layout import Layout
from orch_cli.process import rotate
from orch_cli.state import Wishes, free_ports, only_supervisor, port_is_free, settle_state
from orch_cli.supervisor import Supervisor, read_report

_PODMAN_PROGRAMS: Final = ("podman", "runc", "ip", "nsenter")


def up(layout: Layout, wishes: Wishes, *, began: float) -> int:
    """Run the cluster until it is interrupted or told to go down."""
    logging.basicConfig(level=logging.INFO, format="          %(message)s", stream=sys.stdout)
    with only_supervisor(layout):
        state = settle_state(layout, wishes)
        if state.runtime == "podman":
            require_podman()
        if not port_is_free(state.ports.api):
            (free,) = free_ports(1)
            raise ConfigError(
                "--port", f"{state.ports.api} is in use; choose another for the API, such as --port {free}"
            )
        kind = "node" if state.nodes == 1 else "nodes"
        _say(f"Cluster of {state.nodes} {state.runtime} {kind} in {layout.root}")
        supervisor = Supervisor(Cluster(layout, state), say=_say, began=began)
        asyncio.run(_until_signalled(supervisor))
    return 0


def up_detached(layout: Layout, wishes: Wishes, *, began: float) -> int:
    """Start the cluster in a process of its own and return when it is ready."""
    layout.logs.mkdir(parents=True, exist_ok=True, mode=0o700)
    rotate(layout.supervisor_log)
    descriptor = os.open(layout.supervisor_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with layout.supervisor_log.open() as said:
        said.seek(0, os.SEEK_END)
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "orch_cli", "up", "--state", str(layout.root), *_options(wishes)],
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            start_new_session=True,
        )
        os.close(descriptor)
        try:
            ready = _await_ready(layout, process, said)
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            raise
    if not ready:
        return process.returncode or 1
    print(f"Ready in {time.monotonic() - began:.2f} s")
    print(f"  export KUBECONFIG={layout.kubeconfig}")
    return 0


def _await_ready(layout: Layout, process: subprocess.Popen[bytes], said: TextIO) -> bool:
    """Show what the supervisor says until it is ready; False when it ended instead."""
    while True:
        ended = process.poll() is not None
        report = read_report(layout)
        ready = report is not None and report.pid.pid == process.pid and report.phase == "ready"
        sys.stdout.write(said.read())
        sys.stdout.flush()
        if ended or ready:
            return ready and not ended
        time.sleep(0.05)


def require_podman() -> None:
    """Raise OrchError, offering the simulated runtime, when Podman nodes cannot be had here."""
    offer = "or simulate the nodes: orch up --runtime simulated"
    if os.geteuid() != 0:
        raise OrchError(f"nodes with containers need root: use sudo, {offer}")
    missing = [name for name in _PODMAN_PROGRAMS if shutil.which(name) is None]
    if missing:
        raise OrchError(f"nodes with containers need {', '.join(missing)}: `make setup` installs them, {offer}")


async def _until_signalled(supervisor: Supervisor) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    await supervisor.run(stop)


def _options(wishes: Wishes) -> Sequence[str]:
    given = {f"--{name}": getattr(wishes, name) for name in wishes.__struct_fields__}
    return [part for option, value in given.items() if value is not None for part in (option, str(value))]


def _say(line: str) -> None:
    print(line, flush=True)
