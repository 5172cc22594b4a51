"""Has images ready by their pull policy, in kubelet's words.

Whoever wants the same image with the same credentials shares one pull, and waits together after one that failed; a few
pulls at a time are under way. Source: k8s.io/kubernetes/pkg/kubelet/images (image_manager.go).
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
from prometheus_client import Counter, Histogram

from orch.clock import Clock
from orch.config import Duration
from orch.errors import ConfigError
from orch.objects.pods import Container, Pod
from orch_agent.pods.environment import ObjectReader
from orch_agent.pods.image_access import AccessSettings, ImageAccess
from orch_agent.pods.pull_secrets import Tell, keyring_of
from orch_agent.pods.pulls import FailedPullError, Pulls
from orch_agent.pods.slot import BackOffTimes
from orch_agent.runtimes.image_names import is_image_name, repository
from orch_agent.runtimes.protocol import ContainerError, Credentials, FoundImage, ImageError, Runtime

_ALWAYS: Final = "Always"
_IF_NOT_PRESENT: Final = "IfNotPresent"
_NEVER: Final = "Never"
_PULLED: Final = Counter(
    "orch_agent_image_pulls_total", "Images asked for by containers, by what came of it.", ["outcome"]
)
_PULL_SECONDS: Final = Histogram(
    "orch_agent_image_pull_seconds",
    "Time of pulls that succeeded, waiting for others included.",
    buckets=(0.1, 0.5, 1, 5, 10, 30, 60, 180, 600),
)


class PullSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How images are pulled.

    `max_parallel`: at most so many at a time (kubelet's maxParallelImagePulls). `progress_timeout`: a pull of which
    nothing has come for so long is given up, if the runtime tells how far it is.
    """

    max_parallel: int = 4
    progress_timeout: Duration = 300.0
    credentials: AccessSettings = AccessSettings()

    def check(self, path: str) -> None:
        """Raise ConfigError for what cannot be meant."""
        if self.max_parallel < 1:
            raise ConfigError(f"{path}.max_parallel", "must be at least 1")
        if self.progress_timeout <= 0:
            raise ConfigError(f"{path}.progress_timeout", "must be positive")
        self.credentials.check(f"{path}.credentials")


class ImageProblemError(ImageError):
    """An image cannot be had now: why, as a container waits for it; `until` is when it may be tried again."""

    def __init__(self, reason: str, message: str, until: datetime | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.until = until


def pull_policy(container: Container) -> str:
    """Return the policy; unset means Always for the tag `latest`, else IfNotPresent."""
    if container.image_pull_policy:
        return container.image_pull_policy
    name = container.image.rpartition("/")[2]
    if "@" in name:
        return _IF_NOT_PRESENT
    _, _, tag = name.partition(":")
    return _ALWAYS if tag in {"", "latest"} else _IF_NOT_PRESENT


class Images:
    """The images of one node."""

    def __init__(
        self,
        runtime: Runtime,
        reader: ObjectReader,
        clock: Clock,
        settings: PullSettings = PullSettings(),  # noqa: B008 - frozen
        times: BackOffTimes = BackOffTimes(),  # noqa: B008 - frozen
        records: Path | None = None,
    ) -> None:
        self._runtime = runtime
        self._access = ImageAccess(settings.credentials, records, runtime)
        self._reader = reader
        self._clock = clock
        self._pulls = Pulls(
            runtime,
            clock,
            self._access,
            parallel=settings.max_parallel,
            progress_timeout=settings.progress_timeout,
            first_delay=times.pull_first,
            longest_delay=times.pull_longest,
        )

    async def ensure(self, pod: Pod, container: Container, tell: Tell) -> FoundImage:
        """Return the image of a container, pulled if its policy wants that. Raises ImageProblemError."""
        image, policy = container.image, pull_policy(container)
        if not is_image_name(image):
            message = (
                f'Failed to apply default image tag "{image}": couldn\'t parse image name: invalid reference format'
            )
            tell("Warning", "InspectFailed", message)
            raise self._problem("InvalidImageName", message)
        found = await self._look(image, tell) if policy != _ALWAYS else None
        if found is not None and (self._access.is_open(image, found) or _ran(pod, container, found)):
            return self._present(image, found, tell)
        if found is None and policy == _NEVER:
            raise self._never(f'Container image "{image}" is not present with pull policy of Never', tell)
        keyring = await keyring_of(pod, self._reader, tell)
        candidates = tuple(keyring.lookup(repository(image)))
        if found is not None and self._access.is_proven(image, found, candidates):
            return self._present(image, found, tell)
        if policy == _NEVER:
            message = "is present with pull policy of Never but does not have the proper credentials to be used"
            raise self._never(f'Container image "{image}" {message}', tell)
        return await self._pull(image, candidates, tell)

    def _present(self, image: str, found: FoundImage, tell: Tell) -> FoundImage:
        words = f'Container image "{image}" already present on machine and can be accessed by the pod'
        tell("Normal", "Pulled", words)
        _PULLED.labels("present").inc()
        return found

    def _never(self, message: str, tell: Tell) -> ImageProblemError:
        tell("Warning", "ErrImageNeverPull", message)
        return self._problem("ErrImageNeverPull", message)

    async def _look(self, image: str, tell: Tell) -> FoundImage | None:
        try:
            return await self._runtime.find_image(image)
        except (ContainerError, ImageError) as error:
            message = f'Failed to inspect image "{image}": {error}'
            tell("Warning", "InspectFailed", message)
            raise self._problem("ImageInspectError", message) from error

    async def _pull(self, image: str, candidates: tuple[Credentials, ...], tell: Tell) -> FoundImage:
        held = self._pulls.held_back(image, candidates)
        if held is not None:
            tell("Normal", "BackOff", f'Back-off pulling image "{image}"')
            message = f'Back-off pulling image "{image}": {held.reason}: {held}'
            raise self._problem("ImagePullBackOff", message, held.until)
        begun = self._clock.monotonic()
        tell("Normal", "Pulling", f'Pulling image "{image}"')
        try:
            found, seconds = await self._pulls.join(
                image, candidates, lambda words: tell("Normal", "Pulling", f'Pulling image "{image}": {words}')
            )
        except FailedPullError as error:
            tell("Warning", "Failed", f'Failed to pull image "{image}": {error.words}')
            raise self._problem(error.reason, str(error), error.until) from error
        waited = self._clock.monotonic() - begun
        _PULL_SECONDS.observe(waited)
        _PULLED.labels("pulled").inc()
        tell(
            "Normal",
            "Pulled",
            f'Successfully pulled image "{image}" in {go_milliseconds(seconds)} ({go_milliseconds(waited)} including '
            f"waiting). Image size: {found.size} bytes.",
        )
        return found

    @staticmethod
    def _problem(reason: str, message: str, until: datetime | None = None) -> ImageProblemError:
        _PULLED.labels(reason).inc()
        return ImageProblemError(reason, message, until)


def _ran(pod: Pod, container: Container, found: FoundImage) -> bool:
    """Return whether the container has run this image: it goes on with it, also while nobody can be asked."""
    told = (*pod.status.init_container_statuses, *pod.status.container_statuses)
    same = {found.ref, found.id} - {""}
    return any(each.name == container.name and each.image_id in same for each in told)


def go_milliseconds(seconds: float) -> str:
    """Return a duration, cut to milliseconds, as Go prints it: 0s, 250ms, 1.5s, 2m0.25s."""
    milliseconds = int(seconds * 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms" if milliseconds else "0s"
    minutes, rest = divmod(milliseconds, 60_000)
    shown = f"{rest / 1000:.3f}".rstrip("0").rstrip(".")
    return f"{minutes}m{shown}s" if minutes else f"{shown}s"
