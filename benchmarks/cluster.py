"""A whole local cluster: cold start, memory of every idle process, from `kubectl apply` to Running, the api's rates."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks import https

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


def main() -> None:
    """Measure on a cluster of its own and print tables."""
    with tempfile.TemporaryDirectory(prefix="orch-bench-") as folder:
        state = Path(folder) / "state"
        environ = {"ORCH_API_PROCESSES": "2"}
        started = time.perf_counter()
        _run(ORCH, "up", "--state", state, "--port", "26443", "--runtime", "simulated", "--detach", **environ)
        try:
            print(f"cold start of `orch up` with 2 simulated nodes: {time.perf_counter() - started:.1f} s")
            kubeconfig = str(state / "kubeconfig")
            print(f"kubectl apply to 3 pods Running (simulated): {_until_running(kubeconfig):.1f} s")
            time.sleep(10)
            print("\nmemory when idle (PSS, MB)")
            sizes = memory(state)
            for name, size in sorted(sizes.items(), key=lambda item: -item[1]):
                print(f"  {name:<20} {size:>7.1f}")
            print(f"  {'all':<20} {sum(sizes.values()):>7.1f}")
            print("\nthe api over HTTPS, 2 processes")
            https.show(https.measure(state / "kubeconfig"))
        finally:
            _run(ORCH, "down", "--state", state, "--purge")


if __name__ == "__main__":
    main()
