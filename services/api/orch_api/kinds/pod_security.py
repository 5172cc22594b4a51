"""What a pod's security context may say beside ids: sysctls, groups, profiles (ValidatePodSecurityContext).

Source: k8s.io/kubernetes/pkg/apis/core/validation.
"""

from __future__ import annotations

import re
from typing import Final

from orch.errors import Cause
from orch_api.strategy import Document, section
from orch_api.validation import duplicate, inclusive_range, invalid, required, unsupported

_MAX_ID: Final = 2**31 - 1
_MAX_SYSCTL: Final = 253
_SYSCTL: Final = re.compile(r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$")
_PROFILES: Final = ("Localhost", "RuntimeDefault", "Unconfined")
_CHANGE_POLICIES: Final = ("Always", "OnRootMismatch")
_GROUP_POLICIES: Final = ("Merge", "Strict")
_PROC_MOUNTS: Final = ("Default", "Unmasked")
_NET: Final = ("net.",)
_IPC: Final = ("kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.")


def pod_security(at: str, context: Document, spec: Document) -> list[Cause]:
    """Return what is wrong with the security context of a pod spec."""
    causes = [
        invalid(f"{at}.supplementalGroups[{index}]", group, inclusive_range(0, _MAX_ID))
        for index, group in enumerate(context.get("supplementalGroups") or ())
        if not 0 <= group <= _MAX_ID
    ]
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        problem = "ShareProcessNamespace and HostPID cannot both be enabled"
        causes.append(invalid(f"{at}.shareProcessNamespace", True, problem))
    causes += _sysctls(f"{at}.sysctls", context, spec)
    for name, known in (("fsGroupChangePolicy", _CHANGE_POLICIES), ("supplementalGroupsPolicy", _GROUP_POLICIES)):
        policy: str | None = context.get(name)
        if policy is not None and policy not in known:
            causes.append(unsupported(f"{at}.{name}", policy, known))
    return causes + profiles(at, context)


def container_security(at: str, context: Document) -> list[Cause]:
    """Return what is wrong with the security context of a container, beside its ids."""
    causes: list[Cause] = []
    mount: str | None = context.get("procMount")
    if mount is not None and mount not in _PROC_MOUNTS:
        causes.append(unsupported(f"{at}.procMount", mount, _PROC_MOUNTS))
    if context.get("allowPrivilegeEscalation") is False:
        added: list[str] = section(context, "capabilities").get("add") or []
        if "CAP_SYS_ADMIN" in added:
            problem = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            causes.append(invalid(at, context, problem))
    return causes + profiles(at, context)


def profiles(at: str, context: Document) -> list[Cause]:
    """Return what is wrong with the profiles of seccomp and AppArmor."""
    causes: list[Cause] = []
    for name, system in (("seccompProfile", "seccomp"), ("appArmorProfile", "AppArmor")):
        profile: Document | None = context.get(name)
        if profile is not None:
            causes += _profile(f"{at}.{name}", profile, name, system)
    return causes


def _profile(at: str, profile: Document, name: str, system: str) -> list[Cause]:
    kind: str = profile.get("type") or ""
    file: str | None = profile.get("localhostProfile")
    causes: list[Cause] = []
    if not kind:
        causes.append(required(f"{at}.type", f"type is required when {name} is set"))
    elif kind not in _PROFILES:
        causes.append(unsupported(f"{at}.type", kind, _PROFILES))
    if kind == "Localhost":
        if not file:
            causes.append(required(f"{at}.localhostProfile", f"must be set when {system} type is Localhost"))
        elif file.startswith("/") and system == "seccomp":
            causes.append(invalid(f"{at}.localhostProfile", file, "must be a relative path"))
        elif ".." in file.split("/") and system == "seccomp":
            causes.append(invalid(f"{at}.localhostProfile", file, "must not contain '..'"))
    elif file is not None:
        causes.append(invalid(f"{at}.localhostProfile", file, f"can only be set when {system} type is Localhost"))
    return causes


def _sysctls(at: str, context: Document, spec: Document) -> list[Cause]:
    causes: list[Cause] = []
    names: set[str] = set()
    for index, one in enumerate(context.get("sysctls") or ()):
        where = f"{at}[{index}].name"
        name: str = one.get("name") or ""
        if not name:
            causes.append(required(where))
        elif len(name) > _MAX_SYSCTL or not _SYSCTL.fullmatch(name):
            problem = f"must have at most {_MAX_SYSCTL} characters and match regex {_SYSCTL.pattern}"
            causes.append(invalid(where, name, problem))
        elif name in names:
            causes.append(duplicate(where, name))
        elif shared := _shared(name, spec):
            causes.append(invalid(where, name, f"may not be specified when '{shared}' is true"))
        names.add(name)
    return causes


def _shared(name: str, spec: Document) -> str:
    """Return by which setting a pod shares with its node what a sysctl would change, "" when it does not."""
    dotted = name.replace("/", ".")
    if spec.get("hostNetwork") and dotted.startswith(_NET):
        return "hostNetwork"
    return "hostIPC" if spec.get("hostIPC") and dotted.startswith(_IPC) else ""
