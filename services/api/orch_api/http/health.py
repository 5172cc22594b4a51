"""Health checks as Kubernetes answers them: /livez, /readyz and /healthz, each as a whole and by check."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final, NamedTuple

from orch.errors import OrchError

log = logging.getLogger(__name__)

Check = Callable[[], Awaitable[None]]
"""Raises an OrchError when what it checks is not well."""

_CHECK_DEADLINE: Final = 5.0


class Verdict(NamedTuple):
    """What is answered."""

    status: int
    text: str


class Health:
    """One of the three places with its checks. The wording is k8s.io/apiserver's healthz package's."""

    def __init__(self, name: str, checks: Mapping[str, Check]) -> None:
        self._name = name
        self._checks = checks

    def places(self) -> list[str]:
        """Return the paths at which something is told."""
        return [f"/{self._name}", *(f"/{self._name}/{name}" for name in self._checks)]

    async def one(self, name: str) -> Verdict | None:
        """Return what a single check comes to, None when there is none of that name."""
        check = self._checks.get(name)
        if check is None:
            return None
        problem = await _problem(name, check)
        return Verdict(500, f"internal server error: {problem}\n") if problem else Verdict(200, "ok")

    async def all(self, excluded: Collection[str], *, verbose: bool) -> Verdict:
        """Return what all checks come to but the excluded ones; a failure is told in full, its reason only logged."""
        lines: list[str] = []
        healthy = True
        for name, check in self._checks.items():
            if name in excluded:
                lines.append(f"[+]{name} excluded: ok")
            elif problem := await _problem(name, check):
                healthy = False
                lines.append(f"[-]{name} failed: reason withheld")
                log.warning("%s: the check %s failed: %s", self._name, name, problem)
            else:
                lines.append(f"[+]{name} ok")
        if unknown := sorted(set(excluded) - self._checks.keys()):
            quoted = ",".join(f'"{name}"' for name in unknown)
            lines.append(f"warn: some health checks cannot be excluded: no matches for {quoted}")
        if healthy and not verbose:
            return Verdict(200, "ok")
        lines.append(f"{self._name} check {'passed' if healthy else 'failed'}")
        return Verdict(200 if healthy else 500, "\n".join(lines) + "\n")


async def _problem(name: str, check: Check) -> str:
    """Return what is not well, "" when all is."""
    try:
        async with asyncio.timeout(_CHECK_DEADLINE):
            await check()
    except TimeoutError:
        return f"{name} gave no answer in {_CHECK_DEADLINE:g} s"
    except OrchError as error:
        return str(error) or type(error).__name__
    return ""
