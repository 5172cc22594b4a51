"""`orch down`, `orch status` and `orch enter`."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from typing import Final

from orch.errors import OrchError
from orch_cli.cluster import Cluster
from orch_cli.layout import Layout
from orch_cli.process import ProcessReport, read_pid, started_ago, stop_remaining
from orch_cli.state import load_state, only_supervisor
from orch_cli.supervisor import SupervisorReport, read_report

_DOWN_SECONDS: Final = 120.0


def down(layout: Layout, *, purge: bool) -> int:
    """Stop the cluster and remove what it has outside its state folder; with `purge`, that folder too."""
    if not layout.root.exists():
        print(f"There is no cluster in {layout.root}")
        return 0
    report = read_report(layout)
    if report is not None and report.pid.alive():
        _await_end(layout, report)
    with only_supervisor(layout):
        _sweep(layout)
        if purge:
            shutil.rmtree(layout.root)
    print(f"The cluster is down{', and nothing is left of it' if purge else f'; its state is in {layout.root}'}")
    return 0


def _await_end(layout: Layout, report: SupervisorReport) -> None:
    """Ask the supervisor to end; show what it says until it has."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(report.pid.pid, signal.SIGTERM)
    shown = len(report.progress)
    deadline = time.monotonic() + _DOWN_SECONDS
    while report.pid.alive():
        current = read_report(layout)
        if current is not None:
            for line in current.progress[shown:]:
                print(line, flush=True)
            shown = max(shown, len(current.progress))
        if time.monotonic() > deadline:
            raise OrchError(f"the supervisor (process {report.pid.pid}) does not end; see {layout.supervisor_log}")
        time.sleep(0.05)


def _sweep(layout: Layout) -> None:
    """End and remove what a killed supervisor left behind; after an orderly end there is nothing to do."""
    for file in sorted(layout.pids.glob("*.pid")):
        pid = read_pid(file)
        if pid is not None:
            stop_remaining(pid, timeout=10)
        file.unlink()
    state = load_state(layout)
    if state is not None:
        Cluster(layout, state).clear()


def status(layout: Layout) -> int:
    """Print how the cluster fares; the exit code is 0 when it is ready, else 1."""
    state = load_state(layout)
    if state is None:
        print(f"There is no cluster in {layout.root}")
        return 1
    report = read_report(layout)
    if report is None or not report.pid.alive():
        print(f"The cluster in {layout.root} is down; `orch up --state {layout.root}` resumes it")
        return 1
    print(f"Cluster     {layout.root}: {state.nodes} {state.runtime} node{'' if state.nodes == 1 else 's'}")
    print(f"Phase       {report.phase}{f' (after {report.ready_after:.2f} s)' if report.phase == 'ready' else ''}")
    print(f"API         https://127.0.0.1:{state.ports.api}")
    print(f"Kubeconfig  {layout.kubeconfig}")
    print(f"Logs        {layout.logs}")
    print()
    width = max((len(each.name) for each in report.processes), default=4)
    print(f"{'PROCESS':<{width}}  {'PID':>8}  {'AGE':>8}  RESTARTS")
    for each in report.processes:
        print(_line(each, width))
    return 0 if report.phase == "ready" else 1


def _line(process: ProcessReport, width: int) -> str:
    if process.pid is None or not process.pid.alive():
        return f"{process.name:<{width}}  {'-':>8}  {'-':>8}  {process.restarts}  (last: {process.last_exit})"
    last = f"  (last: {process.last_exit})" if process.last_exit else ""
    age = f"{started_ago(process.pid):.0f} s"
    return f"{process.name:<{width}}  {process.pid.pid:>8}  {age:>8}  {process.restarts}{last}"


def enter(layout: Layout, node: str, argv: Sequence[str]) -> int:
    """Become a command (by default a shell) in a node's network; does not return."""
    state = load_state(layout)
    if state is None:
        raise OrchError(f"there is no cluster in {layout.root}")
    if state.runtime != "podman":
        raise OrchError("simulated nodes have no network to enter")
    if node not in state.node_names():
        raise OrchError(f"there is no node {node!r}; there are {', '.join(state.node_names())}")
    namespace = Cluster(layout, state).namespace_of(node)
    command = tuple(argv) or (os.environ.get("SHELL", "/bin/sh"),)
    sys.stdout.flush()
    os.execvp("nsenter", ("nsenter", f"--net={namespace}", "--", *command))  # noqa: S606 - an argument vector needs no shell
