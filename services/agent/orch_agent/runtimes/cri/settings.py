"""Where a node's CRI runtime answers, and what orch keeps beside it."""

from __future__ import annotations

from typing import Final

import msgspec

from orch.config import Duration
from orch.errors import ConfigError

_SCHEME: Final = "unix://"


class CriSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The runtime of a node with `runtime: cri`.

    `image_endpoint` is where images are served if not at `endpoint`. `cgroup_parent` is the node's control group,
    `handler` the runtime's name for how pods are run ("": its default). The network plug-in is written into
    `cni_bin_dir`, its configuration into `cni_conf_dir`; with an empty `cni_conf_dir` neither is. `log_dir` is where
    the runtime writes containers' logs (by default in the agent's state).
    """

    endpoint: str = "unix:///run/containerd/containerd.sock"
    image_endpoint: str = ""
    cgroup_parent: str = ""
    handler: str = ""
    cni_bin_dir: str = "/opt/cni/bin"
    cni_conf_dir: str = "/etc/cni/net.d"
    log_dir: str = ""
    request_timeout: Duration = 120.0

    def check(self) -> None:
        """Raise ConfigError for what the types cannot rule out."""
        for setting, endpoint in (("endpoint", self.endpoint), ("image_endpoint", self.image_endpoint)):
            if endpoint and not endpoint.startswith(f"{_SCHEME}/"):
                raise ConfigError(f"cri.{setting}", f"{endpoint!r} is not of the form unix:///path")
        if not self.endpoint:
            raise ConfigError("cri.endpoint", "is required")
        if self.log_dir and not self.log_dir.startswith("/"):
            raise ConfigError("cri.log_dir", "must be an absolute path")
        if self.request_timeout <= 0:
            raise ConfigError("cri.request_timeout", "must be positive")
