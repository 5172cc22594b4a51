"""What the spec of a job must be, in a job or in a cron job (k8s.io/kubernetes/pkg/apis/batch/validation)."""

from __future__ import annotations

import re
from typing import Final

from orch.errors import Cause
from orch_api import validation
from orch_api.kinds.job_policies import failure_policy, success_policy
from orch_api.kinds.pod_templates import pod_template
from orch_api.strategy import Document, section
from orch_api.validation import invalid, non_negative, required, too_long, unsupported

INDEXED: Final = "Indexed"

_MODES: Final = ("NonIndexed", INDEXED)
_REPLACEMENTS: Final = ("Failed", "TerminatingOrFailed")
_COUNTS: Final = (
    "parallelism",
    "completions",
    "activeDeadlineSeconds",
    "backoffLimit",
    "ttlSecondsAfterFinished",
    "backoffLimitPerIndex",
    "maxFailedIndexes",
)
_MAX_INDEXED: Final = 100_000
_MAX_OF_MANY_INDEXES: Final = 10_000
_OF_MANY_INDEXES: Final = (
    f"must be less than or equal to {_MAX_OF_MANY_INDEXES} when completions are above {_MAX_INDEXED} "
    "and used with backoff limit per index"
)
_MAX_MANAGER: Final = 63
_PATH: Final = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"


def job_spec(field: str, spec: Document) -> list[Cause]:
    """Return what is wrong with the spec of a job, apart from its selector; `field` is its path."""
    causes: list[Cause] = []
    for name in _COUNTS:
        causes += non_negative(f"{field}.{name}", spec.get(name) or 0)
    if spec.get("maxFailedIndexes") is not None and spec.get("backoffLimitPerIndex") is None:
        causes.append(required(f"{field}.backoffLimitPerIndex", "when maxFailedIndexes is specified"))
    if (manager := spec.get("managedBy")) is not None:
        causes += _manager(f"{field}.managedBy", manager)
    causes += _completion_mode(field, spec)
    if spec.get("podFailurePolicy") is not None:
        causes += failure_policy(f"{field}.podFailurePolicy", spec)
    if (policy := spec.get("successPolicy")) is not None:
        at = f"{field}.successPolicy"
        if spec.get("completionMode") == INDEXED:
            causes += success_policy(at, policy, spec.get("completions") or 0)
        else:
            causes.append(invalid(at, policy, "requires indexed completion mode"))
    causes += _replacement_policy(f"{field}.podReplacementPolicy", spec)
    causes += pod_template(f"{field}.template", section(spec, "template"))
    return causes + _restart_policy(f"{field}.template.spec.restartPolicy", spec)


def _manager(at: str, manager: str) -> list[Cause]:
    """Return what is wrong with a path that begins with a domain."""
    if not manager:
        return [required(at)]
    domain, _, path = manager.partition("/")
    if not domain or not path:
        causes = [invalid(at, manager, 'must be a domain-prefixed path (such as "acme.io/foo")')]
    else:
        causes = validation.check(at, domain, validation.dns_subdomain)
        if not re.fullmatch(_PATH, path):
            causes.append(invalid(at, path, f"Invalid path (regex used for validation is '{_PATH}')"))
    if len(manager.encode()) > _MAX_MANAGER:
        causes.append(too_long(at, _MAX_MANAGER))
    return causes


def _completion_mode(field: str, spec: Document) -> list[Cause]:
    mode = spec.get("completionMode")
    if mode == INDEXED:
        return _indexes(field, spec)
    if mode is not None and mode not in _MODES:
        return [unsupported(f"{field}.completionMode", mode, _MODES)]
    return [
        invalid(f"{field}.{name}", spec[name], "requires indexed completion mode")
        for name in ("backoffLimitPerIndex", "maxFailedIndexes")
        if spec.get(name) is not None
    ]


def _indexes(field: str, spec: Document) -> list[Cause]:
    """Return what is wrong with the numbers of a job whose completions are counted one by one."""
    completions: int | None = spec.get("completions")
    parallelism: int = spec.get("parallelism") or 0
    max_failed: int | None = spec.get("maxFailedIndexes")
    causes: list[Cause] = []
    if completions is None:
        causes.append(required(f"{field}.completions", "when completion mode is Indexed"))
    if parallelism > _MAX_INDEXED:
        problem = f"must be less than or equal to {_MAX_INDEXED} when completion mode is Indexed"
        causes.append(invalid(f"{field}.parallelism", parallelism, problem))
    at = f"{field}.maxFailedIndexes"
    if completions is not None and max_failed is not None and max_failed > completions:
        causes.append(invalid(at, max_failed, "must be less than or equal to completions"))
    if max_failed is not None and max_failed > _MAX_INDEXED:
        causes.append(invalid(at, max_failed, f"must be less than or equal to {_MAX_INDEXED}"))
    if completions is None or completions <= _MAX_INDEXED or spec.get("backoffLimitPerIndex") is None:
        return causes
    if max_failed is None:
        causes.append(required(at, f"must be specified when completions is above {_MAX_INDEXED}"))
    if parallelism > _MAX_OF_MANY_INDEXES:
        causes.append(invalid(f"{field}.parallelism", parallelism, _OF_MANY_INDEXES))
    if max_failed is not None and max_failed > _MAX_OF_MANY_INDEXES:
        causes.append(invalid(at, max_failed, _OF_MANY_INDEXES))
    return causes


def _replacement_policy(at: str, spec: Document) -> list[Cause]:
    """Return the cause when pods are replaced before it is known how they failed, although that matters."""
    policy = spec.get("podReplacementPolicy")
    allowed = _REPLACEMENTS if spec.get("podFailurePolicy") is None else _REPLACEMENTS[:1]
    return [] if policy is None or policy in allowed else [unsupported(at, policy, allowed)]


def _restart_policy(at: str, spec: Document) -> list[Cause]:
    policy: str = section(section(spec, "template"), "spec").get("restartPolicy") or ""
    if policy in {"", "Always"}:
        return [required(at, 'valid values: "OnFailure", "Never"')]
    if policy not in {"OnFailure", "Never"}:
        return [unsupported(at, policy, ("OnFailure", "Never"))]
    if policy != "Never" and spec.get("podFailurePolicy") is not None:
        return [invalid(at, policy, 'only "Never" is supported when podFailurePolicy is specified')]
    return []
