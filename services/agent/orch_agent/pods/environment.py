"""A container's environment: literal values, fields of the pod, keys of other objects and of files, $(NAME) in them."""

from __future__ import annotations

import base64
import binascii
import re
from collections import ChainMap
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec

from orch.errors import NotFoundError, OrchError
from orch.objects.cluster import ConfigMap
from orch.objects.pods import Container, EnvVarSource, FieldSelector, FileKeySelector, KeySelector, Pod
from orch.objects.scheme import CONFIG_MAPS
from orch_agent.objects import ObjectReader, read_secret
from orch_agent.pods.env_files import EnvFileError, variable_of
from orch_agent.pods.resources import resource_field

_SUBSCRIPT: Final = re.compile(r"metadata\.(labels|annotations)\['(?P<key>[^']*)'\]")
_REFERENCE: Final = re.compile(r"\$(?:\$|\((?P<name>[^)]*)\))")
_VARIABLE: Final = re.compile(r"[ -<>-~]+")
"""All that can be printed but "=", which ends a name."""


class ConfigurationError(OrchError):
    """A container's settings cannot be resolved now; the message is what kubelet says."""


FileOpener = Callable[[Pod, str, str], Awaitable[str | None]]
"""Returns the content of a file in a volume of the pod, by the volume's name and the path in it; None for none.

Raises EnvFileError.
"""


async def _no_files(pod: Pod, volume: str, path: str) -> str | None:  # noqa: ARG001 - a FileOpener
    return None


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What only the node knows: its address, the pod's, what it can allocate, services, and files in volumes."""

    host_ip: str
    pod_ip: str
    allocatable: Mapping[str, str]
    services: Mapping[str, str] = {}
    files: FileOpener = _no_files


async def resolve(pod: Pod, container: Container, facts: Facts, reader: ObjectReader) -> dict[str, str]:
    """Return the variables in the order in which they are set. Raises ConfigurationError.

    Those of services are there to be referred to by $(NAME), and give way to the container's own of the same name.
    """
    sources = _Sources(pod.metadata.namespace, reader)
    variables: dict[str, str] = {}
    known = ChainMap(variables, dict(facts.services))
    for source in container.env_from:
        values: Mapping[str, str] = {}
        if source.config_map_ref is not None:
            found = await sources.config_map(source.config_map_ref.name, optional=source.config_map_ref.optional)
            values = found if found is not None else {}
        elif source.secret_ref is not None:
            found = await sources.secret(source.secret_ref.name, optional=source.secret_ref.optional)
            values = found if found is not None else {}
        # What cannot be the name of a variable is left out, as in kubelet.
        variables.update({f"{source.prefix}{k}": values[k] for k in sorted(values) if _VARIABLE.fullmatch(k)})
    for variable in container.env:
        if variable.value_from is None:
            variables[variable.name] = expand(variable.value, known)
            continue
        value = await _value_from(pod, container, facts, sources, variable.value_from)
        if value is not None:
            variables[variable.name] = value
    return {**facts.services, **variables}


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace each $(NAME) by its value; $$ is a dollar sign, and a name that is not known stays as it is."""

    def replacement(match: re.Match[str]) -> str:
        name = match.group("name")
        return "$" if name is None else variables.get(name, match.group())

    return _REFERENCE.sub(replacement, text) if "$" in text else text


async def _value_from(
    pod: Pod, container: Container, facts: Facts, sources: _Sources, source: EnvVarSource
) -> str | None:
    if source.field_ref is not None:
        return _field(pod, facts, source.field_ref)
    if source.resource_field_ref is not None:
        wanted = source.resource_field_ref
        of = _container_named(pod, wanted.container_name) if wanted.container_name else container
        try:
            return resource_field(of, wanted.resource, wanted.divisor, facts.allocatable)
        except ValueError as error:
            raise ConfigurationError(str(error)) from error
    if source.config_map_key_ref is not None:
        reference = source.config_map_key_ref
        found = await sources.config_map(reference.name, optional=reference.optional)
        return _key(found, reference, f"ConfigMap {pod.metadata.namespace}/{reference.name}")
    if source.secret_key_ref is not None:
        reference = source.secret_key_ref
        found = await sources.secret(reference.name, optional=reference.optional)
        return _key(found, reference, f"Secret {pod.metadata.namespace}/{reference.name}")
    if source.file_key_ref is not None:
        return await _from_file(pod, facts, source.file_key_ref)
    return ""


async def _from_file(pod: Pod, facts: Facts, reference: FileKeySelector) -> str | None:
    """Return the value of a key of a file of variables; None when it may be absent and is."""
    try:
        content = await facts.files(pod, reference.volume_name, reference.path)
    except EnvFileError as error:
        raise ConfigurationError(f"couldn't parse env file: {error}") from error
    if content is None:
        if reference.optional:
            return None
        raise ConfigurationError(f'environment file "{reference.path}" not found in volume "{reference.volume_name}"')
    try:
        value = variable_of(content, reference.key)
    except EnvFileError as error:
        raise ConfigurationError(f"couldn't parse env file: {error}") from error
    if value is None and not reference.optional:
        raise ConfigurationError(f'environment variable key "{reference.key}" not found in file "{reference.path}"')
    return value


def _key(values: Mapping[str, str] | None, reference: KeySelector, owner: str) -> str | None:
    """Return the value of a key; None when it may be absent and is."""
    if values is not None and reference.key in values:
        return values[reference.key]
    if reference.optional:
        return None
    raise ConfigurationError(f"couldn't find key {reference.key} in {owner}")


def _container_named(pod: Pod, name: str) -> Container:
    for container in (*pod.spec.containers, *pod.spec.init_containers):
        if container.name == name:
            return container
    raise ConfigurationError(f"container {name} not found")


def _field(pod: Pod, facts: Facts, selector: FieldSelector) -> str:
    """Return a field of the pod, as the downward API names them."""
    meta = pod.metadata
    subscript = _SUBSCRIPT.fullmatch(selector.field_path)
    if subscript is not None:
        values = meta.labels if subscript.group(1) == "labels" else meta.annotations
        return values.get(subscript.group("key"), "")
    fields = {
        "metadata.name": meta.name,
        "metadata.namespace": meta.namespace,
        "metadata.uid": meta.uid,
        "spec.host": pod.spec.node_name,
        "spec.nodeName": pod.spec.node_name,
        "spec.restartPolicy": pod.spec.restart_policy,
        "spec.schedulerName": pod.spec.scheduler_name,
        "spec.serviceAccountName": pod.spec.service_account_name,
        "status.phase": pod.status.phase,
        "status.hostIP": facts.host_ip,
        "status.hostIPs": facts.host_ip,
        "status.podIP": facts.pod_ip,
        "status.podIPs": facts.pod_ip,
    }
    if selector.field_path not in fields:
        raise ConfigurationError(f"unsupported fieldPath: {selector.field_path}")
    return fields[selector.field_path]


class _Sources:
    """The ConfigMaps and Secrets that one container reads, each fetched once."""

    def __init__(self, namespace: str, reader: ObjectReader) -> None:
        self._namespace = namespace
        self._reader = reader
        self._config_maps: dict[str, Mapping[str, str]] = {}
        self._secrets: dict[str, Mapping[str, str]] = {}

    async def config_map(self, name: str, *, optional: bool) -> Mapping[str, str] | None:
        """Return its values as text; None when it may be absent and is."""
        if name not in self._config_maps:
            try:
                found: ConfigMap = await self._reader.get(CONFIG_MAPS, self._namespace, name)
            except NotFoundError as error:
                if optional:
                    return None
                raise ConfigurationError(f'configmap "{name}" not found') from error
            self._config_maps[name] = found.data
        return self._config_maps[name]

    async def secret(self, name: str, *, optional: bool) -> Mapping[str, str] | None:
        """Return its decoded values; None when it may be absent and is."""
        if name not in self._secrets:
            try:
                found = await read_secret(self._reader, self._namespace, name)
            except NotFoundError as error:
                if optional:
                    return None
                raise ConfigurationError(f'secret "{name}" not found') from error
            self._secrets[name] = {key: _decoded(value, f"secret {name}.{key}") for key, value in found.data.items()}
        return self._secrets[name]


def _decoded(value: str, owner: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode(errors="surrogateescape")
    except binascii.Error as error:
        raise ConfigurationError(f"{owner} is not base64: {error}") from error
