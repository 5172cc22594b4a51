"""The configuration of PodSecurity: what holds where labels say nothing, and for whom nothing holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from orch.errors import ConfigError
from orch_api.admission.configuration import Given
from orch_api.admission.pod_security.levels import Policy, Wanted, parse_level, parse_version
from orch_api.validation import dns_label, dns_subdomain


class Defaults(msgspec.Struct, frozen=True, rename="kebab", kw_only=True):
    """What holds for namespaces without labels."""

    enforce: str = "privileged"
    enforce_version: str = "latest"
    audit: str = "privileged"
    audit_version: str = "latest"
    warn: str = "privileged"
    warn_version: str = "latest"


class Exemptions(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """For whom and where nothing is asked for."""

    usernames: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    runtime_classes: tuple[str, ...] = ()


class PodSecurityConfiguration(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The configuration, as Kubernetes reads it."""

    api_version: Literal["pod-security.admission.config.k8s.io/v1"]
    kind: Literal["PodSecurityConfiguration"]
    defaults: Defaults = Defaults()
    exemptions: Exemptions = Exemptions()


def configured(given: Given) -> tuple[Policy, Exemptions]:
    """Return the defaults and the exemptions. Raises ConfigError."""
    if not given.present:
        return Policy(), Exemptions()
    configuration = given.read(PodSecurityConfiguration)
    defaults, exempt = configuration.defaults, configuration.exemptions
    wanted = {
        mode: _wanted(given, mode, getattr(defaults, mode), getattr(defaults, f"{mode}_version"))
        for mode in ("enforce", "audit", "warn")
    }
    _check_names(given, "usernames", exempt.usernames, _username)
    _check_names(given, "namespaces", exempt.namespaces, dns_label)
    _check_names(given, "runtimeClasses", exempt.runtime_classes, dns_subdomain)
    return Policy(**wanted), exempt


def _wanted(given: Given, mode: str, level: str, version: str) -> Wanted:
    try:
        parsed = parse_level(level)
    except ValueError as error:
        raise given.refuse(f"defaults.{mode}", f'invalid value "{level}": {error}') from error
    try:
        return Wanted(parsed, parse_version(version))
    except ValueError as error:
        raise given.refuse(f"defaults.{mode}-version", f'invalid value "{version}": {error}') from error


def _check_names(given: Given, part: str, names: Sequence[str], rule: Callable[[str], Sequence[str]]) -> None:
    for index, name in enumerate(names):
        problem: ConfigError | None = None
        if problems := rule(name):
            problem = given.refuse(f"exemptions.{part}[{index}]", f'invalid value "{name}": {", ".join(problems)}')
        elif name in names[:index]:
            problem = given.refuse(f"exemptions.{part}[{index}]", f'duplicate value: "{name}"')
        if problem is not None:
            raise problem


def _username(name: str) -> Sequence[str]:
    return () if name else ("username must not be empty",)
