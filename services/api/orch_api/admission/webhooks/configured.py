"""The webhooks that configurations register, ready to be asked."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import msgspec

from orch.objects.admissionregistration import Webhook, WebhookConfiguration
from orch_api.admission.matching import GROUP, Hooks, Matcher, Selection
from orch_api.extensions.expressions.admission import ExpressionError, Program, Words, program
from orch_api.registry import Registry
from orch_api.storage.cache import Cached, ObjectCache

log = logging.getLogger(__name__)

_WORDS = Words()


class Hook(msgspec.Struct, frozen=True):
    """A webhook of a configuration. `problem` is why its conditions cannot be evaluated, when they cannot."""

    configuration: str
    view: Webhook
    matcher: Matcher
    conditions: tuple[Program, ...] = ()
    problem: str = ""

    @property
    def name(self) -> str:
        """The webhook's name."""
        return self.view.name

    @property
    def key(self) -> tuple[str, ...]:
        """What tells it from all others."""
        return (self.configuration, self.name)

    @property
    def fails_closed(self) -> bool:
        """Whether a webhook that cannot be asked refuses the request."""
        return self.view.failure_policy != "Ignore"

    @property
    def dry_run(self) -> bool:
        """Whether it may be asked about what is not to happen."""
        return self.view.side_effects in {"None", "NoneOnDryRun"}


def hooks_of(cache: ObjectCache, registry: Registry, plural: str) -> Hooks[Hook]:
    """Return the table of all webhooks of one kind of configuration, in order of the configurations' names."""

    def read() -> Iterable[Hook]:
        for item in cache.select(GROUP, plural):
            yield from _hooks(item)

    return Hooks(cache, registry, (plural,), read)


def _hooks(item: Cached) -> Iterable[Hook]:
    try:
        configuration = msgspec.json.decode(item.json, type=WebhookConfiguration)
    except msgspec.MsgspecError as error:
        log.error("the stored object %s cannot be read: %s", item.key, error)
        return
    for view in configuration.webhooks:
        if not view.rules:
            continue  # it is about nothing
        try:
            selection = Selection.of(view.namespace_selector, view.object_selector)
        except ValueError as error:
            log.error("the webhook %s of %s cannot be used: %s", view.name, item.key.name, error)
            continue
        matcher = Matcher(view.rules, selection, exact=view.match_policy == "Exact")
        try:
            conditions = tuple(program(one.expression, _WORDS) for one in view.match_conditions)
        except ExpressionError as error:
            yield Hook(item.key.name, view, matcher, problem=str(error))
            continue
        yield Hook(item.key.name, view, matcher, conditions)
