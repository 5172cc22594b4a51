"""A whole local cluster: cold start, memory of every idle process, from `kubectl apply` to Running, the api's rates."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import https, watches

ROOT = Path(__file__).resolve().parent.parent
ORCH = ROOT / ".venv/bin/orch"
KUBECTL = ROOT / ".venv/bin/kubectl"


def _run(*argv: str | Path, **environ: str) -> str:
    done = subprocess.run(argv, check=True, capture_output=True, text=True, env={**os.environ, **environ}, timeout=300)
    return done.stdout


def memory(state: Path) -> dict[str, float]:
    """Return each process's proportional memory in MB (PSS: shared pages are divided among who shares them)."""
    sizes: dict[str, float] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
            if not any(str(state).encode() in argument for argument in arguments):
                continue
            rollup = (entry / "smaps_rollup").read_text()
        except OSError:
            continue
        words = [Path(argument.decode()).name for argument in arguments[:3] if argument]
        name = next((word for word in words if word.startswith(("orch", "etcd", "nats"))), words[0])
        pss = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
        sizes[name] = sizes.get(name, 0.0) + pss / 1024
    return sizes


def _until_running(kubeconfig: str) -> float:
    """Return the seconds from the start of `kubectl apply` to three Running pods."""
    started = time.perf_counter()
    _run(KUBECTL, "apply", "-f", ROOT / "examples/deployment.yaml", KUBECONFIG=kubeconfig)
    _run(KUBECTL, "rollout", "status", "deployment/web-app", "--timeout=120s", KUBECONFIG=kubeconfig)
    return time.perf_counter() - started


@contextmanager
def _cluster(*options: str, **environ: str) -> Iterator[Path]:
    """Bring up a cluster and yield the folder of its state; print how long it took."""
    with tempfile.TemporaryDirectory(prefix="orch-bench-") as folder:
        state = Path(folder) / "state"
        started = time.perf_counter()
        _run(ORCH, "up", "--state", state, "--port", "26443", *options, "--detach", **environ)
        try:
            print(f"cold start of `orch up {' '.join(options)}`: {time.perf_counter() - started:.1f} s")
            yield state
        finally:
            _run(ORCH, "down", "--state", state, "--purge")


def _with_containers() -> None:
    mirror = ROOT / ".orch-images/registry"
    if os.geteuid() != 0 or shutil.which("podman") is None:
        print("containers are left out: they need root and Podman")
        return
    with _cluster("--runtime", "podman", *(("--mirror", str(mirror)) if mirror.exists() else ())) as state:
        kubeconfig = str(state / "kubeconfig")
        print(f"kubectl apply to 3 containers Running, image pulled: {_until_running(kubeconfig):.1f} s")
        _run(KUBECTL, "delete", "deployment", "web-app", KUBECONFIG=kubeconfig)
        print(f"kubectl apply to 3 containers Running, image there: {_until_running(kubeconfig):.1f} s")


def main() -> None:
    """Measure on clusters of its own and print tables."""
    with _cluster("--runtime", "simulated") as state:
        print(f"kubectl apply to 3 pods Running (simulated): {_until_running(str(state / 'kubeconfig')):.1f} s")
        time.sleep(10)
        print("\nmemory when idle (PSS, MB)")
        sizes = memory(state)
        for name, size in sorted(sizes.items(), key=lambda item: -item[1]):
            print(f"  {name:<20} {size:>7.1f}")
        print(f"  {'all':<20} {sum(sizes.values()):>7.1f}\n")
    with _cluster("--runtime", "simulated", ORCH_API_PROCESSES="2") as state:
        print("\nthe api over HTTPS, 2 processes")
        https.show(https.measure(state / "kubeconfig"))
        print("\nthe same, with 12,000 pods in another namespace")
        https.show(https.measure(state / "kubeconfig", full=True))
        sizes = memory(state)
        print(f"memory of the api then, both processes: {sizes['orch-api']:.0f} MB\n")
    with _cluster("--runtime", "simulated", ORCH_API_PROCESSES="2") as state:
        watches.show(watches.measure(state / "kubeconfig"))
        print()
    _with_containers()


if __name__ == "__main__":
    main()
