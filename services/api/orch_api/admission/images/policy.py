"""Refuses pods whose images the policy does not let run; what it refuses is audited, counted and logged, always."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterator
from typing import ClassVar, Final

import msgspec
from prometheus_client import Counter

from orch.clock import Clock
from orch_api.admission.chain import CREATE, UPDATE, Operation, Plugin, Request, Rule
from orch_api.admission.images.configured import Policy
from orch_api.admission.images.configured import Rule as ImageRule
from orch_api.admission.images.references import Reference, parse
from orch_api.admission.images.registry import Registries, RegistryError
from orch_api.admission.images.signatures import problem
from orch_api.admission.refusals import refused
from orch_api.extensions.outgoing import Guard
from orch_api.resource import Resource
from orch_api.strategy import Document, section

log = logging.getLogger(__name__)

DECISIONS: Final = Counter(
    "orch_image_policy_decisions", "Images that pods were to run, by what the image policy said", ("decision", "reason")
)
PREFIX: Final = "image-policy.orch.io/"
"""What the keys of audit annotations begin with that are recorded whatever the audit policy says."""

_LISTS: Final = ("initContainers", "containers", "ephemeralContainers")
_REMEMBERED: Final = 4096
_TRUSTED_SECONDS: Final = 3600.0
_REFUSED_SECONDS: Final = 15.0


class _Ruling(msgspec.Struct, frozen=True):
    """What was found out about an image, and until when that counts. `reason` is "" for one that may run."""

    reason: str
    kind: str
    until: float


class _Used(msgspec.Struct, frozen=True):
    """An image and who uses it."""

    image: str
    user: str


class ImagePolicies(Plugin):
    """Looks at the images of pods, and of what is changed in them."""

    name: ClassVar[str] = "ImagePolicy"
    validates: ClassVar[tuple[Rule, ...]] = (Rule((CREATE, UPDATE), ("pods", "pods/ephemeralcontainers")),)
    changing: ClassVar[bool] = True

    def __init__(self, policy: Policy | None, guard: Guard, clock: Clock) -> None:
        self._policy = policy
        self._clock = clock
        self._registries = Registries({} if policy is None else policy.settings.registries, guard)
        self._known: OrderedDict[tuple[str, int], _Ruling] = OrderedDict()
        self._asked: dict[tuple[str, int], asyncio.Task[_Ruling]] = {}

    def wants(self, operation: Operation, resource: Resource, subresource: str) -> bool:
        """Return whether there is a policy."""
        _ = operation, resource, subresource
        return self._policy is not None

    async def validate(self, request: Request) -> None:
        """Look at every image that the request brings in. Raises ForbiddenError."""
        policy = self._policy
        if policy is None or request.document is None or request.namespace in policy.settings.exempt_namespaces:
            return
        before = {one.image for one in _images(request.old)} if request.old is not None else set[str]()
        for used in _images(request.document):
            if used.image in before:
                continue
            kind, reason = await self._judge(policy, used.image)
            DECISIONS.labels("deny" if reason else "allow", kind).inc()
            if reason:
                told = f'image "{used.image}" of {used.user} is not allowed: {reason}'
                request.notes.annotations[f"{PREFIX}decision"] = "deny"
                request.notes.annotations[f"{PREFIX}reason"] = told
                log.warning(
                    "the image policy refuses %r for %r in %r: %s",
                    used.image[:512],
                    request.name,
                    request.namespace,
                    reason,
                )
                raise refused(request, told)

    async def _judge(self, policy: Policy, text: str) -> tuple[str, str]:
        """Return the kind of the ruling, and why an image may not run; "" when it may."""
        if not text:
            return "unnamed", ""  # the pod's own rules refuse it
        try:
            image = parse(text)
        except ValueError as error:
            return "unreadable", str(error)
        for index, rule in enumerate(policy.settings.rules):
            if rule.names(image):
                return await self._by_rule(policy, index, rule, image)
        return "default", "" if policy.settings.default_action == "Allow" else "no rule allows it"

    async def _by_rule(self, policy: Policy, index: int, rule: ImageRule, image: Reference) -> tuple[str, str]:
        if rule.action == "Deny":
            return "rule", f"rule {index} denies it"
        if (rule.require_digest or rule.keys) and not image.digest:
            return "digest", "it has to be named by its digest"
        if not rule.keys:
            return "rule", ""
        ruling = await self._signed(policy, index, image)
        return ruling.kind, ruling.reason

    async def _signed(self, policy: Policy, index: int, image: Reference) -> _Ruling:
        """Return whether an image is signed; pods that are made at the same time ask once."""
        key = (f"{image.name}@{image.digest}", index)
        known = self._known.get(key)
        if known is not None and known.until > self._clock.monotonic():
            self._known.move_to_end(key)
            return known
        task = self._asked.get(key)
        if task is None:
            task = self._asked[key] = asyncio.ensure_future(self._verify(policy, index, image))
            task.add_done_callback(lambda _: self._asked.pop(key, None))
        ruling = await asyncio.shield(task)
        self._known[key] = ruling
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return ruling

    async def _verify(self, policy: Policy, index: int, image: Reference) -> _Ruling:
        now = self._clock.monotonic()
        try:
            async with asyncio.timeout(policy.settings.timeout_seconds):
                found = await problem(image, policy.keys[index], self._registries)
        except (RegistryError, TimeoutError) as error:
            if policy.settings.when_unreachable == "Allow":
                log.warning(
                    "the signatures of %s@%s cannot be read, it is let pass: %s", image.name, image.digest, error
                )
                return _Ruling("", "unreachable", now + _REFUSED_SECONDS)
            detail = str(error) or "its registry did not answer in time"
            return _Ruling(f"its signatures cannot be read: {detail}", "unreachable", now + _REFUSED_SECONDS)
        return _Ruling(found, "signature", now + (_REFUSED_SECONDS if found else _TRUSTED_SECONDS))


def _images(pod: Document | None) -> Iterator[_Used]:
    spec = section(pod or {}, "spec")
    for field in _LISTS:
        for container in spec.get(field) or ():
            yield _Used(container.get("image") or "", f'container "{container.get("name") or ""}"')
    for volume in spec.get("volumes") or ():
        if image := section(volume, "image"):
            yield _Used(image.get("reference") or "", f'volume "{volume.get("name") or ""}"')
