"""How many disruptions the cluster's disruption budgets allow, as far as preemption knows."""

from __future__ import annotations

import logging

import msgspec

from orch.objects.policy import DisruptionBudget
from orch.runtime.informer import Change, Informer
from orch.selectors import Selector, from_label_selector
from orch_scheduler.demand import Demand

log = logging.getLogger(__name__)


class _Budget(msgspec.Struct):
    """A budget. `taken`: disruptions that preemption has caused since its status was last written."""

    number: int
    selector: Selector
    allowed: int
    taken: int = 0


class Budgets:
    """The budgets by namespace. A class of pods is looked up once for as long as no selector changes."""

    def __init__(self, informer: Informer[DisruptionBudget]) -> None:
        self._spaces: dict[str, dict[str, _Budget]] = {}
        self._numbers: dict[int, _Budget] = {}
        self._known: dict[Demand, tuple[int, ...]] = {}
        self._next = 0
        self.generation = 0
        informer.on_change(self._on_change)

    def of(self, demand: Demand) -> tuple[int, ...]:
        """Return the numbers of the budgets that select such pods."""
        budgets = self._spaces.get(demand.namespace)
        if not budgets or not demand.labels:
            return ()
        found = self._known.get(demand)
        if found is None:
            found = tuple(one.number for one in budgets.values() if one.selector.matches(demand.labels))
            self._known[demand] = found
        return found

    def allowed(self, number: int) -> int:
        """Return how many more disruptions a budget allows."""
        budget = self._numbers[number]
        return budget.allowed - budget.taken

    def take(self, demand: Demand) -> None:
        """Take note that such a pod is made to go."""
        for number in self.of(demand):
            self._numbers[number].taken += 1

    def give_back(self, demand: Demand) -> None:
        """Take note that such a pod stays after all."""
        for number in self.of(demand):
            self._numbers[number].taken = max(0, self._numbers[number].taken - 1)

    def _on_change(self, change: Change[DisruptionBudget]) -> None:
        item = change.item
        budgets = self._spaces.setdefault(item.namespace, {})
        self._known.clear()
        self.generation += 1
        old = budgets.pop(item.name, None)
        if old is not None:
            del self._numbers[old.number]
        if change.new is not None and change.new.object.spec.selector is not None:
            self._add(budgets, change.new.name, change.new.object)
        if not budgets:
            del self._spaces[item.namespace]

    def _add(self, budgets: dict[str, _Budget], name: str, budget: DisruptionBudget) -> None:
        try:
            selector = from_label_selector(budget.spec.selector)
        except ValueError as error:
            log.error("disruption budget %s cannot be read: %s", name, error)
            return
        self._next += 1
        made = _Budget(self._next, selector, budget.status.disruptions_allowed)
        budgets[name] = self._numbers[made.number] = made
