"""Static tokens: Kubernetes' token file, lines of `token,user,uid` or `token,user,uid,"group1,group2"`."""

from __future__ import annotations

import csv
import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from orch.errors import ConfigError
from orch_api.auth.identity import Caller


class StaticTokens:
    """Knows the tokens of a file. They are kept and compared as digests, so a comparison's time tells nothing."""

    def __init__(self, callers: Mapping[str, Caller]) -> None:
        self._secret = secrets.token_bytes(32)
        self._callers = {self._digest(token): caller for token, caller in callers.items()}

    @classmethod
    def read(cls, path: Path) -> StaticTokens:
        """Return the tokens of a file. Raises ConfigError naming the line."""
        return cls(read_tokens(path))

    async def identify(self, token: str, audiences: Sequence[str]) -> Caller | None:
        """Return whose token it is, None when it is none of the file's."""
        _ = audiences
        return self._callers.get(self._digest(token))

    def _digest(self, token: str) -> bytes:
        return hmac.digest(self._secret, token.encode(), hashlib.sha256)


def read_tokens(path: Path) -> dict[str, Caller]:
    """Return the callers of a token file by token. Raises ConfigError naming the line."""
    callers: dict[str, Caller] = {}
    try:
        with path.open(newline="") as lines:
            for line, row in enumerate(csv.reader(lines, skipinitialspace=True), start=1):
                if not row or row[0].startswith("#"):
                    continue
                if len(row) < 3 or not row[0] or not row[1]:
                    raise ConfigError(f"{path}:{line}", "expected token,user,uid and optionally groups")
                if row[0] in callers:
                    raise ConfigError(f"{path}:{line}", "the token is there twice")
                groups = tuple(group.strip() for group in row[3].split(",")) if len(row) > 3 and row[3] else ()
                callers[row[0]] = Caller(user=row[1], uid=row[2], groups=groups)
    except (OSError, ValueError, csv.Error) as error:
        raise ConfigError("token_file", f"{path} cannot be read: {error}") from error
    return callers
