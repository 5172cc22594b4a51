"""One namespace of a cluster: what tests do in it, without saying its name each time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from local_cluster import LocalCluster


class Space:
    """A namespace, seen through kubectl."""

    def __init__(self, cluster: LocalCluster, name: str) -> None:
        self.cluster = cluster
        self.name = name

    def kubectl(self, *arguments: str, **options: Any) -> str:
        """Run kubectl in this namespace; see LocalCluster.kubectl."""
        return self.cluster.kubectl("-n", self.name, *arguments, **options)

    def code(self, *arguments: str, stdin: str = "") -> tuple[int, str]:
        """Run kubectl in this namespace; return its exit code and what it printed on both outputs."""
        process = self.start(*arguments)
        try:
            said, _ = process.communicate(stdin, timeout=60)
        finally:
            process.kill()
        return process.returncode, said

    def start(self, *arguments: str) -> Any:
        """Start kubectl in this namespace; see LocalCluster.kubectl_start."""
        return self.cluster.kubectl_start("-n", self.name, *arguments)

    def get(self, *arguments: str) -> Any:
        """Return an object, or the items of a list."""
        return self.cluster.get("-n", self.name, *arguments)

    def apply(self, *manifests: dict[str, Any]) -> None:
        """Apply manifests in this namespace."""
        self.cluster.apply(*({**each, "metadata": {**each["metadata"], "namespace": self.name}} for each in manifests))

    def wait(self, condition: Callable[[], Any], timeout: float = 90, what: str = "") -> Any:
        """Return what `condition` returns as soon as that is true."""
        return self.cluster.wait(condition, timeout, what)

    def status(self, pod: str) -> dict[str, Any]:
        """Return a pod's status."""
        return self.get("pod", pod)["status"]

    def container(self, pod: str, *, init: bool = False, index: int = 0) -> dict[str, Any]:
        """Return one container's status. Raises LookupError while there is none."""
        return self.status(pod)["initContainerStatuses" if init else "containerStatuses"][index]

    def running(self, *pods: str) -> None:
        """Wait until pods are ready."""
        self.kubectl("wait", "--for=condition=Ready", "--timeout=90s", *(f"pod/{name}" for name in pods), timeout=100)

    def ended(self, pod: str, phase: str) -> dict[str, Any]:
        """Wait until a pod has ended; return how its first container did."""
        self.wait(lambda: self.status(pod)["phase"] == phase, what=f"{pod} is {phase}")
        return self.container(pod)["state"]["terminated"]
