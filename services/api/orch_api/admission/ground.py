"""What plugins stand on."""

from __future__ import annotations

import msgspec

from orch.clock import Clock
from orch_api.admission.default_tolerations import DEFAULT_SECONDS
from orch_api.admission.questions import ScaleForm
from orch_api.admission.webhooks.calling import WebhookCalls
from orch_api.auth.authorizer import Authorizer
from orch_api.extensions.outgoing import Guard
from orch_api.registry import Registry
from orch_api.schema import Schemas
from orch_api.storage.cache import ObjectCache
from orch_api.storage.commit import Committer


class Ground(msgspec.Struct, frozen=True):
    """What a plugin may look at and, as for the use of quotas, write to."""

    cache: ObjectCache
    authorizer: Authorizer
    registry: Registry
    committer: Committer
    clock: Clock
    schemas: Schemas
    scale: ScaleForm
    calls: WebhookCalls
    guard: Guard
    toleration_seconds: tuple[int, int] = (DEFAULT_SECONDS, DEFAULT_SECONDS)
    """For how long pods tolerate nodes that are not ready, and that are unreachable."""
