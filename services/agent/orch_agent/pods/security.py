"""Under which rights a container runs: its own security context over its pod's, by kubelet's rules."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import msgspec

from orch.objects.pods import Capabilities, Container, Pod, SecurityContext, SecurityProfile
from orch_agent.pods.environment import ConfigurationError
from orch_agent.pods.naming import describe
from orch_agent.runtimes.protocol import UNCONFINED

ImageUser = Callable[[str], Awaitable[str]]
"""Returns the user that an image's containers run as by default, "" for root."""

_STRICT: Final = "Strict"
_NOBODY: Final = SecurityContext()


class Rights(msgspec.Struct, frozen=True, kw_only=True):
    """A container's rights, in the words of a ContainerSpec."""

    user: int | None = None
    username: str = ""
    group: int | None = None
    supplemental_groups: tuple[int, ...] = ()
    only_these_groups: bool = False
    capabilities_added: tuple[str, ...] = ()
    capabilities_dropped: tuple[str, ...] = ()
    seccomp: str = ""
    app_armor: str = ""
    no_new_privileges: bool = False
    unmasked: bool = False
    privileged: bool = False
    read_only: bool = False


class SecuritySettings(msgspec.Struct, frozen=True, kw_only=True):
    """The node's part: where profiles for Localhost are, and whether what names no seccomp profile gets the default."""

    profiles: Path | None = None
    seccomp_default: bool = False


async def rights_of(pod: Pod, container: Container, settings: SecuritySettings, image_user: ImageUser) -> Rights:
    """Return the rights of `container`. Raises ConfigurationError when it would be root and must not."""
    own = container.security_context or _NOBODY
    of_pod = pod.spec.security_context or _NOBODY
    user = own.run_as_user if own.run_as_user is not None else of_pod.run_as_user
    group = own.run_as_group if own.run_as_group is not None else of_pod.run_as_group
    must_not_be_root = own.run_as_non_root if own.run_as_non_root is not None else of_pod.run_as_non_root
    username = ""
    if user is None and (group is not None or must_not_be_root):
        user, username = _numbered(await image_user(container.image))
        if must_not_be_root:
            _refuse_root(pod, container, user, username)
    elif must_not_be_root and user == 0:
        raise ConfigurationError(f"container's runAsUser breaks non-root policy {_where(pod, container)}")
    groups = of_pod.supplemental_groups
    if of_pod.fs_group is not None:
        groups = (of_pod.fs_group, *groups)
    capabilities = own.capabilities or Capabilities()
    return Rights(
        user=user,
        username=username,
        group=group,
        supplemental_groups=tuple(dict.fromkeys(groups)),
        only_these_groups=of_pod.supplemental_groups_policy == _STRICT,
        capabilities_added=capabilities.add,
        capabilities_dropped=capabilities.drop,
        seccomp=UNCONFINED if own.privileged else _seccomp(own.seccomp_profile or of_pod.seccomp_profile, settings),
        app_armor=UNCONFINED if own.privileged else _app_armor(own.app_armor_profile or of_pod.app_armor_profile),
        no_new_privileges=own.allow_privilege_escalation is False,
        unmasked=own.proc_mount == "Unmasked",
        privileged=own.privileged,
        read_only=own.read_only_root_filesystem,
    )


def _numbered(image_user: str) -> tuple[int | None, str]:
    """Return an image's user as (number, name): one of the two, 0 for an image that says nothing."""
    name = image_user.partition(":")[0]
    if not name:
        return 0, ""
    return (int(name), "") if name.isdecimal() else (None, name)


def _refuse_root(pod: Pod, container: Container, user: int | None, username: str) -> None:
    """Raise ConfigurationError when the image's user is root, or may be (kubelet's verifyRunAsNonRoot)."""
    where = _where(pod, container)
    if user == 0:
        raise ConfigurationError(f"container has runAsNonRoot and image will run as root {where}")
    if user is None:
        raise ConfigurationError(
            f"container has runAsNonRoot and image has non-numeric user ({username}), "
            f"cannot verify user is non-root {where}"
        )


def _where(pod: Pod, container: Container) -> str:
    return f'(pod: "{describe(pod)}", container: {container.name})'


def _seccomp(profile: SecurityProfile | None, settings: SecuritySettings) -> str:
    if profile is None:
        return "" if settings.seccomp_default else UNCONFINED
    match profile.type:
        case "RuntimeDefault":
            return ""
        case "Localhost":
            return _local_profile(profile.localhost_profile, settings)
        case _:
            return UNCONFINED


def _local_profile(name: str, settings: SecuritySettings) -> str:
    if not name:
        raise ConfigurationError("localhostProfile must be set if seccompProfile type is Localhost.")
    if settings.profiles is None:
        return UNCONFINED  # nothing real stands behind a simulated node's containers
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ConfigurationError(f"invalid seccomp profile name: {name}: must be below the node's folder of profiles")
    return str(settings.profiles / name)


def _app_armor(profile: SecurityProfile | None) -> str:
    if profile is None or profile.type == "RuntimeDefault":
        return ""
    return profile.localhost_profile if profile.type == "Localhost" else UNCONFINED
