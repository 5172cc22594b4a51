"""What simulated containers do, scripted by variables of theirs or, for all of a pod's or one, by annotations.

    simulated.orch.dev/run-seconds: "30"       SIMULATED_RUN_SECONDS    it ends by itself after that time
    simulated.orch.dev/exit-code: "3"          SIMULATED_EXIT_CODE      with this code
    simulated.orch.dev/stop-seconds: "5"       SIMULATED_STOP_SECONDS   how long it takes after its stop signal
    simulated.orch.dev/start-error: "no exec"  SIMULATED_START_ERROR    it cannot be started
    simulated.orch.dev/start-delay: "2.5"      SIMULATED_START_DELAY    seconds until it runs, beside the fleet's own
    simulated.orch.dev/oom: "true"             SIMULATED_OOM            its end is an OOM kill
    simulated.orch.dev/attempts: "2"           SIMULATED_ATTEMPTS       so many attempts behave so, later ones run on
    simulated.orch.dev/exit-code.sidecar: "1"                           of the container `sidecar` alone

A variable has the last word, then the annotation that names the container. What cannot be read is left out, and said.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

_LOG: Final = logging.getLogger(__name__)
_PREFIX: Final = "simulated.orch.dev/"
_VARIABLE: Final = "SIMULATED_"
_KINDS: Final = ("run-seconds", "exit-code", "stop-seconds", "start-error", "start-delay", "oom", "attempts")
_LONGEST: Final = 366 * 86400.0


class Behaviour(msgspec.Struct, frozen=True, gc=False):
    """What a container does. `run_seconds` None: it runs until it is stopped."""

    run_seconds: float | None = None
    exit_code: int = 0
    stop_seconds: float = 0.0
    start_error: str = ""
    start_delay: float = 0.0
    oom: bool = False


_USUAL: Final = Behaviour()


def behaviour_of(
    container: str, attempt: int, variables: Iterable[tuple[str, str]], annotations: Mapping[str, str]
) -> Behaviour:
    """Return what an attempt of a container does."""
    told = _told(container, variables, annotations)
    if not told:
        return _USUAL
    attempts = _number(told, "attempts")
    if attempts is not None and attempt >= attempts:
        return _USUAL
    return Behaviour(
        run_seconds=_number(told, "run-seconds"),
        exit_code=int(_number(told, "exit-code") or 0) & 0xFF,
        stop_seconds=_number(told, "stop-seconds") or 0.0,
        start_error=told.get("start-error", ""),
        start_delay=_number(told, "start-delay") or 0.0,
        oom=told.get("oom", "false").lower() not in {"false", "0", "no"},
    )


def _told(container: str, variables: Iterable[tuple[str, str]], annotations: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    if annotations:
        for kind in _KINDS:
            text = annotations.get(f"{_PREFIX}{kind}.{container}", annotations.get(f"{_PREFIX}{kind}"))
            if text is not None:
                found[kind] = text
    for name, value in variables:
        kind = name.removeprefix(_VARIABLE).lower().replace("_", "-")
        if name.startswith(_VARIABLE) and kind in _KINDS:
            found[kind] = value
    return found


def _number(told: Mapping[str, str], kind: str) -> float | None:
    text = told.get(kind)
    if text is None:
        return None
    try:
        number = float(text.strip().removesuffix("s"))
    except ValueError:
        number = math.nan
    if not 0 <= number <= _LONGEST:
        _LOG.warning("%s of a simulated container is left out: %r is no number of 0 or more", kind, text)
        return None
    return number
