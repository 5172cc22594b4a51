"""Which logs a node puts on the bus, and how much of them."""

from __future__ import annotations

from typing import Literal

import msgspec

from orch.config import Duration
from orch.errors import ConfigError


class LogSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a node's logs are collected: those of `real` containers, `all`, or `none`.

    They are looked at each `interval`; one of which there was little is left alone for `rest` then, so that pieces are
    not too many. Of all of them together at most `most_bytes` a second are read; a log of which
    `most_behind` bytes were not is left out up to its end, and that is marked in it.
    """

    collect: Literal["real", "all", "none"] = "real"
    interval: Duration = 2.0
    rest: Duration = 5.0
    most_bytes: int = 1 << 20
    most_behind: int = 4 << 20

    def check(self, path: str) -> None:
        """Raise ConfigError for what cannot be meant."""
        if self.interval <= 0:
            raise ConfigError(f"{path}.interval", "must be positive")
        for name in ("most_bytes", "most_behind"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{path}.{name}", "must be positive")
