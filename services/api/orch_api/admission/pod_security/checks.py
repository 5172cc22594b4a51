"""The visible lists of checks: which belong to which level in which version, in the order of messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from orch_api.admission.pod_security import baseline, restricted
from orch_api.admission.pod_security.levels import Wanted
from orch_api.admission.pod_security.views import Finding, Looked

Check = Callable[[Looked, int], Finding | None]


class _Restricted(msgspec.Struct, frozen=True):
    """A check, since which minor version it is one, and which check of baseline it takes the place of."""

    check: Check
    since: int = 0
    instead_of: Check | None = None


BASELINE: Final[tuple[Check, ...]] = (
    baseline.app_armor_profile,
    baseline.capabilities,
    baseline.host_namespaces,
    baseline.host_path_volumes,
    baseline.host_ports,
    baseline.host_probes,
    baseline.privileged,
    baseline.proc_mount,
    baseline.se_linux_options,
    baseline.seccomp_profile,
    baseline.sysctls,
    baseline.windows_host_process,
)

RESTRICTED: Final = (
    _Restricted(restricted.allow_privilege_escalation),
    _Restricted(restricted.capabilities, 22, baseline.capabilities),
    _Restricted(baseline.any_proc_mount, 35, baseline.proc_mount),
    _Restricted(restricted.volumes, 0, baseline.host_path_volumes),
    _Restricted(restricted.run_as_non_root),
    _Restricted(restricted.run_as_user),
    _Restricted(restricted.seccomp_profile, 19, baseline.seccomp_profile),
)


def findings(wanted: Wanted, pod: Looked) -> list[Finding]:
    """Return what a level forbids in a pod."""
    minor = wanted.effective
    found = (check(pod, minor) for check in _checks(wanted))
    return [one for one in found if one is not None]


def _checks(wanted: Wanted) -> Sequence[Check]:
    if wanted.level == "privileged":
        return ()
    if wanted.level == "baseline":
        return BASELINE
    added = [one for one in RESTRICTED if wanted.effective >= one.since]
    replaced = [one.instead_of for one in added]
    return [*(check for check in BASELINE if check not in replaced), *(one.check for one in added)]
