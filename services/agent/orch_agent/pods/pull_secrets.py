"""The credentials that a pod brings for its images: imagePullSecrets, which its service account's have joined."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal

from orch.errors import OrchError
from orch.objects.cluster import Secret
from orch.objects.pods import Pod
from orch_agent.objects import ObjectReader, read_secret
from orch_agent.pods.keyring import Keyring, merged

Tell = Callable[[Literal["Normal", "Warning"], str, str], None]
"""Records an event about a container: its type, its reason, its message."""


async def keyring_of(pod: Pod, reader: ObjectReader, tell: Tell) -> Keyring:
    """Return what the pod's secrets hold. One that is missing or cannot be read is told, and done without."""
    names = list(dict.fromkeys(each.name for each in pod.spec.image_pull_secrets if each.name))
    if not names:
        return Keyring()
    found = await asyncio.gather(*(_read(reader, pod.metadata.namespace, name) for name in names))
    secrets = {name: secret for name, secret in zip(names, found, strict=True) if secret is not None}
    missing = [name for name in names if name not in secrets]
    if missing:
        tell(
            "Warning",
            "FailedToRetrieveImagePullSecret",
            f"Unable to retrieve some image pull secrets ({', '.join(missing)}); "
            "attempting to pull the image may not succeed.",
        )
    keyring, problems = merged(secrets)
    for name, problem in problems.items():
        tell("Warning", "FailedToRetrieveImagePullSecret", f'Image pull secret "{name}" is of no use: {problem}')
    return keyring


async def _read(reader: ObjectReader, namespace: str, name: str) -> Secret | None:
    try:
        return await read_secret(reader, namespace, name)
    except OrchError:
        return None
