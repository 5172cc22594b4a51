"""AlwaysPullImages: nodes ask the registry for every image, so that nobody runs what another's credentials fetched.

Off by default.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Final

from orch_api.admission.chain import CREATE, UPDATE, Plugin, Request, Rule
from orch_api.admission.refusals import refused
from orch_api.strategy import section

_ALWAYS: Final = "Always"
_PODS: Final = (Rule((CREATE, UPDATE), ("pods", "pods/ephemeralcontainers")),)
_LISTS: Final = ("initContainers", "containers", "ephemeralContainers")


class AlwaysPullImages(Plugin):
    """Sets the pull policy of all images to Always."""

    name: ClassVar = "AlwaysPullImages"
    mutates: ClassVar = _PODS
    validates: ClassVar = _PODS

    async def mutate(self, request: Request) -> None:
        """Set the policies."""
        if request.document is None or not _brings_images(request):
            return
        for _, field, owner in _policies(request.document):
            owner[field] = _ALWAYS

    async def validate(self, request: Request) -> None:
        """Refuse what has been given another policy since. Raises ForbiddenError."""
        if request.document is None or not _brings_images(request):
            return
        for at, field, owner in _policies(request.document):
            if owner.get(field) != _ALWAYS:
                problem = f'{at}.{field}: Unsupported value: "{owner.get(field) or ""}": supported values: "{_ALWAYS}"'
                raise refused(request, problem)


def _policies(pod: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the place, the field and the owner of each pull policy."""
    spec = section(pod, "spec")
    for part in _LISTS:
        for index, container in enumerate(spec.get(part) or ()):
            yield f"spec.{part}[{index}]", "imagePullPolicy", container
    for index, volume in enumerate(spec.get("volumes") or ()):
        if source := volume.get("image"):
            yield f"spec.volumes[{index}].image", "pullPolicy", source


def _images(pod: dict[str, Any]) -> set[str]:
    spec = section(pod, "spec")
    named = {container.get("image") or "" for part in _LISTS for container in spec.get(part) or ()}
    return named | {section(volume, "image").get("reference") or "" for volume in spec.get("volumes") or ()}


def _brings_images(request: Request) -> bool:
    """Return whether a request is for an image that the pod did not have before."""
    return request.old is None or not _images(request.document or {}) <= _images(request.old)
