"""Disruption budgets as an informer shows them."""

from __future__ import annotations

import logging

from orch.objects.policy import DisruptionBudget
from orch.runtime.informer import Change, Informer
from orch_scheduler.disruptions import Allowance, Budgets

log = logging.getLogger(__name__)


def follow_budgets(informer: Informer[DisruptionBudget], budgets: Budgets) -> None:
    """Keep the budgets as an informer shows them; each of their states has a number of its own."""
    last = 0

    def on_change(change: Change[DisruptionBudget]) -> None:
        nonlocal last
        item, selector = change.item, change.new.object.spec.selector if change.new is not None else None
        if change.new is None or selector is None:
            budgets.set(item.namespace, item.name, None)
            return
        last += 1
        allowed = change.new.object.status.disruptions_allowed
        try:
            budgets.set(item.namespace, item.name, Allowance(last, selector, allowed))
        except ValueError as error:
            log.error("disruption budget %s cannot be read: %s", item.name, error)
            budgets.set(item.namespace, item.name, None)

    informer.on_change(on_change)
